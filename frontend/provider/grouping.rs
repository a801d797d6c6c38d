// SPDX-License-Identifier: GPL-2.0

//! Finds the group of a device, and makes the device a member.
//!
//! C decides which devices belong together, but it does not see held devices (see
//! [`held`](super::held)). If a device cannot be isolated from a held device with a driver, this
//! file finds that device's group.

use kernel::{bindings, prelude::*, sync::Arc};

use super::{
    bus,
    device::ProviderDevice,
    group::ProviderGroup,
    hold,
    instance::Instance,
    layer::Layer,
    served::Served,
    stage::{Move, Seen, Stage},
};
use crate::{
    ffi::device::Device,
    frontend::reason::{self, Peer},
    group::{Group, Reason},
    label::Label,
    requester::RequesterId,
};

impl<D: Layer> ProviderGroup<D> {
    /// The group of a device that C is probing, with a count of C's group for the device.
    ///
    /// C holds its probe mutex: no other device is probed meanwhile.
    pub fn find_or_make(instance: &Instance<D>, known: &ProviderDevice<D>) -> Result<Arc<Self>> {
        let group = Self::find(instance, known)?;
        if let Err(error) = D::group_found(&group, known) {
            if group.exit(instance).is_some() {
                D::group_left(instance, &group);
            }
            // SAFETY: `find` has counted C's group, and nobody is told of it.
            unsafe { bindings::iommu_group_put(group.as_c()) };
            return Err(error);
        }
        Ok(group)
    }

    fn find(instance: &Instance<D>, known: &ProviderDevice<D>) -> Result<Arc<Self>> {
        let key = bus::isolation(known.device()).map(|isolation| isolation.key);
        let held = instance.held.neighbour(key, known.endpoint());
        // To the unit devices that share an id are one, even on different buses.
        let near = match &held {
            Some(held) => Self::enter(instance, |group| Arc::ptr_eq(group.core(), held)),
            None => Self::with_same_id(instance, known)
                .and_then(|near| Self::enter(instance, |group| core::ptr::eq(group, &*near))),
        };
        if let Some(group) = near {
            return Ok(group);
        }
        let c = bus::find_group(known.device())?;
        let group = match Self::enter(instance, |group| group.as_c() == c) {
            Some(group) => Ok(group),
            None => Self::make(instance, c, held),
        };
        // SAFETY: The count of `find_group` is not needed any more: the device has one of its own.
        unsafe { bindings::iommu_group_put(c) };
        group
    }

    /// The group of a device that shares an id with this one.
    fn with_same_id(instance: &Instance<D>, known: &ProviderDevice<D>) -> Option<Arc<Self>> {
        let devices = instance.devices.lock();
        devices
            .iter()
            .filter(|other| other.endpoint().shared_id(known.endpoint()).is_some())
            .find_map(|other| other.group().ok().cloned())
    }

    /// Finds a group for one more device, with a count of C's for it.
    fn enter(instance: &Instance<D>, f: impl Fn(&Self) -> bool) -> Option<Arc<Self>> {
        let groups = instance.groups.lock();
        let group = groups.iter().find(|group| f(group))?;
        group.add_device();
        // SAFETY: A group is in the table as long as it has devices, for each of which C counts.
        unsafe { bindings::iommu_group_ref_get(group.as_c()) };
        Some(group.clone())
    }

    /// Makes the group for its first device, with a count of C's for it.
    fn make(
        instance: &Instance<D>,
        c: *mut bindings::iommu_group,
        held: Option<Arc<Group<D>>>,
    ) -> Result<Arc<Self>> {
        let core = match held {
            Some(core) => core,
            None => {
                // SAFETY: The group is valid.
                let number = unsafe { bindings::iommu_group_id(c) };
                Group::new(
                    Label::new(format_args!("group {number}")),
                    instance.blocked(),
                    instance.ids.clone(),
                )?
            }
        };
        let held_driver = instance.held.has_driver(&core);
        let group = Self::new(c, core, held_driver)?;
        D::group_made(instance, &group)?;
        if let Err(error) = instance.groups.lock().push(group.clone(), GFP_KERNEL) {
            D::group_left(instance, &group);
            return Err(error.into());
        }
        // SAFETY: The caller has a count.
        unsafe { bindings::iommu_group_ref_get(c) };
        Ok(group)
    }

