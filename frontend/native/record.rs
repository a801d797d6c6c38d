// SPDX-License-Identifier: GPL-2.0

//! The record that C's structure of a device leads to (`dev->iommu`), and what firmware says of the
//! device there.
//!
//! Records come and go under `iommu_probe_device_lock`, which callers hold who look at one without
//! being the device's driver.

use core::{mem, ptr};

use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
};

use super::units;
use crate::frontend::answer;

/// The mutex that all probing is done with.
fn assert_probing() {
    // SAFETY: C has initialised the mutex before any code ran.
    unsafe { bindings::iommu_core_assert_held(&raw mut bindings::iommu_probe_device_lock) }
}

/// The functions of the driver of the device's unit; `None` if the device has none.
///
/// # Safety
///
/// `dev` is valid, and its record stays for the call.
pub(super) unsafe fn ops(dev: *mut bindings::device) -> Option<&'static bindings::iommu_ops> {
    // SAFETY: By the requirements. A device with a unit has a count on its driver's module, so the
    // table stays as long as anybody asks about the device.
    unsafe {
        let record = (*dev).iommu;
        if record.is_null() || (*record).iommu_dev.is_null() {
            return None;
        }
        (*(*record).iommu_dev).ops.as_ref()
    }
}

/// The device's record, which is made if it is not there.
///
/// # Safety
///
/// `dev` is valid. The mutex of probing is held.
pub(super) unsafe fn get_or_make(dev: *mut bindings::device) -> Result<*mut bindings::dev_iommu> {
    assert_probing();
    // SAFETY: By the requirements nobody else makes or frees the record.
    let record = unsafe { (*dev).iommu };
    if !record.is_null() {
        return Ok(record);
    }
    let record: *mut bindings::dev_iommu =
        KBox::into_raw(KBox::<bindings::dev_iommu>::zeroed(GFP_KERNEL)?);
    // SAFETY: The record is new; by the requirements nobody else sets the pointer.
    unsafe {
        bindings::iommu_core_init_record(record);
        (*dev).iommu = record;
    }
    Ok(record)
}

/// Frees the device's record with all that is in it.
#[export]
pub unsafe extern "C" fn dev_iommu_free(dev: *mut bindings::device) {
    // SAFETY: The caller's promise: the record is there, nobody looks at it any more, and it and
    // what it leads to were allocated here.
    unsafe {
        let record = mem::replace(&mut (*dev).iommu, ptr::null_mut());
        free_fwspec((*record).fwspec);
        drop(KBox::from_raw(record));
    }
}

/// Keeps the driver's own data of the device in its record.
#[export]
pub unsafe extern "C" fn dev_iommu_priv_set(dev: *mut bindings::device, priv_: *mut c_void) {
    // The PAMU driver does so at another time.
    if !cfg!(CONFIG_FSL_PAMU) {
        assert_probing();
    }
    // SAFETY: The caller's promise: the device has a record.
    unsafe { (*(*dev).iommu).priv_ = priv_ }
}

/// Whether the device's unit has a capability.
#[export]
pub unsafe extern "C" fn device_iommu_capable(
    dev: *mut bindings::device,
    cap: bindings::iommu_cap,
) -> bool {
    // SAFETY: The caller's promise.
    unsafe {
        match ops(dev).and_then(|ops| ops.capable) {
            Some(capable) => capable(dev, cap),
            None => false,
        }
    }
}

/// What firmware says of the device; null if nothing.
///
/// # Safety
///
/// `dev` is valid, and its record stays for the call.
unsafe fn fwspec(dev: *mut bindings::device) -> *mut bindings::iommu_fwspec {
    // SAFETY: By the requirements.
    unsafe {
        match (*dev).iommu {
            record if record.is_null() => ptr::null_mut(),
            record => (*record).fwspec,
        }
    }
}

/// # Safety
///
/// Null, or nobody looks at it any more.
unsafe fn free_fwspec(spec: *mut bindings::iommu_fwspec) {
    if !spec.is_null() {
        // SAFETY: By the requirements; the node's count was taken when the structure was made.
        unsafe {
            bindings::fwnode_handle_put((*spec).iommu_fwnode);
            bindings::kfree(spec.cast());
        }
    }
}

