// SPDX-License-Identifier: GPL-2.0

//! Dirty tracking: which pages devices have written.

#![forbid(unsafe_code)]

use super::{top::from_top, PageTable};
use crate::{
    addr::Iova,
    pgtable::{
        error::Error,
        format::{At, Decoded, DirtyFormat, Level, Root},
        gather::Gather,
        memory::{Entry, Table, TableMemory},
    },
};

/// What to do with dirty bits after reading them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirtyMode {
    /// Clear them, so that the next write sets them again.
    Clear,
    /// Leave them as they are.
    Keep,
}

impl<F: DirtyFormat, M: TableMemory> PageTable<F, M> {
    /// Calls `dirty` with the address and length of each page in the range that was written. With
    /// [`DirtyMode::Clear`] it also clears the page's dirty bit and adds the page to `gather`.
    /// Hardware records new writes only after the caller has invalidated it.
    ///
    /// Addresses that are not mapped are skipped. A page that is only partly in the range is
    /// reported as a whole: it has one dirty bit, or, if it is a run, a bit in each entry, each of
    /// which stands for the whole run.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: `len` is 0.
    /// - [`Error::OutOfRange`]: the range overflows or leaves the aperture.
    pub fn read_and_clear_dirty(
        &self,
        iova: Iova,
        len: u64,
        mode: DirtyMode,
        gather: &mut Gather<M>,
        mut dirty: impl FnMut(Iova, u64),
    ) -> Result<(), Error> {
        if len == 0 {
            return Err(Error::Invalid);
        }
        match iova.last(len) {
            Some(last) if last.raw() <= self.iova_last => {
                let top = self.top();
                let last = last.raw().min(self.last_of(top));

                if iova.raw() <= last {
                    let range = (iova.raw(), last);

                    from_top!(self, top, dirty_table, range, mode, gather, &mut dirty);
                }
                Ok(())
            }
            _ => Err(Error::OutOfRange),
        }
    }

    /// Reads the dirty bits of `first..=last`, all of which this table translates.
    fn dirty_table<L: Level>(
        &self,
        table: Table,
        (first, last): (u64, u64),
        mode: DirtyMode,
        gather: &mut Gather<M>,
        dirty: &mut impl FnMut(Iova, u64),
    ) {
        let entries = self.entries::<L>(table);
        let end = Self::index::<L>(last);
        let mut index = Self::index::<L>(first);
        // The first address that the table translates.
        let base =
            first.wrapping_sub((index as u64) << Self::size_lg2::<L>()) & !(Self::size::<L>() - 1);

        while index <= end {
            let (value, was_dirty) = Self::read_dirty::<L>(&entries[index], mode);

            match F::decode(L::N, value) {
                Decoded::Leaf(_) => {
                    let run_lg2 = Self::run_lg2::<L>(value);
                    let start = index >> run_lg2 << run_lg2;
                    let next = start + (1 << run_lg2);
                    let mut was_dirty = was_dirty;

                    if Self::RUNS && run_lg2 > 0 {
                        for entry in &entries[start..next] {
                            was_dirty |= Self::read_dirty::<L>(entry, mode).1;
                        }
                    }
                    if was_dirty {
                        let start = Iova::new(base + ((start as u64) << Self::size_lg2::<L>()));

                        dirty(start, Self::span::<L>(value));
                        if mode == DirtyMode::Clear {
                            self.add_changed(start.raw(), Self::span::<L>(value), gather);
                        }
                    }
                    index = next;
                }
                Decoded::Link(lower) if L::N > 0 => {
                    let start = base + ((index as u64) << Self::size_lg2::<L>());
                    let part = (first.max(start), last.min(start + (Self::size::<L>() - 1)));

                    self.dirty_table::<L::Lower>(Table::at(lower), part, mode, gather, dirty);
                    index += 1;
                }
                _ => index += 1,
            }
        }
    }

    /// Returns the entry as it was read, and whether it is a dirty leaf. Clears the dirty bit if
    /// `mode` says so.
    ///
    /// Uses compare-and-exchange, because hardware sets bits at the same time, and another call may
    /// be splitting a page that is only partly in its range.
    #[inline(always)]
    fn read_dirty<L: Level>(entry: &M::Entry, mode: DirtyMode) -> (u64, bool) {
        let mut value = entry.load();

        loop {
            if !matches!(F::decode(L::N, value), Decoded::Leaf(_)) || !F::is_dirty(value) {
                return (value, false);
            }
            if mode == DirtyMode::Keep {
                return (value, true);
            }
            match entry.compare_exchange(value, F::clean(value)) {
                Ok(()) => return (value, true),
                Err(now) => value = now,
            }
        }
    }
}
