// SPDX-License-Identifier: GPL-2.0

//! What a unit can do: its identification registers, decoded, and whether the driver can use such a
//! unit (SMMUv3 IHI 0070, 6.3).

#![forbid(unsafe_code)]

mod granule;
mod quirks;
mod refusal;

pub use self::{
    granule::Granules,
    quirks::Quirks,
    refusal::{Preset, Refusal},
};

use self::refusal::MIN_COMMANDS;
use super::{
    bits::{bit, field},
    stream_table_layout::{StreamTableFormat, SPLIT},
};
use crate::pgtable::armv8::GranuleSize;

/// The identification registers, as they read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    /// SMMU_IDR0, offset 0x0.
    pub idr0: u32,
    /// SMMU_IDR1, offset 0x4.
    pub idr1: u32,
    /// SMMU_IDR3, offset 0xc.
    pub idr3: u32,
    /// SMMU_IDR5, offset 0x14.
    pub idr5: u32,
    /// SMMU_IIDR, offset 0x18.
    pub iidr: u32,
    /// SMMU_AIDR, offset 0x1c.
    pub aidr: u32,
}

/// What firmware says about a unit. It overrides the registers, because firmware knows the
/// interconnect that the unit is connected to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Firmware {
    /// Whether the unit's accesses to tables and queues snoop the processors' caches.
    pub coherent: bool,
    /// Which flags of page table entries the unit may write; `None` if IDR0 says so.
    pub flag_updates: Option<FlagUpdates>,
    /// The unit has only the first 64 KiB page of registers (Cavium CN99xx, erratum 74).
    pub page0_only: bool,
    /// Bytes of the memory region that has the registers.
    pub window: u64,
    /// See [`Quirks::repeat_invalidations`].
    pub repeat_invalidations: bool,
}

/// Which flags of page table entries the unit updates (IDR0.HTTU).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FlagUpdates {
    /// None.
    None,
    /// The access flag.
    Access,
    /// The access flag and the dirty state.
    AccessDirty,
    /// The access flag and the dirty state, and the access flag of table descriptors.
    AccessDirtyTables,
}

impl FlagUpdates {
    /// From the two bits of IDR0 or of the IORT.
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::None,
            1 => Self::Access,
            2 => Self::AccessDirty,
            _ => Self::AccessDirtyTables,
        }
    }
}

/// What happens to a transaction that faults (IDR0.STALL_MODEL).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Stalls {
    /// It is terminated. STEs and CDs must not enable stalls.
    Never,
    /// It is stalled if STE or CD enable that.
    Optional,
    /// It is stalled, and waits for software. STEs and CDs must enable stalls.
    Always,
}

/// How software may change the size of a page that is mapped (IDR3.BBML).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SizeChange {
    /// Break before make: it clears the old entry, invalidates, and writes the new one.
    Break,
    /// It writes the new entry at once, with the nT bit.
    NonTranslating,
    /// It writes the new entry at once.
    Direct,
}

/// Which stage domains translate with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Stage 1.
    One,
    /// Stage 2.
    Two,
}

/// The largest sizes of the queues, as binary logarithms of their entries.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Queues {
    /// Command queue.
    pub commands: u8,
    /// Event queue.
    pub events: u8,
    /// PRI queue; `None` if the unit has none.
    pub page_requests: Option<u8>,
}

