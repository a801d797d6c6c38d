// SPDX-License-Identifier: GPL-2.0

//! Stream table entries (STE): what happens to the transactions of a stream (SMMUv3 IHI 0070, 5.2).

#![forbid(unsafe_code)]

use super::{
    bits::{bit, field, flag, mask, put},
    capability::{Capability, FlagUpdates},
};
use crate::pgtable::armv8::GranuleSize;

/// An STE or a CD as the unit reads it: eight 64-bit words. The valid bit is in the first.
pub type Words = [u64; 8];

/// How the unit reads tables in memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Walk {
    /// Write-back cacheable, inner shareable: for a unit whose reads snoop the CPUs' caches.
    Cached,
    /// Not cacheable, outer shareable: for other units.
    Uncached,
}

impl Walk {
    /// How a unit with `capability` has to read what the kernel writes.
    pub const fn of(capability: &Capability) -> Self {
        match capability.coherent {
            true => Self::Cached,
            false => Self::Uncached,
        }
    }

    /// Shareability: 2 outer, 3 inner.
    const fn shareability(self) -> u64 {
        match self {
            Self::Cached => 3,
            Self::Uncached => 2,
        }
    }

    /// Inner or outer cacheability: 0 none, 1 write-back with allocation. The code is the same for
    /// CDs (5.2, S1CIR) and page tables (5.4, IR0).
    const fn cacheability(self) -> u64 {
        match self {
            Self::Cached => 1,
            Self::Uncached => 0,
        }
    }

    /// From the lowest six bits of `value`: inner, outer cacheability, shareability.
    pub(super) const fn decode(value: u64) -> Option<Self> {
        match value & 0x3f {
            0b11_01_01 => Some(Self::Cached),
            0b10_00_00 => Some(Self::Uncached),
            _ => None,
        }
    }

    /// Six bits: inner, outer cacheability, shareability.
    pub(super) const fn encode(self) -> u64 {
        self.cacheability() | self.cacheability() << 2 | self.shareability() << 4
    }
}

/// The code of a granule in TG0 and S2TG.
pub(super) const fn granule_code(granule: GranuleSize) -> u64 {
    match granule {
        GranuleSize::K4 => 0,
        GranuleSize::K64 => 1,
        GranuleSize::K16 => 2,
    }
}

/// The granule with this code in TG0 and S2TG.
pub(super) const fn granule_of(code: u64) -> Option<GranuleSize> {
    Some(match code {
        0 => GranuleSize::K4,
        1 => GranuleSize::K64,
        2 => GranuleSize::K16,
        _ => return None,
    })
}

/// The code in IPS and S2PS for physical addresses of `bits` bits, or of the next smaller size.
pub(super) const fn size_code(bits: u8) -> u64 {
    match bits {
        52.. => 6,
        48.. => 5,
        44.. => 4,
        42.. => 3,
        40.. => 2,
        36.. => 1,
        _ => 0,
    }
}

/// The bits of physical addresses for this code in IPS and S2PS.
pub(super) const fn size_of(code: u64) -> Option<u8> {
    Some(match code {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        6 => 52,
        _ => return None,
    })
}

/// HD and HA, as the two lowest bits.
pub(super) const fn update_code(updates: FlagUpdates) -> u64 {
    match updates {
        FlagUpdates::None => 0,
        FlagUpdates::Access => 0b10,
        FlagUpdates::AccessDirty | FlagUpdates::AccessDirtyTables => 0b11,
    }
}

/// The flags that HD and HA, as the two lowest bits, enable. HD alone enables none.
pub(super) const fn updates_of(code: u64) -> FlagUpdates {
    match code & 3 {
        0b10 => FlagUpdates::Access,
        0b11 => FlagUpdates::AccessDirty,
        _ => FlagUpdates::None,
    }
}

/// The shareability of transactions that pass untranslated (SHCFG).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// The field is reserved, 0: the unit cannot override the shareability (IDR1.ATTR_TYPES_OVR is
    /// 0).
    Reserved,
    /// That of the incoming transaction.
    Incoming,
}

impl Sharing {
    /// The shareability in STEs of a unit with `capability`.
    pub const fn of(capability: &Capability) -> Self {
        match capability.override_types {
            true => Self::Incoming,
            false => Self::Reserved,
        }
    }

    const fn code(self) -> u64 {
        match self {
            Self::Reserved => 0,
            Self::Incoming => 1,
        }
    }

    const fn decode(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Reserved,
            1 => Self::Incoming,
            _ => return None,
        })
    }
}

/// Whether a device may use ATS (EATS).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DeviceTlb {
    /// No: the unit aborts its translation requests and translated transactions.
    Forbidden,
    /// Yes.
    Full,
}

impl DeviceTlb {
    const fn code(self) -> u64 {
        match self {
            Self::Forbidden => 0,
            Self::Full => 1,
        }
    }

    const fn decode(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Forbidden,
            1 => Self::Full,
            _ => return None,
        })
    }

    /// The STE `words`, but with ATS forbidden. Only word 1 differs.
    pub const fn forbid(words: &Words) -> Words {
        let mut words = *words;
        words[1] &= !mask(29, 28);
        words
    }
}

