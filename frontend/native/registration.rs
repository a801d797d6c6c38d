// SPDX-License-Identifier: GPL-2.0

//! Units are registered and unregistered.

use core::ptr;

#[cfg(CONFIG_IOMMUFD_TEST)]
use kernel::error::{from_err_ptr, to_result};
use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
};

#[cfg(CONFIG_IOMMUFD_TEST)]
use super::record;
use super::{foreign, group::iommu_group_put, probe, units};
use crate::frontend::answer;

/// Makes a unit known.
///
/// # Safety
///
/// `raw` is valid until [`remove`], and not known.
unsafe fn add(raw: *mut bindings::iommu_device) -> Result {
    // SAFETY: By the requirements.
    unsafe {
        foreign::add_unit(raw)?;
        units::add(raw);
    }
    Ok(())
}

/// Undoes [`add`].
///
/// # Safety
///
/// The unit is known.
unsafe fn remove(raw: *mut bindings::iommu_device) {
    // SAFETY: By the requirements.
    unsafe { units::remove(raw) };
    foreign::remove_unit(raw);
}

/// A driver has a unit. All devices that are there are probed for it.
#[export]
pub unsafe extern "C" fn iommu_device_register(
    iommu: *mut bindings::iommu_device,
    ops: *const bindings::iommu_ops,
    hwdev: *mut bindings::device,
) -> c_int {
    // SAFETY: The caller's promise.
    let result = unsafe {
        if kernel::warn_on!((*ops).owner.is_null() && bindings::iommu_core_is_in_module(ops.cast()))
        {
            // Nobody could keep the functions.
            return EINVAL.to_errno();
        }
        (*iommu).ops = ops;
        if !hwdev.is_null() {
            (*iommu).fwnode = bindings::__dev_fwnode(hwdev);
        }
        add(iommu).and_then(|()| {
            let result = each_bus(|bus| probe::probe_bus(bus));
            match result {
                Ok(()) => (&raw mut (*iommu).ready).write_volatile(true),
                Err(_) => iommu_device_unregister(iommu),
            }
            result
        })
    };
    answer(result)
}

/// Calls `f` with each bus that may have devices behind units, until it fails.
fn each_bus(mut f: impl FnMut(*const bindings::bus_type) -> Result) -> Result {
    for index in 0.. {
        // SAFETY: Always safe; null behind the last one.
        let bus = unsafe { bindings::iommu_core_bus(index) };
        if bus.is_null() {
            break;
        }
        f(bus)?;
    }
    Ok(())
}

/// The driver gives the unit up. Its devices are released.
#[export]
pub unsafe extern "C" fn iommu_device_unregister(iommu: *mut bindings::iommu_device) {
    // SAFETY: The caller's promise; each device is kept while it is released.
    unsafe {
        let _ = each_bus(|bus| {
            release_all(bus, iommu);
            Ok(())
        });
        remove(iommu);
        iommu_group_put((*iommu).singleton_group);
        (*iommu).singleton_group = ptr::null_mut();
    }
}

/// Releases the devices of a bus that are behind the unit.
///
/// # Safety
///
/// `bus` is registered, and `iommu` a unit.
unsafe fn release_all(bus: *const bindings::bus_type, iommu: *mut bindings::iommu_device) {
    unsafe extern "C" fn visit(dev: *mut bindings::device, iommu: *mut c_void) -> c_int {
        // SAFETY: Called back with a device that is kept.
        unsafe {
            let record = (*dev).iommu;
            if !record.is_null() && ptr::eq((*record).iommu_dev, iommu.cast()) {
                probe::release(dev);
            }
        }
        0
    }
    // SAFETY: By the requirements.
    unsafe {
        bindings::bus_for_each_dev(bus, ptr::null_mut(), iommu.cast(), Some(visit));
    }
}

/// As [`iommu_device_register`] for one bus, which brings its notifier; for tests.
#[cfg(CONFIG_IOMMUFD_TEST)]
#[export]
pub unsafe extern "C" fn iommu_device_register_bus(
    iommu: *mut bindings::iommu_device,
    ops: *const bindings::iommu_ops,
    bus: *const bindings::bus_type,
    nb: *mut bindings::notifier_block,
) -> c_int {
    // SAFETY: The caller's promise.
    let result = unsafe {
        (*iommu).ops = ops;
        (*nb).notifier_call = Some(probe::iommu_core_bus_event);
        to_result(bindings::bus_register_notifier(bus, nb)).and_then(|()| {
            let node = bindings::fwnode_create_software_node(ptr::null(), ptr::null());
            let result = from_err_ptr(node).and_then(|node| {
                (*iommu).fwnode = node;
                let result = add(iommu).and_then(|()| {
                    probe::probe_bus(bus).inspect_err(|_| {
                        release_all(bus, iommu);
                        remove(iommu);
                    })
                });
                result.inspect_err(|_| bindings::fwnode_remove_software_node(node))
            });
            result.inspect_err(|_| {
                bindings::bus_unregister_notifier(bus, nb);
            })
        })
    };
    match result {
        Ok(()) => {
            // SAFETY: The caller's promise.
            unsafe { (&raw mut (*iommu).ready).write_volatile(true) };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// Undoes [`iommu_device_register_bus`].
#[cfg(CONFIG_IOMMUFD_TEST)]
#[export]
pub unsafe extern "C" fn iommu_device_unregister_bus(
    iommu: *mut bindings::iommu_device,
    bus: *const bindings::bus_type,
    nb: *mut bindings::notifier_block,
) {
    // SAFETY: The caller's promise. The bus is none of those that all units have.
    unsafe {
        bindings::bus_unregister_notifier(bus, nb);
        release_all(bus, iommu);
        bindings::fwnode_remove_software_node((*iommu).fwnode);
        iommu_device_unregister(iommu);
    }
}

/// Adds a device behind a unit of a test's.
#[cfg(CONFIG_IOMMUFD_TEST)]
#[export]
pub unsafe extern "C" fn iommu_mock_device_add(
    dev: *mut bindings::device,
    iommu: *mut bindings::iommu_device,
) -> c_int {
    // SAFETY: The caller's promise.
    unsafe {
        let error = {
            let _guard = probe::lock();
            record::iommu_fwspec_init(dev, (*iommu).fwnode)
        };
        if error != 0 {
            return error;
        }
        let error = bindings::device_add(dev);
        if error != 0 {
            record::dev_iommu_free(dev);
        }
        error
    }
}
