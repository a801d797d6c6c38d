// SPDX-License-Identifier: GPL-2.0

//! The units on which a domain has a tag, and the tags.
//!
//! Locking: the spinlock is held, with interrupts off, for one look-up or change; no other lock
//! nests inside. A processor that invalidates takes no lock and writes nothing that others read:
//! it reads the tags in the [`Place`]s, which change under the lock. A unit keeps its place as long
//! as the domain is there, so the record of the unit is there as long as well. Should a domain ever
//! have had more units than there are places, a processor that invalidates copies the list instead,
//! and drops the lock before it calls the units. [`domain`](super) says why all this is sufficient.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed, Release},
        Arc, SetOnce,
    },
};

use crate::{
    driver::{Attach, Tag},
    ffi::compat::{new_spinlock_irq, smp_mb, SpinLockIrq},
    ordered_set::{Keyed, OrderedSet},
    pasid::Selector,
    unit::Unit,
};

/// How many tags have a place. Most machines have fewer units, and most domains have one tag.
const PLACES: usize = 4;
/// How many tags are copied per turn of the lock.
const AT_ONCE: usize = 4;

/// A unit, and a tag of the domain there.
type Tagged<D> = (Arc<Unit<D>>, Selector, <D as Attach>::Tag);

/// A unit on which endpoints are attached to the domain, and the selector that the tag is for if
/// the unit tells them apart.
struct Slot<D: Attach> {
    unit: Arc<Unit<D>>,
    selector: Selector,
    tag: D::Tag,
    users: usize,
    /// Whether the unit can force DMA to snoop CPU caches.
    can_snoop: bool,
}

impl<D: Attach> Keyed for Slot<D> {
    type Key = Key;

    fn key(&self) -> Self::Key {
        key(&self.unit, self.selector)
    }
}

/// The address of a unit's record, and the number of a selector.
type Key = (usize, u32);

#[inline]
fn key<D: Attach>(unit: &Arc<Unit<D>>, selector: Selector) -> Key {
    (Arc::as_ptr(unit) as usize, selector.number())
}

/// A unit on which the domain has or had a tag for a selector. Places are filled in order.
struct Place<D: Attach> {
    at: SetOnce<(Arc<Unit<D>>, Selector)>,
    /// [`NO_TAG`], or the tag.
    tag: Atomic<u64>,
}

/// More tags than there are places.
const NOT_ALL: u32 = u32::MAX;
const NO_TAG: u64 = u64::MAX;

impl<D: Attach> Place<D> {
    const fn empty() -> Self {
        Self {
            at: SetOnce::new(),
            tag: Atomic::new(NO_TAG),
        }
    }

    /// Whether this is or becomes the place of `unit` and `selector`. The caller holds the lock of
    /// the slots.
    fn is_for(&self, unit: &Arc<Unit<D>>, selector: Selector) -> bool {
        match self.at.as_ref() {
            Some((other, its)) => Arc::ptr_eq(other, unit) && *its == selector,
            None => self.at.populate((unit.clone(), selector)),
        }
    }
}

/// All units on which the domain has a tag.
#[pin_data]
pub(super) struct Residences<D: Attach> {
    /// The units in `slots` and their tags, unless some slot has found no place.
    places: [Place<D>; PLACES],
    /// How many places are filled; [`NOT_ALL`] if some slot has found no place.
    filled: Atomic<u32>,
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
            places: [const { Place::empty() }; PLACES],
            filled: Atomic::new(0),
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
    #[inline]
    pub(super) fn for_each(&self, mut f: impl FnMut(&Unit<D>, D::Tag)) {
        // A place that is filled at this moment may be missed, as a tag that is written now may be.
        let filled = self.filled.load(Acquire);
        if filled == NOT_ALL {
            return self.for_each_slot(&mut f);
        }
        for place in self.places.iter().take(filled as usize) {
            let tag = place.tag.load(Acquire);
            if tag == NO_TAG {
                continue;
            }
            match place.at.as_ref() {
                Some((unit, _)) if !unit.has_stopped() => f(unit, D::Tag::unpack(tag)),
                _ => {}
            }
        }
    }