/// The identification registers, decoded.
///
/// SMMU_IDR0:
///
/// | bits | name | here |
/// |---|---|---|
/// | 0 | S2P | [`stage2`](Self::stage2) |
/// | 1 | S1P | [`stage1`](Self::stage1) |
/// | 3:2 | TTF | [`aarch64`](Self::aarch64) is bit 3 |
/// | 4 | COHACC | [`coherent`](Self::coherent), unless firmware says otherwise |
/// | 5 | BTM | [`broadcast`](Self::broadcast) |
/// | 7:6 | HTTU | [`flag_updates`](Self::flag_updates), unless firmware says otherwise |
/// | 8 | DORMHINT | [`dormant_hint`](Self::dormant_hint) |
/// | 9 | HYP | [`hypervisor`](Self::hypervisor) |
/// | 10 | ATS | [`device_tlb`](Self::device_tlb) |
/// | 11 | NS1ATS | [`device_tlb_split`](Self::device_tlb_split) is its inverse |
/// | 12 | ASID16 | [`asid_bits`](Self::asid_bits) |
/// | 13 | MSI | [`messages`](Self::messages) |
/// | 14 | SEV | [`events`](Self::events) |
/// | 15 | ATOS | [`address_lookup`](Self::address_lookup) |
/// | 16 | PRI | [`queues`](Self::queues) |
/// | 17 | VMW | [`vmid_wildcards`](Self::vmid_wildcards) |
/// | 18 | VMID16 | [`vmid_bits`](Self::vmid_bits) |
/// | 19 | CD2L | [`two_level_contexts`](Self::two_level_contexts) |
/// | 22:21 | TTENDIAN | 0 (either) or 2 (little) is needed |
/// | 25:24 | STALL_MODEL | [`stalls`](Self::stalls) |
/// | 26 | TERM_MODEL | [`terminate_by_abort`](Self::terminate_by_abort) |
/// | 28:27 | ST_LEVEL | [`stream_table`](Self::stream_table) |
///
/// SMMU_IDR1:
///
/// | bits | name | here |
/// |---|---|---|
/// | 5:0 | SIDSIZE | [`stream_bits`](Self::stream_bits) |
/// | 10:6 | SSIDSIZE | [`substream_bits`](Self::substream_bits) |
/// | 15:11 | PRIQS | [`queues`](Self::queues) |
/// | 20:16 | EVENTQS | [`queues`](Self::queues) |
/// | 25:21 | CMDQS | [`queues`](Self::queues) |
/// | 26 | ATTR_PERMS_OVR | [`override_permissions`](Self::override_permissions) |
/// | 27 | ATTR_TYPES_OVR | [`override_types`](Self::override_types) |
/// | 28 | REL | must be 0 |
/// | 29 | QUEUES_PRESET | must be 0 |
/// | 30 | TABLES_PRESET | must be 0 |
///
/// SMMU_IDR3:
///
/// | bits | name | here |
/// |---|---|---|
/// | 2 | HAD | [`hierarchy_disable`](Self::hierarchy_disable) |
/// | 3 | PBHA | [`page_attributes`](Self::page_attributes) |
/// | 4 | XNX | [`execute_by_level`](Self::execute_by_level) |
/// | 8 | FWB | [`force_write_back`](Self::force_write_back) |
/// | 9 | STT | [`small_tables`](Self::small_tables) |
/// | 10 | RIL | [`range_invalidation`](Self::range_invalidation) |
/// | 12:11 | BBML | [`size_change`](Self::size_change) |
///
/// SMMU_IDR5:
///
/// | bits | name | here |
/// |---|---|---|
/// | 2:0 | OAS | [`output_bits`](Self::output_bits) |
/// | 6:4 | GRAN64K, GRAN16K, GRAN4K | [`granules`](Self::granules) |
/// | 11:10 | VAX | [`virtual_bits`](Self::virtual_bits) |
/// | 31:16 | STALL_MAX | [`max_stalls`](Self::max_stalls) |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Capability {
    /// Stage 1 is implemented.
    pub stage1: bool,
    /// Stage 2 is implemented.
    pub stage2: bool,
    /// A stream can use both stages.
    pub nesting: bool,
    /// The unit walks page tables in AArch64 format.
    pub aarch64: bool,
    /// The unit's accesses to tables and queues snoop the processors' caches.
    pub coherent: bool,
    /// IDR0 and firmware disagree about coherency.
    pub coherent_overridden: bool,
    /// The unit takes part in the processors' broadcast TLB invalidation.
    pub broadcast: bool,
    /// Which flags of page table entries the unit updates.
    pub flag_updates: FlagUpdates,
    /// The unit uses hints that its caches are not needed (dormant).
    pub dormant_hint: bool,
    /// Stage 1 can be that of EL2.
    pub hypervisor: bool,
    /// ATS is implemented: devices can have TLBs.
    pub device_tlb: bool,
    /// Split-stage ATS: device TLBs can hold the result of stage 1 alone.
    pub device_tlb_split: bool,
    /// Bits of an ASID: 8 or 16.
    pub asid_bits: u8,
    /// Bits of a VMID: 8 or 16.
    pub vmid_bits: u8,
    /// The unit's interrupts and the completion of CMD_SYNC can be messages (MSI).
    pub messages: bool,
    /// CMD_SYNC can complete with an event that wakes processors from WFE.
    pub events: bool,
    /// Software can have the unit translate an address.
    pub address_lookup: bool,
    /// An invalidation can ignore the lowest bits of the VMID.
    pub vmid_wildcards: bool,
    /// Tables of CDs may have two levels.
    pub two_level_contexts: bool,
    /// What happens to a transaction that faults.
    pub stalls: Stalls,
    /// The unit reports each terminated transaction to the device as an abort. CDs must have A = 1.
    pub terminate_by_abort: bool,
    /// Format of the stream table.
    pub stream_table: StreamTableFormat,
    /// Bits of a stream id, 0 to 32.
    pub stream_bits: u8,
    /// Bits of a substream id, 0 to 20; 0 if there are none.
    pub substream_bits: u8,
    /// Sizes of the queues.
    pub queues: Queues,
    /// An STE can override the permissions of incoming transactions.
    pub override_permissions: bool,
    /// An STE can override the memory type of incoming transactions. If not, STE.SHCFG is reserved.
    pub override_types: bool,
    /// Permissions in table descriptors can be disabled.
    pub hierarchy_disable: bool,
    /// Page table entries have page-based hardware attributes, which the interconnect uses.
    pub page_attributes: bool,
    /// Stage 2 has separate execute permissions for EL0 and EL1.
    pub execute_by_level: bool,
    /// Stage 2 can force write-back cacheable.
    pub force_write_back: bool,
    /// Input addresses may have as few as 16 bits.
    pub small_tables: bool,
    /// One command can invalidate a range of addresses.
    pub range_invalidation: bool,
    /// How the size of a page may change.
    pub size_change: SizeChange,
    /// Bits of a physical address: 32 to 52. With 52 bits only tables with the 64 KiB granule reach
    /// all memory, see [`table_output_bits`](Self::table_output_bits).
    pub output_bits: u8,
    /// Bits of an input address of stage 1: 48 or 52. 52 bits need the 64 KiB granule.
    pub virtual_bits: u8,
    /// Granules of page tables.
    pub granules: Granules,
    /// How many transactions can be stalled at once.
    pub max_stalls: u16,
    /// Version of the architecture: major, minor.
    pub version: (u8, u8),
    /// Errata of the product.
    pub quirks: Quirks,
    /// Bytes of the register window: 64 or 128 KiB.
    pub register_bytes: usize,
}

