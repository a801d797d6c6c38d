// SPDX-License-Identifier: GPL-2.0

//! The units on which a domain has a tag, and the tags.
//!
//! Locking: the spinlock is held, with interrupts off, for one look-up or change; no other lock
//! nests inside. A processor that invalidates copies the list and drops the lock before it calls
//! the units, so processors that unmap at the same time do not wait for each other's invalidations.
//! [`domain`](super) says why this is sufficient.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use crate::{
    driver::Attach,
    ffi::compat::{new_spinlock_irq, SpinLockIrq},
    ordered_set::{Keyed, OrderedSet},
    unit::Unit,
};

/// How many units are copied per turn of the lock. Most machines have fewer units, and most domains
/// have a tag on one.
const AT_ONCE: usize = 4;

/// A unit, and the domain's tag there.
type Tagged<D> = (Arc<Unit<D>>, <D as Attach>::Tag);

/// A unit on which endpoints are attached to the domain.
struct Slot<D: Attach> {
    unit: Arc<Unit<D>>,
    tag: D::Tag,
    users: usize,
    /// Whether the unit can force DMA to snoop CPU caches.
    can_snoop: bool,
}

impl<D: Attach> Keyed for Slot<D> {
    type Key = *const Unit<D>;

    fn key(&self) -> Self::Key {
        Arc::as_ptr(&self.unit)
    }
}

/// All units on which the domain has a tag.
#[pin_data]
pub(super) struct Residences<D: Attach> {
    /// Whether some unit needs a call after each map. While it is false, a map does not take the
    /// lock.
    sync_maps: Atomic<bool>,
    /// Whether DMA is forced to snoop CPU caches. Changes once, under the lock of `slots`.
    snoops: Atomic<bool>,
    #[pin]
    slots: SpinLockIrq<OrderedSet<Slot<D>>>,
}

impl<D: Attach> Residences<D> {
    /// Creates the empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            sync_maps: Atomic::new(false),
            snoops: Atomic::new(false),
            slots <- new_spinlock_irq!(OrderedSet::new()),
        })
    }

    /// Whether some unit needs a call after each map.
    #[inline]
    pub(super) fn sync_maps(&self) -> bool {
        self.sync_maps.load(Relaxed)
    }

    /// Whether DMA is forced to snoop CPU caches, even if a device requests no snooping.
    #[inline]
    pub(super) fn snoops(&self) -> bool {
        self.snoops.load(Relaxed)
    }

    /// Forces all DMA to snoop from now on if every unit can and `may` returns true. Returns
    /// whether DMA is forced to snoop.
    pub(super) fn enforce_snooping(&self, may: impl FnOnce() -> bool) -> bool {
        let slots = self.slots.lock();
        if self.snoops() {
            return true;
        }
        let can = slots.iter().all(|slot| slot.can_snoop) && may();
        self.snoops.store(can, Relaxed);
        can
    }

    /// Calls `f`, without a lock, for each unit that has not stopped. If a unit is added or removed
    /// at the same time, `f` may or may not be called for it.
    pub(super) fn for_each(&self, mut f: impl FnMut(&Unit<D>, D::Tag)) {
        let mut after = None;
        loop {
            // Dropping these references never frees a unit: the frontend that discovered the unit
            // keeps a reference as long as the domain can be used.
            let mut some: [Option<Tagged<D>>; AT_ONCE] = [const { None }; AT_ONCE];
            {
                let slots = self.slots.lock();
                for (place, slot) in some.iter_mut().zip(slots.after(after)) {
                    *place = Some((slot.unit.clone(), slot.tag));
                }
            }
            for (unit, tag) in some.iter().flatten() {
                if !unit.has_stopped() {
                    f(unit, *tag);
                }
            }
            match &some[AT_ONCE - 1] {
                Some((unit, _)) => after = Some(Arc::as_ptr(unit)),
                None => return,
            }
        }
    }

    /// Returns the domain's tag on `unit` and adds a user to it. If the domain has no tag there,
    /// `acquire` allocates one.
    ///
    /// # Errors
    ///
    /// Those of `acquire`; `ENOMEM`; `EINVAL` if DMA is forced to snoop and `can_snoop` is false.
    pub(super) fn share_or_add(
        &self,
        unit: &Arc<Unit<D>>,
        can_snoop: bool,
        acquire: impl Fn() -> Result<D::Tag>,
    ) -> Result<D::Tag> {
        // Memory and a tag are allocated without the lock. If another processor adds the unit in
        // the meantime, this call shares that tag and frees its own.
        let mut fresh = None;
        let tag = self.try_share_or_add(unit, can_snoop, acquire, &mut fresh);
        if let Some(unused) = fresh {
            D::release_tag(unit.data(), unused);
        }
        tag
    }

    /// Like [`share_or_add`](Self::share_or_add). Leaves a newly allocated tag that was not used in
    /// `fresh`.
    fn try_share_or_add(
        &self,
        unit: &Arc<Unit<D>>,
        can_snoop: bool,
        acquire: impl Fn() -> Result<D::Tag>,
        fresh: &mut Option<D::Tag>,
    ) -> Result<D::Tag> {
        let mut room = KVec::new();
        loop {
            let wanted = {
                let mut slots = self.slots.lock();
                if let Some(slot) = slots.get_mut(Arc::as_ptr(unit)) {
                    slot.users += 1;
                    return Ok(slot.tag);
                }
                if self.snoops() && !can_snoop {
                    return Err(EINVAL);
                }
                slots.len() + 1
            };
            if room.capacity() < wanted {
                room = KVec::with_capacity(wanted, GFP_KERNEL)?;
            }
            let tag = match *fresh {
                Some(tag) => tag,
                None => *fresh.insert(acquire()?),
            };
            let slot = Slot {
                unit: unit.clone(),
                tag,
                users: 1,
                can_snoop,
            };
            if self.add(slot, &mut room).is_ok() {
                *fresh = None;
                return Ok(tag);
            }
        }
    }

    /// Adds `slot`, unless another processor has added the unit in the meantime.
    fn add(&self, slot: Slot<D>, room: &mut KVec<Slot<D>>) -> Result<(), Slot<D>> {
        let mut slots = self.slots.lock();
        if self.snoops() && !slot.can_snoop {
            return Err(slot);
        }
        if D::needs_map_sync(slot.unit.data()) {
            self.sync_maps.store(true, Relaxed);
        }
        slots.insert(slot, room)
    }

    /// Removes one user on `unit`. Returns whether it was the last one; the caller then frees the
    /// tag.
    pub(super) fn leave(&self, unit: &Arc<Unit<D>>) -> bool {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(Arc::as_ptr(unit)) else {
            return false;
        };
        slot.users -= 1;
        if slot.users > 0 {
            return false;
        }
        let gone = slots.remove(Arc::as_ptr(unit));
        drop(slots);
        // The reference to the unit is dropped outside of the lock, with interrupts on.
        drop(gone);
        true
    }
}
