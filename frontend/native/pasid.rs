// SPDX-License-Identifier: GPL-2.0

//! Domains for a device's transactions with a PASID.
//!
//! The core attaches groups. Here is what C's callers are told, and the group's table of
//! [`Handles`](super::handles::Handles).

use kernel::{bindings, ffi::c_int, prelude::*, sync::atomic::Relaxed};

use super::{
    attach::is_made_by,
    group::{IommuGroup, Locked},
    warn_once,
};
use crate::{frontend::answer, pasid::Pasid};

/// Allocates a PASID that the device can use.
#[export]
pub unsafe extern "C" fn iommu_alloc_global_pasid(
    dev: *mut bindings::device,
) -> bindings::ioasid_t {
    // SAFETY: The caller's promise: the device has a unit, and so a record.
    let limit = unsafe { (*(*dev).iommu).max_pasids };
    if limit <= bindings::IOMMU_FIRST_GLOBAL_PASID {
        // The device uses no PASIDs but 0, which stands for none.
        return INVALID;
    }
    // SAFETY: Always safe; both ends are included.
    let pasid =
        unsafe { bindings::iommu_core_alloc_pasid(bindings::IOMMU_FIRST_GLOBAL_PASID, limit - 1) };
    u32::try_from(pasid).unwrap_or(INVALID)
}

/// Frees a PASID.
#[export]
pub unsafe extern "C" fn iommu_free_global_pasid(pasid: bindings::ioasid_t) {
    if !warn_once!(pasid == INVALID) {
        // SAFETY: The caller's promise: it has the PASID.
        unsafe { bindings::iommu_core_free_pasid(pasid) }
    }
}

/// `IOMMU_PASID_INVALID`.
const INVALID: bindings::ioasid_t = bindings::ioasid_t::MAX;

/// What is common to an attach and a replacement.
fn check(
    locked: &Locked<'_>,
    domain: *mut bindings::iommu_domain,
    pasid: bindings::ioasid_t,
) -> Result<Pasid> {
    let ops = locked.ops()?;
    if !is_made_by(domain, ops) {
        return Err(EINVAL);
    }
    if locked.members.iter().any(|m| m.resets.load(Relaxed) > 0) {
        return Err(EBUSY);
    }
    Pasid::new(pasid).ok_or(EINVAL)
}

/// Attaches a device's group to a domain, for transactions with a PASID.
#[export]
pub unsafe extern "C" fn iommu_attach_device_pasid(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    handle: *mut bindings::iommu_attach_handle,
) -> c_int {
    // SAFETY: The caller's promise.
    answer(unsafe { attach(domain, dev, pasid, handle) })
}

/// # Safety
///
/// As those of [`iommu_attach_device_pasid`].
unsafe fn attach(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    handle: *mut bindings::iommu_attach_handle,
) -> Result {
    // SAFETY: By the requirements.
    unsafe {
        let group = (*dev).iommu_group;
        if group.is_null() {
            return Err(ENODEV);
        }
        let locked = IommuGroup::from_c(group).lock();
        let number = pasid;
        let pasid = check(&locked, domain, number)?;
        let handles = locked.group().handles();
        handles.reserve(number)?;
        let core = locked.core()?;
        core.attach_pasid(pasid, domain)
            .inspect_err(|_| handles.remove(number))?;
        handles.fill(number, domain, handle);
        Ok(())
    }
}

/// Replaces the domain that a device's group is attached to, for transactions with a PASID.
#[export]
pub unsafe extern "C" fn iommu_replace_device_pasid(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    handle: *mut bindings::iommu_attach_handle,
) -> c_int {
    // SAFETY: The caller's promise.
    answer(unsafe { replace(domain, dev, pasid, handle) })
}

/// # Safety
///
/// As those of [`iommu_replace_device_pasid`].
unsafe fn replace(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    handle: *mut bindings::iommu_attach_handle,
) -> Result {
    // SAFETY: By the requirements.
    unsafe {
        let group = (*dev).iommu_group;
        if group.is_null() {
            return Err(ENODEV);
        }
        let locked = IommuGroup::from_c(group).lock();
        let number = pasid;
        let pasid = check(&locked, domain, number)?;
        if handle.is_null() {
            return Err(EINVAL);
        }
        let handles = locked.group().handles();
        let (_, old_handle) = handles.find(number).ok_or(EINVAL)?;
        // The page fault handler may still read the old handle, without a lock.
        if kernel::warn_on!(old_handle == handle) {
            return Err(EINVAL);
        }
        locked.core()?.attach_pasid(pasid, domain)?;
        handles.fill(number, domain, handle);
        Ok(())
    }
}

/// Takes the domain of a PASID away.
#[export]
pub unsafe extern "C" fn iommu_detach_device_pasid(
    _domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
) {
    // SAFETY: The caller's promise: it has attached the domain.
    let locked = unsafe { IommuGroup::from_c((*dev).iommu_group) }.lock();
    if let (Ok(core), Some(attached)) = (locked.core(), Pasid::new(pasid)) {
        core.detach_pasid(attached);
    }
    locked.group().handles().remove(pasid);
}
