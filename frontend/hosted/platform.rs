// SPDX-License-Identifier: GPL-2.0

//! A platform device for each unit, and the driver for it: `unbind` in
//! `/sys/bus/platform/drivers/iommu_core` gives a unit back and `bind` takes it again.

use kernel::{
    bindings,
    error::{from_err_ptr, from_result, to_result},
    ffi::c_int,
    prelude::*,
    types::Opaque,
};

use super::Vendor;
use crate::ffi::device::Device;

const NAME: &CStr = c"iommu_core";

/// A unit that can be taken and given back.
pub(super) trait Unbindable: Send + Sync {
    /// Takes the unit; `device` stands for it.
    fn bind(&self, device: Device<'_>) -> Result;
    /// Gives the unit back.
    fn unbind(&self);
    /// Whether the unit is in use.
    fn is_bound(&self) -> bool;
    /// What the last [`bind`](Self::bind) failed with.
    fn error(&self) -> Option<Error>;
}

/// The platform devices and their driver. Dropping it gives all units back.
pub(super) struct Platform {
    driver: Pin<KBox<Opaque<bindings::platform_driver>>>,
    devices: KVec<PlatformDevice>,
    is_registered: bool,
}

// SAFETY: The driver core looks after its own objects; nothing else is in there.
unsafe impl Send for Platform {}
// SAFETY: As above.
unsafe impl Sync for Platform {}

/// A platform device of ours.
struct PlatformDevice(*mut bindings::platform_device);

impl Drop for PlatformDevice {
    fn drop(&mut self) {
        // SAFETY: It was registered by `Platform::new` and is unregistered once.
        unsafe { bindings::platform_device_unregister(self.0) }
    }
}

/// What a platform device has as its data: where its unit is.
type Data = *const dyn Unbindable;

impl Platform {
    /// Makes the devices and registers the driver, which takes the units.
    ///
    /// # Errors
    ///
    /// Those of the driver core. That a unit was not taken is no error.
    ///
    /// # Safety
    ///
    /// `vendors` stay as they are for as long as this lives.
    pub(super) unsafe fn new(
        module: &'static ThisModule,
        vendors: &[KBox<dyn Vendor>],
    ) -> Result<Self> {
        let mut platform = Self {
            driver: KBox::pin(
                Opaque::new(bindings::platform_driver {
                    probe: Some(probe),
                    remove: Some(remove),
                    driver: bindings::device_driver {
                        name: NAME.as_char_ptr(),
                        // Those who load the module want to know whether it works.
                        probe_type: bindings::probe_type_PROBE_FORCE_SYNCHRONOUS,
                        ..pin_init::zeroed()
                    },
                    ..pin_init::zeroed()
                }),
                GFP_KERNEL,
            )?,
            devices: KVec::new(),
            is_registered: false,
        };
        for (number, unit) in vendors.iter().flat_map(|vendor| vendor.units()).enumerate() {
            let data: Data = &**unit;
            let info = bindings::platform_device_info {
                name: NAME.as_char_ptr(),
                id: number as c_int,
                data: (&raw const data).cast(),
                size_data: size_of::<Data>(),
                ..pin_init::zeroed()
            };
            platform.devices.reserve(1, GFP_KERNEL)?;
            // SAFETY: The name is a C string; the data is copied.
            let device = unsafe { bindings::platform_device_register_full(&raw const info) };
            let device = from_err_ptr(device)?;
            // There is room.
            let _ = platform
                .devices
                .push_within_capacity(PlatformDevice(device));
        }
        // SAFETY: The driver stays where it is until it is unregistered, and so do the units.
        to_result(unsafe {
            bindings::__platform_driver_register(
                platform.driver.get(),
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
            unsafe { bindings::platform_driver_unregister(self.driver.get()) };
        }
        // The devices follow.
    }
}

/// The unit that a platform device stands for.
///
/// # Safety
///
/// `device` is one of [`Platform::new`]'s.
unsafe fn unit<'a>(device: *mut bindings::platform_device) -> Option<&'a dyn Unbindable> {
    // SAFETY: By the requirements the data is where the unit is; units stay as long as the devices.
    unsafe {
        let data: *const Data = (*device).dev.platform_data.cast();
        match data.is_null() {
            true => None,
            false => Some(&*data.read_unaligned()),
        }
    }
}

extern "C" fn probe(device: *mut bindings::platform_device) -> c_int {
    // SAFETY: The driver matches by its name, which is that of this module's devices only.
    let (unit, device) = unsafe { (unit(device), Device::from_raw(&raw mut (*device).dev)) };
    from_result(|| match (unit, device) {
        (Some(unit), Some(device)) => unit.bind(device).map(|()| 0),
        _ => Err(ENODEV),
    })
}

extern "C" fn remove(device: *mut bindings::platform_device) {
    // SAFETY: The device was probed.
    if let Some(unit) = unsafe { unit(device) } {
        unit.unbind();
    }
}