/// Queues have at most 2^19 entries (SMMU_IDR1).
const MAX_QUEUE: u8 = 19;

const fn at_most(value: u64, limit: u8) -> u8 {
    if value > limit as u64 {
        limit
    } else {
        value as u8
    }
}

impl Capability {
    /// Decodes the registers.
    pub const fn decode(registers: &Registers, firmware: &Firmware) -> Self {
        let idr0 = registers.idr0 as u64;
        let idr1 = registers.idr1 as u64;
        let idr3 = registers.idr3 as u64;
        let idr5 = registers.idr5 as u64;
        let quirks = Quirks {
            repeat_invalidations: firmware.repeat_invalidations,
            ..Quirks::of(registers.iidr)
        };
        let (stage1, stage2) = (bit(idr0, 1), bit(idr0, 0));
        let stream_bits = at_most(field(idr1, 5, 0), 32);

        Self {
            stage1,
            stage2,
            nesting: stage1 && stage2 && !quirks.no_nesting,
            aarch64: bit(idr0, 3),
            coherent: firmware.coherent,
            coherent_overridden: firmware.coherent != bit(idr0, 4),
            broadcast: bit(idr0, 5) && !quirks.no_broadcast,
            flag_updates: match firmware.flag_updates {
                Some(updates) => updates,
                None => FlagUpdates::from_bits(field(idr0, 7, 6) as u32),
            },
            dormant_hint: bit(idr0, 8),
            hypervisor: bit(idr0, 9),
            device_tlb: bit(idr0, 10),
            device_tlb_split: bit(idr0, 10) && !bit(idr0, 11),
            asid_bits: if bit(idr0, 12) { 16 } else { 8 },
            vmid_bits: if bit(idr0, 18) { 16 } else { 8 },
            messages: bit(idr0, 13),
            events: bit(idr0, 14) && !quirks.no_events,
            address_lookup: bit(idr0, 15),
            vmid_wildcards: bit(idr0, 17),
            two_level_contexts: bit(idr0, 19),
            stalls: match field(idr0, 25, 24) {
                0 => Stalls::Optional,
                2 => Stalls::Always,
                // 3 is reserved.
                _ => Stalls::Never,
            },
            terminate_by_abort: bit(idr0, 26),
            // A second level is useful only with more than one second-level table.
            stream_table: if field(idr0, 28, 27) == 1 && stream_bits > SPLIT {
                StreamTableFormat::TwoLevel
            } else {
                StreamTableFormat::Linear
            },
            stream_bits,
            substream_bits: at_most(field(idr1, 10, 6), 20),
            queues: Queues {
                commands: at_most(field(idr1, 25, 21), MAX_QUEUE),
                events: at_most(field(idr1, 20, 16), MAX_QUEUE),
                page_requests: if bit(idr0, 16) {
                    Some(at_most(field(idr1, 15, 11), MAX_QUEUE))
                } else {
                    None
                },
            },
            override_permissions: bit(idr1, 26),
            override_types: bit(idr1, 27),
            hierarchy_disable: bit(idr3, 2),
            page_attributes: bit(idr3, 3),
            execute_by_level: bit(idr3, 4),
            force_write_back: bit(idr3, 8),
            small_tables: bit(idr3, 9),
            range_invalidation: bit(idr3, 10),
            size_change: match field(idr3, 12, 11) {
                1 => SizeChange::NonTranslating,
                2 => SizeChange::Direct,
                // 3 is reserved.
                _ => SizeChange::Break,
            },
            output_bits: match field(idr5, 2, 0) {
                0 => 32,
                1 => 36,
                2 => 40,
                3 => 42,
                4 => 44,
                6 => 52,
                // 7 is reserved.
                _ => 48,
            },
            virtual_bits: if field(idr5, 11, 10) == 1 { 52 } else { 48 },
            granules: Granules::from_bits(field(idr5, 6, 4) as u8),
            max_stalls: field(idr5, 31, 16) as u16,
            version: (
                field(registers.aidr as u64, 7, 4) as u8,
                field(registers.aidr as u64, 3, 0) as u8,
            ),
            quirks,
            register_bytes: if firmware.page0_only {
                0x1_0000
            } else {
                0x2_0000
            },
        }
    }