    /// Ends [`enter`](Self::enter) or [`make`](Self::make). The last device takes the group out of
    /// the table.
    fn exit(&self, instance: &Instance<D>) -> Option<Arc<Self>> {
        let mut groups = instance.groups.lock();
        if !self.remove_device() {
            return None;
        }
        let mut known = groups.iter();
        let index = known.position(|group| core::ptr::eq(&**group, self))?;
        groups.remove(index).ok()
    }

    /// C releases a device of the group. With the last one the group goes.
    pub fn forget(&self, instance: &Instance<D>, known: &ProviderDevice<D>) {
        let endpoint = known.endpoint();
        let seen = Seen::Released {
            unit_leaves: known.unit().is_leaving(),
            direct: endpoint.has_direct_regions(),
        };
        let is_held = match self.stage_of(known).see(seen).0 {
            Move::Hold(reason) => {
                hold::hold_again(instance, known.device(), endpoint, self.core(), reason).is_ok()
            }
            _ => false,
        };
        if !is_held {
            self.core().leave(endpoint);
            if let Some(held_in) = known.take_held_in() {
                // It was never attached here.
                held_in.leave(endpoint);
            }
        }
        D::device_left(self, endpoint);
        let Some(_last_count) = self.exit(instance) else {
            return;
        };
        D::group_left(instance, self);
        if !self.core().is_empty() && !known.unit().is_leaving() {
            // The rest are held devices, which belong on identity.
            let _ = self.core().set_default(instance.identity());
        }
    }

    /// The stage of a device that C has asked this group of.
    pub fn stage_of(&self, known: &ProviderDevice<D>) -> Stage {
        match known.held_in() {
            Some(held_in) if !Arc::ptr_eq(&held_in, self.core()) => Stage::HandedOver,
            None if !self.core().has(known.endpoint()) => Stage::New,
            _ => Stage::Member,
        }
    }

    /// Makes the device a member, which attaches it to what the others are attached to. Does
    /// nothing if it is one.
    pub fn join(&self, instance: &Instance<D>, known: &ProviderDevice<D>) -> Result {
        let endpoint = known.endpoint();
        let result = match known.take_held_in() {
            // It was held in this very group.
            Some(held_in) if Arc::ptr_eq(&held_in, self.core()) => Err(EEXIST),
            Some(held_in) => self
                .core()
                .adopt(endpoint, &held_in, self.reason(instance, known))
                .inspect_err(|_| known.stay_in(held_in)),
            // C expects that it can always block a member and attach it to the default domain. So
            // nothing is allocated here for a member.
            None if self.core().has(endpoint) => Err(EEXIST),
            None => self.core().join(endpoint, self.reason(instance, known)),
        };
        match result {
            Err(error) if error == EEXIST => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                // The others may be in the group because of this device. Without memory for a list
                // of them they keep the reasons that they have: the device has joined.
                let others = self.others(instance, known);
                for other in others.iter().flatten() {
                    self.core()
                        .explain(other.endpoint(), self.reason(instance, other));
                }
                Ok(())
            }
        }
    }

    /// The other devices of the group that C knows.
    fn others(
        &self,
        instance: &Instance<D>,
        known: &ProviderDevice<D>,
    ) -> Result<KVec<Arc<ProviderDevice<D>>>> {
        let mut devices = instance.snapshot_devices()?;
        devices.retain(|other| {
            !core::ptr::eq(&**other, known)
                && other
                    .group()
                    .is_ok_and(|group| core::ptr::eq(&**group, self))
        });
        Ok(devices)
    }

    /// What keeps the device from being isolated from the others.
    fn reason(&self, instance: &Instance<D>, known: &ProviderDevice<D>) -> Reason {
        let Ok(others) = self.others(instance, known) else {
            return Reason::Platform;
        };
        if others.is_empty() && !self.core().is_empty() {
            return reason::by_bridge(bus::isolation(known.device()).as_ref());
        }
        reason::of(known, others.iter().map(|other| &**other))
    }
}

impl<D: Served> Peer for ProviderDevice<D> {
    fn device(&self) -> Device<'_> {
        ProviderDevice::device(self)
    }

    fn shared_id(&self, other: &Self) -> Option<RequesterId> {
        self.endpoint().shared_id(other.endpoint())
    }
}
