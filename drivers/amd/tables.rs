// SPDX-License-Identifier: GPL-2.0

//! A unit's device table in memory (2.2.2).
//!
//! It has an entry for each requester id up to the last one that firmware names; what comes from
//! others the unit refuses. A unit that can has it in several parts, which are easier to find
//! memory for, and then for all ids: there is no way to say where a part ends that is left out.
//!
//! How an entry changes is in [`update`](super::update). An entry never becomes invalid: then
//! everything would pass untranslated.

#![forbid(unsafe_code)]

use core::num::NonZero;

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        barrier::{dma_mb, Write},
    },
};

use super::{
    entries::{DeviceEntry, Translation, Words, DEVICES, WORDS},
    ivrs::Settings,
    mmio::Registers,
    update::{Store, Update},
};
use crate::{
    addr::PhysAddr,
    drivers::shell::unit_memory::{Exposed, Pages},
    pgtable::{kernel_memory::KernelEntry, Entry, Top},
    requester::RequesterId,
};

/// Bytes of an entry.
const ENTRY_BYTES: usize = WORDS * 8;
/// Bytes that the unit takes a table to be made of.
const PAGE: usize = 4096;
/// Most parts that there can be.
const SEGMENTS: usize = 8;

/// The device table.
///
/// # Invariants
///
/// 1. Each of `segments` has `ids` entries, which are all valid.
/// 2. `live` has a bit for each entry, which is set while the entry is not blocked, or is about to
///    be written.
pub(super) struct Tables {
    segments: Exposed<KVec<Pages>>,
    /// Entries of a segment.
    ids: NonZero<usize>,
    live: KVec<Atomic<u64>>,
}

impl Tables {
    /// A table in which every id is blocked: up to `last` in one part, or for all ids if it can be
    /// split into `segments` (a power of 2). `settings` says what firmware wants of an id.
    pub(super) fn new(
        node: i32,
        last: u16,
        segments: u8,
        settings: impl Fn(u16) -> Settings,
    ) -> Result<Self> {
        let segments = usize::from(segments).clamp(1, SEGMENTS);
        let ids = match segments {
            1 => (usize::from(last) + 1).next_multiple_of(PAGE / ENTRY_BYTES),
            _ => DEVICES / segments,
        };
        let words = (segments * ids).div_ceil(64);
        let mut live = KVec::with_capacity(words, GFP_KERNEL)?;
        for _ in 0..words {
            live.push(Atomic::new(0), GFP_KERNEL)?;
        }
        let mut parts = KVec::with_capacity(segments, GFP_KERNEL)?;
        for _ in 0..segments {
            parts.push(Pages::new(node, ids * ENTRY_BYTES)?, GFP_KERNEL)?;
        }
        // INVARIANT: The entries become valid below.
        let this = Self {
            segments: Exposed::new("a device table", parts),
            ids: NonZero::new(ids).ok_or(EINVAL)?,
            live,
        };
        for raw in 0..this.count() {
            let blocked = DeviceEntry {
                settings: settings(raw as u16),
                ..DeviceEntry::BLOCKED
            };
            if let Some(entry) = this.entry(RequesterId::new(raw as u32)) {
                for (word, value) in entry.iter().zip(blocked.encode()) {
                    word.store(value);
                }
            }
        }
        Ok(this)
    }

    /// How many ids have an entry, from 0 on.
    pub(super) fn count(&self) -> usize {
        self.segments.len() * self.ids.get()
    }

    /// In how many parts the table is.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Tells the unit, which is off, where the table is.
    pub(super) fn hand_over(&self, registers: &Registers) {
        self.segments.hand_over();
        for (number, segment) in self.segments.iter().enumerate() {
            registers.set_device_table(number, segment.addr(), self.ids.get() * ENTRY_BYTES);
        }
        registers.set_segments(self.segments.len());
    }

    /// The unit does not read the table any more.
    pub(super) fn take_back(&self) {
        self.segments.take_back();
    }

    /// The words of the entry of `id`, the lowest first.
    fn entry(&self, id: RequesterId) -> Option<&[KernelEntry]> {
        let raw = id.raw() as usize;
        let segment = self.segments.get(raw / self.ids)?;
        let start = raw % self.ids * WORDS;
        Some(&segment.words()[start..start + WORDS])
    }

