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
/// 1. `ids` is not empty and contains no id twice.
/// 2. An endpoint holds no reference to the device itself, because it may outlive the device. The
///    only exception is the device's ATS control, which a driver may keep in `data`.
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
    pub fn from_probed(name: Label, unit: Arc<Unit<D>>, probed: Probed<D>) -> Result<Arc<Self>> {
        let Probed {
            ids,
            data,
            reserved,
        } = probed;
        if ids.is_empty() {
            return Err(EINVAL);
        }
        // INVARIANT: the check above covers the empty list; `Probed` guarantees that no id appears
        // twice.
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

    /// The ids under which the device's transactions appear; the device's own id comes first.
    pub fn ids(&self) -> &[RequesterId] {
        &self.ids
    }

    /// Whether `unit` sees `id` in transactions of the device.
    pub fn has_id(&self, unit: &Arc<Unit<D>>, id: RequesterId) -> bool {
        Arc::ptr_eq(&self.unit, unit) && self.ids.contains(&id)
    }

    /// Returns an id that both endpoints have, if there is one. The unit cannot distinguish two
    /// devices with the same id.
    pub fn shared_id(&self, other: &Self) -> Option<RequesterId> {
        let shared = || self.ids.iter().find(|id| other.ids.contains(id)).copied();
        Arc::ptr_eq(&self.unit, &other.unit).then(shared).flatten()
    }

    /// The device's reserved regions.
    pub fn reserved(&self) -> &[Reserved] {
        &self.reserved
    }

    /// Whether firmware does DMA with the device, so that its direct regions must stay mapped.
    pub fn has_direct_regions(&self) -> bool {
        self.reserved.iter().any(Reserved::is_direct)
    }

    /// Whether firmware does DMA with the device at all times, even while an owner holds it: the
    /// device can never be blocked.
    pub fn is_pinned(&self) -> bool {
        let mut kinds = self.reserved.iter().map(|region| region.kind);
        kinds.any(|kind| kind == Kind::Direct)
    }

    /// The vendor driver's state.
    pub fn data(&self) -> &D::Endpoint {
        &self.data
    }

    /// The view of the device that an allocation may use.
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
        Self::from_probed(name, unit, probed)
    }
}

/// Finds which of `units` `device` is behind, and lets that unit's driver probe the device.
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
