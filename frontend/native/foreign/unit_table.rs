// SPDX-License-Identifier: GPL-2.0

//! From a unit as C knows it to the core's.

use kernel::{
    bindings,
    prelude::*,
    sync::{global_lock, Arc},
};

use super::driver::{Foreign, ForeignUnit};
use crate::{ffi::device::Device, unit::Unit};

global_lock! {
    // SAFETY: Initialised when the kernel boots, before any unit is registered.
    unsafe(uninit) static TABLE: Mutex<KVec<Arc<Unit<Foreign>>>> = KVec::new();
}

/// Makes the table usable.
///
/// # Safety
///
/// Called once, before any unit is registered.
pub unsafe fn init() {
    // SAFETY: By the requirements.
    unsafe { TABLE.init() }
}

/// The core's unit for C's.
///
/// # Errors
///
/// `ENODEV` if it is not registered.
pub fn unit_of(raw: *mut bindings::iommu_device) -> Result<Arc<Unit<Foreign>>> {
    let table = TABLE.lock();
    let unit = table.iter().find(|unit| unit.data().is(raw));
    unit.cloned().ok_or(ENODEV)
}

/// Makes the core's unit for C's.
///
/// # Safety
///
/// `raw` is valid until [`remove_unit`], and was not added.
pub unsafe fn add_unit(raw: *mut bindings::iommu_device) -> Result {
    // SAFETY: By the requirements. Where the unit has no place in sysfs it has no name.
    let unit = unsafe {
        let name = match Device::from_raw((*raw).dev) {
            Some(device) => device.name(),
            None => "unit".into(),
        };
        Unit::new(ForeignUnit::new(raw, name))?
    };
    TABLE.lock().push(unit, GFP_KERNEL)?;
    Ok(())
}

/// Undoes [`add_unit`].
pub fn remove_unit(raw: *mut bindings::iommu_device) {
    let mut table = TABLE.lock();
    let index = table.iter().position(|unit| unit.data().is(raw));
    let unit = index.and_then(|index| table.remove(index).ok());
    drop(table);
    drop(unit);
}
