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
    group::{Kept, ProviderGroup},
    held::Held,
    instance::Instance,
    layer::Layer,
    served::Served,
    stage::{Move, Seen},
};
use crate::{
    endpoint::Endpoint,
    ffi::device::{Device, DeviceRef},
    frontend::reason::{self, Peer},
    group::{Group, Reason},
    label::Label,
    log::log_err,
    requester::RequesterId,
};

impl<D: Layer> ProviderGroup<D> {
    /// The group of a device that C is probing, with a count of C's group for the device.
    ///
    /// C holds its probe mutex: no other device is probed meanwhile.
    pub fn find_or_make(instance: &Instance<D>, known: &ProviderDevice<D>) -> Result<Arc<Self>> {
        let near = instance.held.near_drivers(known.key(), known.endpoint())?;
        let group = Self::find(instance, known, &near)?;
        let result = group
            .gather(instance, &near)
            .and_then(|()| D::group_found(&group, known));
        if let Err(error) = result {
            if group.exit(instance).is_some() {
                D::group_left(instance, &group);
            }
            // SAFETY: `find` has counted C's group, and nobody is told of it.
            unsafe { bindings::iommu_group_put(group.as_c()) };
            return Err(error);
        }
        Ok(group)
    }

    /// `near` are the groups of held drivers that the device cannot be isolated from.
    fn find(
        instance: &Instance<D>,
        known: &ProviderDevice<D>,
        near: &[Arc<Group<D>>],
    ) -> Result<Arc<Self>> {
        // To the unit devices that share an id are one, even on different buses.
        let with_same_id = Self::beside(instance, None, known.endpoint());
        // That of the device itself, if it was held, or that of held devices with the same id.
        let alike = instance.ids.groups_beside(known.endpoint()).next();
        let is_near = |group: &Self| {
            let mut near = Iterator::chain(near.iter(), alike.iter());
            near.any(|near| Arc::ptr_eq(group.core(), near))
                || with_same_id
                    .as_ref()
                    .is_some_and(|other| core::ptr::eq(group, &**other))
        };
        if let Some(group) = Self::enter(instance, is_near) {
            return Ok(group);
        }
        let c = bus::find_group(known.device())?;
        let group = match Self::enter(instance, |group| group.as_c() == c) {
            Some(group) => Ok(group),
            None => Self::make(instance, c, near.first().cloned().or(alike)),
        };
        // SAFETY: The count of `find_group` is not needed any more: the device has one of its own.
        unsafe { bindings::iommu_group_put(c) };
        group
    }

    /// Brings held devices with a driver into the group, from groups of theirs.
    fn gather(&self, instance: &Instance<D>, near: &[Arc<Group<D>>]) -> Result {
        for other in near.iter().filter(|other| !Arc::ptr_eq(other, self.core())) {
            if self.core().default_domain().is_none() {
                self.core().set_default(instance.identity())?;
            }
            self.core().adopt(other)?;
        }
        Ok(())
    }

    /// The group of a device that C knows and that has this key, or shares an id with `endpoint`.
    fn beside(
        instance: &Instance<D>,
        key: Option<u64>,
        endpoint: &Endpoint<D>,
    ) -> Option<Arc<Self>> {
        let devices = instance.devices.lock();
        let mut beside = devices.iter().filter(|other| {
            key.is_some() && other.key() == key || other.endpoint().shared_id(endpoint).is_some()
        });
        beside.find_map(|other| other.group().ok().cloned())
    }

    /// Keeps C's group. `None` if it has no device any more.
    pub fn keep(&self, instance: &Instance<D>) -> Option<Kept> {
        let groups = instance.groups.lock();
        let known = groups.iter().find(|known| core::ptr::eq(&***known, self))?;
        // SAFETY: A group is in the table as long as it has devices, for each of which C counts.
        Some(unsafe { Kept::new(known.as_c()) })
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
        // SAFETY: The group is valid.
        let number = unsafe { bindings::iommu_group_id(c) };
        let name = Label::new(format_args!("group {number}"));
        let core = match held {
            Some(core) => core,
            None => Group::new(name, instance.blocked(), instance.ids.clone())?,
        };
        let group = Self::new(c, core.clone())?;
        // That of a held device is known by C's number from now on.
        let before = core.rename(name);
        Self::publish(instance, &group).inspect_err(|_| {
            core.rename(before);
        })?;
        // SAFETY: The caller has a count.
        unsafe { bindings::iommu_group_ref_get(c) };
        Ok(group)
    }

    fn publish(instance: &Instance<D>, group: &Arc<Self>) -> Result {
        D::group_made(instance, group)?;
        if let Err(error) = instance.groups.lock().push(group.clone(), GFP_KERNEL) {
            D::group_left(instance, group);
            return Err(error.into());
        }
        Ok(())
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
        known.part(instance);
        D::device_left(self, known.endpoint());
        let Some(_last_count) = self.exit(instance) else {
            return;
        };
        D::group_left(instance, self);
        if let Some(held) = instance.held.first_in(self.core()) {
            self.core()
                .rename(Label::new(format_args!("hold of {held}")));
        }
        if instance.held.any_with_driver_in(self.core()) && !known.unit().is_leaving() {
            // The rest are held devices, and those with a driver belong on identity.
            let _ = self.core().set_default(instance.identity());
        }
    }

