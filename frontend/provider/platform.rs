// SPDX-License-Identifier: GPL-2.0

//! A platform device for each unit, and the driver for it: `unbind` in
//! `/sys/bus/platform/drivers/iommu_core` gives a unit back and `bind` takes it again.
//!
//! If a device tree or ACPI's IORT table describes the units, the kernel has made their devices.
//! Otherwise this file makes them.

use core::{ffi::c_void, ptr};

use kernel::{
    bindings,
    error::{from_err_ptr, from_result, to_result},
    ffi::{c_char, c_int},
    prelude::*,
    types::Opaque,
};

use super::vendor::{Unbindable, Vendor};
use crate::{
    ffi::{
        device::{Device, DeviceRef},
        table::Table,
    },
    label::Label,
    log::{log_err, log_warn},
};

const NAME: &CStr = c"iommu_core";

/// The platform driver: C's structure, and the units that it drives.
///
/// C's part is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct Driver {
    c: Opaque<bindings::platform_driver>,
    /// The names of the units' devices, and the units, which outlive the driver.
    units: KVec<(Label, *const dyn Unbindable)>,
    /// What C matches devices by. The last entry of each table is empty, as C wants it.
    names: KVec<bindings::platform_device_id>,
    nodes: KVec<bindings::of_device_id>,
}

/// The platform devices and their driver. Dropping it gives all units back.
pub struct Platform {
    driver: Pin<KBox<Driver>>,
    /// Those that this file has made.
    _devices: KVec<PlatformDevice>,
    is_registered: bool,
}

// SAFETY: The driver core looks after its own objects, and units can be shared.
unsafe impl Send for Platform {}
// SAFETY: As above.
unsafe impl Sync for Platform {}

/// A platform device that this file has made.
struct PlatformDevice(*mut bindings::platform_device);

impl PlatformDevice {
    fn new(number: usize) -> Result<Self> {
        let info = bindings::platform_device_info {
            name: NAME.as_char_ptr(),
            id: number as c_int,
            ..pin_init::zeroed()
        };
        // SAFETY: The name is a C string.
        let device = unsafe { bindings::platform_device_register_full(&raw const info) };
        Ok(Self(from_err_ptr(device)?))
    }
}

impl Drop for PlatformDevice {
    fn drop(&mut self) {
        // SAFETY: It was registered by `new` and is unregistered once.
        unsafe { bindings::platform_device_unregister(self.0) }
    }
}

impl Platform {
    /// Makes the missing devices and registers the driver, which takes the units.
    ///
    /// # Errors
    ///
    /// Those of the driver core. A unit that cannot be taken is no error.
    ///
    /// # Safety
    ///
    /// Nobody changes or drops `vendors` while the returned value lives.
    pub unsafe fn new(module: &'static ThisModule, vendors: &[KBox<dyn Vendor>]) -> Result<Self> {
        let mut devices = KVec::new();
        let mut units = KVec::new();
        let all = vendors
            .iter()
            .flat_map(|vendor| vendor.units().iter().map(|unit| (&**vendor, &**unit)));
        for (number, (vendor, unit)) in all.enumerate() {
            let name = match unit.platform_device() {
                Some(name) => {
                    check_free(vendor, unit, name);
                    name
                }
                None => {
                    devices.push(PlatformDevice::new(number)?, GFP_KERNEL)?;
                    Label::new(format_args!("iommu_core.{number}"))
                }
            };
            units.push((name, ptr::from_ref(unit)), GFP_KERNEL)?;
        }
        let (names, nodes) = tables(vendors)?;
        let driver = KBox::pin(
            Driver {
                c: Opaque::new(bindings::platform_driver {
                    probe: Some(probe),
                    remove: Some(remove),
                    id_table: names.as_ptr(),
                    driver: bindings::device_driver {
                        name: NAME.as_char_ptr(),
                        of_match_table: nodes.as_ptr(),
                        pm: WAKING.get(),
                        // Loading the module fails if no unit can be taken.
                        probe_type: bindings::probe_type_PROBE_FORCE_SYNCHRONOUS,
                        ..pin_init::zeroed()
                    },
                    ..pin_init::zeroed()
                }),
                units,
                names,
                nodes,
            },
            GFP_KERNEL,
        )?;
        let mut platform = Self {
            driver,
            _devices: devices,
            is_registered: false,
        };
        // SAFETY: The driver and its tables stay where they are until it is unregistered, and so do
        // the units.
        to_result(unsafe {
            bindings::__platform_driver_register(
                platform.driver.c.get(),
                module.as_ptr(),
                NAME.as_char_ptr(),
            )
        })?;
        platform.is_registered = true;
        Ok(platform)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if self.is_registered {
            // SAFETY: The driver is registered. This unbinds it from all devices.
            unsafe { bindings::platform_driver_unregister(self.driver.c.get()) };
        }
        // The devices follow.
    }
}

