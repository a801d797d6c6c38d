// SPDX-License-Identifier: GPL-2.0

//! Stream table entries: what happens to the transactions of one stream id (SMMUv3 IHI 0070, 5.2).

#![forbid(unsafe_code)]

use super::{
    bits::{bit, field, flag, mask, put},
    capability::{Capability, FlagUpdates},
};
use crate::pgtable::armv8::GranuleSize;

/// A stream table entry or a context descriptor as the unit reads it: eight 64-bit words, the one
/// with the valid bit first.
pub type Words = [u64; 8];

/// How the unit reads memory: what tables are in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Walk {
    /// Write-back cacheable, inner shareable: a unit that is coherent.
    Cached,
    /// Not cacheable, outer shareable: a unit that is not.
    Uncached,
}

impl Walk {
    /// How a unit with `capability` reads what the kernel has written.
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
    /// context tables (5.2, S1CIR) and translation tables (5.4, IR0).
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

/// The code of a number of bits of physical addresses in IPS and S2PS: the largest that is not
/// more.
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

/// The number of bits of physical addresses with this code in IPS and S2PS.
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

/// What HD and HA as the two lowest bits ask for. HD alone would do nothing.
pub(super) const fn updates_of(code: u64) -> FlagUpdates {
    match code & 3 {
        0b10 => FlagUpdates::Access,
        0b11 => FlagUpdates::AccessDirty,
        _ => FlagUpdates::None,
    }
}

/// Shareability of transactions that are not translated (SHCFG).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// What the unit does when it cannot override it (IDR1.ATTR_TYPES_OVR is 0): the field is
    /// reserved, 0.
    Reserved,
    /// What the device says.
    Incoming,
}

impl Sharing {
    /// How transactions that pass untranslated, or that only stage 2 translates, are shared by a
    /// unit with `capability`.
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

/// What a device may do with translations of its own (EATS).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DeviceTlb {
    /// Nothing: its translation requests and translated transactions are refused.
    Forbidden,
    /// Ask for translations and use them.
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

    /// The stream table entry `words`, but the device may do nothing with translations. Changes
    /// EATS only, which is in word 1.
    pub const fn forbid(words: &Words) -> Words {
        let mut words = *words;
        words[1] &= !mask(29, 28);
        words
    }
}

/// To whose tables the entries in the unit's caches belong (STRW).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum World {
    /// EL1 of the virtual machine that VMID names: invalidated by the CMD_TLBI_NH commands.
    El1,
    /// EL2 with CR2.E2H set: invalidated by the CMD_TLBI_EL2 commands.
    El2,
}

/// How the table of context descriptors is laid out (S1Fmt).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ContextFormat {
    /// One table.
    Linear,
    /// A table of tables of 64 KiB, 1024 descriptors each.
    TwoLevel,
}

/// What happens to transactions without a substream id where there are substreams (S1DSS).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum NoSubstream {
    /// They are terminated.
    Terminate,
    /// They pass untranslated.
    Bypass,
    /// They use the first context descriptor.
    First,
}

/// Stage 1: input addresses go through the table that a context descriptor names.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stage1 {
    /// Address of the table of context descriptors, 64-byte aligned and aligned to its size; of one
    /// descriptor if `substream_bits` is 0.
    pub contexts: u64,
    /// How that table is laid out.
    pub format: ContextFormat,
    /// It has 2^n descriptors (S1CDMax); 0 means that transactions with a substream id are refused.
    pub substream_bits: u8,
    /// What transactions without a substream id do. Ignored if `substream_bits` is 0: they use the
    /// one context descriptor.
    pub no_substream: NoSubstream,
    /// How the unit reads context descriptors.
    pub walk: Walk,
    /// To whom cached translations belong.
    pub world: World,
    /// With which VMID they are marked in [`World::El1`]. No stage 2 domain may have the same.
    pub vmid: u16,
    /// Transactions that fault are never stalled, whatever the context descriptor says. Only for
    /// [`Stalls::Optional`](super::capability::Stalls::Optional).
    pub never_stall: bool,
    /// What the device may do with translations.
    pub device_tlb: DeviceTlb,
    /// Shareability of what passes untranslated; counts for [`NoSubstream::Bypass`].
    pub sharing: Sharing,
}

/// Stage 2: input addresses go through one table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stage2 {
    /// Address of the top table: aligned to its size.
    pub table: u64,
    /// The name of the domain in the unit's caches.
    pub vmid: u16,
    /// Bits of an input address (64 - S2T0SZ).
    pub input_bits: u8,
    /// Bits of a physical address (S2PS); never more than the unit has.
    pub output_bits: u8,
    /// The granule of the tables.
    pub granule: GranuleSize,
    /// The level that the top table is of; see [`level_code`].
    pub start_level: u8,
    /// How the unit reads tables.
    pub walk: Walk,
    /// Which flags of entries the unit writes.
    pub updates: FlagUpdates,
    /// Transactions that fault are stalled. Only if the unit can.
    pub stall: bool,
    /// What the device may do with translations.
    pub device_tlb: DeviceTlb,
    /// Shareability that the stage 2 table's is combined with.
    pub sharing: Sharing,
}

