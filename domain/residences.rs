// SPDX-License-Identifier: GPL-2.0

//! The units where a domain has a tag, and the tags.
//!
//! Locking: the spinlock is held, with interrupts off, for a look-up or a change; nothing nests
//! inside. A processor that invalidates copies the list and drops the lock before it asks the
//! units, so that processors that unmap at the same time do not wait for each other's answers. See
//! [`domain`](super) for why that is enough.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_spinlock_irq, Arc, SpinLockIrq,
    },
};

use crate::{
    driver::Attach,
    ordered_set::{Keyed, OrderedSet},
    unit::Unit,
};

/// How many units are copied at a time. Most machines have fewer, and most domains one.
const AT_ONCE: usize = 4;

/// A unit, and the domain's tag there.
type Tagged<D> = (Arc<Unit<D>>, <D as Attach>::Tag);

/// A unit where endpoints are attached to the domain.
struct Slot<D: Attach> {
    unit: Arc<Unit<D>>,
    tag: D::Tag,
    users: usize,
    /// Whether DMA through the unit can be made to snoop CPU caches.
    can_snoop: bool,
}

impl<D: Attach> Keyed for Slot<D> {
    type Key = *const Unit<D>;

    fn key(&self) -> Self::Key {
        Arc::as_ptr(&self.unit)
    }
}

/// All units where a domain has a tag.
#[pin_data]
pub(super) struct Residences<D: Attach> {
    /// Whether some unit needs to be told of new mappings; spares the others the lock.
    sync_maps: Atomic<bool>,
    /// Whether DMA is made to snoop CPU caches. Changes once, under the lock of `slots`.
    snoops: Atomic<bool>,
    #[pin]
    slots: SpinLockIrq<OrderedSet<Slot<D>>>,
}

impl<D: Attach> Residences<D> {
    /// None yet.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            sync_maps: Atomic::new(false),
            snoops: Atomic::new(false),
            slots <- new_spinlock_irq!(OrderedSet::new()),
        })
    }

    /// Whether some unit needs to be told of new mappings.
    #[inline]
    pub(super) fn sync_maps(&self) -> bool {
        self.sync_maps.load(Relaxed)
    }

    /// Whether DMA is made to snoop CPU caches, whatever a device asks for.
    #[inline]
    pub(super) fn snoops(&self) -> bool {
        self.snoops.load(Relaxed)
    }

    /// Makes all DMA snoop from now on if every unit is able to and `may` says so; returns whether
    /// it does.
    pub(super) fn enforce_snooping(&self, may: impl FnOnce() -> bool) -> bool {
        let slots = self.slots.lock();
        if self.snoops() {
            return true;
        }
        let can = slots.iter().all(|slot| slot.can_snoop) && may();
        self.snoops.store(can, Relaxed);
        can
    }

    /// Calls `f` for each unit that was not given back, without a lock. A unit that is added or
    /// removed meanwhile may be among them or not.
    pub(super) fn for_each(&self, mut f: impl FnMut(&Unit<D>, D::Tag)) {
        let mut after = None;
        loop {
            // The last count of a unit is not dropped here: the frontend that has discovered the
            // unit keeps one as long as the domain can be used.
            let mut some: [Option<Tagged<D>>; AT_ONCE] = [const { None }; AT_ONCE];
            {
                let slots = self.slots.lock();
                for (place, slot) in some.iter_mut().zip(slots.after(after)) {
                    *place = Some((slot.unit.clone(), slot.tag));
                }
            }
            for (unit, tag) in some.iter().flatten() {
                if !unit.is_released() {
                    f(unit, *tag);
                }
            }
            match &some[AT_ONCE - 1] {
                Some((unit, _)) => after = Some(Arc::as_ptr(unit)),
                None => return,
            }
        }
    }

    /// The domain's tag on `unit`, with one more user. If there is none yet, `acquire` gets one.
    ///
    /// # Errors
    ///
    /// Those of `acquire`; `ENOMEM`; `EINVAL` if DMA is made to snoop and `can_snoop` is false.
    pub(super) fn share_or_add(
        &self,
        unit: &Arc<Unit<D>>,
        can_snoop: bool,
        acquire: impl Fn() -> Result<D::Tag>,
    ) -> Result<D::Tag> {
        // Memory and a tag are got without the lock. If another processor adds the unit meanwhile,
        // its tag is shared, and what was got here goes back.
        let mut fresh = None;
        let tag = self.try_share_or_add(unit, can_snoop, acquire, &mut fresh);
        if let Some(unused) = fresh {
            D::release_tag(unit.data(), unused);
        }
        tag
    }

    /// As [`share_or_add`](Self::share_or_add). A tag that was not used is in `fresh` afterwards.
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

    /// Adds `slot`, unless somebody was faster.
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

    /// One user on `unit` less. Returns whether it was the last one; the tag is free then.
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
        // The unit's count is dropped outside of the lock, with interrupts on.
        drop(gone);
        true
    }
}
