// SPDX-License-Identifier: GPL-2.0

//! x86-64 page tables: the format of CPUs, VT-d first-stage translation and AMD-Vi version 2
//! tables.
//!
//! Intel 64 Software Developer's Manual, volume 3, section 4.5 (4-level and 5-level paging); Intel
//! VT-d specification, section 9.7 (first-stage paging entries); AMD IOMMU specification, section
//! 2.2.6 (I/O page tables for guest translations).
//!
//! | bits | of an entry that points to a table | of a leaf |
//! |---|---|---|
//! | 0 | P, present | P |
//! | 1 | R/W, write; reading is always permitted | R/W |
//! | 2 | U/S, for requests that are not privileged, as those without a PASID are | U/S |
//! | 3, 4 | PWT, PCD: 0 for write-back memory | PWT, PCD |
//! | 5 | A, accessed | A |
//! | 6 | ignored | D, dirty |
//! | 7 | 0 | PS, page size: 1 in a leaf of level 1 (2 MiB) and 2 (1 GiB); in level 0 PAT: 0 |
//! | 8 | ignored | G, global: 0 |
//! | 51:12 | address of the table | address of the page |
//! | 62:52 | ignored | ignored |
//! | 63 | XD or NX, no instruction fetches | XD |
//!
//! Bit 63 is reserved if the unit does not support it: a driver then removes `NOEXEC` from the
//! requested permissions. Devices use addresses of the lower half only, whose highest translated
//! bit is 0. In the upper half all bits above it must be ones if the unit requires canonical
//! addresses.

#![forbid(unsafe_code)]

use super::{Decoded, DirtyFormat, Error, Format};
use crate::addr::{PageSizes, PhysAddr, Prot};

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const ADDR: u64 = ((1 << 52) - 1) & !((1 << 12) - 1);
/// Two of the ignored bits 62:52, for the walker's marks.
const FLUSHED: u64 = 1 << 52;
const WHOLE: u64 = 1 << 53;
const XD: u64 = 1 << 63;

/// The format of x86-64 tables, of 4 or 5 levels.
pub struct X86_64;

impl Format for X86_64 {
    const GRANULE_LG2: u32 = 12;
    const INDEX_LG2: u32 = 9;
    const MIN_LEVELS: u8 = 4;
    const MAX_LEVELS: u8 = 5;
    const MAX_LEAF_LEVEL: u8 = 2;
    const UNUSED_IOVA_BITS: u32 = 1;
    const MAX_OA_BITS: u8 = 52;
    const FLUSHED: u64 = FLUSHED;
    const WHOLE: u64 = WHOLE;
    const PAGE_SIZES: PageSizes = PageSizes::SZ_4K
        .union(PageSizes::SZ_2M)
        .union(PageSizes::SZ_1G);

    /// Write permission implies read permission. The accessed bit, and the dirty bit unless writes
    /// are tracked, are set in advance, so that the unit need not update the entry.
    #[inline]
    fn attrs(prot: Prot) -> Result<u64, Error> {
        let mut bits = US | A;

        if prot.has(Prot::WRITE) {
            bits |= RW;
            if !prot.has(Prot::TRACK_DIRTY) {
                bits |= D;
            }
        } else if !prot.has(Prot::READ) {
            return Err(Error::Invalid);
        }
        if prot.has(Prot::NOEXEC) {
            bits |= XD;
        }
        Ok(bits)
    }

    #[inline]
    fn leaf(level: u8, paddr: u64, attrs: u64) -> u64 {
        let ps = if level == 0 { 0 } else { PS };

        paddr | attrs | ps | P
    }

    #[inline]
    fn link(_level: u8, table: PhysAddr) -> u64 {
        table.raw() | A | US | RW | P
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
        entry & (XD | D | A | US | RW)
    }
}

impl DirtyFormat for X86_64 {
    #[inline]
    fn is_dirty(leaf: u64) -> bool {
        leaf & D != 0
    }

    #[inline]
    fn clean(leaf: u64) -> u64 {
        leaf & !D
    }
}
