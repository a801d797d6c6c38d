// SPDX-License-Identifier: GPL-2.0

//! Mapping.

#![forbid(unsafe_code)]

use super::{
    super::{
        format::{At, Level},
        Decoded, Entry, Error, Format, Gather, Table, TableMemory,
    },
    from_root, PageTable,
};
use crate::addr::{Iova, PhysAddr, Prot};

/// What is left to map.
struct Work {
    iova: u64,
    paddr: u64,
    len: u64,
    attrs: u64,
}

impl Work {
    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        self.iova = self.iova.wrapping_add(bytes);
        self.paddr = self.paddr.wrapping_add(bytes);
        self.len -= bytes;
    }
}

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Maps `len` bytes at `iova` to those at `paddr`, with the largest pages that fit.
    ///
    /// Returns how many bytes, from `iova` on, are mapped when the call returns. On an error the
    /// caller unmaps these if it wants all or nothing; what was mapped there before is untouched.
    ///
    /// `flags` are for the allocation of tables; the call sleeps only if these allow it.
    ///
    /// A large page may take the place of tables that have become empty. These go to `gather`, so
    /// if that is not empty after the call it has to be seen to, whatever the result is.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: `len` is 0, or `iova`, `paddr` or `len` is not a multiple of the
    ///   smallest page size, or `prot` permits nothing.
    /// - [`Error::OutOfRange`]: the range overflows or leaves the aperture, or the memory is beyond
    ///   what the table can translate to.
    /// - [`Error::InUse`]: something is mapped in the range already.
    /// - [`Error::NoMemory`].
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

        // One page where the tables exist already is what the DMA API asks for most.
        if len == Self::GRANULE && self.coherent {
            if let Some(entry) = from_root!(self, lowest_entry, iova.raw()) {
                if entry.load() != 0 {
                    return (0, Err(Error::InUse));
                }
                entry.store(F::leaf(0, paddr.raw(), attrs));
                return (len, Ok(()));
            }
        }

        let mut work = Work {
            iova: iova.raw(),
            paddr: paddr.raw(),
            len,
            attrs,
        };
        let result = from_root!(self, map_table, &mut work, flags, gather);

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

    /// Maps in one table until the work or the table ends.
    fn map_table<L: Level>(
        &self,
        table: Table,
        work: &mut Work,
        flags: M::Flags,
        gather: &mut Gather<M>,
    ) -> Result<(), Error> {
        let entries = self.entries(table);
        let mut index = Self::index::<L>(work.iova);

        loop {
            if self.fits::<L>(work) {
                let room = (entries.len() - index) as u64;
                let count = (work.len >> Self::size_lg2::<L>()).min(room) as usize;

                self.map_leaves::<L>(&entries[index..index + count], work, gather)?;
                index += count;
            } else if L::N == 0 {
                // Arguments are multiples of the smallest page size, so some level has fitted.
                return Err(Error::Invalid);
            } else {
                let lower = self.lower_table::<L>(&entries[index..=index], flags)?;

                self.map_table::<L::Lower>(lower, work, flags, gather)?;
                index += 1;
            }
            if work.len == 0 || index == entries.len() {
                return Ok(());
            }
        }
    }

    /// Says whether what is to be mapped next can be a leaf of level `L`.
    #[inline(always)]
    fn fits<L: Level>(&self, work: &Work) -> bool {
        L::N <= F::MAX_LEAF_LEVEL
            && self.page_sizes.contains(Self::size::<L>())
            && (work.iova | work.paddr) & (Self::size::<L>() - 1) == 0
            && work.len >= Self::size::<L>()
    }

    /// Fills a run of entries with leaves.
    #[inline(always)]
    fn map_leaves<L: Level>(
        &self,
        run: &[M::Entry],
        work: &mut Work,
        gather: &mut Gather<M>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        let mut paddr = work.paddr;
        let mut done = 0;

        for entry in run {
            let old = entry.load();
            let leaf = F::leaf(L::N, paddr, work.attrs);

            if old == 0 {
                entry.store(leaf);
            } else {
                let iova = work.iova + ((done as u64) << Self::size_lg2::<L>());

                result = self.replace_empty::<L>(entry, old, leaf, iova, gather);
                if result.is_err() {
                    break;
                }
            }
            paddr = paddr.wrapping_add(Self::size::<L>());
            done += 1;
        }
        self.flush(run, 0..done);
        work.advance((done as u64) << Self::size_lg2::<L>());
        result
    }

    /// Writes a leaf over an entry that is not empty: possible if it points to a table, and nothing
    /// is mapped by that.
    ///
    /// The leaf translates all that the table does, so the caller owns all of that range and nobody
    /// else walks in the table.
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

    /// Says whether a table, or one below it, maps anything.
    fn is_used<L: Level>(&self, table: Table) -> bool {
        self.entries(table)
            .iter()
            .any(|entry| match F::decode(L::N, entry.load()) {
                Decoded::Empty => false,
                Decoded::Link(lower) if L::N > 0 => self.is_used::<L::Lower>(Table::at(lower)),
                _ => true,
            })
    }

    /// Gathers a table and all below it.
    fn gather_subtree<L: Level>(&self, table: Table, gather: &mut Gather<M>) {
        if L::N > 0 {
            for entry in self.entries(table) {
                if let Decoded::Link(lower) = F::decode(L::N, entry.load()) {
                    self.gather_subtree::<L::Lower>(Table::at(lower), gather);
                }
            }
        }
        gather.add_table(table);
    }

    /// Returns the table that an entry points to; installs one if there is none. `entry` is a slice
    /// of one, as flushing wants it.
    #[inline]
    fn lower_table<L: Level>(&self, entry: &[M::Entry], flags: M::Flags) -> Result<Table, Error> {
        let old = entry[0].load();

        match F::decode(L::N, old) {
            Decoded::Empty => self.install_table::<L>(entry, flags),
            found => self.found_table(entry, old, found),
        }
    }

    /// Returns the table that an entry was found to point to.
    #[inline(always)]
    fn found_table(&self, entry: &[M::Entry], value: u64, found: Decoded) -> Result<Table, Error> {
        let Decoded::Link(lower) = found else {
            return Err(Error::InUse);
        };

        // Who has installed it may not have come to flushing it yet.
        if !self.coherent && value & F::FLUSHED == 0 {
            self.mem.flush(entry);
        }
        Ok(Table::at(lower))
    }

    /// Installs a new table in an entry that was found empty.
    #[inline(never)]
    fn install_table<L: Level>(&self, entry: &[M::Entry], flags: M::Flags) -> Result<Table, Error> {
        let new = self
            .mem
            .alloc(Self::TABLE_SIZE, flags)
            .ok_or(Error::NoMemory)?;

        match self.link_table(entry, 0, new) {
            Ok(()) => Ok(new),
            Err(now) => {
                self.mem.free(new);
                self.found_table(entry, now, F::decode(L::N, now))
            }
        }
    }

    /// Makes `entry` point to `table`, if it is `old`; else returns what it is instead.
    pub(super) fn link_table(&self, entry: &[M::Entry], old: u64, table: Table) -> Result<(), u64> {
        let link = F::link(table.addr());

        if self.coherent {
            return entry[0].compare_exchange(old, link);
        }

        self.mem.flush(self.entries(table));
        entry[0].compare_exchange(old, link)?;
        self.mem.flush(entry);
        // Nobody else changes the entry but to set this bit, or to take the table out; and the
        // latter must not be undone.
        let _ = entry[0].compare_exchange(link, link | F::FLUSHED);
        Ok(())
    }
}
