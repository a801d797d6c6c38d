// SPDX-License-Identifier: GPL-2.0

//! Endpoints: the core's records of devices.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{
    device::DeviceInfo,
    driver::{Attach, DeviceView, Probed, VendorDriver},
    label::Label,
    requester::RequesterId,
    reserved::{Kind, Reserved},
    unit::Unit,
};

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
    /// Makes the record of the device called `name`, which the driver has probed behind `unit`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device has no ids.
    pub fn of(name: Label, unit: Arc<Unit<D>>, probed: Probed<D>) -> Result<Arc<Self>> {
        let Probed {
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
        DeviceView::new(self.unit.data())
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
        let (unit, probed) = probe(units, device)?;
        Self::of(name, unit, probed)
    }
}

/// Finds the unit that `device` is behind, one of `units`, and what its driver makes of the device.
///
/// # Errors
///
/// Those of [`VendorDriver::probe`].
pub fn probe<D: VendorDriver>(
    units: &[Arc<Unit<D>>],
    device: DeviceInfo,
) -> Result<(Arc<Unit<D>>, Probed<D>)> {
    let (found, probed) = D::probe(units.iter().map(|unit| unit.data()), device)?;
    let unit = units
        .iter()
        .find(|unit| core::ptr::eq(unit.data(), found))
        .ok_or(ENODEV)?;
    Ok((unit.clone(), probed))
}
