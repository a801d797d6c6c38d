// SPDX-License-Identifier: GPL-2.0

//! What a unit can do: its capability registers, decoded, and whether that is enough to drive it
//! (VT-d 11.4.2 and 11.4.3; 10.4.2 and 10.4.3 in revisions before 4.0).

#![forbid(unsafe_code)]

use core::fmt;

/// The capability and the extended capability register, decoded.
///
/// Capability register:
///
/// | bits | name | here |
/// |---|---|---|
/// | 2:0 | ND | [`domains`](Self::domains) = 2^(4 + 2·ND) |
/// | 4 | RWBF | [`write_buffer_flush`](Self::write_buffer_flush) |
/// | 5 | PLMR | [`protected_low`](Self::protected_low) |
/// | 6 | PHMR | [`protected_high`](Self::protected_high) |
/// | 7 | CM | [`caching_mode`](Self::caching_mode) |
/// | 12:8 | SAGAW | [`widths`](Self::widths) |
/// | 21:16 | MGAW | [`max_address_bits`](Self::max_address_bits) − 1 |
/// | 22 | ZLR | [`zero_length_read`](Self::zero_length_read) |
/// | 33:24 | FRO | [`fault_offset`](Self::fault_offset) / 16 |
/// | 37:34 | SLLPS | [`large_2m`](Self::large_2m), [`large_1g`](Self::large_1g) |
/// | 39 | PSI | [`page_selective`](Self::page_selective) |
/// | 47:40 | NFR | [`fault_records`](Self::fault_records) − 1 |
/// | 53:48 | MAMV | [`max_address_mask`](Self::max_address_mask) |
/// | 54 | DWD | [`drain_writes`](Self::drain_writes) |
/// | 55 | DRD | [`drain_reads`](Self::drain_reads) |
/// | 56 | FS1GP | [`first_stage_1g`](Self::first_stage_1g) |
/// | 60 | FS5LP | [`first_stage_5_levels`](Self::first_stage_5_levels) |
/// | 63 | ESRTPS | [`root_pointer_flushes`](Self::root_pointer_flushes) |
///
/// Extended capability register:
///
/// | bits | name | here |
/// |---|---|---|
/// | 0 | C | [`coherent`](Self::coherent) |
/// | 1 | QI | [`queued_invalidation`](Self::queued_invalidation) |
/// | 2 | DT | [`device_tlb`](Self::device_tlb) |
/// | 3 | IR | [`interrupt_remapping`](Self::interrupt_remapping) |
/// | 4 | EIM | [`extended_interrupt_mode`](Self::extended_interrupt_mode) |
/// | 6 | PT | [`pass_through`](Self::pass_through) |
/// | 7 | SC | [`snoop_control`](Self::snoop_control) |
/// | 17:8 | IRO | [`iotlb_offset`](Self::iotlb_offset) / 16 |
/// | 26 | NEST | [`nested`](Self::nested) |
/// | 29 | PRS | [`page_requests`](Self::page_requests) |
/// | 39:35 | PSS | [`pasid_bits`](Self::pasid_bits) − 1 |
/// | 40 | PASID | [`pasid_bits`](Self::pasid_bits) is not 0 |
/// | 43 | SMTS | [`scalable_mode`](Self::scalable_mode) |
/// | 45 | SSADS | [`second_stage_dirty`](Self::second_stage_dirty) |
/// | 46 | SSTS | [`second_stage`](Self::second_stage) |
/// | 47 | FSTS | [`first_stage`](Self::first_stage) |
/// | 48 | SMPWC | [`scalable_coherent`](Self::scalable_coherent) |
/// | 49 | RPS | [`rid_pasid`](Self::rid_pasid) |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Capability {
    /// How many domain ids the unit has: 16 to 262144. A context entry names 65536 at most.
    pub domains: u32,
    /// Stores to tables need a write-buffer flush before the unit sees them (6.8).
    pub write_buffer_flush: bool,
    /// The unit has a protected low-memory region.
    pub protected_low: bool,
    /// The unit has a protected high-memory region.
    pub protected_high: bool,
    /// The unit may cache entries that are not present, so an entry that becomes present needs an
    /// invalidation (6.1).
    pub caching_mode: bool,
    /// The widths of second-stage tables that the unit walks.
    pub widths: Widths,
    /// The most bits of an address that a device may use.
    pub max_address_bits: u8,
    /// Zero-length reads of write-only pages are allowed.
    pub zero_length_read: bool,
    /// Byte offset of the fault recording registers.
    pub fault_offset: u32,
    /// 2 MiB pages in the second stage.
    pub large_2m: bool,
    /// 1 GiB pages in the second stage.
    pub large_1g: bool,
    /// The unit can invalidate a range of pages, not only a whole domain.
    pub page_selective: bool,
    /// How many fault recording registers the unit has: 1 to 256.
    pub fault_records: u16,
    /// A page-selective invalidation covers 2^n pages at most.
    pub max_address_mask: u8,
    /// An invalidation can wait for writes in flight.
    pub drain_writes: bool,
    /// An invalidation can wait for reads in flight.
    pub drain_reads: bool,
    /// 1 GiB pages in the first stage, which always has those of 4 KiB and 2 MiB.
    pub first_stage_1g: bool,
    /// First-stage tables of 5 levels, beside those of 4, which every unit with a first stage
    /// walks.
    pub first_stage_5_levels: bool,
    /// The unit invalidates everything when the root table pointer is set.
    pub root_pointer_flushes: bool,
    /// The unit's reads of root, context and PASID tables are coherent with the processors' caches,
    /// and in legacy mode those of page tables.
    pub coherent: bool,
    /// Queued invalidation.
    pub queued_invalidation: bool,
    /// Device TLBs.
    pub device_tlb: bool,
    /// Interrupt remapping.
    pub interrupt_remapping: bool,
    /// Interrupt remapping with 32-bit destinations.
    pub extended_interrupt_mode: bool,
    /// A context entry can let a device pass untranslated.
    pub pass_through: bool,
    /// A page table entry can force accesses to be snooped.
    pub snoop_control: bool,
    /// Byte offset of the IOTLB registers.
    pub iotlb_offset: u32,
    /// First-stage translation on top of the second.
    pub nested: bool,
    /// Page requests of devices.
    pub page_requests: bool,
    /// The width of PASIDs in requests; 0 if the unit refuses requests with a PASID.
    pub pasid_bits: u8,
    /// Scalable mode.
    pub scalable_mode: bool,
    /// Accessed and dirty bits of the second stage.
    pub second_stage_dirty: bool,
    /// Second-stage translation in scalable mode.
    pub second_stage: bool,
    /// First-stage translation in scalable mode.
    pub first_stage: bool,
    /// In scalable mode, the unit's page walks are coherent with the processors' caches if the
    /// PASID table entry asks for it (PWSNP).
    pub scalable_coherent: bool,
    /// A context entry says which PASID table entry is for requests without a PASID. Without this
    /// ability it is entry 0, which this driver uses in any case.
    pub rid_pasid: bool,
}

