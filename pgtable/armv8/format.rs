// SPDX-License-Identifier: GPL-2.0

//! The layout of entries of Armv8-A page tables.

#![forbid(unsafe_code)]

use core::marker::PhantomData;

use crate::{
    addr::{PageSizes, PhysAddr, Prot},
    pgtable::{Decoded, DirtyFormat, Error, Format},
};

/// Index in MAIR: normal memory, write-back, read- and write-allocate.
pub(super) const MAIR_WRITE_BACK: u64 = 1;
/// Index in MAIR: Device-nGnRE.
pub(super) const MAIR_DEVICE: u64 = 2;

const VALID: u64 = 1 << 0;
/// Distinguishes tables and pages from blocks.
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTR_SHIFT: u32 = 2;
/// Stage 1.
const AP_UNPRIVILEGED: u64 = 1 << 6;
/// Stage 1.
const AP_READ_ONLY: u64 = 1 << 7;
/// Stage 2.
const S2AP_READ: u64 = 1 << 6;
/// Stage 2.
const S2AP_WRITE: u64 = 1 << 7;
const SH_OUTER: u64 = 2 << 8;
const SH_INNER: u64 = 3 << 8;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const DBM: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
const PXN: u64 = 1 << 53;
const XN: u64 = 1 << 54;
/// Two of the bits that hardware ignores in an entry that points to a table.
const FLUSHED: u64 = 1 << 55;
const WHOLE: u64 = 1 << 56;
/// The split mark, in one of a leaf's bits for software: the leaf's run is being split.
const SPLIT: u64 = 1 << 55;

/// The attributes of a leaf, without the contiguous bit.
const ATTRS: u64 = (XN << 1) - PXN | DBM | (NG << 1) - (1 << ATTR_SHIFT);
/// The address field.
const ADDR: u64 = ((1 << 48) - 1) & !((1 << 12) - 1);

/// MemAttr: normal memory, outer and inner write-back.
const MEMATTR_WRITE_BACK: u64 = 0xf << ATTR_SHIFT;
/// MemAttr: normal memory, non-cacheable.
const MEMATTR_NON_CACHEABLE: u64 = 0x5 << ATTR_SHIFT;
/// MemAttr: Device-nGnRE.
const MEMATTR_DEVICE: u64 = 0x1 << ATTR_SHIFT;

/// The size of the smallest page and of a table, as a type.
pub trait Granule: 'static {
    /// The size in bytes, as a power of 2.
    const LG2: u32;
    /// The maximum number of levels.
    const MAX_LEVELS: u8;
    /// The highest level that has blocks.
    const MAX_BLOCK_LEVEL: u8;
    /// The maximum number of bits of an output address.
    const MAX_OA_BITS: u8;
    /// How many pages (level 0) or blocks of a level form a contiguous run, as a power of 2.
    const RUNS_LG2: [u32; 3];
}

/// Granule of 4 KiB: blocks of 2 MiB and 1 GiB.
pub struct Granule4K;

/// Granule of 16 KiB: blocks of 32 MiB.
pub struct Granule16K;

/// Granule of 64 KiB: blocks of 512 MiB and, with 52 bits of output address, 4 TiB.
pub struct Granule64K;

impl Granule for Granule4K {
    const LG2: u32 = 12;
    const MAX_LEVELS: u8 = 4;
    const MAX_BLOCK_LEVEL: u8 = 2;
    const MAX_OA_BITS: u8 = 48;
    const RUNS_LG2: [u32; 3] = [4, 4, 4];
}

impl Granule for Granule16K {
    const LG2: u32 = 14;
    const MAX_LEVELS: u8 = 4;
    const MAX_BLOCK_LEVEL: u8 = 1;
    const MAX_OA_BITS: u8 = 48;
    const RUNS_LG2: [u32; 3] = [7, 5, 0];
}

impl Granule for Granule64K {
    const LG2: u32 = 16;
    const MAX_LEVELS: u8 = 3;
    const MAX_BLOCK_LEVEL: u8 = 2;
    const MAX_OA_BITS: u8 = 52;
    const RUNS_LG2: [u32; 3] = [5, 5, 0];
}

