// SPDX-License-Identifier: GPL-2.0

//! Unmapping.

#![forbid(unsafe_code)]

use super::{
    super::{
        format::{At, Level},
        Decoded, Entry, Format, Gather, Table, TableMemory,
    },
    from_root, PageTable,
};
use crate::addr::Iova;

/// What is left to unmap.
struct Work {
    iova: u64,
    len: u64,
}

impl Work {
    /// Says whether the entry for the next address, which translates `size` bytes, is covered as a
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

/// Unmapping came to something that is not mapped, or that cannot be split for lack of memory.
struct Stop;

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Unmaps `len` bytes at `iova`, or as many as are mapped without a hole from there on, and
    /// returns how many. What to invalidate, and the tables that are not needed any more, go to
    /// `gather`. Until that is seen to, devices may still reach the memory.
    ///
    /// 0 is also the answer to a range that is empty, not in multiples of the smallest page size, or
    /// not in the aperture.
    ///
    /// # Large pages
    ///
    /// If the range covers a part of a large page, that is split first: a table of the next smaller
    /// pages that translate to the same memory with the same permissions takes its place in one
    /// exchange. Hardware that has cached the large page, or that walks at this moment, uses the one
    /// or the other, and both say the same. After that the part is unmapped, and the whole large
    /// page is added to the range to invalidate, so that no cached copy of it survives. Two calls
    /// that unmap different parts of one large page at the same time may both split it: one exchange
    /// succeeds, the other call goes on with that result. Dirty bits that hardware sets before the
    /// exchange are carried over to every small page.
    ///
    /// The tables for that are allocated with [`TableMemory::ATOMIC`]. If there is no memory the
    /// call stops before the large page.
    pub fn unmap(&self, iova: Iova, len: u64, gather: &mut Gather<M>) -> u64 {
        if self.check_range(iova, len).is_err() {
            return 0;
        }

        if len == Self::GRANULE && self.coherent {
            if let Some(entry) = from_root!(self, lowest_entry, iova.raw()) {
                if entry.load() == 0 {
                    return 0;
                }
                entry.store(0);
                gather.add_range(iova, len);
                return len;
            }
        }

        let mut work = Work {
            iova: iova.raw(),
            len,
        };
        // Why it stopped makes no difference to the caller.
        let _ = from_root!(self, unmap_table, &mut work, false, gather);
        let unmapped = len - work.len;

        gather.add_range(iova, unmapped);
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
        let entries = self.entries(table);
        let mut index = Self::index::<L>(work.iova);
        // The entries that are unmapped. All changed ones are next to each other: one that is not
        // covered as a whole, and stays, can only be the first or the last.
        let mut cleared = index..index;
        let mut result = Ok(());

        while work.len != 0 && index < entries.len() {
            let entry = &entries[index];

            match F::decode(L::N, entry.load()) {
                Decoded::Empty => {
                    result = Err(Stop);
                    break;
                }
                Decoded::Leaf(_) if work.covers(Self::size::<L>()) => {
                    let room = (entries.len() - index) as u64;
                    let count = (work.len >> Self::size_lg2::<L>()).min(room) as usize;
                    let found = Self::unmap_leaves::<L>(&entries[index..index + count], whole);

                    index += found;
                    cleared.end = index;
                    work.advance((found as u64) << Self::size_lg2::<L>());
                }
                Decoded::Leaf(_) => {
                    result = self.split::<L>(&entries[index..=index], work.iova, gather);
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
                    let lower = Table::at(lower);
                    let covered = work.covers(Self::size::<L>());

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

    /// Clears leaves up to the first entry that is none, and returns how many. Does not write if
    /// the whole table is to go.
    #[inline(always)]
    fn unmap_leaves<L: Level>(run: &[M::Entry], whole: bool) -> usize {
        let is_leaf = |entry: &M::Entry| matches!(F::decode(L::N, entry.load()), Decoded::Leaf(_));

        if whole {
            return run.iter().position(|e| !is_leaf(e)).unwrap_or(run.len());
        }
        for (found, entry) in run.iter().enumerate() {
            if !is_leaf(entry) {
                return found;
            }
            entry.store(0);
        }
        run.len()
    }

    /// Puts a table of the next smaller pages in the place of the large page that `entry`, a slice
    /// of one, holds. When that has changed meanwhile, nothing is done and the caller looks again.
    #[cold]
    fn split<L: Level>(
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

        loop {
            let old = entry[0].load();
            let Decoded::Leaf(page) = F::decode(L::N, old) else {
                self.mem.free(table);
                return Ok(());
            };

            let attrs = F::leaf_attrs(L::N, old);
            let mut paddr = page.raw();
            for small in self.entries(table) {
                small.store(F::leaf(L::Lower::N, paddr, attrs));
                paddr = paddr.wrapping_add(Self::size::<L::Lower>());
            }

            // Fails if hardware has set a bit in the entry, or somebody else has split the page.
            if self.link_table(entry, old, table).is_ok() {
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