    /// Decodes the registers of a unit, if the driver can use it.
    ///
    /// # Errors
    ///
    /// Why the driver cannot use it.
    pub fn judge(registers: &Registers, firmware: &Firmware) -> Result<Self, Refusal> {
        let Registers { idr0, idr1, .. } = *registers;
        if (idr0, idr1) == (u32::MAX, u32::MAX) || (idr0, idr1) == (0, 0) {
            return Err(Refusal::NoRegisters);
        }
        let preset = [
            (30, Preset::Tables),
            (29, Preset::Queues),
            (28, Preset::Relative),
        ];
        if let Some((_, preset)) = preset.into_iter().find(|(at, _)| bit(idr1.into(), *at)) {
            return Err(Refusal::Preset(preset));
        }
        let this = Self::decode(registers, firmware);
        let needs = this.register_bytes as u64;
        if firmware.window < needs {
            return Err(Refusal::Window {
                has: firmware.window,
                needs,
            });
        }
        if !this.stage1 && !this.stage2 {
            return Err(Refusal::NoTranslation);
        }
        if !this.aarch64 {
            return Err(Refusal::NoFormat);
        }
        let endianness = field(idr0.into(), 22, 21) as u8;
        if !matches!(endianness, 0 | 2) {
            return Err(Refusal::Endianness { code: endianness });
        }
        if this.granules.is_empty() {
            return Err(Refusal::NoGranule);
        }
        if this.queues.commands < MIN_COMMANDS {
            return Err(Refusal::CommandQueue {
                entries: 1 << this.queues.commands,
            });
        }
        Ok(this)
    }

    /// The stage that domains translate with: stage 1 where the unit has it.
    pub const fn stage(&self) -> Stage {
        match self.stage1 {
            true => Stage::One,
            false => Stage::Two,
        }
    }

    /// Whether CMD_SYNC can complete with a message to memory, which the processor polls there.
    pub const fn poll_messages(&self) -> bool {
        self.messages && self.coherent
    }

    /// Bits of an input address of stage 1 with this granule.
    pub const fn stage1_input_bits(&self, granule: GranuleSize) -> u8 {
        Self::only_64k(self.virtual_bits, granule)
    }

    /// Bits of a physical address that page tables with this granule can have.
    pub const fn table_output_bits(&self, granule: GranuleSize) -> u8 {
        Self::only_64k(self.output_bits, granule)
    }

    /// Bits of an input address of stage 2 with this granule: as many as of a physical address
    /// (3.4).
    pub const fn stage2_input_bits(&self, granule: GranuleSize) -> u8 {
        self.table_output_bits(granule)
    }

    /// More than 48 bits need the 64 KiB granule. (The layout of entries that has more with other
    /// granules is not used.)
    const fn only_64k(bits: u8, granule: GranuleSize) -> u8 {
        match granule {
            GranuleSize::K64 => bits,
            _ if bits > 48 => 48,
            _ => bits,
        }
    }
}
