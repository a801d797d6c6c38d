// SPDX-License-Identifier: GPL-2.0

//! AMD-Vi host page tables, version 1.
//!
//! AMD I/O Virtualization Technology (IOMMU) Specification, section 2.2.3 (I/O page tables for host
//! translations).
//!
//! | bits | of an entry that points to a table | of a leaf |
//! |---|---|---|
//! | 0 | PR, present | PR |
//! | 4:1 | ignored | ignored |
//! | 5 | A, accessed, if the device table entry enables it | A |
//! | 6 | ignored | D, dirty, if the device table entry enables it |
//! | 11:9 | next level: the level of the table, from 1 up | 0 for the size of one entry, 7 for a size that the address encodes |
//! | 51:12 | address of the table | address of the page, or with it its size |
//! | 60 | reserved | FC, force coherent: accesses snoop the caches |
//! | 61 | IR, read | IR |
//! | 62 | IW, write | IW |
//!
//! An access needs the permission in all entries of its walk. With next level 7 a page has the size
//! of 2, 4, ... entries of its level, all of which are equal. The address bits from bit 12 up to
//! the page size are ones, except the highest of them, which is zero.
//!
//! The largest page is 256 GiB. Units do not handle 512 GiB correctly, so a larger page could not
//! be split into the next smaller size.

#![forbid(unsafe_code)]

use super::{Decoded, DirtyFormat, Error, Format};
use crate::addr::{PageSizes, PhysAddr, Prot};

const PR: u64 = 1 << 0;
/// Two of the bits 4:1, which hardware ignores in an entry that points to a table.
const FLUSHED: u64 = 1 << 1;
const WHOLE: u64 = 1 << 2;
const SPLIT_SHIFT: u32 = 1;
/// The bits 4:1, which hardware ignores in a leaf: the split mark, which holds the number of
/// entries of the run that is being split, as a power of 2.
const SPLIT: u64 = 0xf << SPLIT_SHIFT;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const NEXT_LEVEL_SHIFT: u32 = 9;
const SIZE_IN_ADDR: u64 = 7 << NEXT_LEVEL_SHIFT;
const ADDR: u64 = ((1 << 52) - 1) & !((1 << 12) - 1);
const FC: u64 = 1 << 60;
const IR: u64 = 1 << 61;
const IW: u64 = 1 << 62;

/// The format of AMD-Vi host tables, of 2 to 6 levels.
pub struct AmdV1;

impl AmdV1 {
    /// Returns the size of the page that `leaf` belongs to, as a power of 2.
    #[inline]
    fn size_lg2(level: u8, leaf: u64) -> u32 {
        match leaf & SIZE_IN_ADDR {
            SIZE_IN_ADDR => Self::GRANULE_LG2 + 1 + (leaf >> Self::GRANULE_LG2).trailing_ones(),
            _ => Self::GRANULE_LG2 + Self::INDEX_LG2 * u32::from(level),
        }
    }
}

impl Format for AmdV1 {
    const GRANULE_LG2: u32 = 12;
    const INDEX_LG2: u32 = 9;
    const MIN_LEVELS: u8 = 2;
    const MAX_LEVELS: u8 = 6;
    const MAX_LEAF_LEVEL: u8 = 2;
    const MAX_OA_BITS: u8 = 52;
    const GROWS: bool = true;
    const FLUSHED: u64 = FLUSHED;
    const WHOLE: u64 = WHOLE;
    const PAGE_SIZES: PageSizes = PageSizes::new((1 << 39) - (1 << 12));
    const RUN_BITS: u64 = SIZE_IN_ADDR | SPLIT;

    #[inline]
    fn attrs(prot: Prot) -> Result<u64, Error> {
        let mut bits = 0;

        if prot.has(Prot::READ) {
            bits |= IR;
        }
        if prot.has(Prot::WRITE) {
            bits |= IW;
        }
        // The format could express a present page without permissions. No caller wants one.
        if bits == 0 {
            return Err(Error::Invalid);
        }
        if prot.has(Prot::FORCE_SNOOP) {
            bits |= FC;
        }
        Ok(bits)
    }

    #[inline]
    fn leaf(_level: u8, paddr: u64, attrs: u64) -> u64 {
        paddr | attrs | PR
    }

    #[inline]
    fn run_leaf(level: u8, run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        // Half the size of the page.
        let half = 1 << (Self::GRANULE_LG2 + Self::INDEX_LG2 * u32::from(level) + run_lg2 - 1);

        paddr | ((half - 1) & ADDR) | attrs | SIZE_IN_ADDR | PR
    }

    #[inline]
    fn run_lg2(level: u8, leaf: u64) -> u32 {
        Self::size_lg2(level, leaf)
            .saturating_sub(Self::GRANULE_LG2 + Self::INDEX_LG2 * u32::from(level))
    }

    #[inline]
    fn split_run_leaf(level: u8, run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        Self::leaf(level, paddr, attrs) | u64::from(run_lg2) << SPLIT_SHIFT
    }

    #[inline]
    fn split_run_lg2(_level: u8, leaf: u64) -> u32 {
        ((leaf & SPLIT) >> SPLIT_SHIFT) as u32
    }

    #[inline]
    fn with_records_of(leaf: u64, other: u64) -> u64 {
        leaf | (other & (A | D))
    }

    #[inline]
    fn link(level: u8, table: PhysAddr) -> u64 {
        table.raw() | IR | IW | u64::from(level) << NEXT_LEVEL_SHIFT | PR
    }

    #[inline]
    fn decode(level: u8, entry: u64) -> Decoded {
        let addr = entry & ADDR;

        if entry == 0 {
            Decoded::Empty
        } else if level == 0 || matches!(entry & SIZE_IN_ADDR, 0 | SIZE_IN_ADDR) {
            // Below the size, only the bits that encode the size can be set.
            Decoded::Leaf(PhysAddr::new(addr).align_down(1 << Self::size_lg2(level, entry)))
        } else {
            Decoded::Link(PhysAddr::new(addr))
        }
    }

    #[inline]
    fn leaf_attrs(_level: u8, entry: u64) -> u64 {
        entry & (A | D | FC | IR | IW)
    }
}

impl DirtyFormat for AmdV1 {
    #[inline]
    fn is_dirty(leaf: u64) -> bool {
        leaf & D != 0
    }

    #[inline]
    fn clean(leaf: u64) -> u64 {
        leaf & !D
    }
}
