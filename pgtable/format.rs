// SPDX-License-Identifier: GPL-2.0

//! What the walker needs to know about the layout of a page table.

#![forbid(unsafe_code)]

use super::error::Error;
use crate::addr::{PageSizes, PhysAddr, Prot};

/// One layout of page tables.
///
/// An implementation is a set of pure functions on single entries; it never accesses memory. Levels
/// are counted from the bottom: level 0 is the table whose entries are all leaves.
///
/// An entry is 64 bits wide and is empty exactly if it is 0.
pub trait Format: 'static {
    /// The size of the memory that one entry of level 0 translates, and of one table, as a power of
    /// 2.
    const GRANULE_LG2: u32;

    /// The number of entries of one table, as a power of 2.
    const INDEX_LG2: u32;

    /// The minimum number of levels.
    const MIN_LEVELS: u8;

    /// The maximum number of levels.
    const MAX_LEVELS: u8;

    /// The highest level that can hold leaves.
    const MAX_LEAF_LEVEL: u8;

    /// How many of the highest address bits that all levels translate a device cannot use, such as
    /// the bit that selects a half of the address space.
    const UNUSED_IOVA_BITS: u32 = 0;

    /// Whether a page table starts with few levels and gets more when an address beyond them is
    /// mapped. See `PageTable`.
    const GROWS: bool = false;

    /// Whether hardware requires a full table as the root, even if fewer entries translate the
    /// whole aperture. If not, the root is as small as the aperture allows, but at least
    /// [`MIN_ROOT_LG2`].
    const FULL_ROOT: bool = true;

    /// The maximum number of concatenated tables that form the root, as a power of 2. More than one
    /// table replace the level above them.
    const MAX_ROOT_TABLES_LG2: u32 = 0;

    /// The maximum number of bits of an output address.
    const MAX_OA_BITS: u8;

    /// A bit of an entry that points to a table; hardware ignores it. The walker sets it once the
    /// entry has been written back from the CPU's caches. See `PageTable`.
    const FLUSHED: u64;

    /// A bit of an entry that points to a table of leaves; hardware ignores it. It is set if the
    /// call that has installed the table has mapped all that the table translates, and nothing of
    /// it was unmapped since. See `PageTable`.
    const WHOLE: u64;

    /// All page sizes: those of single leaves, and between them those of runs.
    const PAGE_SIZES: PageSizes;

    /// The bits of a leaf that mark it as a part of a run. A run is a group of adjacent entries
    /// that form one page; their number is a power of 2, and the group is aligned to it. All bits
    /// are clear in a leaf that is a page by itself, that is, one that belongs neither to a run nor
    /// to [a run that is being split](Format::split_run_leaf). 0 in a format without runs.
    const RUN_BITS: u64 = 0;

    /// Whether invalidating a part of a page removes every cached copy of the page. If not, an
    /// invalidation must cover the page as a whole.
    const PARTS_ARE_INVALIDATED: bool = false;

    /// Whether a leaf must not replace a table, even one that maps nothing, in a page table that
    /// must not [split](super::Config::split) pages: such a unit may require that software clears
    /// the entry and invalidates it in between (break-before-make).
    const NEEDS_BREAK: bool = false;

    /// Returns the bits, without the address, of a leaf that permits `prot`; [`Error::Invalid`] if
    /// the format cannot express `prot`.
    fn attrs(prot: Prot) -> Result<u64, Error>;

    /// Returns a leaf of `level` for the memory at `paddr`.
    fn leaf(level: u8, paddr: u64, attrs: u64) -> u64;

    /// Returns the first entry of a run of `1 << run_lg2` leaves of `level`, more than one, for the
    /// memory at `paddr`. Each further entry is the previous one plus
    /// [`run_step`](Format::run_step).
    fn run_leaf(level: u8, _run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        Self::leaf(level, paddr, attrs)
    }

    /// Returns the difference between two adjacent entries of a run of leaves of `level`.
    fn run_step(_level: u8) -> u64 {
        0
    }

    /// Returns how many leaves of `level` the page of `leaf` consists of, as a power of 2.
    fn run_lg2(_level: u8, _leaf: u64) -> u32 {
        0
    }

    /// Returns a single leaf of `level` for the memory at `paddr` that replaces an entry of a run
    /// of `1 << run_lg2` leaves, more than one. The leaf carries a split mark in those of the
    /// [`RUN_BITS`](Self::RUN_BITS) that hardware ignores, because a call that finds this leaf
    /// cannot know whether other entries still belong to the run.
    fn split_run_leaf(level: u8, _run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        Self::leaf(level, paddr, attrs)
    }

    /// Returns how many leaves of `level` the run had that is being split and that `leaf` was a
    /// part of, as a power of 2; 0 if `leaf` has no split mark.
    fn split_run_lg2(_level: u8, _leaf: u64) -> u32 {
        0
    }

    /// Returns `leaf` with what hardware recorded in `other`, another leaf of the same run. Such a
    /// record holds for the whole run.
    fn with_records_of(leaf: u64, _other: u64) -> u64 {
        leaf
    }

    /// Returns an entry of `level` that points to the table at `table`. It restricts no access:
    /// only leaves hold permissions.
    fn link(level: u8, table: PhysAddr) -> u64;

    /// Decodes an entry of `level`.
    fn decode(level: u8, entry: u64) -> Decoded;

    /// Returns the bits of a leaf of `level` that [`leaf`](Format::leaf) takes as `attrs`,
    /// including what hardware recorded in it (accessed, dirty).
    fn leaf_attrs(level: u8, entry: u64) -> u64;
}

/// The minimum size in bytes of a root that is smaller than a table, as a power of 2: the root is
/// aligned to its size, and hardware requires that alignment.
pub const MIN_ROOT_LG2: u32 = 6;

/// A format in whose leaves hardware records writes to the memory.
pub trait DirtyFormat: Format {
    /// Returns whether the memory of this leaf was written.
    fn is_dirty(leaf: u64) -> bool;

    /// Returns the leaf with the record of a write cleared.
    fn clean(leaf: u64) -> u64;
}

/// The kind of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Not present: an access faults.
    Empty,
    /// Points to the table of the next lower level at this address.
    Link(PhysAddr),
    /// Translates to memory at this address, where the page starts. If the entry belongs to a run,
    /// this is the address of the run's first entry.
    Leaf(PhysAddr),
}

/// A level of a page table as a type, so that the compiler generates separate code for each level
/// of a walk.
pub(super) trait Level {
    /// Distance from the bottom.
    const N: u8;

    /// Whether the table is a root with its own number of entries.
    const ROOT: bool;

    /// The next lower level. Level 0 names itself; no walk goes there.
    type Lower: Level;
}

/// Level `N`, in a full table.
pub(super) struct At<const N: u8>;

/// Level `N`, in a root with its own number of entries.
pub(super) struct Root<const N: u8>;

macro_rules! levels {
    ($($n:literal over $lower:literal),*) => {
        $(impl Level for At<$n> {
            const N: u8 = $n;
            const ROOT: bool = false;
            type Lower = At<$lower>;
        }

        impl Level for Root<$n> {
            const N: u8 = $n;
            const ROOT: bool = true;
            type Lower = At<$lower>;
        })*
    };
}

levels!(0 over 0, 1 over 0, 2 over 1, 3 over 2, 4 over 3, 5 over 4);
