// SPDX-License-Identifier: GPL-2.0

//! VT-d second-stage tables.
//!
//! Intel Virtualization Technology for Directed I/O, Architecture Specification: sections 3.7
//! (second-stage translation) and 9.8 (second-stage paging entries).
//!
//! | bits | of an entry that points to a table | of a leaf |
//! |---|---|---|
//! | 0 | R, read | R |
//! | 1 | W, write | W |
//! | 7 | 0 | PS, page size: 1 in a leaf of level 1 (2 MiB) and 2 (1 GiB), ignored in level 0 |
//! | 8 | A, accessed, if the domain enables it | A |
//! | 9 | ignored | D, dirty, if the domain enables it |
//! | 11 | ignored | SNP, snoop, where the unit has snoop control |
//! | 51:12 | address of the table, below the host address width | address of the page |
//! | 62:52 | ignored | ignored |
//!
//! There is no present bit: an entry whose R and W are both 0 is not present. An access needs the
//! permission in all entries of its walk.

#![forbid(unsafe_code)]

use super::{Decoded, DirtyFormat, Error, Format};
use crate::addr::{PageSizes, PhysAddr, Prot};

const R: u64 = 1 << 0;
const W: u64 = 1 << 1;
const PS: u64 = 1 << 7;
const A: u64 = 1 << 8;
const D: u64 = 1 << 9;
const SNP: u64 = 1 << 11;
const ADDR: u64 = ((1 << 52) - 1) & !((1 << 12) - 1);
/// Two of the ignored bits 62:52, for the walker's marks.
const FLUSHED: u64 = 1 << 52;
const WHOLE: u64 = 1 << 53;

/// The format of VT-d second-stage tables, of 3, 4 or 5 levels.
pub struct VtdSs;

impl Format for VtdSs {
    const GRANULE_LG2: u32 = 12;
    const INDEX_LG2: u32 = 9;
    const MIN_LEVELS: u8 = 3;
    const MAX_LEVELS: u8 = 5;
    const MAX_LEAF_LEVEL: u8 = 2;
    const MAX_OA_BITS: u8 = 52;
    const FLUSHED: u64 = FLUSHED;
    const WHOLE: u64 = WHOLE;
    const PAGE_SIZES: PageSizes = PageSizes::SZ_4K
        .union(PageSizes::SZ_2M)
        .union(PageSizes::SZ_1G);

    #[inline]
    fn attrs(prot: Prot) -> Result<u64, Error> {
        let mut bits = 0;

        if prot.has(Prot::READ) {
            bits |= R;
        }
        if prot.has(Prot::WRITE) {
            bits |= W;
        }
        // An entry without permissions is not present, so the format cannot express such a mapping.
        if bits == 0 {
            return Err(Error::Invalid);
        }
        if prot.has(Prot::FORCE_SNOOP) {
            bits |= SNP;
        }
        Ok(bits)
    }

    #[inline]
    fn leaf(level: u8, paddr: u64, attrs: u64) -> u64 {
        let ps = if level == 0 { 0 } else { PS };

        paddr | attrs | ps
    }

    #[inline]
    fn link(_level: u8, table: PhysAddr) -> u64 {
        table.raw() | R | W
    }

    #[inline]
    fn decode(level: u8, entry: u64) -> Decoded {
        let addr = PhysAddr::new(entry & ADDR);

        if entry == 0 {
            Decoded::Empty
        } else if level == 0 || (level <= Self::MAX_LEAF_LEVEL && entry & PS != 0) {
            Decoded::Leaf(addr)
        } else {
            Decoded::Link(addr)
        }
    }

    #[inline]
    fn leaf_attrs(_level: u8, entry: u64) -> u64 {
        entry & (R | W | A | D | SNP)
    }
}

impl DirtyFormat for VtdSs {
    #[inline]
    fn is_dirty(leaf: u64) -> bool {
        leaf & D != 0
    }

    #[inline]
    fn clean(leaf: u64) -> u64 {
        leaf & !D
    }
}
