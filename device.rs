// SPDX-License-Identifier: GPL-2.0

//! Devices as a frontend describes them to a vendor driver.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{label::Label, requester::RequesterId};

/// Identifies a node of the device tree or of an ACPI table. It supports comparison only.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FirmwareNode(usize);

impl FirmwareNode {
    /// The node whose kernel structure is at `address`.
    pub const fn at(address: usize) -> Self {
        Self(address)
    }
}

/// Where a device is, for a vendor driver that looks for its unit.
pub enum Place {
    /// A PCI function.
    Pci {
        /// PCI segment.
        segment: u16,
        /// The function's own bus, device and function number.
        id: RequesterId,
        /// The bridges above the function, the nearest first.
        upstream: KVec<RequesterId>,
        /// The vendor's id.
        vendor: u16,
        /// The device's id.
        device: u16,
        /// The class code: base class in bits 23:16, sub-class in bits 15:8, programming interface
        /// in bits 7:0.
        class: u32,
        /// For a virtual function: its physical function.
        physical: Option<RequesterId>,
        /// Whether the function can make requests with a PASID (PCIe 6.20).
        has_pasids: bool,
        /// Whether the kernel trusts the function: it is not behind an external port.
        trusted: bool,
    },
    /// A device on a bus without ids, described by its ACPI name.
    Acpi(AcpiName),
    /// A device on any bus, whose unit firmware names. Its ids are those that it has at that unit.
    Behind {
        /// The unit.
        unit: FirmwareNode,
    },
}

/// The names of a device in the ACPI namespace. Firmware's tables of units refer to the device by
/// one of them.
pub struct AcpiName {
    /// Its path from the root, for example `\_SB.PCI0.I2C0`.
    pub path: KVec<u8>,
    /// The hardware id (`_HID`), for example `AMDI0040`; empty if the device has none.
    pub hid: KVec<u8>,
    /// The unique id (`_UID`), which distinguishes devices with the same hardware id; in decimal if
    /// it is a number, empty if the device has none.
    pub uid: KVec<u8>,
}

/// A device as a frontend describes it to a vendor driver.
pub struct DeviceInfo {
    /// The device's name in messages, for example `0000:00:1f.2`.
    pub name: Label,
    /// Where it is.
    pub place: Place,
    /// The ids under which the device's transactions may appear, aliases included. The device's own
    /// id comes first; no id appears twice. Empty if only firmware's tables contain the ids.
    pub ids: KVec<RequesterId>,
    /// Whether the device's ids are those that it had when firmware started the kernel. False if
    /// the kernel was free to give PCI buses new numbers.
    pub ids_kept: bool,
    /// The control of the device's ATS capability. `None` if the device has no ATS capability, or
    /// if the frontend knows a reason not to use it.
    pub device_tlb: Option<KBox<dyn DeviceTlb>>,
    /// The control of the device's PASID capability. `None` if the device has none.
    pub pasids: Option<KBox<dyn PasidControl>>,
}

/// Enables and disables a device's requests with a PASID (PCIe 6.20). They are disabled at first.
/// Once the device is gone, calls have no effect.
pub trait PasidControl: Send + Sync {
    /// The width of the PASIDs that the device can use, 20 bits at most.
    fn bits(&self) -> u8;

    /// Lets the device make requests with a PASID. Comes before its ATS is enabled (PCIe 10.5.1).
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device cannot; `EBUSY` if it does already, or if its ATS is enabled.
    fn enable(&self) -> Result;

    /// Ends [`enable`](Self::enable).
    fn disable(&self);
}

/// A device makes requests with a PASID as long as this is there.
pub struct EnabledPasids(KBox<dyn PasidControl>);

impl EnabledPasids {
    /// Enables the device's requests with a PASID.
    ///
    /// # Errors
    ///
    /// Those of [`PasidControl::enable`].
    pub fn new(control: KBox<dyn PasidControl>) -> Result<Self> {
        control.enable()?;
        Ok(Self(control))
    }
}

impl Drop for EnabledPasids {
    fn drop(&mut self) {
        self.0.disable();
    }
}

/// Enables and disables a device's own cache of translations (ATS, PCIe 10.5.1). The cache is
/// disabled at first. Once the device is gone, calls have no effect.
pub trait DeviceTlb: Send + Sync {
    /// Sets the smallest translation size (STU) to 2^`lg2` bytes, at least 4 KiB (`lg2` is 12 or
    /// more). It holds for the device and for the virtual functions that it creates. The cache must
    /// be disabled.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device cannot do this; the cache cannot be used then. `EBUSY` if the cache
    /// is enabled.
    fn prepare(&self, lg2: u32) -> Result;

    /// Enables the cache, after [`prepare`](Self::prepare) with the same `lg2`.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// Those of `prepare`. Nothing has changed then.
    fn enable(&self, lg2: u32) -> Result;

    /// Disables the cache. When this returns, the device's ATS enable bit is clear.
    ///
    /// Context: any; does not sleep.
    fn disable(&self);

    /// Whether the device is still present and responds.
    fn is_present(&self) -> bool;
}