/// Firmware says that the device is behind the unit that `iommu_fwnode` stands for.
#[export]
pub unsafe extern "C" fn iommu_fwspec_init(
    dev: *mut bindings::device,
    iommu_fwnode: *mut bindings::fwnode_handle,
) -> c_int {
    // SAFETY: The caller's promise.
    answer(unsafe { init_fwspec(dev, iommu_fwnode) })
}

/// # Safety
///
/// As those of [`iommu_fwspec_init`].
unsafe fn init_fwspec(dev: *mut bindings::device, node: *mut bindings::fwnode_handle) -> Result {
    let Some(unit) = units::find(node) else {
        // SAFETY: The device is valid. Says whether its driver may still come, and with what error.
        return kernel::error::to_result(unsafe {
            bindings::driver_deferred_probe_check_state(dev)
        });
    };
    // SAFETY: By the requirements.
    let known = unsafe { fwspec(dev) };
    // SAFETY: By the requirements.
    if unsafe { (*dev).iommu.is_null() } && !unit.ready {
        // The registration that goes on will come to this device.
        return Err(EPROBE_DEFER);
    }
    if !known.is_null() {
        // SAFETY: By the requirements.
        let other = units::find(unsafe { (*known).iommu_fwnode });
        return match other {
            Some(other) if ptr::eq(other.ops, unit.ops) => Ok(()),
            _ => Err(EINVAL),
        };
    }
    // SAFETY: By the requirements. The new structure has room for one id, which most devices have.
    unsafe {
        let record = get_or_make(dev)?;
        let spec = resize(ptr::null_mut(), 1)?;
        bindings::fwnode_handle_get(node);
        (*spec).iommu_fwnode = node;
        (*spec).flags = 0;
        (*spec).num_ids = 0;
        (*record).fwspec = spec;
    }
    Ok(())
}

/// Allocates or enlarges; the old one is still there if that fails.
///
/// # Safety
///
/// `old` is null or was allocated here, and nobody else looks at it.
unsafe fn resize(
    old: *mut bindings::iommu_fwspec,
    ids: usize,
) -> Result<*mut bindings::iommu_fwspec> {
    let size = ids
        .checked_mul(mem::size_of::<u32>())
        .and_then(|bytes| bytes.checked_add(mem::offset_of!(bindings::iommu_fwspec, ids)))
        .ok_or(ENOMEM)?
        .max(mem::size_of::<bindings::iommu_fwspec>());
    // SAFETY: By the requirements.
    let new = unsafe {
        bindings::krealloc_node_align_noprof(
            old.cast(),
            size,
            mem::align_of::<bindings::iommu_fwspec>(),
            bindings::GFP_KERNEL,
            bindings::NUMA_NO_NODE,
        )
    };
    match new.is_null() {
        true => Err(ENOMEM),
        false => Ok(new.cast()),
    }
}

/// Forgets what firmware says of the device.
#[export]
pub unsafe extern "C" fn iommu_fwspec_free(dev: *mut bindings::device) {
    // SAFETY: The caller's promise.
    unsafe {
        let spec = fwspec(dev);
        if !spec.is_null() {
            (*(*dev).iommu).fwspec = ptr::null_mut();
            free_fwspec(spec);
        }
    }
}

/// Adds ids that firmware gives the device.
#[export]
pub unsafe extern "C" fn iommu_fwspec_add_ids(
    dev: *mut bindings::device,
    ids: *const u32,
    num_ids: c_int,
) -> c_int {
    // SAFETY: The caller's promise.
    let old = unsafe { fwspec(dev) };
    let Ok(more) = usize::try_from(num_ids) else {
        return EINVAL.to_errno();
    };
    if old.is_null() {
        return EINVAL.to_errno();
    }
    // SAFETY: The caller's promise: nobody else changes the record, and `ids` are that many.
    unsafe {
        let there = (*old).num_ids as usize;
        let Some(all) = there.checked_add(more) else {
            return ENOMEM.to_errno();
        };
        let spec = match all {
            // There is room for one from the beginning.
            0 | 1 => old,
            _ => match resize(old, all) {
                Ok(new) => new,
                Err(error) => return error.to_errno(),
            },
        };
        (*(*dev).iommu).fwspec = spec;
        let first: *mut u32 = (&raw mut (*spec).ids).cast();
        ptr::copy_nonoverlapping(ids, first.add(there), more);
        (*spec).num_ids = all as u32;
    }
    0
}