/// The code of the level that a stage 2 walk starts at (S2SL0): 2, 1, 0 for 4 KiB and 3, 2, 1 for
/// larger granules are 0, 1, 2.
const fn level_code(granule: GranuleSize, level: u8) -> u64 {
    let lowest: u8 = match granule {
        GranuleSize::K4 => 2,
        GranuleSize::K16 | GranuleSize::K64 => 3,
    };
    lowest.saturating_sub(level) as u64
}

/// A stream table entry.
///
/// | word | bits | field |
/// |---|---|---|
/// | 0 | 0 | V: valid |
/// | 0 | 3:1 | Config: 0 abort, 4 bypass, 5 stage 1, 6 stage 2, 7 both |
/// | 0 | 5:4 | S1Fmt: 0 linear, 1 two levels of 4 KiB, 2 two levels of 64 KiB |
/// | 0 | 51:6 | S1ContextPtr |
/// | 0 | 63:59 | S1CDMax |
/// | 1 | 1:0 | S1DSS: 0 terminate, 1 bypass, 2 first descriptor |
/// | 1 | 3:2, 5:4, 7:6 | S1CIR, S1COR, S1CSH: how context descriptors are read |
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
/// | 2 | 41:40, 43:42, 45:44 | S2IR0, S2OR0, S2SH0: how tables are read |
/// | 2 | 47:46 | S2TG: 0 4 KiB, 1 64 KiB, 2 16 KiB |
/// | 2 | 50:48 | S2PS: bits of a physical address |
/// | 2 | 51 | S2AA64: format of 64-bit processors |
/// | 2 | 52 | S2ENDI: big endian |
/// | 2 | 53 | S2AFFD: no fault for a clear access flag |
/// | 2 | 54 | S2PTW: table walks of stage 1 must not end in device memory |
/// | 2 | 55, 56 | S2HD, S2HA: flags that the unit writes |
/// | 2 | 57 | S2S: stall |
/// | 2 | 58 | S2R: record faults |
/// | 3 | 51:4 | S2TTB |
///
/// All other bits are 0.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum StreamEntry {
    /// Not valid (V = 0): transactions are terminated, and each is recorded as C_BAD_STE.
    Invalid,
    /// Valid, and transactions are terminated without a record (Config = 0).
    Abort,
    /// Transactions pass untranslated.
    Bypass {
        /// With which shareability.
        sharing: Sharing,
    },
    /// Stage 1.
    Stage1(Stage1),
    /// Stage 2.
    Stage2(Stage2),
}

impl StreamEntry {
    const VALID: u64 = 1;
    const ABORT: u64 = 0;
    const BYPASS: u64 = 4;
    const STAGE1: u64 = 5;
    const STAGE2: u64 = 6;

    const fn config(kind: u64) -> u64 {
        Self::VALID | put(kind, 3, 1)
    }

    /// The entry as the unit reads it.
    ///
    /// Bits of addresses that have no place in the entry are dropped.
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

    /// What the unit would make of `words`; `None` if this driver would not have written it.
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
        let format = match self.format {
            ContextFormat::Linear => 0,
            ContextFormat::TwoLevel => 2,
        };
        let no_substream = match self.no_substream {
            NoSubstream::Terminate => 0,
            NoSubstream::Bypass => 1,
            NoSubstream::First => 2,
        };
        let sharing = match self.no_substream {
            NoSubstream::Bypass => self.sharing.code(),
            _ => 0,
        };
        let (world, vmid) = match self.world {
            World::El1 => (0, self.vmid as u64),
            World::El2 => (2, 0),
        };
        [
            StreamEntry::config(StreamEntry::STAGE1)
                | put(format, 5, 4)
                | self.contexts & mask(51, 6)
                | put(self.substream_bits as u64, 63, 59),
            no_substream
                | put(self.walk.encode(), 7, 2)
                | flag(self.never_stall, 27)
                | put(self.device_tlb.code(), 29, 28)
                | put(world, 31, 30)
                | put(sharing, 45, 44),
            vmid,
            0,
            0,
            0,
            0,
            0,
        ]
    }

    const fn decode(words: &Words) -> Option<Self> {
        let format = match field(words[0], 5, 4) {
            0 => ContextFormat::Linear,
            2 => ContextFormat::TwoLevel,
            _ => return None,
        };
        let no_substream = match field(words[1], 1, 0) {
            0 => NoSubstream::Terminate,
            1 => NoSubstream::Bypass,
            2 => NoSubstream::First,
            _ => return None,
        };
        let world = match field(words[1], 31, 30) {
            0 => World::El1,
            2 => World::El2,
            _ => return None,
        };
        let (Some(walk), Some(device_tlb), Some(sharing)) = (
            Walk::decode(field(words[1], 7, 2)),
            DeviceTlb::decode(field(words[1], 29, 28)),
            Sharing::decode(field(words[1], 45, 44)),
        ) else {
            return None;
        };
        Some(Self {
            contexts: words[0] & mask(51, 6),
            format,
            substream_bits: field(words[0], 63, 59) as u8,
            no_substream,
            walk,
            world,
            vmid: words[2] as u16,
            never_stall: bit(words[1], 27),
            device_tlb,
            sharing,
        })
    }
}

impl Stage2 {
    const fn encode(&self) -> Words {
        [
            StreamEntry::config(StreamEntry::STAGE2),
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
        // The format of 64-bit processors, little endian, and faults are recorded.
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
