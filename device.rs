// SPDX-License-Identifier: GPL-2.0

//! Devices as a frontend describes them to a vendor driver.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use crate::{label::Label, requester::RequesterId};

/// A node of the device tree or of an ACPI table, as the kernel tells nodes apart. It can be
/// compared and nothing else.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FirmwareNode(usize);

impl FirmwareNode {
    /// The node that the kernel keeps at `address`.
    pub const fn at(address: usize) -> Self {
        Self(address)
    }
}

/// Where a device sits, for a vendor driver to find its unit.
pub enum Place {
    /// A PCI function.
    Pci {
        /// PCI segment.
        segment: u16,
        /// The function's own bus, device and function number.
        id: RequesterId,
        /// The bridges above it, the nearest first.
        upstream: KVec<RequesterId>,
        /// Its class code: base class in bits 23:16, sub-class in bits 15:8, interface below.
        class: u32,
        /// For a virtual function: the physical function that it belongs to.
        physical: Option<RequesterId>,
    },
    /// A device that is on no bus with ids, but in the ACPI namespace.
    Acpi(AcpiName),
    /// A device, on whatever bus, for which firmware names the unit; the ids are those that it has
    /// there.
    Behind {
        /// The unit.
        unit: FirmwareNode,
    },
}

/// What the ACPI namespace says of a device. Firmware's tables of units name it by one of these.
pub struct AcpiName {
    /// Its path from the root, for example `\_SB.PCI0.I2C0`.
    pub path: KVec<u8>,
    /// Its hardware id (`_HID`), for example `AMDI0040`; empty if it has none.
    pub hid: KVec<u8>,
    /// What tells it from others with that id (`_UID`), in decimal if it is a number; empty if
    /// nothing does.
    pub uid: KVec<u8>,
}

/// A device as a frontend describes it to a vendor driver.
pub struct DeviceInfo {
    /// What messages call it, for example `0000:00:1f.2`.
    pub name: Label,
    /// Where it is.
    pub place: Place,
    /// The ids under which its transactions may appear, its own first, aliases included, none
    /// twice. Empty if only firmware's tables can tell.
    pub ids: KVec<RequesterId>,
    /// The switch of its TLB, if it has one and nothing that the frontend knows forbids to use it.
    pub device_tlb: Option<KBox<dyn DeviceTlb>>,
}

/// Turns a device's own cache of translations on and off (PCIe 10.5.1, the ATS capability). It is
/// off at first. Once the device is gone nothing happens any more.
pub trait DeviceTlb: Send + Sync {
    /// Says that translations will be of 2^`lg2` bytes at least, 12 or more: neither the device
    /// nor virtual functions that it makes ask for smaller ones. The TLB is off.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is not possible: the TLB cannot be used then. `EBUSY` if it is on.
    fn prepare(&self, lg2: u32) -> Result;

    /// Turns the TLB on, after [`prepare`](Self::prepare) with the same `lg2`.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// As those of `prepare`. Nothing has changed then.
    fn enable(&self, lg2: u32) -> Result;

    /// Turns the TLB off: when this returns the device has been told.
    ///
    /// Context: any; does not sleep.
    fn disable(&self);

    /// Whether the device is still there to answer.
    fn is_present(&self) -> bool;
}