/// How a unit finds out what the requests of an id are attached to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Context entries lead to second-stage tables.
    Legacy,
    /// Context entries lead to PASID tables, whose entries lead to page tables of this stage.
    Scalable(Stage),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy mode",
            Self::Scalable(Stage::First) => "scalable mode with first-stage tables",
            Self::Scalable(Stage::Second) => "scalable mode with second-stage tables",
        })
    }
}

/// A kind of page table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The processors' format (3.6, 9.7).
    First,
    /// VT-d's own format (3.7, 9.8).
    Second,
}

impl Mode {
    /// Whether it is scalable mode.
    pub const fn is_scalable(self) -> bool {
        matches!(self, Self::Scalable(_))
    }

    /// The stage whose tables paging domains have.
    pub const fn stage(self) -> Stage {
        match self {
            Self::Legacy => Stage::Second,
            Self::Scalable(stage) => stage,
        }
    }
}

const fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 != 0
}

const fn field(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

impl Capability {
    /// Decodes the two registers.
    pub const fn decode(cap: u64, ecap: u64) -> Self {
        Self {
            domains: 1 << (4 + 2 * field(cap, 2, 0)),
            write_buffer_flush: bit(cap, 4),
            protected_low: bit(cap, 5),
            protected_high: bit(cap, 6),
            caching_mode: bit(cap, 7),
            widths: Widths(field(cap, 12, 8) as u8),
            max_address_bits: field(cap, 21, 16) as u8 + 1,
            zero_length_read: bit(cap, 22),
            fault_offset: field(cap, 33, 24) as u32 * 16,
            large_2m: bit(cap, 34),
            large_1g: bit(cap, 35),
            page_selective: bit(cap, 39),
            fault_records: field(cap, 47, 40) as u16 + 1,
            max_address_mask: field(cap, 53, 48) as u8,
            drain_writes: bit(cap, 54),
            drain_reads: bit(cap, 55),
            first_stage_1g: bit(cap, 56),
            first_stage_5_levels: bit(cap, 60),
            root_pointer_flushes: bit(cap, 63),
            coherent: bit(ecap, 0),
            queued_invalidation: bit(ecap, 1),
            device_tlb: bit(ecap, 2),
            interrupt_remapping: bit(ecap, 3),
            extended_interrupt_mode: bit(ecap, 4),
            pass_through: bit(ecap, 6),
            snoop_control: bit(ecap, 7),
            iotlb_offset: field(ecap, 17, 8) as u32 * 16,
            nested: bit(ecap, 26),
            page_requests: bit(ecap, 29),
            pasid_bits: match bit(ecap, 40) {
                true => field(ecap, 39, 35) as u8 + 1,
                false => 0,
            },
            scalable_mode: bit(ecap, 43),
            second_stage_dirty: bit(ecap, 45),
            second_stage: bit(ecap, 46),
            first_stage: bit(ecap, 47),
            scalable_coherent: bit(ecap, 48),
            rid_pasid: bit(ecap, 49),
        }
    }

    /// `ecap`, of a unit that has to stay in legacy mode.
    pub const fn legacy_only(ecap: u64) -> u64 {
        ecap & !(1 << 43)
    }

    /// The width of the PASIDs that the unit serves, 20 bits at most; `None` if it serves no
    /// requests with a PASID. PSS has room for wider ones, which do not exist (PCIe 6.20.2).
    pub const fn pasids(&self) -> Option<u8> {
        match (self.mode().is_scalable(), self.pasid_bits) {
            (true, bits @ 1..=20) => Some(bits),
            (true, 21..) => Some(20),
            _ => None,
        }
    }

    /// The mode in which this driver drives the unit: scalable mode wherever the unit has it and
    /// walks page tables there.
    ///
    /// The second stage is preferred. It translates more address bits, has pages that can be
    /// written and not read, and can make a device's accesses snoop page by page.
    pub const fn mode(&self) -> Mode {
        match (self.scalable_mode, self.second_stage, self.first_stage) {
            (true, true, _) => Mode::Scalable(Stage::Second),
            (true, false, true) => Mode::Scalable(Stage::First),
            _ => Mode::Legacy,
        }
    }

    /// Whether the unit's walks of page tables can be coherent with the processors' caches.
    pub const fn walks_snoop(&self) -> bool {
        match self.mode() {
            Mode::Legacy => self.coherent,
            Mode::Scalable(_) => self.scalable_coherent,
        }
    }

    /// Whether the unit caches that a page is not mapped. In caching mode it does, but of no page
    /// of a first-stage table (6.1).
    pub const fn caches_absent_pages(&self) -> bool {
        self.caching_mode && matches!(self.mode().stage(), Stage::Second)
    }

    /// The most pages that one invalidation can name, as a power of two; `None` if it covers whole
    /// domains only. Those of the first stage may name any number (11.4.2, MAMV).
    pub const fn largest_block(&self) -> Option<u8> {
        match (self.mode(), self.page_selective) {
            (Mode::Scalable(Stage::First), _) => Some(51),
            (_, true) => Some(self.max_address_mask),
            (_, false) => None,
        }
    }

    /// Whether the unit walks page tables of this width, in its mode.
    pub const fn walks(&self, width: Width) -> bool {
        match (self.mode().stage(), width) {
            (Stage::Second, _) => self.widths.contains(width),
            (Stage::First, Width::Bits39) => false,
            (Stage::First, Width::Bits48) => true,
            (Stage::First, Width::Bits57) => self.first_stage_5_levels,
        }
    }

    /// The size of the registers that the driver uses, in bytes, rounded up to 4 KiB.
    pub const fn register_bytes(&self) -> usize {
        let faults = self.fault_offset as usize + self.fault_records as usize * 16;
        let iotlb = self.iotlb_offset as usize + 16;
        let end = if faults > iotlb { faults } else { iotlb };
        let pages = end.div_ceil(4096);

        if pages == 0 {
            4096
        } else {
            pages * 4096
        }
    }

    /// Bitmap of the page sizes of the unit's page tables: bit n means 2^n bytes.
    pub const fn page_sizes(&self) -> u64 {
        let (large_2m, large_1g) = match self.mode().stage() {
            Stage::First => (true, self.first_stage_1g),
            Stage::Second => (self.large_2m, self.large_1g),
        };

        1 << 12 | (large_2m as u64) << 21 | (large_1g as u64) << 30
    }

    /// How many domain ids an entry can name.
    pub const fn usable_domains(&self) -> u32 {
        if self.domains > 1 << 16 {
            1 << 16
        } else {
            self.domains
        }
    }

    /// The width of the tables for this unit, and how many bits of an address they translate.
    ///
    /// This is the narrowest width that covers all addresses that devices may use, or else the
    /// widest that the unit walks. A level that no device can address would only cost a memory
    /// access on every miss. In first-stage tables the highest bit has to be 0, as in the lower
    /// half of a processor's addresses (3.6).
    pub fn address_space(&self) -> Option<AddressSpace> {
        let wanted = self.max_address_bits;
        let width = Width::ALL
            .into_iter()
            .filter(|width| self.walks(*width))
            .reduce(|best, next| if best.bits() >= wanted { best } else { next })?;

        let usable = match self.mode().stage() {
            Stage::First => width.bits() - 1,
            Stage::Second => width.bits(),
        };

        Some(AddressSpace {
            width,
            bits: usable.min(wanted),
        })
    }

    /// The width that a pass-through entry must have: the widest (9.3, 9.6). `None` if the unit has
    /// no pass-through.
    pub fn untranslated(&self) -> Option<Width> {
        Width::ALL
            .into_iter()
            .filter(|width| self.pass_through && self.walks(*width))
            .next_back()
    }

    /// Decides whether a unit with these registers can be driven.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn judge(cap: u64, ecap: u64) -> Result<(Self, AddressSpace), Refusal> {
        if (cap, ecap) == (u64::MAX, u64::MAX) || (cap, ecap) == (0, 0) {
            return Err(Refusal::NoRegisters);
        }
        let this = Self::decode(cap, ecap);
        if !this.queued_invalidation {
            return Err(Refusal::NoQueue);
        }
        if this.max_address_bits <= 30 {
            return Err(Refusal::TooNarrow {
                bits: this.max_address_bits,
            });
        }
        let Some(space) = this.address_space() else {
            return Err(Refusal::NoWidth {
                bitmap: this.widths.0,
            });
        };
        Ok((this, space))
    }
}

