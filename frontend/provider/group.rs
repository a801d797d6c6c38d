// SPDX-License-Identifier: GPL-2.0

//! Groups as C knows them, with the core's group beside them.
//!
//! C decides which devices belong together. Where a bridge or a function that would have led it to
//! a group is kept out of its sight (it had a driver already, see [`held`](super::held)), that
//! group is found here.

use kernel::{
    bindings, new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};

use super::{
    bus,
    device::HostedDevice,
    held::Held,
    instance::{Hosted, Instance},
};
use crate::{
    endpoint::Endpoint,
    ffi::device::Device,
    frontend::reason::{self, Peer},
    group::{Claim, Group, Loan, Reason},
    label::Label,
    requester::RequesterId,
};

/// What a group's lock protects. With the native frontend C decides nothing, and it stays as it is
/// at first: users have their claims and loans there.
pub struct State<D: Hosted> {
    /// C's claim. It has no function for one: it attaches the blocked domain.
    pub claim: Option<Claim<D>>,
    /// While a driver that uses the DMA API has a domain of its own attached.
    pub loan: Option<Loan<D>>,
    /// Devices that C has blocked alone.
    pub alone: KVec<Arc<Endpoint<D>>>,
}

/// A group that C knows.
#[pin_data]
pub struct HostedGroup<D: Hosted> {
    /// C's group. C keeps it as long as it has devices, and so is this.
    c: usize,
    core: Arc<Group<D>>,
    kept_driver: bool,
    /// How many devices C knows in the group. Changes under the lock of the table of groups.
    devices: Atomic<usize>,
    #[pin]
    pub state: Mutex<State<D>>,
}

impl<D: Hosted> HostedGroup<D> {
    /// The group of a device that C has just got to know, with a count of C's for the device.
    ///
    /// C holds its probe mutex, so that nobody else does the same.
    pub fn find_or_make(known: &HostedDevice<D>) -> Result<Arc<Self>> {
        let instance = known.instance();
        let key = bus::isolation(known.device()).map(|isolation| isolation.key);
        let kept = Held::neighbour(instance, key, known.endpoint());
        // What shares an id is one device for the unit, on whatever buses the kernel sees it.
        let near = match &kept {
            Some(kept) => Self::enter(instance, |group| Arc::ptr_eq(&group.core, kept)),
            None => Self::with_same_id(known)
                .and_then(|near| Self::enter(instance, |group| core::ptr::eq(group, &*near))),
        };
        if let Some(group) = near {
            return Ok(group);
        }
        let c = bus::find_group(known.device())?;
        let group = match Self::enter(instance, |group| group.c == c as usize) {
            Some(group) => Ok(group),
            None => Self::make(instance, c, kept),
        };
        // SAFETY: The count of `find_group` is not needed any more: the device has one of its own.
        unsafe { bindings::iommu_group_put(c) };
        group
    }

    /// The group of a device that shares an id with this one.
    fn with_same_id(known: &HostedDevice<D>) -> Option<Arc<Self>> {
        let devices = known.instance().devices.lock();
        devices
            .iter()
            .filter(|other| other.endpoint().shared_id(known.endpoint()).is_some())
            .find_map(|other| other.group().ok().cloned())
    }

    /// Finds a group for one more device, with a count of C's for it.
    fn enter(instance: &Instance<D>, f: impl Fn(&Self) -> bool) -> Option<Arc<Self>> {
        let groups = instance.groups.lock();
        let group = groups.iter().find(|group| f(group))?;
        group.devices.add(1, Relaxed);
        // SAFETY: A group is in the table as long as it has devices, for each of which C counts.
        unsafe { bindings::iommu_group_ref_get(group.as_c()) };
        Some(group.clone())
    }

