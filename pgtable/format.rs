// SPDX-License-Identifier: GPL-2.0

//! What the walker needs to know about a page table's layout.

#![forbid(unsafe_code)]

use super::Error;
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

    /// Most bits that an output address can have.
    const MAX_OA_BITS: u8;

    /// A bit of an entry that points to a table, ignored by hardware: it is set once the entry has
    /// been flushed from the CPU's caches. See `PageTable`.
    const FLUSHED: u64;

    /// All sizes that a leaf can have.
    const PAGE_SIZES: PageSizes;

    /// Returns the bits, address aside, of a leaf that permits `prot`; [`Error::Invalid`] when the
    /// format cannot say so.
    fn attrs(prot: Prot) -> Result<u64, Error>;

    /// Returns a leaf of `level` for the memory at `paddr`.
    fn leaf(level: u8, paddr: u64, attrs: u64) -> u64;

    /// Returns an entry that points to the table at `table`. It restricts no access: permissions
    /// are the leaves'.
    fn link(table: PhysAddr) -> u64;

    /// Says what the entry of `level` is.
    fn decode(level: u8, entry: u64) -> Decoded;

    /// Returns the bits of a leaf of `level` that [`leaf`](Format::leaf) takes as `attrs`, and with
    /// them whatever hardware recorded in it (accessed, dirty).
    fn leaf_attrs(level: u8, entry: u64) -> u64;
}

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
    /// It translates to the memory at this address.
    Leaf(PhysAddr),
}

/// A level of a table as a type, so that each level of a walk is code of its own.
pub(super) trait Level {
    /// Distance from the bottom.
    const N: u8;

    /// The next lower level. The lowest level names itself; no walk goes there.
    type Lower: Level;
}

/// Level `N`.
pub(super) struct At<const N: u8>;

macro_rules! levels {
    ($($n:literal over $lower:literal),*) => {
        $(impl Level for At<$n> {
            const N: u8 = $n;
            type Lower = At<$lower>;
        })*
    };
}

levels!(0 over 0, 1 over 0, 2 over 1, 3 over 2, 4 over 3);
