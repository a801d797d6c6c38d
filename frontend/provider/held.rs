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
    id_map::IdMap,
    label::Label,
    unit::Unit,
};

/// A held device. The id map leads to the group that it is in.
pub struct Held<D: Served> {
    pub device: DeviceRef,
    pub endpoint: Arc<Endpoint<D>>,
    /// Equal for devices that cannot be isolated from each other, see
    /// [`Isolation`](crate::ffi::pci::Isolation).
    pub key: Option<u64>,
    pub reason: HoldReason,
}

/// While a device is held for this reason its driver relies on identity, and uses the group.
const DRIVER_USES_DMA_API: HoldReason = HoldReason::DriverWasBound { dma_api: true };

/// The table of [`HeldDevices`].
///
/// # Invariants
///
/// `list` has room for `promised` more.
struct Table<D: Served> {
    list: KVec<Held<D>>,
    promised: usize,
}

/// The held devices of a vendor driver.
#[pin_data]
pub struct HeldDevices<D: Served> {
    ids: Arc<IdMap<D>>,
    #[pin]
    table: Mutex<Table<D>>,
}

impl<D: Served> Held<D> {
    fn is(&self, device: Device<'_>) -> bool {
        self.device.get().as_raw() == device.as_raw()
    }

    fn has_driver(&self) -> bool {
        self.reason != HoldReason::DirectRegions
    }
}

impl<D: Served> HeldDevices<D> {
    /// No device. `ids` has the ids of all members of groups.
    pub fn new(ids: Arc<IdMap<D>>) -> impl PinInit<Self> {
        pin_init!(Self {
            ids,
            table <- new_mutex!(Table { list: KVec::new(), promised: 0 }),
        })
    }

    /// Adds a device, which is a member of a group.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the device has left its group then.
    pub fn add(&self, held: Held<D>) -> Result {
        let mut table = self.table.lock();
        let room = table.promised + 1;
        if table.list.reserve(room, GFP_KERNEL).is_err() {
            drop(table);
            self.leave(&held.endpoint);
            return Err(ENOMEM);
        }
        // There is room.
        let _ = table.list.push_within_capacity(held);
        Ok(())
    }

