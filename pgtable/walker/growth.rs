// SPDX-License-Identifier: GPL-2.0

//! Page tables that grow: a new root above the old one.

#![forbid(unsafe_code)]

use super::{top::Top, PageTable};
use crate::{
    addr::PhysAddr,
    pgtable::{
        error::Error,
        format::{Decoded, Format, Level},
        memory::{Entry, Table, TableMemory},
    },
};

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Returns the root and the number of levels, for the unit. The two are consistent: they change
    /// together when the page table grows, see [`has_new_top`](Self::has_new_top).
    #[inline(always)]
    pub fn top(&self) -> Top {
        Top::unpack(self.top.load())
    }

    /// Returns the physical address of the root, for the unit.
    #[inline]
    pub fn root(&self) -> PhysAddr {
        self.top().root
    }

    /// Returns the number of levels, for the unit.
    #[inline]
    pub fn levels(&self) -> u8 {
        self.top().levels
    }

    /// Returns whether all units must start to use a new top before a device may use the mapping of
    /// a [`map`](Self::map) call that has just returned. Always false for formats that do not grow.
    ///
    /// Every caller that maps must check this, including a caller that finds the page table already
    /// grown by another call: that call may not have updated the units yet. To update them:
    ///
    /// 1. read the [`top`](Self::top);
    /// 2. make every unit walk from that top, or from a later one, and invalidate what it cached of
    ///    the entry that contains the root;
    /// 3. call [`acknowledge_top`](Self::acknowledge_top) with the top from step 1.
    ///
    /// Several callers may do this concurrently without a lock. Each reads an entry first, then the
    /// top with [`top_over`](Self::top_over), and then exchanges the entry. The number of levels of
    /// the top only increases, so the new value of the entry is never lower than the old one. If
    /// another caller was faster, the exchange fails. An entry that already contains the right top
    /// must be invalidated all the same, because the caller that wrote it may not have done that
    /// yet.
    ///
    /// An attach reads the top before it writes the entry, and again afterwards. If the top has
    /// changed in between, the callers that updated the units may have missed the entry.
    #[inline(always)]
    pub fn has_new_top(&self) -> bool {
        F::GROWS && self.top.load() != self.told.load()
    }

    /// Records that every unit walks from `top`, or from a later one.
    pub fn acknowledge_top(&self, top: Top) {
        let mut told = self.told.load();

        // The exchange orders this after the updates of the units.
        while Top::unpack(told).levels < top.levels {
            match self.told.compare_exchange(told, top.pack()) {
                Ok(()) => return,
                Err(now) => told = now,
            }
        }
    }

    /// Returns the current top if `root` is the root or was a root before the page table grew.
    ///
    /// While this page table exists, no other page table can have that root. So an entry that
    /// contains `root` belongs to this page table, whatever else the entry contains.
    pub fn top_over(&self, root: PhysAddr) -> Option<Top> {
        let top = self.top();
        let mut at = top;

        while at.root != root {
            if at.levels == self.first_levels {
                return None;
            }
            let link = self.mem.entries(Table::at(at.root), Self::ENTRIES)[0].load();
            at.levels -= 1;
            match F::decode(at.levels, link) {
                Decoded::Link(lower) => at.root = lower,
                _ => return None,
            }
        }
        Some(top)
    }

    /// Returns the last address that `top` translates.
    #[inline(always)]
    pub(super) fn last_of(&self, top: Top) -> u64 {
        match F::GROWS {
            true => self.iova_last.min(Self::last_of_levels(top.levels)),
            false => self.iova_last,
        }
    }

    /// Returns the last address that `levels` levels of full tables translate.
    #[inline(always)]
    fn last_of_levels(levels: u8) -> u64 {
        let bits = F::GRANULE_LG2 + F::INDEX_LG2 * u32::from(levels);

        u64::MAX >> u64::BITS.saturating_sub(bits)
    }

    /// Returns whether the entry of level `L` for `iova` points to a table that was once the root.
    #[inline(always)]
    pub(super) fn leads_to_old_root<L: Level>(&self, iova: u64) -> bool {
        F::GROWS && L::N >= self.first_levels && iova < Self::size::<L>()
    }

    /// Returns a top that translates `last`: the current one, or a new one with more levels.
    #[inline(always)]
    pub(super) fn top_for(&self, last: u64, flags: M::Flags) -> Result<Top, Error> {
        let top = self.top();

        if F::GROWS && last > Self::last_of_levels(top.levels) {
            return self.grow(last, flags);
        }
        Ok(top)
    }

    #[cold]
    fn grow(&self, last: u64, flags: M::Flags) -> Result<Top, Error> {
        loop {
            let old = self.top();
            let mut new = old;

            while last > Self::last_of_levels(new.levels) {
                match self.put_above(new, flags) {
                    Ok(higher) => new = higher,
                    Err(error) => {
                        self.free_above(old, new);
                        return Err(error);
                    }
                }
            }
            // Another call may have grown the page table in the meantime, but not necessarily far
            // enough.
            if new == old || self.top.compare_exchange(old.pack(), new.pack()).is_ok() {
                return Ok(new);
            }
            self.free_above(old, new);
        }
    }

    /// Creates a root one level above `top`, with the same translations.
    fn put_above(&self, top: Top, flags: M::Flags) -> Result<Top, Error> {
        let table = self
            .mem
            .alloc(Self::TABLE_SIZE, flags)
            .ok_or(Error::NoMemory)?;
        let entries = self.mem.entries(table, Self::ENTRIES);
        let link = F::link(top.levels, top.root);

        if self.coherent {
            entries[0].store(link);
        } else {
            // No other call or unit finds the entry before it is flushed.
            entries[0].store(link | F::FLUSHED);
            self.mem.flush(entries);
        }
        Ok(Top {
            root: table.addr(),
            levels: top.levels + 1,
        })
    }

    /// Frees the roots above `old` up to `new`, which were never published.
    fn free_above(&self, old: Top, mut new: Top) {
        while new != old {
            let table = Table::at(new.root);
            let link = self.mem.entries(table, Self::ENTRIES)[0].load();

            new.levels -= 1;
            if let Decoded::Link(lower) = F::decode(new.levels, link) {
                new.root = lower;
            }
            self.mem.free(table);
        }
    }
}
