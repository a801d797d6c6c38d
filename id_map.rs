// SPDX-License-Identifier: GPL-2.0

//! The id map: which endpoint and which group each id of a unit belongs to.
//!
//! It prevents two groups from having the same id, and it finds the endpoint and the group of a
//! fault. Groups add the ids of their members.
//!
//! Locking: the mutex nests inside a group's `state`, and is held for one look-up or change.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};

use crate::{
    driver::Attach,
    endpoint::Endpoint,
    fault::{Fault, FaultSink},
    group::{Group, IdOwners},
    label::Label,
    log::{log_err, log_warn},
    requester::RequesterId,
    unit::Unit,
};

/// An id of a unit.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct UnitId {
    /// The unit's address identifies it. It stays valid because each endpoint in the map keeps its
    /// unit alive.
    unit: usize,
    id: RequesterId,
}

impl UnitId {
    fn new<D: Attach>(unit: &Arc<Unit<D>>, id: RequesterId) -> Self {
        Self {
            unit: Arc::as_ptr(unit) as usize,
            id,
        }
    }
}

/// The endpoint that faults of an id are attributed to, and its group.
struct IdOwner<D: Attach> {
    endpoint: Arc<Endpoint<D>>,
    group: Arc<Group<D>>,
}

/// The ids of all group members behind all units of one vendor driver.
#[pin_data]
pub struct IdMap<D: Attach> {
    #[pin]
    owners: Mutex<RBTree<UnitId, IdOwner<D>>>,
}

impl<D: Attach> IdMap<D> {
    /// Creates an empty map.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                owners <- new_mutex!(RBTree::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// The endpoint and the group of an id.
    fn get(&self, id: UnitId) -> Option<IdOwner<D>> {
        let owners = self.owners.lock();
        let owner = owners.get(&id)?;
        Some(IdOwner {
            endpoint: owner.endpoint.clone(),
            group: owner.group.clone(),
        })
    }
}

impl<D: Attach> IdMap<D> {
    /// The group that an endpoint is a member of.
    pub fn group_of(&self, endpoint: &Endpoint<D>) -> Option<Arc<Group<D>>> {
        // All ids of a member are its group's.
        let id = UnitId::new(endpoint.unit(), *endpoint.ids().first()?);
        let owner = self.get(id)?;
        owner.group.has(endpoint).then_some(owner.group)
    }

    /// The groups that have an id of the endpoint's: its own group, and those of endpoints that the
    /// unit cannot distinguish from it. A group comes once for each id.
    pub fn groups_beside<'a>(
        &'a self,
        endpoint: &'a Endpoint<D>,
    ) -> impl Iterator<Item = Arc<Group<D>>> + 'a {
        let ids = endpoint.ids().iter();
        ids.filter_map(|&id| self.get(UnitId::new(endpoint.unit(), id)))
            .map(|owner| owner.group)
    }
}

impl<D: Attach> IdOwners<D> for IdMap<D> {
    fn insert(
        &self,
        id: RequesterId,
        endpoint: &Arc<Endpoint<D>>,
        group: &Arc<Group<D>>,
    ) -> Result {
        let unit = endpoint.unit();
        let key = UnitId::new(unit, id);
        let mut owners = self.owners.lock();
        if let Some(owner) = owners.get(&key) {
            if !Arc::ptr_eq(&owner.group, group) {
                log_err!(
                    "{}: {} cannot join {}: its id {} is used by {} in {}",
                    unit.name(),
                    endpoint.name(),
                    group.name(),
                    id,
                    owner.endpoint.name(),
                    owner.group.name(),
                );
                return Err(EBUSY);
            }
        }
        let owner = IdOwner {
            endpoint: endpoint.clone(),
            group: group.clone(),
        };
        owners.try_create_and_insert(key, owner, GFP_KERNEL)?;
        Ok(())
    }

    fn reassign(&self, id: RequesterId, endpoint: &Arc<Endpoint<D>>) {
        let mut owners = self.owners.lock();
        let old = owners
            .get_mut(&UnitId::new(endpoint.unit(), id))
            .map(|owner| core::mem::replace(&mut owner.endpoint, endpoint.clone()));
        drop(owners);
        drop(old);
    }

    fn move_to(&self, id: RequesterId, unit: &Arc<Unit<D>>, group: &Arc<Group<D>>) {
        let mut owners = self.owners.lock();
        let old = owners
            .get_mut(&UnitId::new(unit, id))
            .map(|owner| core::mem::replace(&mut owner.group, group.clone()));
        drop(owners);
        drop(old);
    }

    fn remove(&self, id: RequesterId, unit: &Arc<Unit<D>>) {
        let owner = self.owners.lock().remove(&UnitId::new(unit, id));
        // Dropped without the lock, because it may be the last reference to a group.
        drop(owner);
    }
}

/// Reports the faults of one unit to the affected groups.
pub struct UnitFaults<D: Attach> {
    map: Arc<IdMap<D>>,
    unit: Arc<Unit<D>>,
    unknown_ids: Atomic<u64>,
}

impl<D: Attach> UnitFaults<D> {
    /// Creates the fault sink of `unit`, whose ids are in `map`.
    pub fn new(map: &Arc<IdMap<D>>, unit: &Arc<Unit<D>>) -> Result<Arc<Self>> {
        let faults = Self {
            map: map.clone(),
            unit: unit.clone(),
            unknown_ids: Atomic::new(0),
        };
        Ok(Arc::new(faults, GFP_KERNEL)?)
    }

    /// The endpoint that a fault is attributed to.
    pub fn endpoint_of(&self, fault: &Fault) -> Option<Arc<Endpoint<D>>> {
        let owner = self.map.get(UnitId::new(&self.unit, fault.requester))?;
        Some(owner.endpoint)
    }

    /// The number of faults of unknown ids: ids that no group has.
    pub fn unknown_ids(&self) -> u64 {
        self.unknown_ids.load(Relaxed)
    }

    /// Counts a fault of an unknown id. Logs it only if the number of earlier ones is zero or a
    /// power of two.
    fn report_unknown_id(&self, unit: Label, fault: &Fault) {
        let count = self.unknown_ids.fetch_add(1, Relaxed);
        if count.is_power_of_two() || count == 0 {
            log_warn!(
                "{}: fault: unknown device {}: {} ({} so far)",
                unit,
                fault.requester,
                fault,
                count + 1,
            );
        }
    }
}

impl<D: Attach> FaultSink for UnitFaults<D> {
    fn report(&self, fault: &Fault) {
        let unit = self.unit.name();
        match self.map.get(UnitId::new(&self.unit, fault.requester)) {
            Some(IdOwner { endpoint, group }) => group.report_fault(unit, &endpoint.name(), fault),
            None => self.report_unknown_id(unit, fault),
        }
    }
}
