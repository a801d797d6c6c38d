// SPDX-License-Identifier: GPL-2.0

//! The levels of an Armv8-A page table, and the fields that describe it to a unit.
//!
//! Arm Architecture Reference Manual (DDI 0487), sections D8.2 (translation process, initial lookup
//! level, concatenated tables) and D24.2 (TCR, VTCR, MAIR). SMMUv3 has the same fields with the
//! same values in its context descriptors (stage 1) and stream table entries (stage 2).

#![forbid(unsafe_code)]

use super::format::{
    Armv8, Granule16K, Granule4K, Granule64K, Kind, One, Two, MAIR_DEVICE, MAIR_WRITE_BACK,
};
use crate::{
    addr::PageSizes,
    pgtable::{Config, Error, Format},
};

/// Memory attributes, one byte for each value of AttrIndx: 0 for normal non-cacheable memory,
/// [`MAIR_WRITE_BACK`], [`MAIR_DEVICE`], and 3, which no leaf uses, for normal memory that only
/// outer caches hold.
pub const MAIR: u64 = 0x44 | 0xff << (8 * MAIR_WRITE_BACK) | 0x04 << (8 * MAIR_DEVICE) | 0xf4 << 24;

/// The translation stage of a page table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Stage 1.
    One,
    /// Stage 2.
    Two,
}

/// The granule of a page table, as a value: the size of the smallest page and of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GranuleSize {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl GranuleSize {
    /// Every granule, smallest first.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// Returns the size in bytes, as a power of 2.
    pub const fn lg2(self) -> u32 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }

    const fn max_address_bits(self) -> u8 {
        match self {
            Self::K4 | Self::K16 => 48,
            Self::K64 => 52,
        }
    }
}

/// The shape of one page table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The stage.
    pub stage: Stage,
    /// The granule.
    pub granule: GranuleSize,
    /// Width of the input addresses, in bits.
    pub ia_bits: u8,
    /// Width of the output addresses, in bits.
    pub oa_bits: u8,
    /// Number of levels.
    pub levels: u8,
}

/// The fields that describe a page table to a unit, encoded as in TCR (a context descriptor) for
/// stage 1 and as in VTCR (a stream table entry) for stage 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    /// T0SZ or S2T0SZ: 64 minus the width of input addresses.
    pub t0sz: u8,
    /// S2SL0: the encoded level where a walk starts. 0 for stage 1, which has no such field.
    pub sl0: u8,
    /// TG0 or S2TG: the granule.
    pub tg: u8,
    /// SH0 or S2SH0: shareability of the accesses to page tables.
    pub sh: u8,
    /// IR0 or S2IR0: inner cacheability of the accesses to page tables.
    pub irgn: u8,
    /// OR0 or S2OR0: outer cacheability of the accesses to page tables.
    pub orgn: u8,
    /// IPS or S2PS: the encoded width of output addresses.
    pub ps: u8,
}

impl Shape {
    /// The minimum number of input address bits. With it, a page table of any granule has at least
    /// two levels.
    const MIN_IA_BITS: u8 = 32;

    /// Returns the shape of page tables that translate `ia_bits` to `oa_bits`. Both are limited to
    /// the granule's maximum: 48 bits, or 52 with 64 KiB.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: `oa_bits` has no encoding, `ia_bits` is less than 32, or stage 2 has no
    /// valid shape for these widths.
    pub fn new(
        stage: Stage,
        granule: GranuleSize,
        ia_bits: u8,
        oa_bits: u8,
    ) -> Result<Self, Error> {
        let mut shape = Self {
            stage,
            granule,
            ia_bits: ia_bits.min(granule.max_address_bits()),
            oa_bits: oa_bits.min(granule.max_address_bits()),
            levels: 0,
        };
        let lg2 = granule.lg2();

        if shape.ia_bits < Self::MIN_IA_BITS || shape.ps().is_none() {
            return Err(Error::Invalid);
        }
        shape.levels = (u32::from(shape.ia_bits) - lg2).div_ceil(lg2 - 3) as u8;

        if stage == Stage::Two && shape.start_level() < shape.min_start_level() {
            shape.levels -= 1;
            if shape.start_level() < shape.min_start_level()
                || shape.root_tables_lg2() > Two::MAX_ROOT_TABLES_LG2
            {
                return Err(Error::Invalid);
            }
        }
        Ok(shape)
    }

    /// Returns the level where a walk starts, as Arm counts levels: 3 is the lowest.
    pub fn start_level(&self) -> u8 {
        4 - self.levels
    }

    /// Returns the lowest level number at which a walk of stage 2 may start. A level above it would
    /// have few entries; concatenated tables replace it as the root.
    fn min_start_level(&self) -> u8 {
        match (self.granule, self.oa_bits) {
            (GranuleSize::K4, 44..) => 0,
            (GranuleSize::K4, _) => 1,
            (GranuleSize::K16, 42..) => 1,
            (GranuleSize::K16, _) => 2,
            (GranuleSize::K64, 44..) => 1,
            (GranuleSize::K64, _) => 2,
        }
    }

    /// Returns how many concatenated tables form the root, as a power of 2.
    fn root_tables_lg2(&self) -> u32 {
        let lg2 = self.granule.lg2();

        u32::from(self.ia_bits).saturating_sub(lg2 + (lg2 - 3) * u32::from(self.levels))
    }

    /// Returns the sizes of pages, blocks and contiguous runs of this shape.
    pub fn page_sizes(&self) -> PageSizes {
        let sizes = match self.granule {
            GranuleSize::K4 => Armv8::<One, Granule4K>::PAGE_SIZES,
            GranuleSize::K16 => Armv8::<One, Granule16K>::PAGE_SIZES,
            GranuleSize::K64 => Armv8::<One, Granule64K>::PAGE_SIZES,
        };

        // Only output addresses of 52 bits allow blocks of 4 TiB.
        match self.oa_bits {
            ..=48 => sizes.intersection(PageSizes::new((1 << 42) - 1)),
            _ => sizes,
        }
    }

    /// Returns the configuration of a page table of this shape, for the format of its stage and
    /// granule.
    pub fn config(&self, coherent: bool, split: bool) -> Config {
        Config {
            iova_bits: self.ia_bits,
            levels: self.levels,
            page_sizes: self.page_sizes(),
            oa_bits: self.oa_bits,
            coherent,
            split,
        }
    }

    /// Returns the fields for a unit. `coherent` is whether its walker snoops CPU caches.
    pub fn control(&self, coherent: bool) -> Control {
        let sl0 = match (self.stage, self.granule) {
            (Stage::One, _) => 0,
            (Stage::Two, GranuleSize::K4) => 2 - self.start_level(),
            (Stage::Two, _) => 3 - self.start_level(),
        };
        // Coherent: write-back, read- and write-allocate, inner shareable. Otherwise:
        // non-cacheable, outer shareable.
        let (sh, rgn) = if coherent { (3, 1) } else { (2, 0) };

        Control {
            t0sz: 64 - self.ia_bits,
            sl0,
            tg: match self.granule {
                GranuleSize::K4 => 0,
                GranuleSize::K64 => 1,
                GranuleSize::K16 => 2,
            },
            sh,
            irgn: rgn,
            orgn: rgn,
            ps: self.ps().unwrap_or(0),
        }
    }

    /// Returns the encoded width of output addresses.
    fn ps(&self) -> Option<u8> {
        Some(match self.oa_bits {
            32 => 0,
            36 => 1,
            40 => 2,
            42 => 3,
            44 => 4,
            48 => 5,
            52 => 6,
            _ => return None,
        })
    }
}