    /// Makes the device a member, which attaches it to what the others are attached to. Does
    /// nothing if it is one.
    ///
    /// Those that were held with the device, and those that share an id with it, come with it.
    pub fn join(&self, instance: &Instance<D>, known: &ProviderDevice<D>) -> Result {
        let endpoint = known.endpoint();
        let is_other = |group: &Arc<Group<D>>| !Arc::ptr_eq(group, self.core());
        while let Some(other) = instance.ids.groups_beside(endpoint).find(is_other) {
            if Self::is_known(instance, &other) {
                log_err!(
                    "{}: {} cannot join: it shares an id with a device in {}",
                    self.core().name(),
                    endpoint.name(),
                    other.name(),
                );
                return Err(EBUSY);
            }
            self.core().adopt(&other)?;
        }
        // C expects that it can always block a member and attach it to the default domain. So
        // nothing is allocated here for a member.
        let is_new = !known.is_attached();
        if !self.core().has(endpoint) {
            self.core().join(endpoint, Reason::Isolated)?;
        }
        known.set_attached();
        if is_new {
            known.remap_interrupts();
            explain(instance, self.core());
        }
        Ok(())
    }

    /// Whether C knows the group.
    fn is_known(instance: &Instance<D>, core: &Arc<Group<D>>) -> bool {
        let groups = instance.groups.lock();
        groups.iter().any(|group| Arc::ptr_eq(group.core(), core))
    }

    /// The group of devices that C knows and that a device cannot be isolated from: one of `near`,
    /// or one in which a device has the same key or the same id.
    pub fn known_near(
        instance: &Instance<D>,
        key: Option<u64>,
        endpoint: &Endpoint<D>,
        near: &[Arc<Group<D>>],
    ) -> Option<Arc<Self>> {
        let groups = instance.groups.lock();
        let is_near = |group: &&Arc<Self>| near.iter().any(|near| Arc::ptr_eq(group.core(), near));
        let found = groups.iter().find(is_near).cloned();
        drop(groups);
        found.or_else(|| Self::beside(instance, key, endpoint))
    }

    /// Whether C has attached a device of the group.
    pub fn is_settled(&self, instance: &Instance<D>) -> bool {
        let is_attached = |known: &ProviderDevice<D>| known.is_attached();
        self.first_device(instance, is_attached).is_some()
    }

    /// A device of the group that the kernel does not trust.
    pub fn untrusted(&self, instance: &Instance<D>) -> Option<Label> {
        self.first_device(instance, |known| bus::is_untrusted(known.device()))
    }

    /// The name of the first device of the group for which `is_it`, among those that C knows.
    fn first_device(
        &self,
        instance: &Instance<D>,
        is_it: impl Fn(&ProviderDevice<D>) -> bool,
    ) -> Option<Label> {
        let devices = instance.devices.lock();
        let found = devices.iter().find(|known| {
            let group = known.group();
            group.is_ok_and(|group| core::ptr::eq(&**group, self)) && is_it(known)
        })?;
        Some(found.device().name())
    }
}

impl<D: Served> ProviderDevice<D> {
    /// C releases the device. It is blocked, or stays attached where it is and is held. Cannot
    /// fail.
    pub fn part(&self, instance: &Instance<D>) {
        let endpoint = self.endpoint();
        let seen = Seen::Released {
            unit_leaves: self.unit().may_be_lost(),
            direct: self.firmware_uses(),
        };
        match self.stage().see(seen).0 {
            Move::Hold(reason) => instance.held.keep(Held {
                device: self.device().counted(),
                endpoint: endpoint.clone(),
                key: self.key(),
                reason,
            }),
            _ => {
                instance.held.leave(endpoint);
                if endpoint.has_direct_regions() {
                    instance.held.end_promise();
                }
            }
        }
    }
}

/// A device of a group, whether C knows it or not.
struct Member<D: Served> {
    device: DeviceRef,
    endpoint: Arc<Endpoint<D>>,
}

impl<D: Served> Peer for Member<D> {
    fn device(&self) -> Device<'_> {
        self.device.get()
    }

    fn shared_id(&self, other: &Self) -> Option<RequesterId> {
        self.endpoint.shared_id(&other.endpoint)
    }
}

/// All devices of a group.
fn members<D: Served>(instance: &Instance<D>, group: &Group<D>) -> Result<KVec<Member<D>>> {
    let mut found = KVec::new();
    instance.held.for_each_in(group, |device, endpoint| {
        let member = Member {
            device: device.counted(),
            endpoint: endpoint.clone(),
        };
        Ok(found.push(member, GFP_KERNEL)?)
    })?;
    for known in instance.snapshot_devices()?.iter() {
        if group.has(known.endpoint()) {
            let member = Member {
                device: known.device().counted(),
                endpoint: known.endpoint().clone(),
            };
            found.push(member, GFP_KERNEL)?;
        }
    }
    Ok(found)
}

/// Finds again what keeps the devices of a group from being isolated from each other. Without
/// memory for a list of them they keep the reasons that they have: nothing depends on these.
pub fn explain<D: Served>(instance: &Instance<D>, group: &Group<D>) {
    let Ok(members) = members(instance, group) else {
        return;
    };
    for (at, member) in members.iter().enumerate() {
        let others = members.iter().enumerate();
        let others = others.filter(|(other, _)| *other != at).map(|(_, m)| m);
        group.explain(&member.endpoint, reason::of(member, others));
    }
}
