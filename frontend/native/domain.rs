// SPDX-License-Identifier: GPL-2.0

//! What is the same for all domains of C's: how they are made, and who is told of their faults.

use core::ptr;

use kernel::{
    bindings,
    ffi::{c_int, c_uint, c_ulong, c_void},
    prelude::*,
};

use super::{record, trace};
use crate::ffi::compat::eopnotsupp;

/// Allocates a domain that maps what its user wants, for devices like `dev`.
#[export]
pub unsafe extern "C" fn iommu_paging_domain_alloc_flags(
    dev: *mut bindings::device,
    flags: c_uint,
) -> *mut bindings::iommu_domain {
    // SAFETY: The caller's promise.
    unsafe { alloc_paging(dev, bindings::IOMMU_DOMAIN_UNMANAGED, flags) }
        .unwrap_or_else(Error::to_ptr)
}

/// Allocates a domain of a type that maps.
///
/// # Errors
///
/// `ENODEV` without a unit, `EOPNOTSUPP` if its driver cannot do what `flags` want, or what the
/// driver fails with.
///
/// # Safety
///
/// `dev` is valid and kept.
pub(super) unsafe fn alloc_paging(
    dev: *mut bindings::device,
    kind: c_uint,
    flags: c_uint,
) -> Result<*mut bindings::iommu_domain> {
    // SAFETY: By the requirements.
    let ops = unsafe { record::ops(dev) }.ok_or(ENODEV)?;
    let domain = match (ops.domain_alloc_paging, ops.domain_alloc_paging_flags) {
        // SAFETY: The device has a unit of the driver's.
        (Some(alloc), _) if flags == 0 => unsafe { alloc(dev) },
        // SAFETY: As above; there is no data of a user process.
        (_, Some(alloc)) => unsafe { alloc(dev, flags, ptr::null()) },
        _ => return Err(eopnotsupp()),
    };
    let domain = kernel::error::from_err_ptr(domain)?;
    if domain.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: The domain is new and nobody else has it.
    unsafe { adopt(domain, kind, ops) };
    Ok(domain)
}

/// Fills in what a driver leaves to its caller.
///
/// # Safety
///
/// A driver has just made the domain, and `ops` are that driver's.
pub(super) unsafe fn adopt(
    domain: *mut bindings::iommu_domain,
    kind: c_uint,
    ops: &'static bindings::iommu_ops,
) {
    // SAFETY: By the requirements.
    unsafe {
        (*domain).type_ = kind;
        (*domain).owner = ops;
        if (*domain).ops.is_null() {
            (*domain).ops = ops.default_domain_ops;
        }
    }
}

/// Sets who is asked about faults in the domain. Once for a domain, and not for one that serves the
/// DMA API or iommufd.
#[export]
pub unsafe extern "C" fn iommu_set_fault_handler(
    domain: *mut bindings::iommu_domain,
    handler: bindings::iommu_fault_handler_t,
    token: *mut c_void,
) {
    if kernel::warn_on!(domain.is_null()) {
        return;
    }
    // SAFETY: The caller's promise; nobody else sets what belongs to the cookie.
    unsafe {
        if kernel::warn_on!(
            (*domain).cookie_type != bindings::iommu_domain_cookie_type_IOMMU_COOKIE_NONE
        ) {
            return;
        }
        (*domain).cookie_type = bindings::iommu_domain_cookie_type_IOMMU_COOKIE_FAULT_HANDLER;
        let cookie = &raw mut (*domain).__bindgen_anon_1.__bindgen_anon_1;
        (*cookie).handler = handler;
        (*cookie).handler_token = token;
    }
}

/// A driver reports a fault. The handler's answer, or `ENOSYS` if there is none.
///
/// Context: any.
#[export]
pub unsafe extern "C" fn report_iommu_fault(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    iova: c_ulong,
    flags: c_int,
) -> c_int {
    // SAFETY: The caller's promise. The cookie says which part of the union is there.
    let answer = unsafe {
        let cookie = &raw const (*domain).__bindgen_anon_1.__bindgen_anon_1;
        match (*domain).cookie_type {
            bindings::iommu_domain_cookie_type_IOMMU_COOKIE_FAULT_HANDLER => (*cookie)
                .handler
                .map(|handler| handler(domain, dev, iova, flags, (*cookie).handler_token)),
            _ => None,
        }
    };
    // SAFETY: The caller's promise.
    unsafe { trace::io_page_fault(dev, iova, flags) };
    answer.unwrap_or(-(bindings::ENOSYS as c_int))
}

/// Sets oddities of the page table, as the driver names them; before anything is mapped.
#[export]
pub unsafe extern "C" fn iommu_set_pgtable_quirks(
    domain: *mut bindings::iommu_domain,
    quirks: c_ulong,
) -> c_int {
    // SAFETY: The caller's promise.
    unsafe {
        match (*(*domain).ops).set_pgtable_quirks {
            Some(set) if (*domain).type_ == bindings::IOMMU_DOMAIN_UNMANAGED => set(domain, quirks),
            _ => EINVAL.to_errno(),
        }
    }
}