    /// Makes the group for its first device, with a count of C's for it.
    fn make(
        instance: &Instance<D>,
        c: *mut bindings::iommu_group,
        kept: Option<Arc<Group<D>>>,
    ) -> Result<Arc<Self>> {
        let core = match kept {
            Some(core) => core,
            None => {
                // SAFETY: The group is valid.
                let number = unsafe { bindings::iommu_group_id(c) };
                Group::new(
                    Label::new(format_args!("group {number}")),
                    instance.blocked(),
                )?
            }
        };
        let kept_driver = Held::has_driver(instance, &core);
        let group = Arc::pin_init(
            pin_init!(Self {
                c: c as usize,
                core,
                kept_driver,
                devices: Atomic::new(1),
                state <- new_mutex!(State {
                    claim: None,
                    loan: None,
                    alone: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )?;
        instance.board.add(group.c, group.core.name())?;
        if let Err(error) = instance.groups.lock().push(group.clone(), GFP_KERNEL) {
            instance.board.remove(group.c);
            return Err(error.into());
        }
        // SAFETY: The caller has a count.
        unsafe { bindings::iommu_group_ref_get(c) };
        Ok(group)
    }

    /// The pointer that C knows the group by.
    pub fn as_c(&self) -> *mut bindings::iommu_group {
        self.c as *mut _
    }

    /// The core's group.
    pub fn core(&self) -> &Arc<Group<D>> {
        &self.core
    }

    /// How many devices C knows in the group.
    pub fn device_count(&self) -> usize {
        self.devices.load(Relaxed)
    }

    /// Whether a driver that C does not know of relies on the group being on identity.
    pub fn has_kept_driver(&self) -> bool {
        self.kept_driver
    }

    /// Ends [`enter`](Self::enter) or [`make`](Self::make). The last device takes the group out of
    /// the table.
    fn exit(&self, instance: &Instance<D>) -> Option<Arc<Self>> {
        let mut groups = instance.groups.lock();
        let left = self.devices.load(Relaxed).saturating_sub(1);
        self.devices.store(left, Relaxed);
        if left > 0 {
            return None;
        }
        let mut known = groups.iter();
        let index = known.position(|group| core::ptr::eq(&**group, self))?;
        groups.remove(index).ok()
    }

    /// C lets go of a device of the group; the last one takes the group along.
    pub fn forget(&self, instance: &Instance<D>, known: &HostedDevice<D>) {
        let endpoint = known.endpoint();
        let lingers =
            known.lingers() && Held::linger(instance, known.device(), endpoint, &self.core).is_ok();
        if !lingers {
            self.core.leave(endpoint);
            if let Some(parking) = known.take_parking() {
                // Only if it never moved on.
                parking.leave(endpoint);
            }
        }
        let mut state = self.state.lock();
        state.alone.retain(|other| !Arc::ptr_eq(other, endpoint));
        drop(state);
        let Some(_last_count) = self.exit(instance) else {
            return;
        };
        // C has no business with the group any more, whatever it left behind.
        let held = {
            let mut state = self.state.lock();
            (state.claim.take(), state.loan.take())
        };
        drop(held);
        instance.board.remove(self.c);
        if !self.core.is_empty() && !known.unit().is_leaving() {
            // What is left was kept, and belongs on identity.
            let _ = self.core.set_default(instance.identity());
        }
    }

    /// Makes the device a member, which attaches it to what the others are attached to. Does
    /// nothing if it is one.
    pub fn join(&self, known: &HostedDevice<D>) -> Result {
        let endpoint = known.endpoint();
        let result = match known.take_parking() {
            // It was kept in this very group.
            Some(parking) if Arc::ptr_eq(&parking, &self.core) => Err(EEXIST),
            Some(parking) => self
                .core
                .adopt(endpoint, &parking, self.reason(known))
                .inspect_err(|_| known.stay_parked(parking)),
            // C counts on it that a device can always be blocked and sent home, so nothing is
            // allocated for one that is there.
            None if self.core.has(endpoint) => Err(EEXIST),
            None => self.core.join(endpoint, self.reason(known)),
        };
        match result {
            Err(error) if error == EEXIST => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                // It may be what the others cannot be isolated from.
                for other in &self.others(known)? {
                    self.core.explain(other.endpoint(), self.reason(other));
                }
                Ok(())
            }
        }
    }

    /// The other devices of the group that C knows.
    fn others(&self, known: &HostedDevice<D>) -> Result<KVec<Arc<HostedDevice<D>>>> {
        let mut devices = known.instance().snapshot_devices()?;
        devices.retain(|other| {
            !core::ptr::eq(&**other, known)
                && other
                    .group()
                    .is_ok_and(|group| core::ptr::eq(&**group, self))
        });
        Ok(devices)
    }

    /// What keeps the device from being isolated from the others.
    fn reason(&self, known: &HostedDevice<D>) -> Reason {
        let Ok(others) = self.others(known) else {
            return Reason::Platform;
        };
        if others.is_empty() && !self.core.is_empty() {
            return reason::by_bridge(bus::isolation(known.device()).as_ref());
        }
        reason::of(known, others.iter().map(|other| &**other))
    }

    /// A driver of a member starts to use the DMA API.
    pub fn start_dma_api(&self, known: &HostedDevice<D>, driver: Label) -> Result {
        let state = self.state.lock();
        self.core.start_dma_api(known.endpoint(), driver)?;
        self.post(known.instance(), &state);
        Ok(())
    }

    /// A driver of a member no longer uses the DMA API.
    pub fn end_dma_api(&self, known: &HostedDevice<D>) {
        let state = self.state.lock();
        self.core.end_dma_api(known.endpoint());
        self.post(known.instance(), &state);
    }

    /// Says who holds the group, for those who are refused.
    pub fn post(&self, instance: &Instance<D>, state: &State<D>) {
        let owner = state.claim.as_ref().map(|claim| claim.owner().name);
        let held_by = owner.or(state.loan.as_ref().map(Loan::driver));
        instance.board.set(self.c, held_by, self.core.used_by());
    }
}

impl<D: Hosted> Peer for HostedDevice<D> {
    fn device(&self) -> Device<'_> {
        HostedDevice::device(self)
    }

    fn shared_id(&self, other: &Self) -> Option<RequesterId> {
        self.endpoint().shared_id(other.endpoint())
    }
}
