// SPDX-License-Identifier: GPL-2.0

//! The table of held devices: those that the core attaches without the kernel's IOMMU layer.
//!
//! What ends a hold, and what follows, is decided by [`stage`](super::stage). How a device comes to
//! be held is in [`hold`](super::hold).
//!
//! While a held device's driver uses the DMA API, the kernel owns the device's group: nobody can
//! claim the device, nor what cannot be isolated from it.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

use super::{
    served::Served,
    stage::{HoldReason, Move, Seen, Stage},
};
use crate::{
    endpoint::Endpoint,
    ffi::device::{Device, DeviceRef},
    group::Group,
    unit::Unit,
};

/// A held device.
pub struct Held<D: Served> {
    pub device: DeviceRef,
    pub endpoint: Arc<Endpoint<D>>,
    pub group: Arc<Group<D>>,
    /// Equal for devices that cannot be isolated from each other, see
    /// [`Isolation`](crate::ffi::pci::Isolation).
    pub key: Option<u64>,
    pub reason: HoldReason,
}

/// While a device is held for this reason its driver relies on identity, and uses the group.
const DRIVER_USES_DMA_API: HoldReason = HoldReason::DriverWasBound { dma_api: true };

/// What the core has of a device that is handed over. It is still in `group`.
pub struct HandedOver<D: Served> {
    pub endpoint: Arc<Endpoint<D>>,
    pub group: Arc<Group<D>>,
}

/// The held devices of a vendor driver.
#[pin_data]
pub struct HeldDevices<D: Served> {
    #[pin]
    table: Mutex<KVec<Held<D>>>,
}

impl<D: Served> Held<D> {
    fn is(&self, device: Device<'_>) -> bool {
        self.device.get().as_raw() == device.as_raw()
    }
}

impl<D: Served> HeldDevices<D> {
    /// No device.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            table <- new_mutex!(KVec::new()),
        })
    }

    /// Adds a device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the device has left its group then.
    pub fn add(&self, held: Held<D>) -> Result {
        let mut table = self.table.lock();
        if table.reserve(1, GFP_KERNEL).is_err() {
            drop(table);
            held.group.leave(&held.endpoint);
            return Err(ENOMEM);
        }
        // There is room.
        let _ = table.push_within_capacity(held);
        Ok(())
    }

    /// The stage of a device that C does not know: held or outside.
    pub fn stage(&self, device: Device<'_>) -> Stage {
        let table = self.table.lock();
        let held = table.iter().find(|held| held.is(device));
        held.map_or(Stage::Outside, |held| Stage::Held(held.reason))
    }

    /// Whether a device is held.
    pub fn is_held(&self, device: Device<'_>) -> bool {
        self.stage(device) != Stage::Outside
    }

    /// The group of devices with a driver that the device cannot be isolated from, if there is one.
    pub fn neighbour(&self, key: Option<u64>, endpoint: &Endpoint<D>) -> Option<Arc<Group<D>>> {
        let is_near = |held: &&Held<D>| {
            held.reason != HoldReason::DirectRegions
                && (key.is_some() && held.key == key || held.endpoint.shared_id(endpoint).is_some())
        };
        let table = self.table.lock();
        table.iter().find(is_near).map(|held| held.group.clone())
    }

    /// Whether a driver that uses the DMA API relies on `group` being on identity.
    pub fn has_driver(&self, group: &Arc<Group<D>>) -> bool {
        self.table
            .lock()
            .iter()
            .any(|held| held.reason == DRIVER_USES_DMA_API && Arc::ptr_eq(&held.group, group))
    }

    /// The groups of all held devices, each once.
    pub fn groups(&self) -> Result<KVec<Arc<Group<D>>>> {
        let table = self.table.lock();
        let mut groups: KVec<Arc<Group<D>>> = KVec::with_capacity(table.len(), GFP_KERNEL)?;
        for held in table.iter() {
            if !groups.iter().any(|known| Arc::ptr_eq(known, &held.group)) {
                groups.push(held.group.clone(), GFP_KERNEL)?;
            }
        }
        Ok(groups)
    }

    /// How many devices behind `unit` are held.
    pub fn count(&self, unit: &Arc<Unit<D>>) -> usize {
        self.table
            .lock()
            .iter()
            .filter(|held| Arc::ptr_eq(held.endpoint.unit(), unit))
            .count()
    }

    /// C probes a device that has no driver. If the device is held it is handed over: the hold
    /// ends, and it stays attached.
    pub fn hand_over(&self, device: Device<'_>) -> Option<HandedOver<D>> {
        let seen = Seen::Probe { driver: None };
        let held = self.remove(seen, Move::HandOver, |held| held.is(device))?;
        if held.reason == DRIVER_USES_DMA_API {
            // The driver is gone.
            held.group.end_dma_api(&held.endpoint);
        }
        Some(HandedOver {
            endpoint: held.endpoint,
            group: held.group,
        })
    }

    /// A device was removed from the system. If it was held it is dropped.
    pub fn removed(&self, device: Device<'_>) {
        if let Some(held) = self.remove(Seen::Removed, Move::Drop, |held| held.is(device)) {
            held.group.leave(&held.endpoint);
        }
    }

    /// Drops all devices behind `unit`, which was given back.
    pub fn drop_all(&self, unit: &Arc<Unit<D>>) {
        let is_behind = |held: &Held<D>| Arc::ptr_eq(held.endpoint.unit(), unit);
        while let Some(held) = self.remove(Seen::UnitGivenBack, Move::Drop, is_behind) {
            held.group.leave(&held.endpoint);
        }
    }

    /// Removes the first device from the table for which `is_it`, and of which `seen` means
    /// `expected`.
    fn remove(
        &self,
        seen: Seen,
        expected: Move,
        is_it: impl Fn(&Held<D>) -> bool,
    ) -> Option<Held<D>> {
        let mut table = self.table.lock();
        let index = table
            .iter()
            .position(|held| is_it(held) && Stage::Held(held.reason).see(seen).0 == expected)?;
        table.remove(index).ok()
    }
}
