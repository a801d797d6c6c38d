// SPDX-License-Identifier: GPL-2.0

//! Units that drivers have registered.
//!
//! C links them in a list, for whoever looks for the unit that a node of the firmware's stands for,
//! at any time. The core's units are in a table.

use core::{
    mem::offset_of,
    ptr::{self, NonNull},
};

use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_void},
    prelude::*,
    sync::{
        global_lock,
        lock::{spinlock::SpinLockBackend, Lock},
        Arc,
    },
};

use super::{
    foreign::{Foreign, ForeignUnit},
    group::iommu_group_put,
    probe, record,
};
use crate::{ffi::device::Device, frontend::answer, unit::Unit};

/// The list's lock. Units on the list are valid, and the links between them whole, while it is
/// held.
fn lock() -> &'static Lock<(), SpinLockBackend> {
    // SAFETY: C has initialised it before any code ran.
    unsafe { Lock::from_raw(&raw mut bindings::iommu_core_units_lock) }
}

/// A unit as it was found: what it is after that is the caller's to know.
#[derive(Copy, Clone)]
pub(super) struct Found {
    pub(super) ops: &'static bindings::iommu_ops,
    /// Whether all devices that are there were probed for it.
    pub(super) ready: bool,
}

/// The first unit that `node` stands for. Null is the node of units that firmware has no node for.
pub(super) fn find(node: *const bindings::fwnode_handle) -> Option<Found> {
    let _guard = lock().lock();
    let head = &raw mut bindings::iommu_core_units;
    // SAFETY: With the lock held the list is whole, and all but its head are a part of units, which
    // are valid. A unit's table of functions is as long as one of its devices can be asked about.
    unsafe {
        let mut at = (*head).next;
        while at != head {
            let unit: *mut bindings::iommu_device =
                at.byte_sub(offset_of!(bindings::iommu_device, list)).cast();
            if (*unit).fwnode.cast_const() == node {
                return Some(Found {
                    ops: NonNull::new((*unit).ops.cast_mut())?.as_ref(),
                    ready: (&raw const (*unit).ready).read_volatile(),
                });
            }
            at = (*at).next;
        }
    }
    None
}

/// The functions of the driver of the units that `fwnode` stands for; null if there is none.
#[export]
pub unsafe extern "C" fn iommu_ops_from_fwnode(
    fwnode: *const bindings::fwnode_handle,
) -> *const bindings::iommu_ops {
    find(fwnode).map_or(core::ptr::null(), |unit| unit.ops)
}

global_lock! {
    // SAFETY: Initialised when the kernel boots, before any unit is registered.
    unsafe(uninit) static KNOWN: Mutex<KVec<Arc<Unit<Foreign>>>> = KVec::new();
}

/// Makes the list usable.
///
/// # Safety
///
/// Called once, before any unit is registered.
pub(super) unsafe fn init() {
    // SAFETY: By the requirements.
    unsafe { KNOWN.init() }
}

/// The core's unit for C's.
///
/// # Errors
///
/// `ENODEV` if it is not registered.
pub(super) fn known(raw: *mut bindings::iommu_device) -> Result<Arc<Unit<Foreign>>> {
    let known = KNOWN.lock();
    let unit = known.iter().find(|unit| unit.data().is(raw));
    unit.cloned().ok_or(ENODEV)
}

/// Puts a unit on the lists.
///
/// # Safety
///
/// `raw` is valid until [`remove`], and on no list.
unsafe fn add(raw: *mut bindings::iommu_device) -> Result {
    // SAFETY: By the requirements. Where the unit has no place in sysfs it has no name.
    let unit = unsafe {
        let name = match Device::from_raw((*raw).dev) {
            Some(device) => device.name(),
            None => "unit".into(),
        };
        Unit::new(ForeignUnit::new(raw, name))?
    };
    KNOWN.lock().push(unit, GFP_KERNEL)?;
    let _guard = lock().lock();
    // SAFETY: By the requirements; with the lock held the list is whole.
    unsafe { bindings::list_add_tail(&raw mut (*raw).list, &raw mut bindings::iommu_core_units) };
    Ok(())
}

/// Undoes [`add`].
///
/// # Safety
///
/// The unit is on the lists.
unsafe fn remove(raw: *mut bindings::iommu_device) {
    {
        let _guard = lock().lock();
        // SAFETY: By the requirements; with the lock held the list is whole.
        unsafe {
            let links = &raw mut (*raw).list;
            (*(*links).prev).next = (*links).next;
            (*(*links).next).prev = (*links).prev;
        }
    }
    let mut known = KNOWN.lock();
    let index = known.iter().position(|unit| unit.data().is(raw));
    let unit = index.and_then(|index| known.remove(index).ok());
    drop(known);
    drop(unit);
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