/// What differs between the stages.
pub trait Kind: 'static {
    /// The maximum number of concatenated tables that form the root, as a power of 2.
    const MAX_ROOT_TABLES_LG2: u32;

    /// Returns the bits of a leaf that permits `prot`.
    fn attrs(prot: Prot) -> Result<u64, Error>;

    /// Returns `leaf` with what hardware recorded in `other`, another leaf of the same run.
    fn with_records_of(leaf: u64, other: u64) -> u64;
}

/// Stage 1, for one ASID.
pub struct One;

/// Stage 2.
pub struct Two;

impl Kind for One {
    const MAX_ROOT_TABLES_LG2: u32 = 0;

    /// Write permission implies read permission.
    #[inline]
    fn attrs(prot: Prot) -> Result<u64, Error> {
        let mut bits = AF | NG;

        if !prot.has(Prot::WRITE) {
            if !prot.has(Prot::READ) {
                return Err(Error::Invalid);
            }
            bits |= AP_READ_ONLY;
        } else if prot.has(Prot::TRACK_DIRTY) {
            bits |= DBM;
        }
        if !prot.has(Prot::PRIV) {
            bits |= AP_UNPRIVILEGED;
        }
        if prot.has(Prot::MMIO) {
            bits |= MAIR_DEVICE << ATTR_SHIFT;
        } else if prot.has(Prot::CACHE) {
            bits |= MAIR_WRITE_BACK << ATTR_SHIFT;
        }
        bits |= shareability(prot);
        if prot.has(Prot::NOEXEC) {
            bits |= XN | PXN;
        }
        Ok(bits)
    }

    #[inline]
    fn with_records_of(leaf: u64, other: u64) -> u64 {
        match is_dirty(other) && leaf & DBM != 0 {
            true => leaf & !AP_READ_ONLY,
            false => leaf,
        }
    }
}

impl Kind for Two {
    const MAX_ROOT_TABLES_LG2: u32 = 4;

    #[inline]
    fn attrs(prot: Prot) -> Result<u64, Error> {
        let mut bits = 0;

        if prot.has(Prot::READ) {
            bits |= S2AP_READ;
        }
        if prot.has(Prot::WRITE) {
            bits |= S2AP_WRITE;
        }
        // The format could express a present page without permissions. No caller wants one.
        if bits == 0 {
            return Err(Error::Invalid);
        }
        bits |= if prot.has(Prot::MMIO) {
            MEMATTR_DEVICE
        } else if prot.has(Prot::CACHE) {
            MEMATTR_WRITE_BACK
        } else {
            MEMATTR_NON_CACHEABLE
        };
        bits |= AF | shareability(prot);
        if prot.has(Prot::NOEXEC) {
            bits |= XN;
        }
        Ok(bits)
    }

    #[inline]
    fn with_records_of(leaf: u64, _other: u64) -> u64 {
        leaf
    }
}

#[inline]
fn shareability(prot: Prot) -> u64 {
    match prot.has(Prot::CACHE) {
        true => SH_INNER,
        false => SH_OUTER,
    }
}

#[inline]
fn is_dirty(leaf: u64) -> bool {
    leaf & (DBM | AP_READ_ONLY) == DBM
}

/// The format of the tables of one stage with one granule.
pub struct Armv8<K: Kind, G: Granule>(PhantomData<fn() -> (K, G)>);

/// The format of stage-1 tables.
pub type Stage1<G> = Armv8<One, G>;

/// The format of stage-2 tables.
pub type Stage2<G> = Armv8<Two, G>;

impl<K: Kind, G: Granule> Armv8<K, G> {
    const fn sizes() -> PageSizes {
        let mut sizes = 0;
        let mut level = 0;

        while level <= G::MAX_BLOCK_LEVEL {
            let lg2 = G::LG2 + (G::LG2 - 3) * level as u32;

            sizes |= 1 << lg2 | 1 << (lg2 + G::RUNS_LG2[level as usize]);
            level += 1;
        }
        PageSizes::new(sizes)
    }

    /// Moves bits 51:48 of an address to their position in an entry.
    #[inline]
    fn fold(addr: u64) -> u64 {
        match G::MAX_OA_BITS {
            52 => (addr | addr >> 36) & ADDR,
            _ => addr,
        }
    }

