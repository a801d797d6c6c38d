// SPDX-License-Identifier: GPL-2.0

//! Devices that are reset.
//!
//! While it is reset a device must not be reached by invalidations of what it has cached
//! (PCIe 10.3.1). So it is blocked on its own, with its PASIDs, and its group stays where it is.

use kernel::{bindings, ffi::c_int, prelude::*, sync::atomic::Relaxed};

use super::{
    group::{IommuGroup, Locked},
    owner, record,
};
use crate::frontend::answer;

/// The device and its group, if what follows is any matter to its unit.
///
/// # Safety
///
/// `function` is valid, and is not removed meanwhile.
unsafe fn concerned<'a>(
    function: *mut bindings::pci_dev,
) -> Option<(*mut bindings::device, &'a IommuGroup)> {
    // SAFETY: By the requirements.
    unsafe {
        let dev = &raw mut (*function).dev;
        if !bindings::iommu_core_supports_ats(function) || record::ops(dev).is_none() {
            return None;
        }
        Some((dev, IommuGroup::from_c((*dev).iommu_group)))
    }
}

/// A device is about to be reset. Resets may be nested.
#[export]
pub unsafe extern "C" fn pci_dev_reset_iommu_prepare(pdev: *mut bindings::pci_dev) -> c_int {
    // SAFETY: The caller's promise.
    let Some((dev, group)) = (unsafe { concerned(pdev) }) else {
        return 0;
    };
    answer(begin(&group.lock(), dev))
}

fn begin(locked: &Locked<'_>, dev: *mut bindings::device) -> Result {
    let Some(member) = locked.member(dev) else {
        kernel::warn_on!(true);
        return Err(ENODEV);
    };
    if member.resets.load(Relaxed) > 0 {
        member.resets.fetch_add(1, Relaxed);
        return Ok(());
    }
    owner::ensure_blocking(locked)?;
    let core = locked.core()?;
    member.watch(core.blocked(dev));
    core.suspend(dev)?;
    member.resets.store(1, Relaxed);
    Ok(())
}

/// A device was reset, and joins its group where that is now.
#[export]
pub unsafe extern "C" fn pci_dev_reset_iommu_done(pdev: *mut bindings::pci_dev) {
    // SAFETY: The caller's promise.
    let Some((dev, group)) = (unsafe { concerned(pdev) }) else {
        return;
    };
    let locked = group.lock();
    let Some(member) = locked.member(dev) else {
        kernel::warn_on!(true);
        return;
    };
    match member.resets.load(Relaxed) {
        0 => {
            kernel::warn_on!(true);
        }
        1 => {
            member.resets.store(0, Relaxed);
            if let Ok(core) = locked.core() {
                core.resume(dev);
            }
        }
        more => member.resets.store(more - 1, Relaxed),
    }
}