/// Stage 1: input addresses go through the page table that a context descriptor names.
///
/// There is one context descriptor, and the device must not send substream ids.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stage1 {
    /// Physical address of the context descriptor, 64-byte aligned.
    pub context_descriptor: u64,
    /// How the unit reads the context descriptor.
    pub walk: Walk,
    /// The VMID under which the unit caches translations. No stage 2 domain may have the same.
    pub vmid: u16,
    /// Transactions that fault are never stalled, whatever the context descriptor says. Only for
    /// [`Stalls::Optional`](super::capability::Stalls::Optional).
    pub never_stall: bool,
    /// Whether the device may use ATS.
    pub device_tlb: DeviceTlb,
}

/// Stage 2: input addresses go through one page table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stage2 {
    /// Address of the top table: aligned to its size.
    pub table: u64,
    /// The tag of the domain in the unit's caches.
    pub vmid: u16,
    /// Bits of an input address (64 - S2T0SZ).
    pub input_bits: u8,
    /// Bits of a physical address (S2PS), no more than the unit has.
    pub output_bits: u8,
    /// The granule of the tables.
    pub granule: GranuleSize,
    /// The level of the top table.
    pub start_level: u8,
    /// How the unit reads tables.
    pub walk: Walk,
    /// Which flags of page table entries the unit updates.
    pub updates: FlagUpdates,
    /// Whether transactions that fault are stalled.
    pub stall: bool,
    /// Whether the device may use ATS.
    pub device_tlb: DeviceTlb,
    /// The shareability that is combined with the page table's.
    pub sharing: Sharing,
}

/// The code of the level that a stage 2 walk starts at (S2SL0). Codes 0, 1, 2 are levels 2, 1, 0
/// with 4 KiB granules, and levels 3, 2, 1 with larger ones.
const fn level_code(granule: GranuleSize, level: u8) -> u64 {
    let lowest: u8 = match granule {
        GranuleSize::K4 => 2,
        GranuleSize::K16 | GranuleSize::K64 => 3,
    };
    lowest.saturating_sub(level) as u64
}

/// An STE.
///
/// | word | bits | field |
/// |---|---|---|
/// | 0 | 0 | V: valid |
/// | 0 | 3:1 | Config: 0 abort, 4 bypass, 5 stage 1, 6 stage 2, 7 both |
/// | 0 | 5:4 | S1Fmt: 0 linear, 1 two levels of 4 KiB, 2 two levels of 64 KiB |
/// | 0 | 51:6 | S1ContextPtr |
/// | 0 | 63:59 | S1CDMax |
/// | 1 | 1:0 | S1DSS: 0 terminate, 1 bypass, 2 first descriptor |
/// | 1 | 3:2, 5:4, 7:6 | S1CIR, S1COR, S1CSH: how CDs are read |
/// | 1 | 19 | MEV: events may be merged |
/// | 1 | 25 | S2FWB: stage 2 forces write-back |
/// | 1 | 27 | S1STALLD: stage 1 never stalls |
/// | 1 | 29:28 | EATS: 0 none, 1 full, 2 split |
/// | 1 | 31:30 | STRW: 0 EL1, 2 EL2 |
/// | 1 | 45:44 | SHCFG: 0 not, 1 as incoming, 2 outer, 3 inner shareable |
/// | 1 | 49:48 | PRIVCFG: 0 as incoming |
/// | 1 | 51:50 | INSTCFG: 0 as incoming |
/// | 2 | 15:0 | S2VMID |
/// | 2 | 37:32 | S2T0SZ: 64 - bits of an input address |
/// | 2 | 39:38 | S2SL0: level to start at |
/// | 2 | 41:40, 43:42, 45:44 | S2IR0, S2OR0, S2SH0: how page tables are read |
/// | 2 | 47:46 | S2TG: 0 4 KiB, 1 64 KiB, 2 16 KiB |
/// | 2 | 50:48 | S2PS: bits of a physical address |
/// | 2 | 51 | S2AA64: AArch64 format |
/// | 2 | 52 | S2ENDI: big endian |
/// | 2 | 53 | S2AFFD: no fault for a clear access flag |
/// | 2 | 54 | S2PTW: table walks of stage 1 must not end in device memory |
/// | 2 | 55, 56 | S2HD, S2HA: flags that the unit updates |
/// | 2 | 57 | S2S: stall |
/// | 2 | 58 | S2R: record faults |
/// | 3 | 51:4 | S2TTB |
///
/// All other bits are 0.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ste {
    /// Not valid (V = 0): the unit terminates transactions, and records C_BAD_STE for each.
    Invalid,
    /// Valid, with Config = 0: the unit terminates transactions and records nothing.
    Abort,
    /// Transactions pass untranslated.
    Bypass {
        /// Their shareability.
        sharing: Sharing,
    },
    /// Stage 1.
    Stage1(Stage1),
    /// Stage 2.
    Stage2(Stage2),
}