/// Why a unit cannot be driven.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Both registers read as all ones, or all zeros.
    NoRegisters,
    /// No queued invalidation.
    NoQueue,
    /// The unit walks no width of page tables that this driver knows.
    NoWidth {
        /// The widths that the unit walks (SAGAW).
        bitmap: u8,
    },
    /// Devices cannot address more than 1 GiB.
    TooNarrow {
        /// Bits of an address.
        bits: u8,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoRegisters => f.write_str(
                "its registers read the same everywhere, so nothing answers at the address in the DMAR \
                 table",
            ),
            Self::NoQueue => f.write_str(
                "it has no queued invalidation (ECAP.QI is 0), and the register-based kind is \
                 not supported",
            ),
            Self::NoWidth { bitmap } => write!(
                f,
                "it walks no table of 39, 48 or 57 bits (CAP.SAGAW is {bitmap:#x})"
            ),
            Self::TooNarrow { bits } => write!(
                f,
                "its devices use addresses of {bits} bits (CAP.MGAW), and 31 is the least that is \
                 supported"
            ),
        }
    }
}

/// Bitmap of table widths (SAGAW): bit 1 is 39 bits, bit 2 is 48, bit 3 is 57.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Widths(u8);

impl Widths {
    /// Whether the unit walks tables of this width.
    pub const fn contains(self, width: Width) -> bool {
        self.0 >> width.encoding() & 1 != 0
    }
}

