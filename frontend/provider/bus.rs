// SPDX-License-Identifier: GPL-2.0

//! The buses that units translate for: PCI, and the platform bus, where devices are that only
//! firmware's tables give ids to.

use kernel::{bindings, error::from_err_ptr, prelude::*};

use crate::{
    endpoint::DeviceInfo,
    ffi::{
        device::{self, Counted, Device},
        firmware,
        pci::{self, Isolation, Pci},
    },
};
#[cfg(CONFIG_ACPI)]
use crate::{endpoint::Place, ffi::acpi::Companion};

/// The device as a vendor driver wants it described.
///
/// # Errors
///
/// `ENODEV` if no unit can know of it; `ENOMEM`.
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

/// As [`describe`], in a callback of C's IOMMU layer for the device: for one that C has read
/// firmware for already.
pub fn describe_known(device: Device<'_>) -> Result<DeviceInfo> {
    match firmware::describe_known(device)? {
        Some(described) => Ok(described),
        None => describe(device),
    }
}

/// Several devices may have one object in the ACPI namespace, and then have its ids as well.
#[cfg(CONFIG_ACPI)]
fn describe_named(device: Device<'_>) -> Result<DeviceInfo> {
    Ok(DeviceInfo {
        name: device.name(),
        place: Place::Acpi(Companion::of(device).ok_or(ENODEV)?.name()?),
        ids: KVec::new(),
        device_tlb: None,
    })
}

#[cfg(not(CONFIG_ACPI))]
fn describe_named(_device: Device<'_>) -> Result<DeviceInfo> {
    Err(ENODEV)
}

/// Turns on what isolates the device from others, if it has a switch for it.
pub fn isolate(device: Device<'_>) {
    if let Some(function) = device.pci() {
        function.isolate();
    }
}

/// What hardware on the way to the unit keeps the device from being isolated from others. Off the
/// PCI bus there is none: only a common id does.
pub fn isolation(device: Device<'_>) -> Option<Isolation<'_>> {
    device.pci().map(Pci::isolation)
}

/// Whether the device passes requests of others on.
pub fn is_bridge(device: Device<'_>) -> bool {
    device.pci().is_some_and(Pci::is_bridge)
}

/// Keeps the device from making requests of its own. What is not on the PCI bus has no switch for
/// it, and is quiet without a driver. Nothing happens to a bridge.
pub fn silence(device: Device<'_>) {
    if let Some(function) = device.pci().filter(|function| !function.is_bridge()) {
        function.clear_master();
    }
}

/// C's group for a device that is alone or among devices that C knows, with a count.
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

/// Calls `f` for every device of the system that a unit may translate for.
pub fn for_each_device(mut f: impl FnMut(Device<'_>) -> Result) -> Result {
    pci::for_each_function(|function| f(function.device()))?;
    device::for_each_on_platform(f)
}

/// All devices that `f` wants, counted.
pub fn collect_devices(mut f: impl FnMut(Device<'_>) -> bool) -> Result<KVec<Counted>> {
    let mut found = KVec::new();
    for_each_device(|device| {
        if f(device) {
            found.push(device.counted(), GFP_KERNEL)?;
        }
        Ok(())
    })?;
    Ok(found)
}
