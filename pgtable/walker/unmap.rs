// SPDX-License-Identifier: GPL-2.0

//! Unmapping.

#![forbid(unsafe_code)]

use super::{top::from_top, PageTable};
use crate::{
    addr::Iova,
    pgtable::{
        format::{At, Decoded, Format, Level, Root},
        gather::Gather,
        memory::{Entry, Table, TableMemory},
    },
};

/// What is left to unmap.
struct Work {
    iova: u64,
    len: u64,
}

impl Work {
    /// Says whether the entry or page at the next address, of `size` bytes, is covered as a whole.
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

/// Unmapping came to something that is not mapped, or that cannot be split for lack of memory.
struct Stop;

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Unmaps `len` bytes at `iova`, or as many as are mapped without a hole from there on, and
    /// returns how many. What to invalidate, and the tables that are not needed any more, go to
    /// `gather`. Until that is seen to, devices may still reach the memory.
    ///
    /// 0 is also the answer to a range that is empty, not in multiples of the smallest page size,
    /// or not in the aperture.
    ///
    /// # Large pages and runs
    ///
    /// If the range covers a part of a page, that is split first. In the place of a large leaf
    /// comes a table of the next smaller leaves that translate to the same memory with the same
    /// permissions, in one exchange. Hardware that has cached the large page, or that walks at this
    /// moment, uses the one or the other, and both say the same. The entries of a run become single
    /// leaves, one after the other, each in one exchange. After that the part is unmapped, and the
    /// whole page is added to the range to invalidate, so that no cached copy of it survives. Two
    /// calls that unmap different parts of one page at the same time may both split it: for each
    /// entry one exchange succeeds, the other call goes on with that result. Dirty bits that
    /// hardware sets before the exchange are carried over to every small page.
    ///
    /// The tables for that are allocated with [`TableMemory::ATOMIC`]. If there is no memory, or
    /// the table is not to split pages ([`Config::split`](super::super::Config::split)), the call
    /// stops before the page.
    pub fn unmap(&self, iova: Iova, len: u64, gather: &mut Gather<M>) -> u64 {
        if self.check_range(iova, len).is_err() {
            return 0;
        }

        let top = self.top();
        if F::GROWS && iova.raw() > self.last_of(top) {
            return 0;
        }

        if len == Self::GRANULE && self.coherent {
            if let Some(entry) = from_top!(self, top, lowest_entry, iova.raw()) {
                let old = entry.load();

                if old == 0 {
                    return 0;
                }
                if old & F::RUN_BITS == 0 {
                    entry.store(0);
                    self.add_changed(iova.raw(), len, gather);
                    return len;
                }
            }
        }

        let mut work = Work {
            iova: iova.raw(),
            len,
        };
        // Why it stopped makes no difference to the caller.
        let _ = from_top!(self, top, unmap_table, &mut work, false, gather);
        let unmapped = len - work.len;

        if unmapped != 0 {
            self.add_changed(iova.raw(), unmapped, gather);
        }
        unmapped
    }