    /// As [`for_each`](Self::for_each), from the list of units.
    #[cold]
    fn for_each_slot(&self, f: &mut dyn FnMut(&Unit<D>, D::Tag)) {
        let mut after = None;
        loop {
            // Dropping these references never frees a unit: the frontend that discovered the unit
            // keeps a reference as long as the domain can be used.
            let mut some: [Option<Tagged<D>>; AT_ONCE] = [const { None }; AT_ONCE];
            {
                let slots = self.slots.lock();
                for (place, slot) in some.iter_mut().zip(slots.after(after)) {
                    *place = Some((slot.unit.clone(), slot.selector, slot.tag));
                }
            }
            for (unit, _, tag) in some.iter().flatten() {
                if !unit.has_stopped() {
                    f(unit, *tag);
                }
            }
            match &some[AT_ONCE - 1] {
                Some((unit, selector, _)) => after = Some(key(unit, *selector)),
                None => return,
            }
        }
    }

    /// Returns the domain's tag on `unit` for `selector` and adds a user to it. If the domain has
    /// no such tag, `acquire` allocates one.
    ///
    /// # Errors
    ///
    /// Those of `acquire`; `ENOMEM`; `EINVAL` if DMA is forced to snoop and `can_snoop` is false.
    pub(super) fn share_or_add(
        &self,
        unit: &Arc<Unit<D>>,
        selector: Selector,
        can_snoop: bool,
        acquire: impl Fn() -> Result<D::Tag>,
    ) -> Result<D::Tag> {
        // Memory and a tag are allocated without the lock. If another processor adds the unit in
        // the meantime, this call shares that tag and frees its own.
        let mut fresh = None;
        let tag = self.try_share_or_add(unit, selector, can_snoop, acquire, &mut fresh);
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
        selector: Selector,
        can_snoop: bool,
        acquire: impl Fn() -> Result<D::Tag>,
        fresh: &mut Option<D::Tag>,
    ) -> Result<D::Tag> {
        let mut room = KVec::new();
        loop {
            let wanted = {
                let mut slots = self.slots.lock();
                if let Some(slot) = slots.get_mut(key(unit, selector)) {
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
                selector,
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
        let (unit, selector, tag) = (slot.unit.clone(), slot.selector, slot.tag);
        slots.insert(slot, room)?;
        let mut places = self.places.iter();
        let at = places.position(|place| place.is_for(&unit, selector));
        match at {
            Some(at) => {
                let filled = at as u32 + 1;
                if self.filled.load(Relaxed) < filled {
                    self.filled.store(filled, Release);
                }
                let tag = tag.pack();
                self.places[at].tag.store(tag, Release);
            }
            None => self.filled.store(NOT_ALL, Release),
        }
        // A processor that unmaps changes the table, then reads the tags. An attach writes the tag,
        // then the entry with which the unit reads the table.
        smp_mb(Full);
        Ok(())
    }

    /// The place of `unit` and `selector`, if there is one. The caller holds the lock of the slots.
    fn place(&self, unit: &Arc<Unit<D>>, selector: Selector) -> Option<&Place<D>> {
        let mut places = self.places.iter();
        places.find(|place| place.is_for(unit, selector))
    }

    /// Removes one user on `unit` for `selector`. Returns whether it was the last one; the caller
    /// then frees the tag.
    pub(super) fn leave(&self, unit: &Arc<Unit<D>>, selector: Selector) -> bool {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(key(unit, selector)) else {
            return false;
        };
        slot.users -= 1;
        if slot.users > 0 {
            return false;
        }
        if let Some(place) = self.place(unit, selector) {
            place.tag.store(NO_TAG, Release);
        }
        let gone = slots.remove(key(unit, selector));
        drop(slots);
        // The reference to the unit is dropped outside of the lock, with interrupts on.
        drop(gone);
        true
    }
}
