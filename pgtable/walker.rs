// SPDX-License-Identifier: GPL-2.0

//! The walker: one algorithm for all formats.
//!
//! Each operation is a recursive function over one table, with the level as a type parameter. The
//! compiler generates separate code for each level, in which shifts, masks and the possible kinds
//! of entries are constants. A call processes a table in one pass, from the first entry that it
//! needs to the last, and does not walk from the root again.

#![forbid(unsafe_code)]

mod block;
pub(super) mod dirty;
mod growth;
mod keep_tables;
mod list;
mod map;
pub(super) mod top;
mod unmap;

use core::{marker::PhantomData, ops::Range};

use self::top::{from_top, Top};
use super::{
    config::Config,
    error::Error,
    format::{At, Decoded, Format, Level, Root, MIN_ROOT_LG2},
    gather::Gather,
    memory::{Entry, Table, TableMemory},
    splits::Splits,
};
use crate::addr::{Iova, PageSizes, PhysAddr};

/// The page table of one address space.
///
/// All methods except `new` may be called from any context and by several CPUs at the same time, on
/// ranges that do not overlap: see the module `pgtable`.
///
/// # Order
///
/// A new table is complete before an entry points to it. Other entries are written in no particular
/// order. The code that notifies a device or a unit afterwards (by a doorbell or an invalidation
/// command) must order these writes before that notification, as for every write to a register or
/// queue.
///
/// # Non-coherent walkers
///
/// If the unit's walker does not snoop CPU caches, every entry that a call changes is written back
/// before the call returns, once for each run of entries. A new table is written back as a whole
/// before an entry points to it. A call that finds a table that another call has just installed
/// cannot know whether the other call has flushed the entry already, but its own mapping must be
/// visible when it returns. So the installing call sets [`Format::FLUSHED`] in the entry after the
/// flush, and a call that finds the bit clear flushes the entry too. An unmap does the same: the
/// table may have replaced a large page, which the walker could still read.
///
/// # Tables that are whole
///
/// An unmap stops at the first address that is not mapped, so it has to read all entries of a table
/// before it unlinks the table. Not so if the entry that points to a table of leaves has
/// [`Format::WHOLE`]: a call that maps all that a new table translates installs the table with this
/// mark, and a call that is about to unmap a part of it clears the mark first. A call that unmaps
/// all of it unlinks the table unread.
///
/// The mark needs no lock. A call that installs a table with the mark owns all that the table
/// translates, so no other call walks there before its entries are written, which cannot fail.
/// Several calls may clear the mark, each by an exchange.
///
/// # Invariants
///
/// - If an entry of level 1 has `F::WHOLE`, no entry of the table that it points to is empty, or
///   the call that has installed the table is about to write its entries.
/// - The root in `top` and every table that an entry points to were allocated from `mem` and are
///   not freed. The same holds for every earlier root in `top`.
/// - The number of levels in `top` is in `F::MIN_LEVELS..=F::MAX_LEVELS`, and at least
///   `first_levels`; no leaf is above `F::MAX_LEAF_LEVEL`.
/// - `page_sizes` is not empty. If it has leaf sizes of two levels, it also has the single-leaf
///   sizes of both levels and of all levels between. It has run sizes of a level only together with
///   the single-leaf size of that level.
pub struct PageTable<F: Format, M: TableMemory> {
    mem: M,
    /// The current [`Top`].
    top: M::Entry,
    /// The top that all units are known to use.
    told: M::Entry,
    /// The [`Splits`] that may not be invalidated everywhere.
    splits: M::Entry,
    first_levels: u8,
    /// Number of entries of a root that is smaller or larger than one table.
    root_entries: usize,
    coherent: bool,
    /// What an entry that points to a table has if every walker sees it: [`Format::FLUSHED`],
    /// unless walkers snoop the CPUs' caches.
    seen: u64,
    split: bool,
    page_sizes: PageSizes,
    /// The address bits that are 0 in multiples of the smallest page size.
    align_mask: u64,
    /// The last IOVA that the page table translates.
    iova_last: u64,
    /// The last output address that the page table can hold.
    oa_last: u64,
    format: PhantomData<fn() -> F>,
}

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Creates an empty page table in `mem`; `flags` are for the allocation of its root.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the format does not have that number of levels; or that number of
    ///   levels (for a format that grows: its maximum) does not translate `iova_bits`; or `oa_bits`
    ///   is more than the format has; or no page size is left.
    /// - [`Error::NoMemory`].
    pub fn new(cfg: &Config, mem: M, flags: M::Flags) -> Result<Self, Error> {
        let iova_bits = u32::from(cfg.iova_bits);
        let oa_bits = u32::from(cfg.oa_bits);

        if !(F::MIN_LEVELS..=F::MAX_LEVELS).contains(&cfg.levels)
            || iova_bits <= F::GRANULE_LG2
            || iova_bits > Self::max_iova_bits(cfg.levels)
            || oa_bits <= F::GRANULE_LG2
            || cfg.oa_bits > F::MAX_OA_BITS
        {
            return Err(Error::Invalid);
        }

        let page_sizes = Self::usable_sizes(cfg);
        if page_sizes.is_empty() {
            return Err(Error::Invalid);
        }

        let (root_size, root_entries) = Self::root_size(cfg);
        let root = mem.alloc(root_size, flags).ok_or(Error::NoMemory)?;
        if !cfg.coherent {
            mem.flush(mem.entries(root, root_size / size_of::<u64>()));
        }

        let top = Top {
            root: root.addr(),
            levels: cfg.levels,
        };
        Ok(Self {
            mem,
            top: M::Entry::new(top.pack()),
            told: M::Entry::new(top.pack()),
            splits: M::Entry::new(0),
            first_levels: cfg.levels,
            root_entries,
            coherent: cfg.coherent,
            seen: if cfg.coherent { 0 } else { F::FLUSHED },
            split: cfg.split,
            page_sizes,
            align_mask: page_sizes.smallest() - 1,
            iova_last: u64::MAX >> (u64::BITS - iova_bits),
            oa_last: u64::MAX >> (u64::BITS - oa_bits),
            format: PhantomData,
        })
    }

    /// Returns the page sizes that mappings use.
    #[inline]
    pub fn page_sizes(&self) -> PageSizes {
        self.page_sizes
    }

    /// Returns the last IOVA that the page table translates; the first is 0.
    #[inline]
    pub fn last_iova(&self) -> Iova {
        Iova::new(self.iova_last)
    }

    /// Returns the output address of `iova`, which may have any alignment.
    ///
    /// The caller must prevent a concurrent unmap of the page at `iova`.
    pub fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        let top = self.top();

        if iova.raw() > self.last_of(top) {
            return None;
        }
        from_top!(self, top, lookup, iova.raw())
    }

    #[inline(always)]
    fn lookup<L: Level>(&self, table: Table, iova: u64) -> Option<PhysAddr> {
        let entry = self.entries::<L>(table)[Self::index::<L>(iova)].load();

        match F::decode(L::N, entry) {
            Decoded::Empty => None,
            Decoded::Leaf(page) => page.checked_add(iova & (Self::span::<L>(entry) - 1)),
            // Level 0 has only leaves.
            Decoded::Link(_) if L::N == 0 => None,
            Decoded::Link(lower) => self.lookup::<L::Lower>(Table::at(lower), iova),
        }
    }

    /// Returns the entry of level 0 for `iova`, if a change of it changes no other entry: all
    /// tables above it exist and were flushed, and its own table is not marked as whole.
    #[inline(always)]
    fn lowest_entry<L: Level>(&self, table: Table, iova: u64) -> Option<&M::Entry> {
        let (entries, index) = self.lowest_entries::<L>(table, iova)?;
        Some(&entries[index])
    }

    /// As [`lowest_entry`](Self::lowest_entry): its table, and the index in there.
    #[inline(always)]
    fn lowest_entries<L: Level>(&self, table: Table, iova: u64) -> Option<(&[M::Entry], usize)> {
        let entries = self.entries::<L>(table);
        let index = Self::index::<L>(iova);

        if L::N == 0 {
            return Some((entries, index));
        }
        let value = entries[index].load();
        match F::decode(L::N, value) {
            Decoded::Link(_) if Self::is_whole::<L>(value) => None,
            Decoded::Link(_) if value & self.seen != self.seen => None,
            Decoded::Link(lower) => self.lowest_entries::<L::Lower>(Table::at(lower), iova),
            _ => None,
        }
    }

    /// Returns whether an entry that points to a table says that the table has no empty entry.
    #[inline(always)]
    fn is_whole<L: Level>(link: u64) -> bool {
        L::N == 1 && link & F::WHOLE != 0
    }

    /// Clears the mark in an entry, a slice of one, that was read as `link`. The caller unmaps a
    /// part afterwards.
    #[cold]
    fn clear_whole(&self, entry: &[M::Entry], mut link: u64) {
        while link & F::WHOLE != 0 {
            match entry[0].compare_exchange(link, link & !F::WHOLE) {
                Ok(()) => break,
                Err(now) => link = now,
            }
        }
        self.flush(entry, 0..1);
    }

    const ENTRIES: usize = 1 << F::INDEX_LG2;
    const TABLE_SIZE: usize = Self::ENTRIES * size_of::<u64>();
    const GRANULE: u64 = 1 << F::GRANULE_LG2;
    const RUNS: bool = F::RUN_BITS != 0;

    /// Returns the number of bytes that one entry of level `L` translates, as a power of 2.
    #[inline(always)]
    fn size_lg2<L: Level>() -> u32 {
        F::GRANULE_LG2 + F::INDEX_LG2 * u32::from(L::N)
    }

    /// Returns the number of bytes that one entry of level `L` translates.
    #[inline(always)]
    fn size<L: Level>() -> u64 {
        1 << Self::size_lg2::<L>()
    }

    /// Returns how many leaves of level `L` the page of `leaf` consists of, as a power of 2.
    #[inline(always)]
    fn run_lg2<L: Level>(leaf: u64) -> u32 {
        if Self::RUNS {
            F::run_lg2(L::N, leaf)
        } else {
            0
        }
    }

    /// Returns the size in bytes of the page that `leaf` belongs to.
    #[inline(always)]
    fn span<L: Level>(leaf: u64) -> u64 {
        Self::size::<L>() << Self::run_lg2::<L>(leaf)
    }

    /// Returns the index of the entry for `iova` in a table of level `L`.
    #[inline(always)]
    fn index<L: Level>(iova: u64) -> usize {
        let index = (iova >> Self::size_lg2::<L>()) as usize;

        if L::ROOT {
            index
        } else {
            index & (Self::ENTRIES - 1)
        }
    }

    #[inline(always)]
    fn entries<L: Level>(&self, table: Table) -> &[M::Entry] {
        let count = if L::ROOT {
            self.root_entries
        } else {
            Self::ENTRIES
        };

        self.mem.entries(table, count)
    }

    #[inline(always)]
    fn flush(&self, entries: &[M::Entry], run: Range<usize>) {
        if !self.coherent && !run.is_empty() {
            self.mem.flush(&entries[run]);
        }
    }

    /// Adds `len` bytes of changed leaves to `gather`, rounded to blocks that fully cover any page
    /// whose split is pending: another call may have split it and not yet invalidated it.
    #[inline(always)]
    fn add_changed(&self, iova: u64, len: u64, gather: &mut Gather<M>) {
        let mask = match F::PARTS_ARE_INVALIDATED {
            true => 0,
            // A split becomes pending before it changes entries; here this is read after the
            // entries. All formats that need this are for x86, where loads are not reordered with
            // each other. A split that is not pending any more was invalidated before.
            false => Splits(self.splits.load()).mask(),
        };

        gather.add_through(iova & !mask, iova + (len - 1) | mask);
    }

    /// Records that a page of `size` bytes is about to be split, before another call can find it
    /// split. `gather` is that of the call that splits it.
    fn note_split(&self, size: u64, gather: &mut Gather<M>) {
        if !F::PARTS_ARE_INVALIDATED {
            gather.add_split();
            self.update_splits(|splits| splits.with(size));
        }
    }

    /// Records that everything was invalidated that was in the gather of a call, and that it was so
    /// on every unit and device TLB. The call has [split](Gather::take_splits) `count` pages.
    ///
    /// Context: any.
    pub fn splits_are_invalidated(&self, count: u32) {
        self.update_splits(|splits| splits.without(count));
    }

    fn update_splits(&self, f: impl Fn(Splits) -> Splits) {
        let mut old = self.splits.load();

        while let Err(now) = self.splits.compare_exchange(old, f(Splits(old)).0) {
            old = now;
        }
    }

    /// Returns the maximum number of IOVA bits that a page table with `levels` levels, or with
    /// `levels` initial levels, can translate.
    fn max_iova_bits(levels: u8) -> u32 {
        let levels = if F::GROWS { F::MAX_LEVELS } else { levels };
        let bits = F::GRANULE_LG2 + F::INDEX_LG2 * u32::from(levels) + F::MAX_ROOT_TABLES_LG2
            - F::UNUSED_IOVA_BITS;

        bits.min(u64::BITS)
    }

    /// Returns the size of the root in bytes and the number of its entries.
    fn root_size(cfg: &Config) -> (usize, usize) {
        if F::FULL_ROOT {
            return (Self::TABLE_SIZE, Self::ENTRIES);
        }

        let below = F::GRANULE_LG2 + F::INDEX_LG2 * u32::from(cfg.levels - 1);
        let entries: usize = 1 << u32::from(cfg.iova_bits).saturating_sub(below);

        ((entries * size_of::<u64>()).max(1 << MIN_ROOT_LG2), entries)
    }

    /// Returns the page sizes that a page table of this shape can use. The single-leaf sizes start
    /// at the smallest and have no gap, because a large page is split into pages of the next lower
    /// level. A run is split into single leaves, so a run size requires the single-leaf size.
    /// Without splits there are no runs.
    fn usable_sizes(cfg: &Config) -> PageSizes {
        let sizes = cfg.page_sizes.intersection(F::PAGE_SIZES);
        let bits = u32::from(cfg.iova_bits.min(cfg.oa_bits));
        let levels = if F::GROWS { F::MAX_LEVELS } else { cfg.levels };
        let mut usable = PageSizes::NONE;

        for level in 0..levels.min(F::MAX_LEAF_LEVEL + 1) {
            let lg2 = F::GRANULE_LG2 + F::INDEX_LG2 * u32::from(level);
            let runs = match Self::RUNS && cfg.split {
                true => F::INDEX_LG2,
                false => 1,
            };

            if lg2 >= bits {
                break;
            }
            if sizes.contains(1 << lg2) {
                for lg2 in lg2..bits.min(lg2 + runs) {
                    usable = usable | sizes.intersection(PageSizes::new(1 << lg2));
                }
            } else if !usable.is_empty() {
                break;
            }
        }
        usable
    }

    /// Checks the range of a map or an unmap.
    #[inline(always)]
    fn check_range(&self, iova: Iova, len: u64) -> Result<(), Error> {
        if len == 0 || (iova.raw() | len) & self.align_mask != 0 {
            return Err(Error::Invalid);
        }
        match iova.last(len) {
            Some(last) if last.raw() <= self.iova_last => Ok(()),
            _ => Err(Error::OutOfRange),
        }
    }

    /// Frees a table and all below it.
    fn free_subtree<L: Level>(&self, table: Table) {
        if L::N > 0 {
            let free_below = |entry: &M::Entry| {
                if let Decoded::Link(lower) = F::decode(L::N, entry.load()) {
                    self.free_subtree::<L::Lower>(Table::at(lower));
                }
            };
            // Most entries are empty, so eight are read before one is looked at.
            let mut eights = self.entries::<L>(table).chunks_exact(8);
            for eight in &mut eights {
                if eight.iter().fold(0, |all, entry| all | entry.load()) != 0 {
                    eight.iter().for_each(free_below);
                }
            }
            eights.remainder().iter().for_each(free_below);
        }
        self.mem.free(table);
    }
}

/// Frees every table. No unit may be able to walk them any more: the domain is detached from every
/// unit, and the invalidations of these detaches have completed.
impl<F: Format, M: TableMemory> Drop for PageTable<F, M> {
    fn drop(&mut self) {
        from_top!(self, self.top(), free_subtree)
    }
}