    fn words(entry: &[KernelEntry]) -> Words {
        let mut words = [0; WORDS];
        for (word, entry) in words.iter_mut().zip(entry) {
            *word = entry.load();
        }
        words
    }

    /// The entry of `id`; `None` if there is none, or a broken one.
    pub(super) fn read(&self, id: RequesterId) -> Option<DeviceEntry> {
        DeviceEntry::decode(Self::words(self.entry(id)?))
    }

    /// Whether `id` has an entry.
    pub(super) fn covers(&self, id: RequesterId) -> bool {
        self.entry(id).is_some()
    }

    /// Makes `translation` what happens to requests of `id`. Returns what it was, if it was
    /// something else; then the unit has to be told.
    pub(super) fn change(&self, id: RequesterId, translation: Translation) -> Option<Translation> {
        self.change_to(id, || translation)
    }

    /// As [`change`](Self::change), with what `translation` says once the entry was read, and says
    /// again if somebody else changes it meanwhile: [`follow`](Self::follow) may at any time.
    pub(super) fn change_to(
        &self,
        id: RequesterId,
        translation: impl Fn() -> Translation,
    ) -> Option<Translation> {
        let entry = self.entry(id)?;
        'again: loop {
            let words = Self::words(entry);
            let old = DeviceEntry::decode(words)?;
            let translation = translation();
            let new = DeviceEntry { translation, ..old };
            let blocks = translation == Translation::Blocked;
            if !blocks {
                self.set_live(id, true);
            }
            let update = Update::new(words, new.encode(), false);
            let mut first = words[0];
            for store in update.stores() {
                match *store {
                    // Everything else is changed only by who holds the group's lock.
                    Store::Word { index: 0, value } => {
                        if entry[0].compare_exchange(first, value).is_err() {
                            continue 'again;
                        }
                        first = value;
                    }
                    Store::Word { index, value } => entry[index].store(value),
                    // Not asked for.
                    Store::Pair { .. } => {}
                }
                dma_mb(Write);
            }
            if blocks {
                self.set_live(id, false);
            }
            return (!update.stores().is_empty()).then_some(old.translation);
        }
    }

    /// Has all entries that lead to a host table which has grown lead to its top, and calls `found`
    /// for each of them, also for those that do already: the unit has to be told of all.
    ///
    /// `top_over` says what the top is above a root, if that is one of the table's. It is asked
    /// after the entry was read, and the entry is exchanged then, if it is still the same: so it
    /// never goes back to a lower top, whoever else does this, and what others make of an entry
    /// stays. The root says whose the entry is, and is in one word with the levels, so that the
    /// unit sees both old or both new.
    pub(super) fn follow(
        &self,
        top_over: impl Fn(PhysAddr) -> Option<Top>,
        mut found: impl FnMut(RequesterId),
    ) {
        for id in self.live() {
            let Some(entry) = self.entry(id) else {
                continue;
            };
            loop {
                let first = entry[0].load();
                let root = DeviceEntry::host_root(first);
                let Some(top) = root.and_then(|root| top_over(PhysAddr::new(root))) else {
                    break;
                };
                let new = DeviceEntry::with_host_root(first, top.root.raw(), top.levels);
                if new == first || entry[0].compare_exchange(first, new).is_ok() {
                    found(id);
                    break;
                }
            }
        }
    }

    /// The ids whose entries are not blocked.
    fn live(&self) -> impl Iterator<Item = RequesterId> + '_ {
        self.live.iter().enumerate().flat_map(|(index, word)| {
            let mut left = word.load(Relaxed);
            core::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(RequesterId::new(index as u32 * 64 + bit))
            })
        })
    }

    fn set_live(&self, id: RequesterId, live: bool) {
        let Some(word) = self.live.get(id.raw() as usize / 64) else {
            return;
        };
        let bit = 1 << (id.raw() % 64);
        let mut old = word.load(Relaxed);
        loop {
            let new = match live {
                true => old | bit,
                false => old & !bit,
            };
            match word.cmpxchg(old, new, Full) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Blocks every id. The unit has to be told.
    pub(super) fn block_all(&self) {
        for id in self.live() {
            self.change(id, Translation::Blocked);
        }
    }

    /// How many ids are not blocked.
    pub(super) fn unblocked(&self) -> usize {
        self.live().count()
    }
}
