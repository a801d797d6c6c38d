// SPDX-License-Identifier: GPL-2.0

//! Tables that grow: a new root above the old one.

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
    /// Returns the root and the number of levels, for the unit. Both are as they are at one moment:
    /// they change when a table of a format that grows does so, see
    /// [`top_is_news`](Self::top_is_news).
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

    /// Says whether units have to be told of a new top before what a call of
    /// [`map`](Self::map), which has just returned, has mapped can be used. Only tables of formats
    /// that grow ever have news.
    ///
    /// It is for every caller that maps to ask, also for one that finds the table grown already by
    /// another one: who grew it may not have told the units yet. To tell them:
    ///
    /// 1. read the [`top`](Self::top);
    /// 2. have every unit walk from there, or from a later top, and forget what it cached of the
    ///    entry that names the root;
    /// 3. call [`top_is_told`](Self::top_is_told) with what was read.
    ///
    /// Several callers may do so at a time, without a lock. An entry is read first, then the top by
    /// [`top_over`](Self::top_over), and then the entry is exchanged: since the top only rises,
    /// what is put in is no lower than what was there, and if somebody else was faster the exchange
    /// fails. An entry that is right already has to be forgotten all the same, because whoever
    /// wrote it may not have come to that yet.
    ///
    /// Whoever attaches something reads the top before it writes the entry, and again after that.
    /// If it has risen in between, those who told the units of it may have missed the entry.
    #[inline(always)]
    pub fn top_is_news(&self) -> bool {
        F::GROWS && self.top.load() != self.told.load()
    }

    /// Says that every unit walks from `top`, or from a later one.
    pub fn top_is_told(&self, top: Top) {
        let mut told = self.told.load();

        // Ordered after what told the units.
        while Top::unpack(told).levels < top.levels {
            match self.told.compare_exchange(told, top.pack()) {
                Ok(()) => return,
                Err(now) => told = now,
            }
        }
    }

    /// Returns the top, if `root` is the root or was it before the table has grown.
    ///
    /// As long as the table lives no other one can have that root: so an entry that names it is of
    /// this table, whatever else it says.
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

    /// Returns the last address that is translated from a top.
    #[inline(always)]
    pub(super) fn last_of(&self, top: Top) -> u64 {
        match F::GROWS {
            true => self.iova_last.min(Self::last_of_levels(top.levels)),
            false => self.iova_last,
        }
    }

    /// Returns the last address that so many levels of full tables translate.
    #[inline(always)]
    fn last_of_levels(levels: u8) -> u64 {
        let bits = F::GRANULE_LG2 + F::INDEX_LG2 * u32::from(levels);

        u64::MAX >> u64::BITS.saturating_sub(bits)
    }

    /// Says whether the entry of level `L` for `iova` points to a table that is, or was, the root.
    #[inline(always)]
    pub(super) fn leads_to_old_root<L: Level>(&self, iova: u64) -> bool {
        F::GROWS && L::N >= self.first_levels && iova < Self::size::<L>()
    }

    /// Returns a top from which `last` is translated, of the levels that are there or, if these are
    /// too few, of more.
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
            // If somebody else was faster that may have been far enough, or not.
            if new == old || self.top.compare_exchange(old.pack(), new.pack()).is_ok() {
                return Ok(new);
            }
            self.free_above(old, new);
        }
    }

    /// Makes a root that is one level higher than `top`, for the same translations.
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
            // Nobody finds the entry before it is flushed.
            entries[0].store(link | F::FLUSHED);
            self.mem.flush(entries);
        }
        Ok(Top {
            root: table.addr(),
            levels: top.levels + 1,
        })
    }

    /// Frees the roots above `old` up to `new`, which nobody has seen.
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
