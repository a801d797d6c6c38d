// SPDX-License-Identifier: GPL-2.0

//! Groups as C knows them, with the core's group beside them.
//!
//! C decides which devices belong together. Where a bridge or a function that would have led it to
//! a group is kept out of its sight (it had a driver already, see [`held`](super::held)), that
//! group is found here.

use kernel::{
    bindings,
    error::from_err_ptr,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};

use super::{
    device::HostedDevice,
    held::Held,
    instance::{Hosted, Instance},
};
use crate::{
    endpoint::Endpoint,
    ffi::pci::{Isolation, Pci},
    group::{Claim, Group, Reason},
    label::Label,
};

/// What a group's lock protects.
pub(super) struct State<D: Hosted> {
    /// C's claim. It has no function for one: it attaches the blocked domain.
    pub(super) claim: Option<Claim<D>>,
    /// The driver whose use of the DMA API rests while it has a domain of its own attached.
    pub(super) lent: Option<(Arc<Endpoint<D>>, Label)>,
    /// Drivers that use the DMA API.
    pub(super) users: KVec<(Arc<Endpoint<D>>, Label)>,
    /// Devices that C has blocked alone.
    pub(super) alone: KVec<Arc<Endpoint<D>>>,
}

/// A group that C knows.
#[pin_data]
pub(super) struct HostedGroup<D: Hosted> {
    /// C's group. C keeps it as long as it has devices, and so is this.
    c: usize,
    core: Arc<Group<D>>,
    kept_driver: bool,
    devices: Atomic<i32>,
    #[pin]
    pub(super) state: Mutex<State<D>>,
}

impl<D: Hosted> HostedGroup<D> {
    /// The group of a device that C has just got to know, with a count of C's for the device.
    ///
    /// C holds its probe mutex, so that nobody else does the same.
    pub(super) fn find_or_make(known: &HostedDevice<D>) -> Result<Arc<Self>> {
        let instance = known.instance();
        let function = known.device().pci();
        let kept = function.and_then(|function| {
            Held::neighbour(instance, function.isolation().key, known.endpoint())
        });
        let of_kept = kept
            .as_ref()
            .and_then(|kept| Self::find(instance, |group| Arc::ptr_eq(&group.core, kept)));
        let there = match (of_kept, function) {
            // What is on no PCI bus has no bridges that could lead C to those that share its ids.
            (None, None) => Self::sharing(known)?,
            (of_kept, _) => of_kept,
        };
        if let Some(group) = there {
            // SAFETY: C's group is there as long as ours is in the table.
            unsafe { bindings::iommu_group_ref_get(group.as_c()) };
            group.devices.add(1, Relaxed);
            return Ok(group);
        }
        let raw = known.device().as_raw();
        // SAFETY: C keeps the device, which is on the PCI bus in the one case.
        let c = from_err_ptr(unsafe {
            match function {
                Some(_) => bindings::pci_device_group(raw),
                None => bindings::generic_device_group(raw),
            }
        })?;
        if let Some(group) = Self::find(instance, |group| group.c == c as usize) {
            group.devices.add(1, Relaxed);
            return Ok(group);
        }
        Self::make(instance, c, kept).inspect_err(|_| {
            // SAFETY: The count that `pci_device_group` gave is not passed on.
            unsafe { bindings::iommu_group_put(c) };
        })
    }

    /// The group of another device that C knows and that has an id of this one.
    fn sharing(known: &HostedDevice<D>) -> Result<Option<Arc<Self>>> {
        let endpoint = known.endpoint();
        let devices = known.instance().snapshot_devices()?;
        let other = devices.iter().find(|other| {
            let other = other.endpoint();
            !Arc::ptr_eq(other, endpoint)
                && Arc::ptr_eq(other.unit(), endpoint.unit())
                && other.ids().iter().any(|id| endpoint.ids().contains(id))
        });
        Ok(other.and_then(|other| other.group().ok().cloned()))
    }

