// SPDX-License-Identifier: GPL-2.0

//! Domains for a device's transactions with a PASID.
//!
//! Either all devices of a group that use PASIDs are attached to a domain, or none. The group's
//! table of [`Handles`](super::handles::Handles) has the attached domains, with a count of each
//! (law 2).

use core::ptr;

use kernel::{bindings, error::to_result, ffi::c_int, prelude::*, sync::atomic::Relaxed};

use super::{
    attach::is_made_by,
    foreign,
    group::{IommuGroup, Locked},
    record, warn_once,
};
use crate::{domain::Attachment, ffi::compat::eopnotsupp, frontend::answer};

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

/// How many PASIDs a member can use.
///
/// # Safety
///
/// `dev` is a member of a group, and has a unit.
unsafe fn limit_of(dev: *mut bindings::device) -> u32 {
    // SAFETY: By the requirements.
    unsafe { (*(*dev).iommu).max_pasids }
}

/// Attaches one device. If that fails it stays attached to the old domain.
///
/// # Safety
///
/// `to` and `from` are valid, `from` or null; `dev` is a member of a group.
unsafe fn set(
    to: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    from: *mut bindings::iommu_domain,
) -> Result {
    // SAFETY: By the requirements.
    unsafe {
        let set = (*(*to).ops).set_dev_pasid.ok_or(eopnotsupp())?;
        to_result(set(to, dev, pasid, from))
    }
}

/// Takes the domain of a PASID away from one device, which cannot fail.
///
/// # Safety
///
/// As those of [`set`].
unsafe fn clear(
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    from: *mut bindings::iommu_domain,
) {
    // SAFETY: By the requirements. Who has attached has seen that there is such a domain.
    let result = unsafe {
        match record::ops(dev) {
            Some(ops) if !ops.blocked_domain.is_null() => set(ops.blocked_domain, dev, pasid, from),
            _ => Err(ENODEV),
        }
    };
    kernel::warn_on!(result.is_err());
}

/// Attaches all devices of the group that use PASIDs, or none.
///
/// # Safety
///
/// As those of [`set`].
unsafe fn set_all(
    locked: &Locked<'_>,
    to: *mut bindings::iommu_domain,
    pasid: bindings::ioasid_t,
    from: *mut bindings::iommu_domain,
) -> Result {
    let devices = || {
        let all = locked.members.iter().map(|member| member.as_raw());
        // SAFETY: A member is valid, and all of them have units.
        all.filter(|&dev| unsafe { limit_of(dev) } > 0)
    };
    for (done, dev) in devices().enumerate() {
        // SAFETY: By the requirements.
        let Err(error) = (unsafe { set(to, dev, pasid, from) }) else {
            continue;
        };
        for dev in devices().take(done) {
            // SAFETY: By the requirements.
            unsafe {
                if from.is_null() || kernel::warn_on!(set(from, dev, pasid, to).is_err()) {
                    clear(dev, pasid, to);
                }
            }
        }
        return Err(error);
    }
    Ok(())
}

/// What is common to an attach and a replacement.
///
/// # Safety
///
/// `domain` is valid.
unsafe fn check(
    locked: &Locked<'_>,
    domain: *mut bindings::iommu_domain,
    pasid: bindings::ioasid_t,
) -> Result {
    let ops = locked.ops()?;
    // SAFETY: By the requirements.
    unsafe {
        if (*(*domain).ops).set_dev_pasid.is_none() {
            return Err(eopnotsupp());
        }
        if !is_made_by(domain, ops) || pasid == bindings::IOMMU_NO_PASID {
            return Err(EINVAL);
        }
    }
    if locked.members.iter().any(|m| m.resets.load(Relaxed) > 0) {
        return Err(EBUSY);
    }
    Ok(())
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
        // The driver has to be able to detach the PASID later.
        let blocked = locked.ops()?.blocked_domain;
        if blocked.is_null() || (*(*blocked).ops).set_dev_pasid.is_none() {
            return Err(eopnotsupp());
        }
        check(&locked, domain, pasid)?;
        let mut limits = locked.members.iter().map(|m| limit_of(m.as_raw()));
        // Devices that use no PASIDs are not attached.
        if limits.any(|limit| limit > 0 && pasid >= limit) {
            return Err(EINVAL);
        }
        let known = foreign::domain_of(domain)?;
        let handles = locked.group().handles();
        handles.reserve(pasid)?;
        set_all(&locked, domain, pasid, ptr::null_mut()).inspect_err(|_| handles.remove(pasid))?;
        handles.fill(pasid, domain, handle);
        handles.keep(pasid, Some(Attachment::new(&known)));
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
        check(&locked, domain, pasid)?;
        if handle.is_null() {
            return Err(EINVAL);
        }
        let handles = locked.group().handles();
        let (old, old_handle) = handles.find(pasid).ok_or(EINVAL)?;
        // The page fault handler may still read the old handle, without a lock.
        if kernel::warn_on!(old_handle == handle) {
            return Err(EINVAL);
        }
        let known = foreign::domain_of(domain)?;
        if old != domain {
            set_all(&locked, domain, pasid, old)?;
        }
        handles.fill(pasid, domain, handle);
        handles.keep(pasid, Some(Attachment::new(&known)));
        Ok(())
    }
}

/// Takes the domain of a PASID away.
#[export]
pub unsafe extern "C" fn iommu_detach_device_pasid(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
) {
    // SAFETY: The caller's promise: it has attached the domain.
    unsafe {
        let locked = IommuGroup::from_c((*dev).iommu_group).lock();
        for member in &locked.members {
            // A device that is being reset is blocked already.
            let dev = member.as_raw();
            if member.resets.load(Relaxed) == 0 && limit_of(dev) > 0 {
                clear(dev, pasid, domain);
            }
        }
        let handles = locked.group().handles();
        handles.keep(pasid, None);
        handles.remove(pasid);
    }
}

/// Blocks all PASIDs of a device that is going to be reset. The table keeps their domains.
pub(super) fn block_all(locked: &Locked<'_>, dev: *mut bindings::device) {
    locked.group().handles().for_each(|pasid, domain| {
        // SAFETY: The device is a member; what is attached is valid.
        unsafe {
            if limit_of(dev) > 0 {
                clear(dev, pasid, domain);
            }
        }
    });
}

/// Undoes [`block_all`].
pub(super) fn restore_all(locked: &Locked<'_>, dev: *mut bindings::device) {
    locked.group().handles().for_each(|pasid, domain| {
        // SAFETY: The device is a member; what is attached is valid.
        unsafe {
            if limit_of(dev) > 0 {
                let result = set(domain, dev, pasid, locked.group().blocking());
                kernel::warn_on!(result.is_err());
            }
        }
    });
}
