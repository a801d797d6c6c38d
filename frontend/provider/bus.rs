// SPDX-License-Identifier: GPL-2.0

//! The buses that units translate for: PCI, and the platform bus.
//!
//! A PCI function has ids of its own. A platform device has only those that firmware's tables give
//! it.

use kernel::{bindings, error::from_err_ptr, prelude::*};

use crate::{
    device::DeviceInfo,
    ffi::{
        device::{self, Device, DeviceRef},
        firmware,
        pci::{self, Isolation, Pci},
    },
};
#[cfg(CONFIG_ACPI)]
use crate::{device::Place, ffi::acpi::Companion};

/// Describes the device to a vendor driver.
///
/// # Errors
///
/// `ENODEV` if no unit can know the device; `ENOMEM`.
pub fn describe(device: Device<'_>) -> Result<DeviceInfo> {
    match device.pci() {
        Some(function) => firmware::describe(function),
        None if !device.is_platform() => Err(ENODEV),
        None => match firmware::describe_node(device)? {
            Some(described) => Ok(described),
            None => describe_named(device),
        },
    }
}

/// As [`describe`], for a device whose firmware description the kernel has read already. Only a
/// callback of the kernel's IOMMU layer for the device may call this.
pub fn describe_known(device: Device<'_>) -> Result<DeviceInfo> {
    match firmware::describe_known(device)? {
        Some(described) => Ok(described),
        None => describe(device),
    }
}

/// Several devices may share one object of the ACPI namespace. They share its ids then.
#[cfg(CONFIG_ACPI)]
fn describe_named(device: Device<'_>) -> Result<DeviceInfo> {
    Ok(DeviceInfo {
        name: device.name(),
        place: Place::Acpi(Companion::of(device).ok_or(ENODEV)?.name()?),
        ids: KVec::new(),
        ids_kept: true,
        device_tlb: None,
        pasids: None,
    })
}

#[cfg(not(CONFIG_ACPI))]
fn describe_named(_device: Device<'_>) -> Result<DeviceInfo> {
    Err(ENODEV)
}

/// Turns on the device's isolation from others (ACS), if it has it.
pub fn isolate(device: Device<'_>) {
    if let Some(function) = device.pci() {
        function.isolate();
    }
}

/// The hardware between the device and its unit that prevents isolating it from others. `None` off
/// the PCI bus: there only a common id prevents it.
pub fn isolation(device: Device<'_>) -> Option<Isolation<'_>> {
    device.pci().map(Pci::isolation)
}

/// Whether the kernel does not trust the device: it is behind a port that firmware calls external.
pub fn is_untrusted(device: Device<'_>) -> bool {
    device.pci().is_some_and(Pci::is_untrusted)
}

/// Whether the device forwards requests of others.
pub fn is_bridge(device: Device<'_>) -> bool {
    device.pci().is_some_and(Pci::is_bridge)
}

/// Stops the device's own requests (clears Bus Master Enable). Leaves bridges alone, and devices
/// off the PCI bus: these have no such bit, and do no DMA without a driver.
pub fn silence(device: Device<'_>) {
    if let Some(function) = device.pci().filter(|function| !function.is_bridge()) {
        function.clear_master();
    }
}

/// Asks C for the group of a device. The caller owns the count that comes with the group.
///
/// # Errors
///
/// Those of C.
pub fn find_group(device: Device<'_>) -> Result<*mut bindings::iommu_group> {
    // SAFETY: The device is valid, and each function is called for a device on its bus.
    from_err_ptr(unsafe {
        match device.pci() {
            Some(_) => bindings::pci_device_group(device.as_raw()),
            None => bindings::generic_device_group(device.as_raw()),
        }
    })
}

/// Calls `f` for every device that a unit may translate for.
pub fn for_each_device(mut f: impl FnMut(Device<'_>) -> Result) -> Result {
    pci::for_each_function(|function| f(function.device()))?;
    device::for_each_on_platform(f)
}

/// All devices for which `f` is true, with a count each.
pub fn collect_devices(mut f: impl FnMut(Device<'_>) -> bool) -> Result<KVec<DeviceRef>> {
    let mut found = KVec::new();
    for_each_device(|device| {
        if f(device) {
            found.push(device.counted(), GFP_KERNEL)?;
        }
        Ok(())
    })?;
    Ok(found)
}