    fn find(instance: &Instance<D>, f: impl Fn(&Self) -> bool) -> Option<Arc<Self>> {
        let groups = instance.groups.lock();
        groups.iter().find(|group| f(group)).cloned()
    }

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
                    lent: None,
                    users: KVec::new(),
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
        Ok(group)
    }

    /// The pointer that C knows the group by.
    pub(super) fn as_c(&self) -> *mut bindings::iommu_group {
        self.c as *mut _
    }

    /// The core's group.
    pub(super) fn core(&self) -> &Arc<Group<D>> {
        &self.core
    }

    /// How many devices C knows in the group.
    pub(super) fn device_count(&self) -> usize {
        self.devices.load(Relaxed) as usize
    }

    /// Whether a driver that C does not know of relies on the group being on identity.
    pub(super) fn has_kept_driver(&self) -> bool {
        self.kept_driver
    }

    /// C lets go of a device of the group; the last one takes the group along.
    pub(super) fn forget(&self, instance: &Instance<D>, known: &HostedDevice<D>) {
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
        let claim = {
            let mut state = self.state.lock();
            state.users.retain(|(user, _)| !Arc::ptr_eq(user, endpoint));
            state.alone.retain(|other| !Arc::ptr_eq(other, endpoint));
            if self.devices.load(Relaxed) > 1 {
                self.devices.add(-1, Relaxed);
                return;
            }
            state.lent = None;
            state.claim.take()
        };
        // C has no business with the group any more, whatever it left behind.
        drop(claim);
        instance.board.remove(self.c);
        let forgotten = {
            let mut groups = instance.groups.lock();
            let index = groups
                .iter()
                .position(|group| core::ptr::eq(&**group, self));
            index.and_then(|index| groups.remove(index).ok())
        };
        drop(forgotten);
        if !self.core.is_empty() && !known.unit().is_leaving() {
            // What is left was kept, and belongs on identity.
            let _ = self.core.set_default(instance.identity());
        }
    }

    /// Makes the device a member, which attaches it to what the others are attached to. Does
    /// nothing if it is one.
    pub(super) fn join(&self, known: &HostedDevice<D>) -> Result {
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
        let function = known.device().pci();
        let isolation = function.map(Pci::isolation);
        if others.is_empty() {
            return match (self.core.is_empty(), isolation) {
                (true, _) => Reason::Isolated,
                (false, Some(isolation)) => Reason::of(&isolation),
                (false, None) => Reason::Platform,
            };
        }
        // The first that applies, the most telling first.
        let ids = known.endpoint().ids();
        let shared_id = others.iter().find_map(|other| {
            let theirs = other.endpoint().ids();
            let id = *ids.iter().find(|id| theirs.contains(id))?;
            Some(Reason::SharedId {
                id,
                with: other.endpoint().name(),
            })
        });
        let (Some(function), Some(isolation)) = (function, isolation) else {
            return shared_id.unwrap_or(Reason::Platform);
        };
        let bridge = || {
            let below = others.iter().find(|other| {
                let mut above = other.device().pci().into_iter().flat_map(Pci::bridges);
                above.any(|bridge| bridge == function)
            })?;
            Some(Reason::Bridge {
                below: below.endpoint().name(),
            })
        };
        let sibling = || {
            let place = |known: &HostedDevice<D>| {
                let id = known.endpoint().ids().first()?;
                Some((id.bus(), id.devfn() >> 3))
            };
            let sibling = others.iter().find(|other| place(other) == place(known))?;
            Some(Reason::FunctionsWithoutAcs {
                with: sibling.endpoint().name(),
            })
        };
        shared_id
            .or_else(bridge)
            .or_else(|| isolation.shared_by.map(|_| Reason::of(&isolation)))
            .or_else(sibling)
            .unwrap_or(Reason::Platform)
    }

    /// A driver of a member starts to use the DMA API.
    pub(super) fn start_dma_api(&self, known: &HostedDevice<D>, driver: Label) -> Result {
        let endpoint = known.endpoint();
        let mut state = self.state.lock();
        self.core.start_dma_api(endpoint, driver)?;
        let user = (endpoint.clone(), driver);
        if state.users.push(user, GFP_KERNEL).is_err() {
            self.core.end_dma_api(endpoint);
            return Err(ENOMEM);
        }
        self.post(known.instance(), &state);
        Ok(())
    }

    /// A driver of a member no longer uses the DMA API.
    pub(super) fn end_dma_api(&self, known: &HostedDevice<D>) {
        let endpoint = known.endpoint();
        let mut state = self.state.lock();
        state.users.retain(|(user, _)| !Arc::ptr_eq(user, endpoint));
        if state
            .lent
            .as_ref()
            .is_some_and(|(user, _)| Arc::ptr_eq(user, endpoint))
        {
            state.lent = None;
        }
        self.core.end_dma_api(endpoint);
        self.post(known.instance(), &state);
    }

    /// Says who holds the group, for those who are refused.
    pub(super) fn post(&self, instance: &Instance<D>, state: &State<D>) {
        let claimed_by = state.claim.as_ref().map(|claim| claim.owner().name);
        let used_by = match &state.users[..] {
            [] => None,
            [(endpoint, driver)] => Some(Label::new(format_args!(
                "driver {driver} uses {}",
                endpoint.name()
            ))),
            [(endpoint, driver), ..] => Some(Label::new(format_args!(
                "{} drivers use it, {driver} on {}",
                state.users.len(),
                endpoint.name()
            ))),
        };
        instance.board.set(self.c, claimed_by, used_by);
    }
}

impl Reason {
    /// The reason of a function that shares its group with something above or beside it.
    pub(super) fn of(isolation: &Isolation<'_>) -> Self {
        match isolation.shared_by {
            Some(bridge) => Self::BridgeWithoutAcs {
                bridge: bridge.device().name(),
            },
            None => Self::Platform,
        }
    }
}