/// The tables that C matches devices by: those made here, and those that the kernel makes for
/// units.
#[allow(clippy::type_complexity)]
fn tables(
    vendors: &[KBox<dyn Vendor>],
) -> Result<(
    KVec<bindings::platform_device_id>,
    KVec<bindings::of_device_id>,
)> {
    let mut names = KVec::new();
    let mut nodes = KVec::new();

    let mut name = bindings::platform_device_id::default();
    copy(NAME, &mut name.name)?;
    names.push(name, GFP_KERNEL)?;
    for ids in vendors.iter().filter_map(|vendor| vendor.platform_ids()) {
        let mut name = bindings::platform_device_id::default();
        copy(ids.name, &mut name.name)?;
        names.push(name, GFP_KERNEL)?;
        let mut node = bindings::of_device_id::default();
        copy(ids.compatible, &mut node.compatible)?;
        nodes.push(node, GFP_KERNEL)?;
    }
    names.push(Default::default(), GFP_KERNEL)?;
    nodes.push(Default::default(), GFP_KERNEL)?;
    Ok((names, nodes))
}

/// Copies a C string to a field that is all zeros.
fn copy(text: &CStr, field: &mut [c_char]) -> Result {
    let bytes = text.to_bytes_with_nul();
    if bytes.len() > field.len() {
        return Err(EINVAL);
    }
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from as c_char;
    }
    Ok(())
}

/// Refuses a unit whose device has another driver, and says so.
fn check_free(vendor: &dyn Vendor, unit: &dyn Unbindable, name: Label) {
    let holder = find(name).and_then(|device| Some(device.get().driver()?.name()));
    if let Some(holder) = holder {
        log_err!(
            "{}: the unit is left alone: its device {} has driver {}; {}",
            unit.name(),
            name,
            holder,
            vendor
                .platform_ids()
                .map_or("unbind it", |ids| ids.how_to_free),
        );
        unit.refuse(EBUSY);
    }
}

/// The device called `name` on the platform bus.
fn find(name: Label) -> Option<DeviceRef> {
    let text =
        kernel::str::CString::try_from_fmt(kernel::prelude::fmt!("{}", name.as_str())).ok()?;
    // SAFETY: The bus is there; the function compares names with the string.
    unsafe {
        let raw = bindings::bus_find_device(
            &raw const bindings::platform_bus_type,
            ptr::null_mut(),
            text.as_char_ptr().cast::<c_void>(),
            Some(is_called),
        );
        Device::from_raw(raw).map(|device| DeviceRef::adopt(device))
    }
}

extern "C" fn is_called(device: *mut bindings::device, name: *const c_void) -> c_int {
    // SAFETY: `find` has C call with devices of the bus and with its name.
    unsafe { bindings::device_match_name(device, name) }
}

/// The unit that a platform device stands for.
///
/// # Safety
///
/// `device` has the driver that [`Platform::new`] registered, or is going to have it.
unsafe fn unit<'a>(
    device: *mut bindings::platform_device,
) -> Option<(&'a dyn Unbindable, Device<'a>)> {
    // SAFETY: C keeps the device.
    let device = unsafe { Device::from_raw(&raw mut (*device).dev) }?;
    let name = device.name();
    // SAFETY: By the requirements; C's driver is the first part of C's platform driver, after its
    // functions, and that is the first of ours.
    let driver = unsafe {
        let driver = (*device.as_raw()).driver;
        &*driver
            .byte_sub(core::mem::offset_of!(bindings::platform_driver, driver))
            .cast::<Driver>()
    };
    let (_, unit) = driver.units.iter().find(|(called, _)| *called == name)?;
    // SAFETY: Units stay as long as the driver.
    Some((unsafe { &**unit }, device))
}

extern "C" fn probe(device: *mut bindings::platform_device) -> c_int {
    // SAFETY: The driver core has set the driver before it calls.
    let found = unsafe { unit(device) };
    from_result(|| match found {
        Some((unit, device)) => unit.bind(device).map(|()| 0),
        // The device appeared after the vendor drivers had looked for units.
        None => {
            log_warn!("a unit that came late is not used: load the module again");
            Err(ENODEV)
        }
    })
}

/// By this phase bridges have their registers back. Other devices are resumed after it.
// SAFETY: The driver core reads it, and calls the functions for any device of the driver's.
static WAKING: Table<bindings::dev_pm_ops> = unsafe {
    Table::new(bindings::dev_pm_ops {
        resume_early: Some(resume_early),
        thaw_early: Some(resume_early),
        restore_early: Some(resume_early),
        ..pin_init::zeroed()
    })
};

extern "C" fn resume_early(device: *mut bindings::device) -> c_int {
    // SAFETY: The device is on the platform bus, so it is a part of a platform device, and was
    // probed.
    let found = unsafe {
        unit(
            device
                .byte_sub(core::mem::offset_of!(bindings::platform_device, dev))
                .cast(),
        )
    };
    if let Some((unit, _)) = found {
        unit.buses_resumed();
    }
    0
}

extern "C" fn remove(device: *mut bindings::platform_device) {
    // SAFETY: The device was probed.
    if let Some((unit, _)) = unsafe { unit(device) } {
        unit.unbind();
    }
}