    /// Returns the address in an entry.
    #[inline]
    fn unfold(entry: u64) -> u64 {
        let addr = entry & ADDR;

        match G::MAX_OA_BITS {
            52 => (addr | addr << 36) & (ADDR << 4),
            _ => addr,
        }
    }
}

impl<K: Kind, G: Granule> Format for Armv8<K, G> {
    const GRANULE_LG2: u32 = G::LG2;
    const INDEX_LG2: u32 = G::LG2 - 3;
    const MIN_LEVELS: u8 = 2;
    const MAX_LEVELS: u8 = G::MAX_LEVELS;
    const MAX_LEAF_LEVEL: u8 = G::MAX_BLOCK_LEVEL;
    const FULL_ROOT: bool = false;
    const MAX_ROOT_TABLES_LG2: u32 = K::MAX_ROOT_TABLES_LG2;
    const MAX_OA_BITS: u8 = G::MAX_OA_BITS;
    const FLUSHED: u64 = FLUSHED;
    const WHOLE: u64 = WHOLE;
    const PAGE_SIZES: PageSizes = Self::sizes();
    const RUN_BITS: u64 = CONTIGUOUS | SPLIT;
    /// An invalidation by address removes whatever translates that address, at any level: see the
    /// manual's chapter on TLB maintenance.
    const PARTS_ARE_INVALIDATED: bool = true;
    /// DDI 0487, D8.17 ("TLB maintenance requirements and the TLB maintenance instructions",
    /// break-before-make), and SMMUv3's IDR3.BBML.
    const NEEDS_BREAK: bool = true;

    #[inline]
    fn attrs(prot: Prot) -> Result<u64, Error> {
        K::attrs(prot)
    }

    #[inline]
    fn leaf(level: u8, paddr: u64, attrs: u64) -> u64 {
        let page = if level == 0 { TABLE_OR_PAGE } else { 0 };

        Self::fold(paddr) | attrs | page | VALID
    }

    #[inline]
    fn run_leaf(level: u8, _run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        Self::leaf(level, paddr, attrs) | CONTIGUOUS
    }

    /// The addresses of a run differ only in bits below 48.
    #[inline]
    fn run_step(level: u8) -> u64 {
        1 << (Self::GRANULE_LG2 + Self::INDEX_LG2 * u32::from(level))
    }

    #[inline]
    fn run_lg2(level: u8, leaf: u64) -> u32 {
        match leaf & CONTIGUOUS {
            0 => 0,
            _ => G::RUNS_LG2[usize::from(level)],
        }
    }

    #[inline]
    fn split_run_leaf(level: u8, _run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        Self::leaf(level, paddr, attrs) | SPLIT
    }

    #[inline]
    fn split_run_lg2(level: u8, leaf: u64) -> u32 {
        match leaf & SPLIT {
            0 => 0,
            _ => G::RUNS_LG2[usize::from(level)],
        }
    }

    #[inline]
    fn with_records_of(leaf: u64, other: u64) -> u64 {
        K::with_records_of(leaf, other)
    }

    #[inline]
    fn link(_level: u8, table: PhysAddr) -> u64 {
        Self::fold(table.raw()) | TABLE_OR_PAGE | VALID
    }

    #[inline]
    fn decode(level: u8, entry: u64) -> Decoded {
        let addr = PhysAddr::new(Self::unfold(entry));

        if entry == 0 {
            Decoded::Empty
        } else if level == 0 || entry & TABLE_OR_PAGE == 0 {
            let lg2 = Self::GRANULE_LG2 + Self::INDEX_LG2 * u32::from(level);

            Decoded::Leaf(addr.align_down(1 << (lg2 + Self::run_lg2(level, entry))))
        } else {
            Decoded::Link(addr)
        }
    }

    #[inline]
    fn leaf_attrs(_level: u8, entry: u64) -> u64 {
        entry & ATTRS
    }
}

impl<G: Granule> DirtyFormat for Stage1<G> {
    #[inline]
    fn is_dirty(leaf: u64) -> bool {
        is_dirty(leaf)
    }

    #[inline]
    fn clean(leaf: u64) -> u64 {
        leaf | AP_READ_ONLY
    }
}