/// The width of a page table.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Width {
    /// 39 bits, 3 levels.
    Bits39,
    /// 48 bits, 4 levels.
    Bits48,
    /// 57 bits, 5 levels.
    Bits57,
}

impl Width {
    /// Every width, narrowest first.
    pub const ALL: [Self; 3] = [Self::Bits39, Self::Bits48, Self::Bits57];

    /// Bits of an address that a table of this width translates.
    pub const fn bits(self) -> u8 {
        self.levels() * 9 + 12
    }

    /// Levels of tables.
    pub const fn levels(self) -> u8 {
        match self {
            Self::Bits39 => 3,
            Self::Bits48 => 4,
            Self::Bits57 => 5,
        }
    }

    /// The width of a table with `levels` levels.
    pub const fn from_levels(levels: u8) -> Option<Self> {
        Some(match levels {
            3 => Self::Bits39,
            4 => Self::Bits48,
            5 => Self::Bits57,
            _ => return None,
        })
    }

    /// The value of an entry's AW field, and the bit in SAGAW.
    pub const fn encoding(self) -> u8 {
        self.levels() - 2
    }
}

/// What addresses a unit's paging domains have.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AddressSpace {
    /// The width of the tables.
    pub width: Width,
    /// Bits of an address that may be mapped: never more than the width has.
    pub bits: u8,
}
