// SPDX-License-Identifier: GPL-2.0

//! Endpoints: the core's records of devices.

#![forbid(unsafe_code)]

use core::marker::PhantomData;

use kernel::{prelude::*, sync::Arc};

use crate::{
    driver::{Attach, Probed, VendorDriver},
    label::Label,
    requester::RequesterId,
    reserved::{Kind, Reserved},
    unit::Unit,
};

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

/// The core's record of one device behind a unit.
///
/// # Invariants
///
/// 1. `ids` is not empty and has no id twice.
/// 2. Nothing in here leads to the device itself, which an endpoint may outlive; but for the switch
///    of its TLB, which a driver may keep in `data`.
pub struct Endpoint<D: Attach> {
    name: Label,
    unit: Arc<Unit<D>>,
    ids: KVec<RequesterId>,
    reserved: KVec<Reserved>,
    data: D::Endpoint,
}

impl<D: Attach> Endpoint<D> {
    /// Makes the record of a device called `name` that a driver has probed.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device has no ids.
    pub fn of(name: Label, probed: Probed<D>) -> Result<Arc<Self>> {
        let Probed {
            unit,
            ids,
            data,
            reserved,
        } = probed;
        if ids.is_empty() {
            return Err(EINVAL);
        }
        // INVARIANT: `ids` was just checked; `Probed` promises that none is there twice.
        Ok(Arc::new(
            Self {
                name,
                unit,
                ids,
                reserved,
                data,
            },
            GFP_KERNEL,
        )?)
    }

    /// What messages call the device.
    pub fn name(&self) -> Label {
        self.name
    }

    /// The unit that the device is behind.
    pub fn unit(&self) -> &Arc<Unit<D>> {
        &self.unit
    }

    /// The ids under which the device's transactions appear, its own first.
    pub fn ids(&self) -> &[RequesterId] {
        &self.ids
    }

    /// An id that `other` has as well, if there is one: for the unit they are one device.
    pub fn shared_id(&self, other: &Self) -> Option<RequesterId> {
        let shared = || self.ids.iter().find(|id| other.ids.contains(id)).copied();
        Arc::ptr_eq(&self.unit, &other.unit).then(shared).flatten()
    }

    /// Address ranges with a meaning of their own.
    pub fn reserved(&self) -> &[Reserved] {
        &self.reserved
    }

    /// Whether firmware does DMA with the device and must not be cut off.
    pub fn has_direct_regions(&self) -> bool {
        self.reserved.iter().any(Reserved::is_direct)
    }

    /// Whether firmware does DMA with the device at all times, whoever has it: it can never be
    /// blocked.
    pub fn is_pinned(&self) -> bool {
        let mut kinds = self.reserved.iter().map(|region| region.kind);
        kinds.any(|kind| kind == Kind::Direct)
    }

    /// The vendor driver's state.
    pub fn data(&self) -> &D::Endpoint {
        &self.data
    }

    /// The device as an allocation may see it.
    pub fn view(&self) -> DeviceView<'_, D> {
        DeviceView {
            endpoint: self,
            _invariant: PhantomData,
        }
    }
}

impl<D: VendorDriver> Endpoint<D> {
    /// Makes the record of `device`, which is behind one of `units`.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::probe`]; `EINVAL` if the device has no ids.
    pub fn new(units: &[Arc<Unit<D>>], device: DeviceInfo) -> Result<Arc<Self>> {
        let name = device.name;
        Self::of(name, D::probe(units, device)?)
    }
}

/// A device during an allocation, borrowed (law 1).
///
/// It answers one question, which unit, and cannot be kept: it is neither `Clone` nor `Copy`, its
/// lifetime is invariant and ends with the call, and everything that an allocation returns is
/// `'static`. There is no way from it to something counted but the unit.
pub struct DeviceView<'a, D: Attach> {
    endpoint: &'a Endpoint<D>,
    _invariant: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl<D: Attach> DeviceView<'_, D> {
    /// The unit that the device is behind.
    pub fn unit(&self) -> &Arc<Unit<D>> {
        &self.endpoint.unit
    }
}