    /// Promises that [`keep`](Self::keep) can add one more device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn promise(&self) -> Result {
        let mut table = self.table.lock();
        let room = table.promised + 1;
        table.list.reserve(room, GFP_KERNEL)?;
        table.promised = room;
        Ok(())
    }

    /// Ends a [`promise`](Self::promise).
    pub fn end_promise(&self) {
        let mut table = self.table.lock();
        table.promised = table.promised.saturating_sub(1);
    }

    /// Adds a device, which is a member of a group, as was promised. Cannot fail.
    pub fn keep(&self, held: Held<D>) {
        let mut table = self.table.lock();
        table.promised = table.promised.saturating_sub(1);
        // INVARIANT: There is room for what was promised.
        let _ = table.list.push_within_capacity(held);
    }

    /// The stage of a device that C does not know: held or outside.
    pub fn stage(&self, device: Device<'_>) -> Stage {
        let table = self.table.lock();
        let held = table.list.iter().find(|held| held.is(device));
        held.map_or(Stage::Outside, |held| Stage::Held(held.reason))
    }

    /// Whether a device is held because it has a driver, or has had one.
    pub fn has_driver(&self, device: Device<'_>) -> bool {
        matches!(
            self.stage(device),
            Stage::Held(HoldReason::DriverWasBound { .. })
        )
    }

    /// Whether a device is held.
    pub fn is_held(&self, device: Device<'_>) -> bool {
        self.stage(device) != Stage::Outside
    }

    /// The core's record of a held device, and why it is held.
    pub fn find(&self, device: Device<'_>) -> Option<(Arc<Endpoint<D>>, HoldReason)> {
        let table = self.table.lock();
        let held = table.list.iter().find(|held| held.is(device))?;
        Some((held.endpoint.clone(), held.reason))
    }

    /// The device of an endpoint, if it is held.
    pub fn device_of(&self, endpoint: &Arc<Endpoint<D>>) -> Option<DeviceRef> {
        let table = self.table.lock();
        let mut held = table.list.iter();
        let found = held.find(|held| Arc::ptr_eq(&held.endpoint, endpoint))?;
        Some(found.device.get().counted())
    }

    /// A driver was bound to a device that is held for its direct regions, and its group is on
    /// identity now.
    pub fn has_got_driver(&self, device: Device<'_>, dma_api: bool) {
        let mut table = self.table.lock();
        if let Some(held) = table.list.iter_mut().find(|held| held.is(device)) {
            held.reason = HoldReason::DriverWasBound { dma_api };
        }
    }

    /// The groups of held devices with a driver that the device cannot be isolated from.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn near_drivers(
        &self,
        key: Option<u64>,
        endpoint: &Endpoint<D>,
    ) -> Result<KVec<Arc<Group<D>>>> {
        self.groups_of(|held| {
            held.has_driver()
                && (key.is_some() && held.key == key || held.endpoint.shared_id(endpoint).is_some())
        })
    }

    /// The groups of held devices that share an id with the device. To the unit they are one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn with_same_id(&self, endpoint: &Endpoint<D>) -> Result<KVec<Arc<Group<D>>>> {
        self.groups_of(|held| held.endpoint.shared_id(endpoint).is_some())
    }

    /// Whether a driver that uses the DMA API relies on `group` being on identity.
    pub fn relies_on(&self, group: &Arc<Group<D>>) -> bool {
        // Each of them is a user of its group, so most groups need no look at the table.
        group.ownership().users() > 0
            && self.any_in(group, |held| held.reason == DRIVER_USES_DMA_API)
    }

    /// Whether a device with a driver is held in `group`.
    pub fn any_with_driver_in(&self, group: &Arc<Group<D>>) -> bool {
        self.any_in(group, Held::has_driver)
    }

    /// The name of the first held device in `group`.
    pub fn first_in(&self, group: &Arc<Group<D>>) -> Option<Label> {
        let table = self.table.lock();
        let first = table.list.iter().find(|held| group.has(&held.endpoint))?;
        Some(first.endpoint.name())
    }

    fn any_in(&self, group: &Arc<Group<D>>, is_it: impl Fn(&Held<D>) -> bool) -> bool {
        let table = self.table.lock();
        let mut held = table.list.iter().filter(|held| is_it(held));
        held.any(|held| group.has(&held.endpoint))
    }

    /// Calls `f` for each held device in `group`, until it fails.
    ///
    /// # Errors
    ///
    /// That of `f`.
    pub fn for_each_in(
        &self,
        group: &Group<D>,
        mut f: impl FnMut(Device<'_>, &Arc<Endpoint<D>>) -> Result,
    ) -> Result {
        let table = self.table.lock();
        let mut inside = table.list.iter().filter(|held| group.has(&held.endpoint));
        inside.try_for_each(|held| f(held.device.get(), &held.endpoint))
    }

    /// Calls `f` for each held device, until it fails.
    ///
    /// # Errors
    ///
    /// That of `f`.
    pub fn for_each_device<E>(
        &self,
        mut f: impl FnMut(Device<'_>, &Arc<Endpoint<D>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let table = self.table.lock();
        let mut held = table.list.iter();
        held.try_for_each(|held| f(held.device.get(), &held.endpoint))
    }

    /// Calls `f` for the endpoint of each held device that is in `group`, or to whose group an id
    /// of `endpoint` belongs: all of them are attached to one domain.
    pub fn for_each_beside(
        &self,
        endpoint: &Endpoint<D>,
        group: Option<&Arc<Group<D>>>,
        mut f: impl FnMut(&Endpoint<D>),
    ) {
        let table = self.table.lock();
        for held in table.list.iter() {
            let Some(found) = self.ids.group_of(&held.endpoint) else {
                continue;
            };
            if group.is_some_and(|group| Arc::ptr_eq(group, &found))
                || self
                    .ids
                    .groups_beside(endpoint)
                    .any(|group| Arc::ptr_eq(&group, &found))
            {
                f(&held.endpoint);
            }
        }
    }

    /// The groups of all held devices, each once.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn groups(&self) -> Result<KVec<Arc<Group<D>>>> {
        self.groups_of(|_| true)
    }

    /// The groups of those held devices for which `is_it`, each once.
    fn groups_of(&self, is_it: impl Fn(&Held<D>) -> bool) -> Result<KVec<Arc<Group<D>>>> {
        let table = self.table.lock();
        let mut groups: KVec<Arc<Group<D>>> = KVec::new();
        for held in table.list.iter().filter(|held| is_it(held)) {
            let Some(group) = self.ids.group_of(&held.endpoint) else {
                continue;
            };
            if !groups.iter().any(|known| Arc::ptr_eq(known, &group)) {
                groups.push(group, GFP_KERNEL)?;
            }
        }
        Ok(groups)
    }

    /// How many devices behind `unit` are held.
    pub fn count(&self, unit: &Arc<Unit<D>>) -> usize {
        let table = self.table.lock();
        let behind = table.list.iter();
        behind
            .filter(|held| Arc::ptr_eq(held.endpoint.unit(), unit))
            .count()
    }

    /// C probes a device that has no driver. If the device is held it is handed over: the hold
    /// ends, and it stays attached. Returns whether it was held.
    pub fn hand_over(&self, device: Device<'_>) -> bool {
        let seen = Seen::Probe { driver: None };
        let Some(held) = self.remove(seen, Move::HandOver, |held| held.is(device)) else {
            return false;
        };
        if held.reason == DRIVER_USES_DMA_API {
            // The driver is gone.
            if let Some(group) = self.ids.group_of(&held.endpoint) {
                group.end_dma_api(&held.endpoint);
            }
        }
        true
    }

    /// A device was removed from the system. If it was held it is dropped.
    pub fn removed(&self, device: Device<'_>) {
        if let Some(held) = self.remove(Seen::Removed, Move::Drop, |held| held.is(device)) {
            self.leave(&held.endpoint);
        }
    }

    /// Drops all devices behind `unit`, which was given back.
    pub fn drop_all(&self, unit: &Arc<Unit<D>>) {
        let is_behind = |held: &Held<D>| Arc::ptr_eq(held.endpoint.unit(), unit);
        while let Some(held) = self.remove(Seen::UnitGivenBack, Move::Drop, is_behind) {
            self.leave(&held.endpoint);
        }
    }

    /// Takes a device out of the group that it is in, if it is in one. It is blocked then.
    pub fn leave(&self, endpoint: &Endpoint<D>) {
        if let Some(group) = self.ids.group_of(endpoint) {
            group.leave(endpoint);
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
            .list
            .iter()
            .position(|held| is_it(held) && Stage::Held(held.reason).see(seen).0 == expected)?;
        table.list.remove(index).ok()
    }
}
