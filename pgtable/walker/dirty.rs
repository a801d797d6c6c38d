// SPDX-License-Identifier: GPL-2.0

//! Which memory devices have written to.

#![forbid(unsafe_code)]

use super::{
    super::{
        format::{At, Level},
        Decoded, DirtyFormat, Entry, Error, Gather, Table, TableMemory,
    },
    from_root, PageTable,
};
use crate::addr::Iova;

/// What to do with dirty bits that were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirtyMode {
    /// Clear them, so that the next write sets them again.
    Clear,
    /// Leave them as they are.
    Keep,
}

/// What is left to look at.
struct Work {
    iova: u64,
    len: u64,
}

impl Work {
    /// Goes on by `bytes`, or to the end.
    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        let bytes = bytes.min(self.len);

        self.iova = self.iova.wrapping_add(bytes);
        self.len -= bytes;
    }
}

impl<F: DirtyFormat, M: TableMemory> PageTable<F, M> {
    /// Calls `dirty` with address and length of each page in the range that was written to; with
    /// [`DirtyMode::Clear`] also clears its dirty bit and adds the page to `gather`. Writes are
    /// recorded again only after that is invalidated.
    ///
    /// Holes are passed over. A page that is only partly in the range counts, and is reported, as a
    /// whole: there is one bit for it.
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
            Some(last) if last.raw() <= self.iova_last => (),
            _ => return Err(Error::OutOfRange),
        }

        let mut work = Work {
            iova: iova.raw(),
            len,
        };
        from_root!(self, dirty_table, &mut work, mode, gather, &mut dirty);
        Ok(())
    }

    fn dirty_table<L: Level>(
        &self,
        table: Table,
        work: &mut Work,
        mode: DirtyMode,
        gather: &mut Gather<M>,
        dirty: &mut impl FnMut(Iova, u64),
    ) {
        let first = Self::index::<L>(work.iova);

        for entry in &self.entries(table)[first..] {
            let (value, was_dirty) = Self::read_dirty::<L>(entry, mode);

            match F::decode(L::N, value) {
                Decoded::Link(lower) if L::N > 0 => {
                    self.dirty_table::<L::Lower>(Table::at(lower), work, mode, gather, dirty);
                }
                _ => {
                    let start = Iova::new(work.iova).align_down(Self::size::<L>());

                    if was_dirty {
                        dirty(start, Self::size::<L>());
                        if mode == DirtyMode::Clear {
                            gather.add_range(start, Self::size::<L>());
                        }
                    }
                    work.advance(Self::size::<L>() - (work.iova - start.raw()));
                }
            }
            if work.len == 0 {
                return;
            }
        }
    }

    /// Returns an entry as it was found, and whether that is a dirty leaf; clears that if asked to.
    ///
    /// By compare-and-exchange: hardware sets bits meanwhile, and another call may be splitting the
    /// page of which a part is in its range.
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