    /// Unmaps in one table until the work or the table ends.
    ///
    /// `whole` says that the range covers all that the table translates, so that the caller takes
    /// the table out if all of it was mapped. Its entries need not be cleared then: what was cached
    /// through them is invalidated before the table is freed.
    fn unmap_table<L: Level>(
        &self,
        table: Table,
        work: &mut Work,
        whole: bool,
        gather: &mut Gather<M>,
    ) -> Result<(), Stop> {
        let entries = self.entries::<L>(table);
        let mut index = Self::index::<L>(work.iova);
        // The entries that are unmapped. All changed ones are next to each other: one that is not
        // covered as a whole, and stays, can only be the first or the last.
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
                // Level 0 has leaves only.
                Decoded::Link(_) if L::N == 0 => {
                    result = Err(Stop);
                    break;
                }
                Decoded::Link(lower) => {
                    self.see_link_flushed(&entries[index..=index], value);

                    let lower = Table::at(lower);
                    let covered =
                        work.covers(Self::size::<L>()) && !self.leads_to_old_root::<L>(work.iova);

                    result = self.unmap_table::<L::Lower>(lower, work, covered, gather);
                    if result.is_err() {
                        break;
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
            // There is a hole, so the table stays.
            for entry in &entries[cleared.clone()] {
                entry.store(0);
            }
        }
        self.flush(entries, cleared);
        result
    }

    /// Says whether a leaf was of a run of which others may still be.
    #[inline(always)]
    fn is_being_split<L: Level>(leaf: u64) -> bool {
        Self::RUNS && F::split_run_lg2(L::N, leaf) != 0
    }

    /// Clears leaves up to the first entry that is none, or that is of a run which goes on after
    /// the last entry or is being split, and returns how many. The first entry is not in the middle
    /// of a run. Does not write if the whole table is to go.
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

    /// Clears the entries of a run, of which there may be many: eight in each round.
    #[inline(always)]
    fn clear_leaves(run: &[M::Entry]) {
        let mut eights = run.chunks_exact(8);

        for eight in &mut eights {
            eight.iter().for_each(|entry| entry.store(0));
        }
        eights.remainder().iter().for_each(|entry| entry.store(0));
    }

    /// Puts smaller pages in the place of the one that the entry at `index` was of when it had
    /// `value`, a leaf, or finishes that if another call is about it. If the entry has changed
    /// meanwhile, nothing is done and the caller looks again.
    ///
    /// The entry is not looked at for what to do: a run that somebody else has split by now would
    /// be taken for single leaves that are too large.
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

        // One of them is 0. The run's memory is aligned to its size.
        let run_lg2 = Self::run_lg2::<L>(value).max(F::split_run_lg2(L::N, value));
        let size = Self::size::<L>() << run_lg2;
        let start = index >> run_lg2 << run_lg2;
        let run = &entries[start..start + (1 << run_lg2)];

        self.note_split(size);
        self.split_run::<L>(run, run_lg2, page.align_down(size).raw());
        gather.add_range(Iova::new(iova).align_down(size), size);
        Ok(())
    }

    /// Makes single leaves of a run, for the memory from `page` on. When it returns, a walker finds
    /// nothing of the run any more, whoever else splits it at the same time.
    ///
    /// A leaf that has come in the place of one of the run says so until all have and are flushed.
    /// Whoever comes across it before that may not unmap it: he goes through the run here first.
    fn split_run<L: Level>(&self, run: &[M::Entry], run_lg2: u32, page: u64) {
        let is_of_run = |value| {
            matches!(F::decode(L::N, value), Decoded::Leaf(_))
                && Self::run_lg2::<L>(value) == run_lg2
        };
        let mut seen = 0;

        for (n, entry) in run.iter().enumerate() {
            let paddr = page + ((n as u64) << Self::size_lg2::<L>());
            let mut old = entry.load();

            // Who unmaps another part of the run may have come here first. What he may have mapped
            // there since is no run of this size: he would have to own all of it.
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
                    // Hardware has set a bit, or see above.
                    Err(now) => old = now,
                }
            }
        }
        self.flush(run, 0..run.len());

        // Hardware that has cached the run from one entry recorded there what it did anywhere in
        // the run.
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

    /// Puts a table of the next smaller pages in the place of the large page that `entry`, a slice
    /// of one, holds. When that has changed meanwhile, nothing is done and the caller looks again.
    fn split_leaf<L: Level>(
        &self,
        entry: &[M::Entry],
        iova: u64,
        gather: &mut Gather<M>,
    ) -> Result<(), Stop> {
        // Pages smaller than the smallest are never asked for.
        if L::N == 0 {
            return Err(Stop);
        }

        let table = self.mem.alloc(Self::TABLE_SIZE, M::ATOMIC).ok_or(Stop)?;

        self.note_split(Self::size::<L>());
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

            // Fails if hardware has set a bit in the entry, or somebody else has split the page.
            if self.link_table::<L>(entry, old, table).is_ok() {
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
