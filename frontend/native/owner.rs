// SPDX-License-Identifier: GPL-2.0

//! Who may do DMA with a group.

use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
};

use super::{
    attach,
    backing::Backing,
    domain,
    group::{IommuGroup, Locked},
};
use crate::{
    ffi::device::{Device, Process},
    frontend::answer,
    label::Label,
    ownership::{Owner, Ownership},
};

/// Admits a driver that uses the DMA API and is going to be bound. `EPROBE_DEFER` if the group has
/// no default domain yet, `EBUSY` if somebody else has the group.
#[export]
pub unsafe extern "C" fn iommu_device_use_default_domain(dev: *mut bindings::device) -> c_int {
    // SAFETY: The caller's promise.
    answer(unsafe { start_use(dev) })
}

/// # Safety
///
/// `dev` is valid, and stays in its group.
unsafe fn start_use(dev: *mut bindings::device) -> Result {
    // SAFETY: By the requirements.
    let (group, device) = unsafe { ((*dev).iommu_group, Device::from_raw(dev)) };
    if group.is_null() {
        return Ok(());
    }
    // SAFETY: The device keeps its group.
    let group = unsafe { IommuGroup::from_c(group) };
    // The shape is taken so that the DMA API knows of a new default domain before the driver uses
    // it.
    let mut shape = group.shape();
    let locked = shape.lock();
    if group.default_domain().is_null() {
        return Err(EPROBE_DEFER);
    }
    let core = locked.core()?;
    // A driver has attached a domain with a PASID, and does not share its group.
    if !matches!(core.ownership(), Ownership::Free) && !group.handles().is_empty() {
        return Err(EBUSY);
    }
    let driver = device.and_then(Device::driver);
    let name = driver.map_or(Label::from("?"), |driver| driver.name());
    core.start_dma_api(dev, name)
}

/// Ends [`iommu_device_use_default_domain`]: the driver is unbound.
#[export]
pub unsafe extern "C" fn iommu_device_unuse_default_domain(dev: *mut bindings::device) {
    // SAFETY: The caller's promise.
    unsafe {
        let group = (*dev).iommu_group;
        if group.is_null() {
            return;
        }
        let locked = IommuGroup::from_c(group).lock();
        kernel::warn_on!(!locked.group().handles().is_empty());
        if let Ok(core) = locked.core() {
            core.end_dma_api(dev);
        }
    }
}

/// Finds or makes the domain that blocks the group.
pub(super) fn ensure_blocking(locked: &Locked<'_>) -> Result {
    let group = locked.group();
    if group.blocking().is_null() {
        let ops = locked.ops()?;
        let blocking = match ops.blocked_domain {
            // The driver has no blocked domain. One that maps nothing blocks as well.
            domain if domain.is_null() => {
                let first = locked.members.first().ok_or(ENODEV)?;
                // SAFETY: A member is valid.
                unsafe {
                    domain::alloc_paging(first.as_raw(), bindings::IOMMU_DOMAIN_UNMANAGED, 0)?
                }
            }
            domain => domain,
        };
        group.set_blocking(blocking);
    }
    locked.core()?.block_with(group.blocking());
    Ok(())
}

/// Claims a group for `owner`, as often as it likes if the claims are `shared`.
fn claim(locked: &Locked<'_>, owner: *mut c_void, shared: bool) -> Result {
    let core = locked.core()?;
    let group = locked.group();
    if matches!(core.ownership(), Ownership::Free) {
        if !group.handles().is_empty() {
            return Err(EBUSY);
        }
        ensure_blocking(locked)?;
    }
    let owner = Owner {
        token: owner as usize,
        name: Process::current().label,
    };
    let is_first = core.claims() == 0;
    core.claim(owner, shared)
        .map_err(|error| match core.ownership() {
            // A device is being reset, or a driver that does not use the DMA API has attached a
            // domain of its own.
            Ownership::Free | Ownership::Lent { users: 0, .. } => error,
            // C's layer refuses with this error, and its users expect it.
            _ if error == EBUSY => EPERM,
            _ => error,
        })?;
    if is_first {
        group.set_current(group.blocking());
    }
    Ok(())
}

/// Ends a claim. With the last one the group goes back to its default domain, even if its owner has
/// left another one attached.
fn release(locked: &Locked<'_>) {
    let group = locked.group();
    let claims = locked.core().map_or(0, Backing::claims);
    let (Ok(core), false) = (locked.core(), kernel::warn_on!(claims == 0)) else {
        return;
    };
    if claims == 1 {
        // The owner still has a domain attached with a PASID or a handle, and needs the claim.
        if kernel::warn_on!(!group.handles().is_empty()) {
            return;
        }
        // The owner's domain is taken away first, so that `current` is right at any time.
        attach::detach(locked);
    }
    core.end_claim();
    if claims == 1 {
        group.set_current(group.default_domain());
    }
}

/// Claims a group that nobody has.
#[export]
pub unsafe extern "C" fn iommu_group_claim_dma_owner(
    group: *mut bindings::iommu_group,
    owner: *mut c_void,
) -> c_int {
    if kernel::warn_on!(owner.is_null()) {
        return EINVAL.to_errno();
    }
    // SAFETY: The caller's promise.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    answer(claim(&locked, owner, false))
}

/// Claims the group of a device that nobody else has. The same owner may have it already.
#[export]
pub unsafe extern "C" fn iommu_device_claim_dma_owner(
    dev: *mut bindings::device,
    owner: *mut c_void,
) -> c_int {
    if kernel::warn_on!(owner.is_null()) {
        return EINVAL.to_errno();
    }
    // SAFETY: The caller's promise.
    let group = unsafe { (*dev).iommu_group };
    if group.is_null() {
        return ENODEV.to_errno();
    }
    // SAFETY: The device keeps its group.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    answer(claim(&locked, owner, true))
}

/// Ends a claim of a group.
#[export]
pub unsafe extern "C" fn iommu_group_release_dma_owner(group: *mut bindings::iommu_group) {
    // SAFETY: The caller's promise.
    release(&unsafe { IommuGroup::from_c(group) }.lock());
}

/// Ends a claim of a device's group.
#[export]
pub unsafe extern "C" fn iommu_device_release_dma_owner(dev: *mut bindings::device) {
    // SAFETY: The caller's promise: it has claimed the group.
    release(&unsafe { IommuGroup::from_c((*dev).iommu_group) }.lock());
}

/// Whether somebody has the group at the moment: an owner, or a driver that uses the DMA API.
#[export]
pub unsafe extern "C" fn iommu_group_dma_owner_claimed(group: *mut bindings::iommu_group) -> bool {
    // SAFETY: The caller's promise.
    let locked = unsafe { IommuGroup::from_c(group) }.lock();
    match locked.core() {
        Ok(core) => !matches!(core.ownership(), Ownership::Free),
        Err(_) => false,
    }
}
