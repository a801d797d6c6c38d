// SPDX-License-Identifier: GPL-2.0

//! Unmapping.

#![forbid(unsafe_code)]

use core::slice;

use super::{top::from_top, PageTable};
use crate::{
    addr::Iova,
    pgtable::{
        format::{At, Decoded, Format, Level, Root},
        gather::Gather,
        memory::{Entry, Table, TableMemory},
    },
};

/// The rest of the range to unmap.
struct Work {
    iova: u64,
    len: u64,
}

impl Work {
    /// Returns whether the range covers the entry or page of `size` bytes at the next address as a
    /// whole.
    #[inline(always)]
    fn covers(&self, size: u64) -> bool {
        self.iova & (size - 1) == 0 && self.len >= size
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        self.iova = self.iova.wrapping_add(bytes);
        self.len -= bytes;
    }
}

/// The unmap reached an address that is not mapped, or a page that cannot be split for lack of
/// memory.
struct Stop;

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Unmaps `len` bytes at `iova`, or as many as are mapped from there on without a hole, and
    /// returns how many. Adds the range to invalidate and the unlinked tables to `gather`. Until
    /// the caller has invalidated it, devices may still reach the memory.
    ///
    /// Also returns 0 for a range that is empty, not in multiples of the smallest page size, or not
    /// in the aperture.
    ///
    /// # Large pages and runs
    ///
    /// If the range covers only a part of a page, the page is first split:
    ///
    /// 1. A large leaf is replaced, in one exchange, by a table of the next smaller leaves with the
    ///    same translation and permissions. Hardware that has cached the large page, or that walks
    ///    at this moment, uses the old or the new entries; both translate equally.
    /// 2. The entries of a run become single leaves one after the other, each in one exchange.
    ///
    /// Then the part is unmapped, and the whole page is added to the range to invalidate, so that
    /// no cached copy of the page remains. Two concurrent calls that unmap different parts of one
    /// page may both split it: for each entry one exchange succeeds, and the other call continues
    /// with its result. Dirty bits that hardware sets before the exchange are copied to every small
    /// page.
    ///
    /// The tables for a split are allocated with [`TableMemory::ATOMIC`]. If there is no memory, or
    /// the page table must not split pages ([`Config::split`](super::super::Config::split)), the
    /// call stops before the page.
    pub fn unmap(&self, iova: Iova, len: u64, gather: &mut Gather<M>) -> u64 {
        if self.check_range(iova, len).is_err() {
            return 0;
        }

        let top = self.top();
        if F::GROWS && iova.raw() > self.last_of(top) {
            return 0;
        }

        if len == Self::GRANULE {
            if let Some(entry) = from_top!(self, top, lowest_entry, iova.raw()) {
                let old = entry.load();

                if old == 0 {
                    return 0;
                }
                if old & F::RUN_BITS == 0 {
                    entry.store(0);
                    self.flush(slice::from_ref(entry), 0..1);
                    self.add_changed(iova.raw(), len, gather);
                    return len;
                }
            }
        } else if self.is_block(len) && self.unmap_block(top, iova.raw(), len) {
            self.add_changed(iova.raw(), len, gather);
            return len;
        }

        let mut work = Work {
            iova: iova.raw(),
            len,
        };
        // The caller only needs the number of bytes, not the reason for the stop.
        let _ = from_top!(self, top, unmap_table, &mut work, false, gather);
        let unmapped = len - work.len;

        if unmapped != 0 {
            self.add_changed(iova.raw(), unmapped, gather);
        }
        unmapped
    }

    /// Unmaps in one table until the range or the table ends.
    ///
    /// `whole` means that the range covers everything that the table translates, so the caller
    /// unlinks the table if all of it was mapped. Its entries need not be cleared in that case:
    /// what was cached through them is invalidated before the table is freed.
    fn unmap_table<L: Level>(
        &self,
        table: Table,
        work: &mut Work,
        whole: bool,
        gather: &mut Gather<M>,
    ) -> Result<(), Stop> {
        let entries = self.entries::<L>(table);
        let mut index = Self::index::<L>(work.iova);
        // The entries that are unmapped. They are adjacent: only the first or the last entry can be
        // one that the range does not cover as a whole and that therefore stays.
        let mut cleared = index..index;
        let mut result = Ok(());

        while work.len != 0 && index < entries.len() {
            let entry = &entries[index];
            let value = entry.load();

            match F::decode(L::N, value) {
                Decoded::Empty => {
                    result = Err(Stop);
                    break;
                }
                Decoded::Leaf(_)
                    if !Self::is_being_split::<L>(value) && work.covers(Self::span::<L>(value)) =>
                {
                    let room = (entries.len() - index) as u64;
                    let count = (work.len >> Self::size_lg2::<L>()).min(room) as usize;
                    let found = Self::unmap_leaves::<L>(&entries[index..index + count], whole);

                    index += found;
                    cleared.end = index;
                    work.advance((found as u64) << Self::size_lg2::<L>());
                }
                Decoded::Leaf(_) => {
                    result = self.split::<L>(entries, index, value, work.iova, gather);
                    if result.is_err() {
                        break;
                    }
                }
                // Level 0 has only leaves.
                Decoded::Link(_) if L::N == 0 => {
                    result = Err(Stop);
                    break;
                }
                Decoded::Link(lower) => {
                    self.see_link_flushed(&entries[index..=index], value);

                    let lower = Table::at(lower);
                    let covered =
                        work.covers(Self::size::<L>()) && !self.leads_to_old_root::<L>(work.iova);

                    if Self::is_whole::<L>(value) && covered {
                        work.advance(Self::size::<L>());
                    } else {
                        if Self::is_whole::<L>(value) {
                            self.clear_whole(&entries[index..=index], value);
                        }
                        result = self.unmap_table::<L::Lower>(lower, work, covered, gather);
                        if result.is_err() {
                            break;
                        }
                    }
                    index += 1;
                    if covered {
                        if !whole {
                            entry.store(0);
                        }
                        gather.add_table(lower);
                        cleared.end = index;
                    } else if work.len != 0 {
                        cleared = index..index;
                    }
                }
            }
        }

        if whole {
            if result.is_ok() {
                return Ok(());
            }
            // There is a hole, so the table stays and its entries must be cleared.
            for entry in &entries[cleared.clone()] {
                entry.store(0);
            }
        }
        self.flush(entries, cleared);
        result
    }

    /// Returns whether a leaf has a split mark: other entries may still belong to its run.
    #[inline(always)]
    fn is_being_split<L: Level>(leaf: u64) -> bool {
        Self::RUNS && F::split_run_lg2(L::N, leaf) != 0
    }

    /// Clears leaves and returns how many. It stops at the first entry that is not a leaf, that has
    /// a split mark, or whose run extends beyond the last entry. The first entry is not in the
    /// middle of a run. It writes nothing if the caller is about to unlink the whole table.
    #[inline(always)]
    fn unmap_leaves<L: Level>(part: &[M::Entry], whole: bool) -> usize {
        let is_leaf = |value| matches!(F::decode(L::N, value), Decoded::Leaf(_));

        if Self::RUNS {
            let mut found = 0;

            while let Some(entry) = part.get(found) {
                let value = entry.load();

                if !is_leaf(value) {
                    break;
                }
                if value & F::RUN_BITS == 0 {
                    if !whole {
                        entry.store(0);
                    }
                    found += 1;
                    continue;
                }
                if Self::is_being_split::<L>(value) {
                    break;
                }
                let end = found + (1 << Self::run_lg2::<L>(value));
                let Some(run) = part.get(found..end) else {
                    break;
                };
                if !whole {
                    Self::clear_leaves(run);
                }
                found = end;
            }
            return found;
        }

        if whole {
            return part
                .iter()
                .position(|entry| !is_leaf(entry.load()))
                .unwrap_or(part.len());
        }
        for (found, entry) in part.iter().enumerate() {
            if !is_leaf(entry.load()) {
                return found;
            }
            entry.store(0);
        }
        part.len()
    }

    /// Clears the entries of a run, of which there may be many: eight per iteration.
    #[inline(always)]
    fn clear_leaves(run: &[M::Entry]) {
        let mut eights = run.chunks_exact(8);

        for eight in &mut eights {
            eight.iter().for_each(|entry| entry.store(0));
        }
        eights.remainder().iter().for_each(|entry| entry.store(0));
    }

    /// Splits the page that the leaf `value`, read from the entry at `index`, belongs to, or
    /// finishes a split that another call has begun. If the entry has changed since it was read,
    /// nothing is done, and the caller reads it again.
    ///
    /// The decision is made from `value` and not from a new read of the entry: if another call has
    /// split the run in the meantime, a new read would mistake it for single leaves that are too
    /// large.
    #[cold]
    fn split<L: Level>(
        &self,
        entries: &[M::Entry],
        index: usize,
        value: u64,
        iova: u64,
        gather: &mut Gather<M>,
    ) -> Result<(), Stop> {
        let Decoded::Leaf(page) = F::decode(L::N, value) else {
            return Ok(());
        };

        if !self.split {
            return Err(Stop);
        }
        if value & F::RUN_BITS == 0 {
            return self.split_leaf::<L>(&entries[index..=index], iova, gather);
        }

        // One of the two is 0. The run's memory is aligned to its size.
        let run_lg2 = Self::run_lg2::<L>(value).max(F::split_run_lg2(L::N, value));
        let size = Self::size::<L>() << run_lg2;
        let start = index >> run_lg2 << run_lg2;
        let run = &entries[start..start + (1 << run_lg2)];

        self.note_split(size, gather);
        self.split_run::<L>(run, run_lg2, page.align_down(size).raw());
        gather.add_range(Iova::new(iova).align_down(size), size);
        Ok(())
    }

    /// Splits a run into single leaves for the memory from `page` on. When it returns, a walker
    /// finds no entry of the run any more, even if other calls split it at the same time.
    ///
    /// A leaf that has replaced an entry of the run carries the split mark until all entries are
    /// replaced and flushed. A call that finds the mark must not unmap the leaf before it has
    /// finished the split here.
    fn split_run<L: Level>(&self, run: &[M::Entry], run_lg2: u32, page: u64) {
        let is_of_run = |value| {
            matches!(F::decode(L::N, value), Decoded::Leaf(_))
                && Self::run_lg2::<L>(value) == run_lg2
        };
        let mut seen = 0;

        for (n, entry) in run.iter().enumerate() {
            let paddr = page + ((n as u64) << Self::size_lg2::<L>());
            let mut old = entry.load();

            // A call that unmaps another part of the run may have finished here earlier. What it
            // may have mapped there since is not a run of this size: it would have to own the whole
            // run.
            while is_of_run(old) {
                let single = F::split_run_leaf(L::N, run_lg2, paddr, F::leaf_attrs(L::N, old));

                match entry.compare_exchange(old, single) {
                    Ok(()) => {
                        seen = match seen {
                            0 => single,
                            seen => F::with_records_of(seen, single),
                        };
                        break;
                    }
                    // Hardware has set a bit, or another call has changed the entry as above.
                    Err(now) => old = now,
                }
            }
        }
        self.flush(run, 0..run.len());

        // Hardware that cached the run from one entry recorded its accesses to the whole run in
        // that entry.
        for entry in run {
            let mut old = entry.load();

            while matches!(F::decode(L::N, old), Decoded::Leaf(_)) {
                let mut new = F::with_records_of(old, seen);

                if F::split_run_lg2(L::N, old) == run_lg2 {
                    new &= !F::RUN_BITS;
                }
                if new == old {
                    break;
                }
                match entry.compare_exchange(old, new) {
                    Ok(()) => break,
                    Err(now) => old = now,
                }
            }
        }
    }

    /// Replaces the large page in `entry`, a slice of one entry, by a table of the next smaller
    /// pages. If the entry has changed since it was read, nothing is done, and the caller reads it
    /// again.
    fn split_leaf<L: Level>(
        &self,
        entry: &[M::Entry],
        iova: u64,
        gather: &mut Gather<M>,
    ) -> Result<(), Stop> {
        // No caller asks for less than the smallest page.
        if L::N == 0 {
            return Err(Stop);
        }

        let table = self.mem.alloc(Self::TABLE_SIZE, M::ATOMIC).ok_or(Stop)?;

        self.note_split(Self::size::<L>(), gather);
        loop {
            let old = entry[0].load();
            let Decoded::Leaf(page) = F::decode(L::N, old) else {
                self.mem.free(table);
                return Ok(());
            };

            let attrs = F::leaf_attrs(L::N, old);
            let mut paddr = page.raw();
            for small in self.entries::<L::Lower>(table) {
                small.store(F::leaf(L::Lower::N, paddr, attrs));
                paddr = paddr.wrapping_add(Self::size::<L::Lower>());
            }

            // Fails if hardware has set a bit in the entry, or if another call has split the page.
            if self.link_table::<L>(entry, old, table, 0).is_ok() {
                break;
            }
        }
        gather.add_table_change(
            Iova::new(iova).align_down(Self::size::<L>()),
            Self::size::<L>(),
        );
        Ok(())
    }
}
