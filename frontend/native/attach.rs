// SPDX-License-Identifier: GPL-2.0

//! Attaches of users' domains.
//!
//! An owner attaches with its claim. Some device drivers have always attached a domain of their own
//! without a claim. They still can: the group is lent to the driver, and nobody else can claim or
//! use it meanwhile.

use kernel::{bindings, ffi::c_int, prelude::*, sync::atomic::Relaxed};

use super::{
    backing::{Backing, Detached},
    group::{IommuGroup, Locked},
};
use crate::{
    ffi::device::{Device, Process},
    frontend::answer,
    label::Label,
};

/// What the group may be attached to before an attach.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Before {
    /// No user's domain: only its default domain or the one that blocks.
    Nothing,
    /// A user's domain, which the attach replaces.
    Anything,
}

/// Whether the driver with the functions `ops` has made the domain. Static domains have no owner,
/// so they are compared.
pub(super) fn is_made_by(domain: *mut bindings::iommu_domain, ops: &bindings::iommu_ops) -> bool {
    // SAFETY: The callers' callers promise that the domain is valid.
    let owner = unsafe { (*domain).owner };
    core::ptr::eq(owner, ops) || domain == ops.blocked_domain || domain == ops.identity_domain
}

/// Who attaches, if nobody has claimed the group: the driver of its only device, or the process.
fn driver_of(locked: &Locked<'_>) -> Label {
    let driver = match &locked.members[..] {
        // SAFETY: A member is valid.
        [only] => unsafe { Device::from_raw(only.as_raw()) }
            .and_then(Device::driver)
            .map(|driver| driver.name()),
        _ => None,
    };
    driver.unwrap_or_else(|| Process::current().label)
}

/// Attaches a group to a user's domain: all of it, or nothing.
///
/// # Safety
///
/// `domain` is valid, and stays until it is freed.
unsafe fn attach(
    locked: &Locked<'_>,
    domain: *mut bindings::iommu_domain,
    before: Before,
) -> Result {
    let group = locked.group();
    if group.current() == domain {
        return Ok(());
    }
    let ops = locked.ops().map_err(|_| EINVAL)?;
    if !is_made_by(domain, ops) {
        return Err(EINVAL);
    }
    let on_own = [
        group.default_domain(),
        group.blocking(),
        core::ptr::null_mut(),
    ]
    .contains(&group.current());
    if before == Before::Nothing && !on_own {
        return Err(EBUSY);
    }
    // SAFETY: By the requirements; the domain is of the group's driver.
    unsafe { locked.core()?.attach(domain, &|| driver_of(locked)) }?;
    group.set_current(domain);
    Ok(())
}

/// Takes the user's domain away. A claimed group is blocked then, another one goes back to its
/// default domain. Cannot fail.
pub(super) fn detach(locked: &Locked<'_>) {
    let group = locked.group();
    match locked.core().map(Backing::detach) {
        Ok(Detached::Claimed) => group.set_current(group.blocking()),
        Ok(Detached::Home) | Err(_) => group.set_current(group.default_domain()),
    }
}

/// Attaches a group to a domain. Attaching the current domain again is no error (law 4).
#[export]
pub unsafe extern "C" fn iommu_attach_group(
    domain: *mut bindings::iommu_domain,
    group: *mut bindings::iommu_group,
) -> c_int {
    // SAFETY: The caller's promise.
    answer(unsafe { attach(&IommuGroup::from_c(group).lock(), domain, Before::Nothing) })
}

/// Takes the user's domain away from a group.
#[export]
pub unsafe extern "C" fn iommu_detach_group(
    _domain: *mut bindings::iommu_domain,
    group: *mut bindings::iommu_group,
) {
    // SAFETY: The caller's promise.
    detach(&unsafe { IommuGroup::from_c(group) }.lock());
}

/// Attaches a device that is alone in its group to a domain.
#[export]
pub unsafe extern "C" fn iommu_attach_device(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
) -> c_int {
    // SAFETY: The caller's promise.
    answer(unsafe {
        let group = (*dev).iommu_group;
        if group.is_null() {
            return ENODEV.to_errno();
        }
        let locked = IommuGroup::from_c(group).lock();
        match locked.members.len() {
            1 => attach(&locked, domain, Before::Nothing),
            _ => Err(EINVAL),
        }
    })
}

