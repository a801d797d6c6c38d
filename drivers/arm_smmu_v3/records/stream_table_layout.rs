// SPDX-License-Identifier: GPL-2.0

//! Where the stream table entry of a stream id is: the layout of the stream table (SMMUv3 IHI 0070
//! 3.3.1 and 5.1, SMMU_STRTAB_BASE and SMMU_STRTAB_BASE_CFG in 6.3).

#![forbid(unsafe_code)]

use super::{
    bits::{field, mask, put},
    capability::StreamTable,
};

/// Bits of a stream id that select an entry of a second-level table, as this driver lays tables
/// out: one such table has 256 entries, as many as a PCI bus has functions.
pub const SPLIT: u8 = 8;
/// Bytes of a stream table entry.
pub const ENTRY_BYTES: usize = 64;
/// Entries of a second-level table.
pub const LEVEL2_ENTRIES: usize = 1 << SPLIT;
/// Bytes of a second-level table, and its alignment.
pub const LEVEL2_BYTES: usize = LEVEL2_ENTRIES * ENTRY_BYTES;
/// A first-level table has 2^17 entries (1 MiB) at most: stream ids of 25 bits.
const MAX_LEVEL1_BITS: u8 = 17;
/// A linear table has 2^16 entries (4 MiB) at most: every function of one PCI segment.
const MAX_LINEAR_BITS: u8 = 16;

/// How a stream table is laid out.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    kind: StreamTable,
    bits: u8,
}

/// Where an entry is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the one table.
    Linear {
        /// Index of the entry.
        index: usize,
    },
    /// In a second-level table.
    TwoLevel {
        /// Index of the descriptor in the first-level table.
        level1: usize,
        /// Index of the entry in the second-level table.
        level2: usize,
    },
}

impl Layout {
    /// The layout for a unit with this kind of table and stream ids of `stream_bits` bits. A table
    /// that would be unreasonably large is cut: ids beyond it are answered with an abort by the
    /// unit.
    pub const fn new(kind: StreamTable, stream_bits: u8) -> Self {
        let most = match kind {
            StreamTable::Linear => MAX_LINEAR_BITS,
            StreamTable::TwoLevel => MAX_LEVEL1_BITS + SPLIT,
        };
        Self {
            kind,
            bits: if stream_bits > most {
                most
            } else {
                stream_bits
            },
        }
    }

    /// The kind of table.
    pub const fn kind(self) -> StreamTable {
        self.kind
    }

    /// Stream ids below 2^n have an entry.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Bytes of the table, or of the first-level table; it must be aligned to its size, and to 64
    /// bytes at least.
    pub const fn bytes(self) -> usize {
        match self.kind {
            StreamTable::Linear => ENTRY_BYTES << self.bits,
            StreamTable::TwoLevel => 8 << self.bits.saturating_sub(SPLIT),
        }
    }

    /// Where the entry of a stream id is; `None` if it has none.
    pub const fn place(self, stream: u32) -> Option<Place> {
        if (stream as u64) >> self.bits != 0 {
            return None;
        }
        let stream = stream as usize;
        Some(match self.kind {
            StreamTable::Linear => Place::Linear { index: stream },
            StreamTable::TwoLevel => Place::TwoLevel {
                level1: stream >> SPLIT,
                level2: stream % LEVEL2_ENTRIES,
            },
        })
    }

    /// The value of SMMU_STRTAB_BASE_CFG.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 5:0 | LOG2SIZE: bits of a stream id that have an entry |
    /// | 10:6 | SPLIT, for two levels |
    /// | 17:16 | FMT: 0 linear, 1 two levels |
    pub const fn base_config(self) -> u32 {
        let config = match self.kind {
            StreamTable::Linear => 0,
            StreamTable::TwoLevel => put(1, 17, 16) | put(SPLIT as u64, 10, 6),
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

/// A level 1 stream table descriptor: where the second-level table is (5.1).
///
/// | bits | field |
/// |---|---|
/// | 4:0 | Span: the table has 2^(Span - 1) entries; 0 means that there is none |
/// | 51:6 | L2Ptr: address of the table |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Level1 {
    /// Address of a second-level table with [`LEVEL2_ENTRIES`] entries; `None` aborts every stream
    /// id that it would hold.
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

    /// What the unit would make of `word`.
    pub const fn decode(word: u64) -> Self {
        Self {
            table: match field(word, 4, 0) {
                0 => None,
                _ => Some(word & mask(51, 6)),
            },
        }
    }
}
