// SPDX-License-Identifier: GPL-2.0

//! Mapping.

#![forbid(unsafe_code)]

use core::slice;

use super::{top::from_top, PageTable};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    pgtable::{
        error::Error,
        format::{At, Decoded, Format, Level, Root},
        gather::Gather,
        memory::{Entry, Table, TableMemory},
    },
};

/// The rest of the range to map.
pub(super) struct Work {
    pub(super) iova: u64,
    pub(super) paddr: u64,
    pub(super) len: u64,
    pub(super) attrs: u64,
}

impl Work {
    /// Returns whether the range covers all that an entry for `size` bytes at the next address
    /// translates.
    #[inline(always)]
    pub(super) fn covers(&self, size: u64) -> bool {
        self.iova & (size - 1) == 0 && self.len >= size
    }

    #[inline(always)]
    pub(super) fn advance(&mut self, bytes: u64) {
        self.iova = self.iova.wrapping_add(bytes);
        self.paddr = self.paddr.wrapping_add(bytes);
        self.len -= bytes;
    }
}

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Maps `len` bytes at `iova` to those at `paddr`, with the largest pages that fit. If the
    /// format grows, the caller checks [`has_new_top`](Self::has_new_top) afterwards.
    ///
    /// Returns how many bytes, from `iova` on, are mapped when the call returns. On an error the
    /// caller may unmap them. What was mapped in the range before is unchanged.
    ///
    /// `flags` are for the allocation of tables; the call sleeps only if they allow it.
    ///
    /// A large page may replace tables that have become empty. They are added to `gather`: if it is
    /// not empty after the call, the caller must invalidate it, whatever the result is. Where the
    /// unit does not allow that ([`Format::NEEDS_BREAK`]), smaller pages are mapped in these
    /// tables.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: `len` is 0, or `iova`, `paddr` or `len` is not a multiple of the
    ///   smallest page size, or `prot` permits nothing.
    /// - [`Error::OutOfRange`]: the range overflows or leaves the aperture, or the output addresses
    ///   are beyond what the page table can hold.
    /// - [`Error::InUse`]: a part of the range is already mapped.
    /// - [`Error::NoMemory`].
    // Inlined for the callers that map single ranges: 31 instructions less of a map with SMMUv3.
    #[inline(always)]
    pub fn map(
        &self,
        iova: Iova,
        paddr: PhysAddr,
        len: u64,
        prot: Prot,
        flags: M::Flags,
        gather: &mut Gather<M>,
    ) -> (u64, Result<(), Error>) {
        let attrs = match self.check_map(iova, paddr, len, prot) {
            Ok(attrs) => attrs,
            Err(e) => return (0, Err(e)),
        };
        let top = match self.top_for(iova.raw() + (len - 1), flags) {
            Ok(top) => top,
            Err(e) => return (0, Err(e)),
        };

        // Fast path for the DMA API's most frequent request: one page whose tables already exist.
        if len == Self::GRANULE {
            if let Some(entry) = from_top!(self, top, lowest_entry, iova.raw()) {
                if entry.load() != 0 {
                    return (0, Err(Error::InUse));
                }
                entry.store(F::leaf(0, paddr.raw(), attrs));
                self.flush(slice::from_ref(entry), 0..1);
                return (len, Ok(()));
            }
        } else if self.is_block(len) && self.map_block(top, iova.raw(), paddr.raw(), len, attrs) {
            return (len, Ok(()));
        }

        let mut work = Work {
            iova: iova.raw(),
            paddr: paddr.raw(),
            len,
            attrs,
        };
        let result = match F::NEEDS_BREAK && !self.split {
            true => from_top!(self, top, map_keeping_tables, &mut work, flags),
            false => from_top!(self, top, map_table, &mut work, flags, gather),
        };

        (len - work.len, result)
    }

    #[inline(always)]
    fn check_map(&self, iova: Iova, paddr: PhysAddr, len: u64, prot: Prot) -> Result<u64, Error> {
        self.check_range(iova, len)?;
        if paddr.raw() & self.align_mask != 0 {
            return Err(Error::Invalid);
        }
        match paddr.last(len) {
            Some(last) if last.raw() <= self.oa_last => F::attrs(prot),
            _ => Err(Error::OutOfRange),
        }
    }

    /// Maps in one table until the range or the table ends.
    fn map_table<L: Level>(
        &self,
        table: Table,
        work: &mut Work,
        flags: M::Flags,
        gather: &mut Gather<M>,
    ) -> Result<(), Error> {
        let entries = self.entries::<L>(table);
        let mut index = Self::index::<L>(work.iova);

        loop {
            if let Some((run_lg2, count)) = self.fits::<L>(work, entries.len() - index) {
                let part = &entries[index..index + count];

                if Self::RUNS && run_lg2 > 0 {
                    self.map_run::<L>(part, run_lg2, work, gather)?;
                } else {
                    self.map_leaves::<L>(part, work, gather)?;
                }
                index += count;
            } else if L::N == 0 {
                // The arguments are multiples of the smallest page size, so a page size of some
                // level fits.
                return Err(Error::Invalid);
            } else {
                let whole = work.covers(Self::size::<L>());
                let lower = self.lower_table::<L>(&entries[index..=index], whole, flags)?;

                self.map_table::<L::Lower>(lower, work, flags, gather)?;
                index += 1;
            }
            if work.len == 0 || index == entries.len() {
                return Ok(());
            }
        }
    }

    /// Returns which leaves of level `L` to write next: the length of a run as a power of 2, and
    /// the number of entries. That number is one run or any number of single leaves, but at most
    /// `room`. `None` if only smaller pages fit.
    #[inline(always)]
    pub(super) fn fits<L: Level>(&self, work: &Work, room: usize) -> Option<(u32, usize)> {
        let size = Self::size::<L>();

        if L::N > F::MAX_LEAF_LEVEL || self.leads_to_old_root::<L>(work.iova) {
            return None;
        }

        let room = (work.len >> Self::size_lg2::<L>()).min(room as u64);
        if !Self::RUNS {
            let fits = self.page_sizes.contains(size)
                && (work.iova | work.paddr) & (size - 1) == 0
                && work.len >= size;

            return fits.then_some((0, room as usize));
        }

        // All in units of entries. A level without the single-leaf size has no run sizes.
        let sizes = self.page_sizes.raw() >> Self::size_lg2::<L>() & ((1 << F::INDEX_LG2) - 1);
        if sizes & 1 == 0 || room == 0 || (work.iova | work.paddr) & (size - 1) != 0 {
            return None;
        }

        let (iova, paddr) = (
            work.iova >> Self::size_lg2::<L>(),
            work.paddr >> Self::size_lg2::<L>(),
        );
        // The run sizes that fit: both addresses are aligned to the size, and there is room.
        let aligned = (iova | paddr) ^ (iova | paddr).wrapping_sub(1);
        let fitting = sizes & aligned & (u64::MAX >> room.leading_zeros());
        let run_lg2 = fitting.ilog2();
        if run_lg2 > 0 {
            return Some((run_lg2, 1 << run_lg2));
        }

        // Single leaves up to the first entry where a run can start. If the two addresses are not
        // mutually aligned for a run, that is up to the end.
        let mutual = (iova ^ paddr) ^ (iova ^ paddr).wrapping_sub(1);
        let runs = sizes & mutual & !1;
        let count = match runs & runs.wrapping_neg() {
            0 => room,
            run => room.min(run - (iova & (run - 1))),
        };
        Some((0, count as usize))
    }

    /// Writes single leaves.
    #[inline(always)]
    fn map_leaves<L: Level>(
        &self,
        run: &[M::Entry],
        work: &mut Work,
        gather: &mut Gather<M>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        // Mapping spends most of its time in this loop, so it advances only `paddr`, in a register.
        let (mut paddr, attrs) = (work.paddr, work.attrs);

        for entry in run {
            let old = entry.load();
            let leaf = F::leaf(L::N, paddr, attrs);

            if old == 0 {
                entry.store(leaf);
            } else {
                let iova = work.iova.wrapping_add(paddr.wrapping_sub(work.paddr));

                result = self.replace_empty::<L>(entry, old, leaf, iova, gather);
                if result.is_err() {
                    break;
                }
            }
            paddr = paddr.wrapping_add(Self::size::<L>());
        }

        let done = paddr.wrapping_sub(work.paddr);
        self.flush(run, 0..(done >> Self::size_lg2::<L>()) as usize);
        work.advance(done);
        result
    }

    /// Writes a run of entries that form one page: all or none.
    #[inline(always)]
    fn map_run<L: Level>(
        &self,
        run: &[M::Entry],
        run_lg2: u32,
        work: &mut Work,
        gather: &mut Gather<M>,
    ) -> Result<(), Error> {
        if run.iter().fold(0, |all, entry| all | entry.load()) != 0 {
            self.clear_run::<L>(run, work.iova, gather)?;
        }

        let mut leaf = F::run_leaf(L::N, run_lg2, work.paddr, work.attrs);
        for entry in run {
            entry.store(leaf);
            leaf = leaf.wrapping_add(F::run_step(L::N));
        }
        self.flush(run, 0..run.len());
        work.advance((run.len() as u64) << Self::size_lg2::<L>());
        Ok(())
    }

    /// Unlinks the tables below entries that will become a run. Fails if one of the entries, or a
    /// table below, maps anything.
    #[cold]
    fn clear_run<L: Level>(
        &self,
        run: &[M::Entry],
        iova: u64,
        gather: &mut Gather<M>,
    ) -> Result<(), Error> {
        let is_used = |entry: &M::Entry| match F::decode(L::N, entry.load()) {
            Decoded::Empty => false,
            Decoded::Link(lower) if L::N > 0 => self.is_used::<L::Lower>(Table::at(lower)),
            _ => true,
        };

        if run.iter().any(is_used) {
            return Err(Error::InUse);
        }
        for entry in run {
            if let Decoded::Link(lower) = F::decode(L::N, entry.load()) {
                entry.store(0);
                self.gather_subtree::<L::Lower>(Table::at(lower), gather);
            }
        }
        gather.add_table_change(Iova::new(iova), (run.len() as u64) << Self::size_lg2::<L>());
        Ok(())
    }

    /// Writes a leaf over an entry that is not empty. Fails unless the entry points to a table that
    /// maps nothing.
    ///
    /// The leaf translates everything that the table does. So the caller owns that whole range, and
    /// no other call walks in the table.
    #[cold]
    fn replace_empty<L: Level>(
        &self,
        entry: &M::Entry,
        old: u64,
        leaf: u64,
        iova: u64,
        gather: &mut Gather<M>,
    ) -> Result<(), Error> {
        let Decoded::Link(lower) = F::decode(L::N, old) else {
            return Err(Error::InUse);
        };
        let lower = Table::at(lower);

        if L::N == 0 || self.is_used::<L::Lower>(lower) {
            return Err(Error::InUse);
        }
        entry.store(leaf);
        gather.add_table_change(Iova::new(iova), Self::size::<L>());
        self.gather_subtree::<L::Lower>(lower, gather);
        Ok(())
    }

    /// Returns whether a table, or a table below it, maps anything.
    fn is_used<L: Level>(&self, table: Table) -> bool {
        self.entries::<L>(table)
            .iter()
            .any(|entry| match F::decode(L::N, entry.load()) {
                Decoded::Empty => false,
                Decoded::Link(lower) if L::N > 0 => self.is_used::<L::Lower>(Table::at(lower)),
                _ => true,
            })
    }

    /// Adds a table and all tables below it to `gather`.
    fn gather_subtree<L: Level>(&self, table: Table, gather: &mut Gather<M>) {
        if L::N > 0 {
            for entry in self.entries::<L>(table) {
                if let Decoded::Link(lower) = F::decode(L::N, entry.load()) {
                    self.gather_subtree::<L::Lower>(Table::at(lower), gather);
                }
            }
        }
        gather.add_table(table);
    }

    /// Returns the table that an entry points to; installs a table if the entry is empty. `entry`
    /// is a slice of one entry, as `flush` requires. `whole` says that the caller maps all that the
    /// entry translates.
    #[inline]
    pub(super) fn lower_table<L: Level>(
        &self,
        entry: &[M::Entry],
        whole: bool,
        flags: M::Flags,
    ) -> Result<Table, Error> {
        let old = entry[0].load();

        match F::decode(L::N, old) {
            Decoded::Empty => self.install_table::<L>(entry, whole, flags),
            found => self.found_table(entry, old, found),
        }
    }

    /// Returns the table that an entry, read as `value`, points to.
    #[inline(always)]
    fn found_table(&self, entry: &[M::Entry], value: u64, found: Decoded) -> Result<Table, Error> {
        let Decoded::Link(lower) = found else {
            return Err(Error::InUse);
        };

        self.see_link_flushed(entry, value);
        Ok(Table::at(lower))
    }

    /// Flushes an entry, a slice of one, that points to a table, if the call that installed the
    /// table may not have flushed the entry yet.
    #[inline(always)]
    pub(super) fn see_link_flushed(&self, entry: &[M::Entry], value: u64) {
        if !self.coherent && value & F::FLUSHED == 0 {
            self.mem.flush(entry);
        }
    }

    /// Installs a new table in an entry that was read as empty.
    #[inline(never)]
    fn install_table<L: Level>(
        &self,
        entry: &[M::Entry],
        whole: bool,
        flags: M::Flags,
    ) -> Result<Table, Error> {
        let mark = match L::N == 1 && whole {
            true => F::WHOLE,
            false => 0,
        };
        let new = self
            .mem
            .alloc(Self::TABLE_SIZE, flags)
            .ok_or(Error::NoMemory)?;

        match self.link_table::<L>(entry, 0, new, mark) {
            Ok(()) => Ok(new),
            Err(now) => {
                self.mem.free(new);
                self.found_table(entry, now, F::decode(L::N, now))
            }
        }
    }

    /// Makes `entry` point to `table`, with the bits `mark`, if its value is `old`; otherwise
    /// returns the current value.
    pub(super) fn link_table<L: Level>(
        &self,
        entry: &[M::Entry],
        old: u64,
        table: Table,
        mark: u64,
    ) -> Result<(), u64> {
        let link = F::link(L::N, table.addr()) | mark;

        if self.coherent {
            return entry[0].compare_exchange(old, link);
        }

        self.mem.flush(self.entries::<L::Lower>(table));
        entry[0].compare_exchange(old, link)?;
        self.mem.flush(entry);
        // Other calls change the entry only to set this bit or to unlink the table. If the table
        // was unlinked, the exchange fails, and must not be repeated.
        let _ = entry[0].compare_exchange(link, link | F::FLUSHED);
        Ok(())
    }
}