/// Takes the user's domain away from a device that is alone in its group.
#[export]
pub unsafe extern "C" fn iommu_detach_device(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
) {
    // SAFETY: The caller's promise.
    unsafe {
        let group = (*dev).iommu_group;
        if group.is_null() {
            return;
        }
        let locked = IommuGroup::from_c(group).lock();
        let is_right = locked.group().current() == domain && locked.members.len() == 1;
        if !kernel::warn_on!(!is_right) {
            detach(&locked);
        }
    }
}

/// Makes the deferred attach of a device, if there is one: its driver maps something.
///
/// Context: called before each mapping of the DMA API. Sleeps only if there is a deferred attach.
#[export]
pub unsafe extern "C" fn iommu_deferred_attach(
    dev: *mut bindings::device,
    domain: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: The caller's promise. The driver of the device maps from one task until it has mapped
    // something.
    unsafe {
        let record = (*dev).iommu;
        if record.is_null() || (*record).attach_deferred() == 0 {
            return 0;
        }
        let locked = IommuGroup::from_c((*dev).iommu_group).lock();
        answer(match locked.member(dev) {
            Some(member) if member.resets.load(Relaxed) > 0 => Err(EBUSY),
            Some(_) => locked
                .core()
                .and_then(|core| core.attach_deferred(dev, domain)),
            None => Err(ENODEV),
        })
    }
}

/// As [`iommu_attach_group`], and stores the user's handle.
#[export]
pub unsafe extern "C" fn iommu_attach_group_handle(
    domain: *mut bindings::iommu_domain,
    group: *mut bindings::iommu_group,
    handle: *mut bindings::iommu_attach_handle,
) -> c_int {
    if handle.is_null() {
        return EINVAL.to_errno();
    }
    // SAFETY: The caller's promise.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    let handles = locked.group().handles();
    if let Err(error) = handles.reserve(bindings::IOMMU_NO_PASID) {
        return error.to_errno();
    }
    // SAFETY: The caller's promise.
    let result = unsafe { attach(&locked, domain, Before::Nothing) };
    match result {
        Ok(()) => handles.fill(bindings::IOMMU_NO_PASID, domain, handle),
        Err(_) => handles.remove(bindings::IOMMU_NO_PASID),
    }
    answer(result)
}

/// Ends [`iommu_attach_group_handle`].
#[export]
pub unsafe extern "C" fn iommu_detach_group_handle(
    _domain: *mut bindings::iommu_domain,
    group: *mut bindings::iommu_group,
) {
    // SAFETY: The caller's promise.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    detach(&locked);
    locked.group().handles().remove(bindings::IOMMU_NO_PASID);
}

/// Replaces the domain that a group is attached to. The group is not blocked in between.
#[export]
pub unsafe extern "C" fn iommu_replace_group_handle(
    group: *mut bindings::iommu_group,
    new_domain: *mut bindings::iommu_domain,
    handle: *mut bindings::iommu_attach_handle,
) -> c_int {
    if new_domain.is_null() || handle.is_null() {
        return EINVAL.to_errno();
    }
    // SAFETY: The caller's promise.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    let handles = locked.group().handles();
    let is_first = match handles.reserve(bindings::IOMMU_NO_PASID) {
        Ok(()) => true,
        Err(error) if error == EBUSY => false,
        Err(error) => return error.to_errno(),
    };
    // SAFETY: The caller's promise.
    let result = unsafe { attach(&locked, new_domain, Before::Anything) };
    match result {
        Ok(()) => handles.fill(bindings::IOMMU_NO_PASID, new_domain, handle),
        Err(_) if is_first => handles.remove(bindings::IOMMU_NO_PASID),
        Err(_) => {}
    }
    answer(result)
}

/// The handle that is attached with `pasid`: `ENOENT` if there is none, `EBUSY` if its domain is
/// not of the type that is asked for (0 asks for any).
///
/// Context: does not sleep. The caller keeps the attach from ending.
#[export]
pub unsafe extern "C" fn iommu_attach_handle_get(
    group: *mut bindings::iommu_group,
    pasid: bindings::ioasid_t,
    type_: u32,
) -> *mut bindings::iommu_attach_handle {
    // SAFETY: The caller's promise.
    let found = unsafe { IommuGroup::from_c(group) }.handles().find(pasid);
    match found {
        Some((domain, handle)) if !handle.is_null() => {
            // SAFETY: The attach does not end, so the domain is valid.
            if type_ != 0 && unsafe { (*domain).type_ } != type_ {
                return EBUSY.to_ptr();
            }
            handle
        }
        _ => ENOENT.to_ptr(),
    }
}
