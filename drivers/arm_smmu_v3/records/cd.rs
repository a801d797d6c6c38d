// SPDX-License-Identifier: GPL-2.0

//! Context descriptors (CD): which stage 1 page table a stream uses (SMMUv3 IHI 0070, 5.4).

#![forbid(unsafe_code)]

#[cfg(test)]
use super::{
    bits::{bit, field},
    ste::{granule_of, size_of, updates_of},
};
use super::{
    bits::{flag, mask, put},
    capability::FlagUpdates,
    ste::{granule_code, size_code, update_code, Walk, Words},
};
use crate::pgtable::armv8::GranuleSize;

/// Bytes of a CD.
pub const CD_BYTES: usize = 64;

/// A valid CD.
///
/// | word | bits | field |
/// |---|---|---|
/// | 0 | 5:0 | T0SZ: 64 - bits of an input address |
/// | 0 | 7:6 | TG0: 0 4 KiB, 1 64 KiB, 2 16 KiB |
/// | 0 | 9:8, 11:10, 13:12 | IR0, OR0, SH0: how page tables are read |
/// | 0 | 14 | EPD0: no table for the lower half of the addresses |
/// | 0 | 15 | ENDI: big endian |
/// | 0 | 30 | EPD1: no table for the upper half of the addresses |
/// | 0 | 31 | V: valid |
/// | 0 | 34:32 | IPS: bits of a physical address |
/// | 0 | 35 | AFFD: no fault for a clear access flag |
/// | 0 | 36, 37 | WXN, UWXN: what is writable is not executable |
/// | 0 | 38, 39 | TBI0, TBI1: the top byte of an address is ignored |
/// | 0 | 40 | PAN |
/// | 0 | 41 | AA64: AArch64 format |
/// | 0 | 42, 43 | HD, HA: flags that the unit updates |
/// | 0 | 44 | S: stall |
/// | 0 | 45 | R: record faults |
/// | 0 | 46 | A: terminated transactions are reported to the device as an abort |
/// | 0 | 47 | ASET: the ASID is not shared with the processors |
/// | 0 | 63:48 | ASID |
/// | 1 | 51:4 | TTB0 |
/// | 3 | 63:0 | MAIR: eight memory types |
///
/// All other bits are 0: there is no table for the upper half.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ContextDescriptor {
    /// Address of the top table; aligned to its size.
    pub table: u64,
    /// Bits of an input address.
    pub input_bits: u8,
    /// Bits of a physical address, no more than the unit has.
    pub output_bits: u8,
    /// The granule of the tables.
    pub granule: GranuleSize,
    /// How the unit reads tables.
    pub walk: Walk,
    /// The eight memory types that page table entries select from (MAIR).
    pub memory_types: u64,
    /// The tag of the domain in the unit's caches.
    pub asid: u16,
    /// Which flags of page table entries the unit updates.
    pub updates: FlagUpdates,
    /// Whether transactions that fault are stalled.
    pub stall: bool,
}

impl ContextDescriptor {
    /// A CD that is not valid: the unit terminates transactions, and records C_BAD_CD for each.
    pub const INVALID: Words = [0; 8];

    /// The CD as the unit reads it. Bits of the address that have no place in it are dropped.
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

    /// How the unit reads `words`; `None` if they are not valid, or not what this driver writes.
    /// Host tests compare it with [`encode`](Self::encode).
    #[cfg(test)]
    pub const fn decode(words: &Words) -> Option<Self> {
        let low = words[0];
        // Valid, only a lower half, little endian, and AArch64 format.
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
