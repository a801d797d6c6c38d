// SPDX-License-Identifier: GPL-2.0

//! The layout of the stream table, which says where the STE of a stream id is (SMMUv3 IHI 0070
//! 3.3.1 and 5.1, SMMU_STRTAB_BASE and SMMU_STRTAB_BASE_CFG in 6.3).

#![forbid(unsafe_code)]

use super::bits::{field, mask, put};

/// Bits of a stream id that select an STE of a second-level table. This driver makes such tables
/// with 256 STEs, as many as a PCI bus has functions.
pub const SPLIT: u8 = 8;
/// Bytes of an STE.
pub const STE_BYTES: usize = 64;
/// STEs of a second-level table.
pub const LEVEL2_STES: usize = 1 << SPLIT;
/// Bytes of a second-level table, and its alignment.
pub const LEVEL2_BYTES: usize = LEVEL2_STES * STE_BYTES;
/// A first-level table has 2^17 descriptors (1 MiB) at most, for stream ids of 25 bits.
const MAX_LEVEL1_BITS: u8 = 17;
/// A linear table has 2^16 STEs (4 MiB) at most, as many as a PCI segment has functions.
const MAX_LINEAR_BITS: u8 = 16;

/// The format of a stream table (STRTAB_BASE_CFG.FMT).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum StreamTableFormat {
    /// One table, indexed by the stream id.
    Linear,
    /// Level 1 descriptors, which point to second-level tables.
    TwoLevel,
}

/// The layout of a stream table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    format: StreamTableFormat,
    bits: u8,
}

/// Where an STE is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the linear table.
    Linear {
        /// Index of the STE.
        index: usize,
    },
    /// In a second-level table.
    TwoLevel {
        /// Index of the descriptor in the first-level table.
        level1: usize,
        /// Index of the STE in the second-level table.
        level2: usize,
    },
}

impl Layout {
    /// The layout for a unit with this format of table and stream ids of `stream_bits` bits. Very
    /// large tables are cut: the unit aborts transactions with stream ids beyond them.
    pub const fn new(format: StreamTableFormat, stream_bits: u8) -> Self {
        let most = match format {
            StreamTableFormat::Linear => MAX_LINEAR_BITS,
            StreamTableFormat::TwoLevel => MAX_LEVEL1_BITS + SPLIT,
        };
        Self {
            format,
            bits: if stream_bits > most {
                most
            } else {
                stream_bits
            },
        }
    }

    /// The format of the table.
    pub const fn format(self) -> StreamTableFormat {
        self.format
    }

    /// Stream ids below 2^n have an STE.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Bytes of the linear or first-level table. It must be aligned to its size, and to 64 bytes at
    /// least.
    pub const fn bytes(self) -> usize {
        match self.format {
            StreamTableFormat::Linear => STE_BYTES << self.bits,
            StreamTableFormat::TwoLevel => 8 << self.bits.saturating_sub(SPLIT),
        }
    }

    /// Where the STE of a stream id is; `None` if it has none.
    pub const fn place(self, stream: u32) -> Option<Place> {
        if (stream as u64) >> self.bits != 0 {
            return None;
        }
        let stream = stream as usize;
        Some(match self.format {
            StreamTableFormat::Linear => Place::Linear { index: stream },
            StreamTableFormat::TwoLevel => Place::TwoLevel {
                level1: stream >> SPLIT,
                level2: stream % LEVEL2_STES,
            },
        })
    }

    /// The value of SMMU_STRTAB_BASE_CFG.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 5:0 | LOG2SIZE: bits of stream ids that have an STE |
    /// | 10:6 | SPLIT, for two levels |
    /// | 17:16 | FMT: 0 linear, 1 two levels |
    pub const fn base_config(self) -> u32 {
        let config = match self.format {
            StreamTableFormat::Linear => 0,
            StreamTableFormat::TwoLevel => put(1, 17, 16) | put(SPLIT as u64, 10, 6),
        };
        (config | put(self.bits as u64, 5, 0)) as u32
    }

    /// The value of SMMU_STRTAB_BASE for a table at physical address `table`.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 51:6 | address |
    /// | 62 | RA: read allocate |
    pub const fn base(table: u64) -> u64 {
        table & mask(51, 6) | 1 << 62
    }
}

/// A level 1 stream table descriptor, which points to a second-level table (5.1).
///
/// | bits | field |
/// |---|---|
/// | 4:0 | Span: the table has 2^(Span - 1) STEs; 0: there is no table |
/// | 51:6 | L2Ptr: address of the table |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Level1 {
    /// Address of a second-level table with [`LEVEL2_STES`] STEs. If there is `None`, the unit
    /// aborts the transactions of its stream ids.
    pub table: Option<u64>,
}

impl Level1 {
    /// The descriptor as the unit reads it.
    pub const fn encode(self) -> u64 {
        match self.table {
            Some(table) => table & mask(51, 6) | put(SPLIT as u64 + 1, 4, 0),
            None => 0,
        }
    }

    /// How the unit reads `word`.
    pub const fn decode(word: u64) -> Self {
        Self {
            table: match field(word, 4, 0) {
                0 => None,
                _ => Some(word & mask(51, 6)),
            },
        }
    }
}