impl Ste {
    const VALID: u64 = 1;
    const ABORT: u64 = 0;
    const BYPASS: u64 = 4;
    const STAGE1: u64 = 5;
    const STAGE2: u64 = 6;

    const fn config(kind: u64) -> u64 {
        Self::VALID | put(kind, 3, 1)
    }

    /// The STE as the unit reads it. Bits of addresses that have no place in it are dropped.
    pub const fn encode(&self) -> Words {
        match *self {
            Self::Invalid => [0; 8],
            Self::Abort => [Self::config(Self::ABORT), 0, 0, 0, 0, 0, 0, 0],
            Self::Bypass { sharing } => {
                let attributes = put(sharing.code(), 45, 44);
                [Self::config(Self::BYPASS), attributes, 0, 0, 0, 0, 0, 0]
            }
            Self::Stage1(ref stage) => stage.encode(),
            Self::Stage2(ref stage) => stage.encode(),
        }
    }

    /// How the unit reads `words`; `None` if they are not what this driver writes.
    pub const fn decode(words: &Words) -> Option<Self> {
        if words[0] & Self::VALID == 0 {
            return Some(Self::Invalid);
        }
        Some(match field(words[0], 3, 1) {
            Self::ABORT => Self::Abort,
            Self::BYPASS => match Sharing::decode(field(words[1], 45, 44)) {
                Some(sharing) => Self::Bypass { sharing },
                None => return None,
            },
            Self::STAGE1 => match Stage1::decode(words) {
                Some(stage) => Self::Stage1(stage),
                None => return None,
            },
            Self::STAGE2 => match Stage2::decode(words) {
                Some(stage) => Self::Stage2(stage),
                None => return None,
            },
            _ => return None,
        })
    }
}

impl Stage1 {
    const fn encode(&self) -> Words {
        [
            Ste::config(Ste::STAGE1) | self.context_descriptor & mask(51, 6),
            put(self.walk.encode(), 7, 2)
                | flag(self.never_stall, 27)
                | put(self.device_tlb.code(), 29, 28),
            self.vmid as u64,
            0,
            0,
            0,
            0,
            0,
        ]
    }

    const fn decode(words: &Words) -> Option<Self> {
        // No substreams (S1Fmt, S1CDMax, S1DSS), EL1 (STRW), and no sharing of its own (SHCFG).
        if words[0] & (mask(5, 4) | mask(63, 59)) != 0
            || words[1] & (mask(1, 0) | mask(31, 30) | mask(45, 44)) != 0
        {
            return None;
        }
        let (Some(walk), Some(device_tlb)) = (
            Walk::decode(field(words[1], 7, 2)),
            DeviceTlb::decode(field(words[1], 29, 28)),
        ) else {
            return None;
        };
        Some(Self {
            context_descriptor: words[0] & mask(51, 6),
            walk,
            vmid: words[2] as u16,
            never_stall: bit(words[1], 27),
            device_tlb,
        })
    }
}

impl Stage2 {
    const fn encode(&self) -> Words {
        [
            Ste::config(Ste::STAGE2),
            put(self.device_tlb.code(), 29, 28) | put(self.sharing.code(), 45, 44),
            self.vmid as u64
                | put(64u64.saturating_sub(self.input_bits as u64), 37, 32)
                | put(level_code(self.granule, self.start_level), 39, 38)
                | put(self.walk.encode(), 45, 40)
                | put(granule_code(self.granule), 47, 46)
                | put(size_code(self.output_bits), 50, 48)
                | flag(true, 51)
                | flag(true, 54)
                | put(update_code(self.updates), 56, 55)
                | flag(self.stall, 57)
                | flag(true, 58),
            self.table & mask(51, 4),
            0,
            0,
            0,
            0,
        ]
    }

    const fn decode(words: &Words) -> Option<Self> {
        // AArch64 format, little endian, and faults are recorded.
        if !bit(words[2], 51) || bit(words[2], 52) || !bit(words[2], 58) {
            return None;
        }
        let (Some(granule), Some(walk), Some(output_bits), Some(device_tlb), Some(sharing)) = (
            granule_of(field(words[2], 47, 46)),
            Walk::decode(field(words[2], 45, 40)),
            size_of(field(words[2], 50, 48)),
            DeviceTlb::decode(field(words[1], 29, 28)),
            Sharing::decode(field(words[1], 45, 44)),
        ) else {
            return None;
        };
        let code = field(words[2], 39, 38) as u8;
        let lowest: u8 = match granule {
            GranuleSize::K4 => 2,
            GranuleSize::K16 | GranuleSize::K64 => 3,
        };
        let Some(start_level) = lowest.checked_sub(code) else {
            return None;
        };
        Some(Self {
            table: words[3] & mask(51, 4),
            vmid: words[2] as u16,
            input_bits: 64 - field(words[2], 37, 32) as u8,
            output_bits,
            granule,
            start_level,
            walk,
            updates: updates_of(field(words[2], 56, 55)),
            stall: bit(words[2], 57),
            device_tlb,
            sharing,
        })
    }
}
