// SPDX-License-Identifier: GPL-2.0

//! What the walker needs to know about a page table's layout.

#![forbid(unsafe_code)]

use super::error::Error;
use crate::addr::{PageSizes, PhysAddr, Prot};

/// One layout of page tables.
///
/// An implementation is values in, values out: it sees single entries, never memory. Levels are
/// counted from the bottom: level 0 is the table whose entries are all leaves.
///
/// An entry is 64 bits wide and is empty exactly when it is 0.
pub trait Format: 'static {
    /// Size of the memory that one entry of level 0 translates, and of one table, as a power of 2.
    const GRANULE_LG2: u32;

    /// Number of entries of one table, as a power of 2.
    const INDEX_LG2: u32;

    /// Fewest levels that a table may have.
    const MIN_LEVELS: u8;

    /// Most levels that a table may have.
    const MAX_LEVELS: u8;

    /// The highest level that can hold leaves.
    const MAX_LEAF_LEVEL: u8;

    /// How many of the highest bits that all levels translate are not the device's to use, such as
    /// that which tells the halves of the address space apart.
    const UNUSED_IOVA_BITS: u32 = 0;

    /// Whether a table starts with few levels and gets more when an address beyond them is mapped.
    /// See `PageTable`.
    const GROWS: bool = false;

    /// Whether hardware reads a full table as the root, even if fewer entries translate the whole
    /// aperture. If not, the root is as small as that allows, but for [`MIN_ROOT_LG2`].
    const FULL_ROOT: bool = true;

    /// How many tables next to each other the root can be, as a power of 2. More than one take the
    /// place of the level above them.
    const MAX_ROOT_TABLES_LG2: u32 = 0;

    /// Most bits that an output address can have.
    const MAX_OA_BITS: u8;

    /// A bit of an entry that points to a table, ignored by hardware: it is set once the entry has
    /// been flushed from the CPU's caches. See `PageTable`.
    const FLUSHED: u64;

    /// All sizes that a page can have: those of single leaves, and between these the sizes of runs.
    const PAGE_SIZES: PageSizes;

    /// A number of entries next to each other, a power of 2 and aligned to it, can be one page: a
    /// run. Of these bits of a leaf none is set if it is a page by itself: not of a run, and not
    /// [of one that is being split](Format::split_run_leaf). 0 in a format without runs.
    const RUN_BITS: u64 = 0;

    /// Whether invalidating a part of a page takes every cached copy of the page away. If not, an
    /// invalidation has to cover the page as a whole.
    const PARTS_ARE_INVALIDATED: bool = false;

    /// Returns the bits, address aside, of a leaf that permits `prot`; [`Error::Invalid`] when the
    /// format cannot say so.
    fn attrs(prot: Prot) -> Result<u64, Error>;

    /// Returns a leaf of `level` for the memory at `paddr`.
    fn leaf(level: u8, paddr: u64, attrs: u64) -> u64;

    /// Returns the first entry of a run of `1 << run_lg2` leaves of `level`, more than one, for the
    /// memory at `paddr`. Each other one is the one before it plus [`run_step`](Format::run_step).
    fn run_leaf(level: u8, _run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        Self::leaf(level, paddr, attrs)
    }

    /// Returns what is added to an entry of a run of leaves of `level` to get the next one.
    fn run_step(_level: u8) -> u64 {
        0
    }

    /// Returns how many leaves of `level` the page has that this one is of, as a power of 2.
    fn run_lg2(_level: u8, _leaf: u64) -> u32 {
        0
    }

    /// Returns a leaf of `level` by itself for the memory at `paddr`, in the place of one of a run
    /// of `1 << run_lg2`, more than one. It says so, in those of the [`RUN_BITS`](Self::RUN_BITS)
    /// that hardware ignores: whoever finds it cannot know that nothing is left of the run.
    fn split_run_leaf(level: u8, _run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        Self::leaf(level, paddr, attrs)
    }

    /// Returns how many leaves of `level` the run has, as a power of 2, that this one was of and
    /// that is being split; 0 if there is none.
    fn split_run_lg2(_level: u8, _leaf: u64) -> u32 {
        0
    }

    /// Returns a leaf with what hardware recorded in another one of the same run, which holds for
    /// all of it.
    fn with_records_of(leaf: u64, _other: u64) -> u64 {
        leaf
    }

    /// Returns an entry of `level` that points to the table at `table`. It restricts no access:
    /// permissions are the leaves'.
    fn link(level: u8, table: PhysAddr) -> u64;

    /// Says what the entry of `level` is.
    fn decode(level: u8, entry: u64) -> Decoded;

    /// Returns the bits of a leaf of `level` that [`leaf`](Format::leaf) takes as `attrs`, and with
    /// them whatever hardware recorded in it (accessed, dirty).
    fn leaf_attrs(level: u8, entry: u64) -> u64;
}

/// Size in bytes that a root which is no full table has at least, as a power of 2: it is aligned to
/// its size, and hardware wants that much.
pub const MIN_ROOT_LG2: u32 = 6;

/// A format in whose leaves hardware records that memory was written.
pub trait DirtyFormat: Format {
    /// Says whether the memory of this leaf was written.
    fn is_dirty(leaf: u64) -> bool;

    /// Returns the leaf without that record.
    fn clean(leaf: u64) -> u64;
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Nothing: access faults.
    Empty,
    /// It points to the table of the next lower level at this address.
    Link(PhysAddr),
    /// It translates to the memory at this address, where the page starts. If the entry is of a
    /// run, that is the memory of the run's first entry.
    Leaf(PhysAddr),
}

/// A level of a table as a type, so that each level of a walk is code of its own.
pub(super) trait Level {
    /// Distance from the bottom.
    const N: u8;

    /// Whether the table is a root with a number of entries of its own.
    const ROOT: bool;

    /// The next lower level. The lowest level names itself; no walk goes there.
    type Lower: Level;
}

/// Level `N`, in a full table.
pub(super) struct At<const N: u8>;

/// Level `N`, in a root with a number of entries of its own.
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
