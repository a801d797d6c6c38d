// SPDX-License-Identifier: GPL-2.0

//! Held devices: those that the core attaches without the kernel's IOMMU layer.
//!
//! * **Kept**: a driver was bound to the device before its unit was taken over. The device still
//!   uses the physical addresses that this driver has given it, so it stays on identity until it is
//!   removed or its unit is given back. If the driver uses the DMA API the kernel owns the group
//!   for that time: nobody can claim the device, nor what cannot be isolated from it.
//! * **Parked**: firmware does DMA with the device (it has direct regions). It must not be blocked
//!   before C has made a domain for it, nor while its unit is given back.
//!
//! How a device comes to be held is in [`hold`](super::hold).

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

use super::served::Served;
use crate::{
    endpoint::Endpoint,
    ffi::device::{Counted, Device},
    group::Group,
    unit::Unit,
};

/// A held device.
pub struct Held<D: Served> {
    pub device: Counted,
    pub endpoint: Arc<Endpoint<D>>,
    pub group: Arc<Group<D>>,
    /// Equal for devices that cannot be isolated from each other, see
    /// [`Isolation`](crate::ffi::pci::Isolation).
    pub key: Option<u64>,
    pub why: Why,
}

/// Why a device is held.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Why {
    /// A driver was bound before the unit was taken over.
    Kept {
        /// Whether it uses the DMA API.
        dma_api: bool,
    },
    /// Firmware does DMA with it.
    Parked,
}

/// What the core has of a device that was held until now.
pub struct FormerlyHeld<D: Served> {
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

    /// Whether a device is held.
    pub fn is_held(&self, device: Device<'_>) -> bool {
        self.table.lock().iter().any(|held| held.is(device))
    }

    /// The group of kept devices that the device cannot be isolated from, if there is one.
    pub fn neighbour(&self, key: Option<u64>, endpoint: &Endpoint<D>) -> Option<Arc<Group<D>>> {
        let is_near = |held: &&Held<D>| {
            held.why != Why::Parked
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
            .any(|held| held.why == Why::Kept { dma_api: true } && Arc::ptr_eq(&held.group, group))
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

    /// Takes a device out of the table, if it is held. It stays attached.
    pub fn take(&self, device: Device<'_>) -> Option<FormerlyHeld<D>> {
        let held = {
            let mut table = self.table.lock();
            let index = table.iter().position(|held| held.is(device))?;
            table.remove(index).ok()?
        };
        if held.why == (Why::Kept { dma_api: true }) {
            // The driver is gone.
            held.group.end_dma_api(&held.endpoint);
        }
        Some(FormerlyHeld {
            endpoint: held.endpoint,
            group: held.group,
        })
    }

    /// A device was removed from the system. If it was held it is blocked now.
    pub fn removed(&self, device: Device<'_>) {
        if let Some(FormerlyHeld { endpoint, group }) = self.take(device) {
            group.leave(&endpoint);
        }
    }

    /// Releases all devices behind `unit`, which was given back.
    pub fn let_go(&self, unit: &Arc<Unit<D>>) {
        loop {
            let held = {
                let mut table = self.table.lock();
                let index = table
                    .iter()
                    .position(|held| Arc::ptr_eq(held.endpoint.unit(), unit));
                index.and_then(|index| table.remove(index).ok())
            };
            match held {
                Some(held) => held.group.leave(&held.endpoint),
                None => return,
            }
        }
    }
}
