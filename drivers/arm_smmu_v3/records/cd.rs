// SPDX-License-Identifier: GPL-2.0

//! Context descriptors: which stage 1 table a stream or substream uses (SMMUv3 IHI 0070, 5.3 and
//! 5.4).

#![forbid(unsafe_code)]

use super::{
    bits::{bit, field, flag, mask, put},
    capability::FlagUpdates,
    ste::{granule_code, granule_of, size_code, size_of, update_code, updates_of, Walk, Words},
};
use crate::pgtable::armv8::GranuleSize;

/// Bytes of a context descriptor.
pub const CONTEXT_BYTES: usize = 64;
/// Context descriptors in a second-level table.
pub const LEVEL2_CONTEXTS: usize = 1024;
/// Bytes of a second-level table, and its alignment.
pub const LEVEL2_BYTES: usize = LEVEL2_CONTEXTS * CONTEXT_BYTES;

/// A context descriptor that is valid.
///
/// | word | bits | field |
/// |---|---|---|
/// | 0 | 5:0 | T0SZ: 64 - bits of an input address |
/// | 0 | 7:6 | TG0: 0 4 KiB, 1 64 KiB, 2 16 KiB |
/// | 0 | 9:8, 11:10, 13:12 | IR0, OR0, SH0: how tables are read |
/// | 0 | 14 | EPD0: no table for the lower half of the addresses |
/// | 0 | 15 | ENDI: big endian |
/// | 0 | 30 | EPD1: no table for the upper half of the addresses |
/// | 0 | 31 | V: valid |
/// | 0 | 34:32 | IPS: bits of a physical address |
/// | 0 | 35 | AFFD: no fault for a clear access flag |
/// | 0 | 36, 37 | WXN, UWXN: what is writable is not executable |
/// | 0 | 38, 39 | TBI0, TBI1: the top byte of an address is ignored |
/// | 0 | 40 | PAN |
/// | 0 | 41 | AA64: format of 64-bit processors |
/// | 0 | 42, 43 | HD, HA: flags that the unit writes |
/// | 0 | 44 | S: stall |
/// | 0 | 45 | R: record faults |
/// | 0 | 46 | A: what is terminated is reported to the device |
/// | 0 | 47 | ASET: the ASID is not one of the processors' |
/// | 0 | 63:48 | ASID |
/// | 1 | 51:4 | TTB0 |
/// | 3 | 63:0 | MAIR: eight memory types |
///
/// All other bits are 0: there is no table for the upper half.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// Address of the top table; aligned to its size.
    pub table: u64,
    /// Bits of an input address.
    pub input_bits: u8,
    /// Bits of a physical address; never more than the unit has.
    pub output_bits: u8,
    /// The granule of the tables.
    pub granule: GranuleSize,
    /// How the unit reads tables.
    pub walk: Walk,
    /// The eight memory types that table entries choose from.
    pub memory_types: u64,
    /// The name of the domain in the unit's caches.
    pub asid: u16,
    /// Which flags of entries the unit writes.
    pub updates: FlagUpdates,
    /// Transactions that fault are stalled. Only if the unit can; always if it always does.
    pub stall: bool,
}

impl Context {
    /// The descriptor that is not valid: transactions are terminated, and each is recorded as
    /// C_BAD_CD.
    pub const INVALID: Words = [0; 8];

    /// The descriptor as the unit reads it.
    ///
    /// Bits of the address that have no place in it are dropped.
    pub const fn encode(&self) -> Words {
        [
            put(64u64.saturating_sub(self.input_bits as u64), 5, 0)
                | put(granule_code(self.granule), 7, 6)
                | put(self.walk.encode(), 13, 8)
                | flag(true, 30)
                | flag(true, 31)
                | put(size_code(self.output_bits), 34, 32)
                | flag(true, 41)
                | put(update_code(self.updates), 43, 42)
                | flag(self.stall, 44)
                | flag(true, 45)
                | flag(true, 46)
                | flag(true, 47)
                | put(self.asid as u64, 63, 48),
            self.table & mask(51, 4),
            0,
            self.memory_types,
            0,
            0,
            0,
            0,
        ]
    }

    /// What the unit would make of `words`; `None` if it is not valid, or if this driver would not
    /// have written it.
    pub const fn decode(words: &Words) -> Option<Self> {
        let low = words[0];
        // Valid, only a lower half, little endian, and the format of 64-bit processors.
        if !bit(low, 31) || bit(low, 14) || !bit(low, 30) || bit(low, 15) || !bit(low, 41) {
            return None;
        }
        let (Some(granule), Some(walk), Some(output_bits)) = (
            granule_of(field(low, 7, 6)),
            Walk::decode(field(low, 13, 8)),
            size_of(field(low, 34, 32)),
        ) else {
            return None;
        };
        Some(Self {
            table: words[1] & mask(51, 4),
            input_bits: 64 - field(low, 5, 0) as u8,
            output_bits,
            granule,
            walk,
            memory_types: words[3],
            asid: field(low, 63, 48) as u16,
            updates: updates_of(field(low, 43, 42)),
            stall: bit(low, 44),
        })
    }
}

/// A level 1 context descriptor: where the second-level table is (5.3).
///
/// | bits | field |
/// |---|---|
/// | 0 | V: valid |
/// | 51:12 | L2Ptr: address of a table of [`LEVEL2_CONTEXTS`] descriptors, 64 KiB aligned |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Level1 {
    /// Address of the second-level table; `None` refuses every substream that it would hold.
    pub table: Option<u64>,
}

impl Level1 {
    /// The descriptor as the unit reads it.
    pub const fn encode(self) -> u64 {
        match self.table {
            Some(table) => table & mask(51, 12) | 1,
            None => 0,
        }
    }

    /// What the unit would make of `word`.
    pub const fn decode(word: u64) -> Self {
        Self {
            table: if word & 1 != 0 {
                Some(word & mask(51, 12))
            } else {
                None
            },
        }
    }
}
