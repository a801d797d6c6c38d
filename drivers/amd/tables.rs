// SPDX-License-Identifier: GPL-2.0

//! A unit's device table in memory (2.2.2).
//!
//! The table has an entry for each requester id up to the last one that firmware names. The unit
//! refuses requests of other ids. If the unit can, it has the table in several segments, for which
//! memory is easier to find. The segments cover all ids, since a segment cannot be left out.
//!
//! How an entry changes is in [`update`](super::update). V = 0 passes all DMA, so every entry keeps
//! V = 1.

#![forbid(unsafe_code)]

use core::num::NonZero;

use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};

use super::{
    entries::{DeviceEntry, Interrupts, Translation, Words, DEVICES, WORDS},
    ivrs::Settings,
    mmio::Registers,
    update::{Store, Update},
};
use crate::{
    addr::PhysAddr,
    drivers::shell::unit_memory::{Exposed, Off, Pages},
    ffi::{
        compat::{dma_mb, Write},
        processor::is_virtual_machine,
    },
    pgtable::{kernel_memory::KernelEntry, Entry, Top},
    requester::RequesterId,
};

/// Bytes of an entry.
const ENTRY_BYTES: usize = WORDS * 8;
/// The unit counts the size of a table in pages of this many bytes.
const PAGE: usize = 4096;
/// How many segments there can be.
const MAX_SEGMENTS: usize = 8;

/// The device table.
///
/// # Invariants
///
/// 1. Each of `segments` has `ids` entries, all with V = 1.
/// 2. `live` has a bit for each entry. It is set while the entry does not block, and before it is
///    written so.
pub(super) struct DeviceTable {
    segments: Exposed<KVec<Pages>>,
    /// Entries of a segment.
    ids: NonZero<usize>,
    live: KVec<Atomic<u64>>,
}

impl DeviceTable {
    /// A table that blocks every id: ids up to `last` in one segment, or all ids if the unit takes
    /// several `segments` (a power of 2). `settings` returns what firmware wants for an id.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        node: i32,
        last: u16,
        segments: u8,
        settings: impl Fn(u16) -> Settings,
    ) -> Result<Self> {
        let segments = usize::from(segments).clamp(1, MAX_SEGMENTS);
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

    /// How many ids, from 0 on, have an entry.
    pub(super) fn count(&self) -> usize {
        self.segments.len() * self.ids.get()
    }

    /// In how many segments the table is.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Tells the unit where the table is. The unit may be on, with as many segments of another
    /// table or fewer: as long as it has not got all of these, it refuses ids for which it has
    /// none.
    pub(super) fn hand_over(&self, registers: &Registers) {
        self.segments.hand_over();
        for (number, segment) in self.segments.iter().enumerate() {
            registers.set_device_table(number, segment.addr(), self.ids.get() * ENTRY_BYTES);
        }
        registers.set_segments(self.segments.len());
    }

    /// The unit, which is off, does not read the table any more. QEMU's unit does: by the last
    /// table that it was told of, it looks up every message, those of the I/O APIC as well. So in a
    /// virtual machine the table lets all messages pass, and stays allocated.
    pub(super) fn take_back(&self, off: &Off) {
        self.segments.take_back(off);
        if is_virtual_machine() {
            for raw in 0..self.count() {
                self.set_interrupts(RequesterId::new(raw as u32), Interrupts::Pass);
            }
            self.segments.iter().for_each(|segment| segment.keep(off));
        }
    }

    /// Whether a unit may read the table.
    pub(super) fn is_in_use(&self) -> bool {
        self.segments.is_in_use()
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

    /// The entry of `id`; `None` if it has none, or one that this driver has not written.
    pub(super) fn read(&self, id: RequesterId) -> Option<DeviceEntry> {
        DeviceEntry::decode(Self::words(self.entry(id)?))
    }

    /// Whether `id` has an entry.
    pub(super) fn covers(&self, id: RequesterId) -> bool {
        self.entry(id).is_some()
    }

    /// Makes the entry of `id` say `translation`. If that changes the entry, returns what it said
    /// before, and the caller has to invalidate it.
    pub(super) fn change(&self, id: RequesterId, translation: Translation) -> Option<Translation> {
        self.change_to(id, || translation)
    }

    /// As [`change`](Self::change), with what `translation` returns after the entry was read. If
    /// [`follow`](Self::follow) or [`set_interrupts`](Self::set_interrupts), which may run at any
    /// time, changes the entry meanwhile, this asks `translation` again.
    pub(super) fn change_to(
        &self,
        id: RequesterId,
        translation: impl Fn() -> Translation,
    ) -> Option<Translation> {
        let entry = self.entry(id)?;
        // What the entry said before the first store.
        let mut before = None;
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
            let mut now = words;
            for store in update.stores() {
                match *store {
                    // `follow` may change the first word, and `set_interrupts` the third, at any
                    // time. The others change under the group's lock.
                    Store::Word { index, value } => {
                        if entry[index].compare_exchange(now[index], value).is_err() {
                            continue 'again;
                        }
                        now[index] = value;
                        before = before.or(Some(old.translation));
                    }
                    // `Update::new` was asked for single words.
                    Store::Pair { .. } => {}
                }
                dma_mb(Write);
            }
            if blocks {
                self.set_live(id, false);
            }
            return before;
        }
    }

    /// Makes the entry of `id` say `interrupts`. Returns whether that changes the entry; the caller
    /// has to invalidate it then. May run at any time.
    pub(super) fn set_interrupts(&self, id: RequesterId, interrupts: Interrupts) -> bool {
        self.change_interrupts(id, |third| DeviceEntry::with_interrupts(third, interrupts))
    }

    /// Makes the entry of `id` let messages pass if it refuses them. Returns what
    /// [`set_interrupts`](Self::set_interrupts) does.
    pub(super) fn pass_refused(&self, id: RequesterId) -> bool {
        self.change_interrupts(id, |third| match DeviceEntry::interrupts_of(third) {
            Some(Interrupts::Refused) => DeviceEntry::with_interrupts(third, Interrupts::Pass),
            _ => third,
        })
    }

    /// Changes the third word of an entry, which says what happens to messages.
    fn change_interrupts(&self, id: RequesterId, change: impl Fn(u64) -> u64) -> bool {
        const WORD: usize = 2;
        let Some(entry) = self.entry(id) else {
            return false;
        };
        let mut old = entry[WORD].load();
        loop {
            let new = change(old);
            if new == old {
                return false;
            }
            match entry[WORD].compare_exchange(old, new) {
                Ok(()) => return true,
                Err(now) => old = now,
            }
        }
    }

    /// Makes all entries that lead to a grown host table lead to its current top. Calls `found` for
    /// each entry that leads to the table, also if its top is current: the caller has to invalidate
    /// all of them.
    ///
    /// `top_over` returns the current top of the table if the root that it is given is or was a top
    /// of it. An entry is read, then `top_over` is asked, then the entry is exchanged if it is
    /// still the same. So an entry never goes back to a lower top, whatever runs concurrently, and
    /// other changes of an entry stay. Root and levels are in one word, so the unit sees both old
    /// or both new.
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

    /// The ids whose entries do not block.
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

    /// Blocks every id. The caller has to invalidate.
    pub(super) fn block_all(&self) {
        for id in self.live() {
            self.change(id, Translation::Blocked);
        }
    }

    /// How many entries do not block.
    pub(super) fn unblocked(&self) -> usize {
        self.live().count()
    }
}
