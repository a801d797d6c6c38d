// SPDX-License-Identifier: GPL-2.0

//! What a unit can do: its PCI capability block and its extended feature registers, decoded, and
//! whether that is enough to drive it (AMD-Vi 3.2 and 3.4, "Extended Feature Register").

#![forbid(unsafe_code)]

use core::fmt;

/// Extended features, decoded from the registers or from their images in the IVRS table.
///
/// First register (MMIO offset 0030h):
///
/// | bits | name | here |
/// |---|---|---|
/// | 0 | PreFSup | [`prefetch`](Self::prefetch) |
/// | 1 | PPRSup | [`page_requests`](Self::page_requests) |
/// | 2 | XTSup | [`x2apic`](Self::x2apic) |
/// | 3 | NXSup | [`no_execute`](Self::no_execute) |
/// | 4 | GTSup | [`guest_translation`](Self::guest_translation) |
/// | 6 | IASup | [`invalidate_all`](Self::invalidate_all) |
/// | 7 | GASup | [`guest_apic`](Self::guest_apic) |
/// | 8 | HESup | [`hardware_error`](Self::hardware_error) |
/// | 9 | PCSup | [`performance_counters`](Self::performance_counters) |
/// | 11:10 | HATS | [`host_levels`](Self::host_levels) − 4; 3: none |
/// | 13:12 | GATS | [`guest_levels`](Self::guest_levels) − 4 |
/// | 15:14 | GLXSup | [`gcr3_levels`](Self::gcr3_levels) − 1 |
/// | 29:28 | DualEventLogSup | [`dual_event_log`](Self::dual_event_log) |
/// | 36:32 | PASmax | [`pasid_bits`](Self::pasid_bits) − 1 |
/// | 37 | USSup | [`user_supervisor`](Self::user_supervisor) |
/// | 39:38 | DevTblSegSup | [`table_segments`](Self::table_segments) = 2^n |
/// | 46 | MsiCapMmioSup | [`msi_in_registers`](Self::msi_in_registers) |
/// | 48 | GIOSup | [`guest_io`](Self::guest_io) |
/// | 49 | HASup | [`host_accessed`](Self::host_accessed) |
/// | 50 | EPHSup | [`enhanced_page_requests`](Self::enhanced_page_requests) |
/// | 52 | HDSup | [`host_dirty`](Self::host_dirty) |
/// | 54 | InvIotlbTypeSup | [`iotlb_type`](Self::iotlb_type) |
/// | 63 | SNPSup | [`nested_paging_security`](Self::nested_paging_security) |
///
/// Second register (MMIO offset 01A0h):
///
/// | bits | name | here |
/// |---|---|---|
/// | 9:8 | NumIntRemapSup | 1: [`many_interrupts`](Self::many_interrupts) |
/// | 11 | HTRangeIgnore | [`ht_range_ignored`](Self::ht_range_ignored) |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Features {
    /// Translations can be prefetched.
    pub prefetch: bool,
    /// Page requests of devices.
    pub page_requests: bool,
    /// Interrupts to 32-bit destinations.
    pub x2apic: bool,
    /// Pages can forbid instruction fetches.
    pub no_execute: bool,
    /// Guest translation: tables in the processors' format, one for each PASID.
    pub guest_translation: bool,
    /// One command invalidates everything.
    pub invalidate_all: bool,
    /// Guest virtual APIC.
    pub guest_apic: bool,
    /// Registers for hardware errors.
    pub hardware_error: bool,
    /// Performance counters.
    pub performance_counters: bool,
    /// Levels of host tables that the unit walks at most: 4 to 6, or 0 for none at all.
    pub host_levels: u8,
    /// Levels of guest tables that the unit walks at most: 4 to 6.
    pub guest_levels: u8,
    /// Levels of tables of guest roots (GCR3 tables) at most: 1 to 4, of which 3 are defined.
    pub gcr3_levels: u8,
    /// A second event log takes over when the first is full.
    pub dual_event_log: bool,
    /// Bits of a PASID.
    pub pasid_bits: u8,
    /// Guest tables tell users from supervisors.
    pub user_supervisor: bool,
    /// Into how many segments the device table can be split: 1, 2, 4 or 8.
    pub table_segments: u8,
    /// The unit's MSI capability is also in its MMIO registers.
    pub msi_in_registers: bool,
    /// Requests without a PASID can go through a guest table.
    pub guest_io: bool,
    /// Accessed bits in host tables.
    pub host_accessed: bool,
    /// Enhanced handling of page requests.
    pub enhanced_page_requests: bool,
    /// Dirty bits in host tables.
    pub host_dirty: bool,
    /// Invalidations of device TLBs have a type.
    pub iotlb_type: bool,
    /// Secure nested paging (SNP).
    pub nested_paging_security: bool,
    /// A device id can have 2048 interrupts, not only 512.
    pub many_interrupts: bool,
    /// The unit translates HyperTransport's address range below 2^40 as any other range.
    pub ht_range_ignored: bool,
}

const fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 != 0
}

const fn field(value: u64, high: u32, low: u32) -> u8 {
    (value >> low & (u64::MAX >> (63 - (high - low)))) as u8
}

impl Features {
    /// HATS: no host tables.
    const NO_HOST_TABLES: u8 = 3;

    /// Decodes the two registers. A unit without them (EFRSup is 0) has zeros.
    pub const fn decode(words: [u64; 2]) -> Self {
        let [first, second] = words;
        Self {
            prefetch: bit(first, 0),
            page_requests: bit(first, 1),
            x2apic: bit(first, 2),
            no_execute: bit(first, 3),
            guest_translation: bit(first, 4),
            invalidate_all: bit(first, 6),
            guest_apic: bit(first, 7),
            hardware_error: bit(first, 8),
            performance_counters: bit(first, 9),
            host_levels: match field(first, 11, 10) {
                Self::NO_HOST_TABLES => 0,
                levels => levels + 4,
            },
            guest_levels: field(first, 13, 12) + 4,
            gcr3_levels: field(first, 15, 14) + 1,
            dual_event_log: field(first, 29, 28) != 0,
            pasid_bits: field(first, 36, 32) + 1,
            user_supervisor: bit(first, 37),
            table_segments: 1 << field(first, 39, 38),
            msi_in_registers: bit(first, 46),
            guest_io: bit(first, 48),
            host_accessed: bit(first, 49),
            enhanced_page_requests: bit(first, 50),
            host_dirty: bit(first, 52),
            iotlb_type: bit(first, 54),
            nested_paging_security: bit(first, 63),
            many_interrupts: field(second, 9, 8) == 1,
            ht_range_ignored: bit(second, 11),
        }
    }
}

/// The capability block in PCI configuration space (3.2).
///
/// Header, at offset 00h of the block:
///
/// | bits | name | here |
/// |---|---|---|
/// | 7:0 | CapId | must be [`ID`](Self::ID) |
/// | 18:16 | CapType | must be [`TYPE`](Self::TYPE) |
/// | 24 | IotlbSup | [`iotlb`](Self::iotlb) |
/// | 25 | HtTunnel | [`ht_tunnel`](Self::ht_tunnel) |
/// | 26 | NpCache | [`caches_not_present`](Self::caches_not_present) |
/// | 27 | EFRSup | [`feature_registers`](Self::feature_registers) |
///
/// Miscellaneous information, at offset 10h of the block:
///
/// | bits | name | here |
/// |---|---|---|
/// | 4:0 | MsiNum | [`msi_number`](Self::msi_number) |
/// | 14:8 | PAsize | [`physical_bits`](Self::physical_bits) |
/// | 21:15 | VAsize | [`virtual_bits`](Self::virtual_bits) |
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Capability {
    /// The unit serves translation caches in devices.
    pub iotlb: bool,
    /// The unit translates the traffic of a HyperTransport tunnel.
    pub ht_tunnel: bool,
    /// The unit may cache entries that are not present, so making one present needs an
    /// invalidation too.
    pub caches_not_present: bool,
    /// The unit has extended feature registers.
    pub feature_registers: bool,
    /// The number of the MSI message that the unit sends for events.
    pub msi_number: u8,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// Bits of an address that a device may use; 0 if the unit does not say.
    pub virtual_bits: u8,
}

impl Capability {
    /// The capability id of secure devices.
    pub const ID: u8 = 0x0f;
    /// The type of capability block that an IOMMU has.
    pub const TYPE: u8 = 3;

    /// Decodes the header and the miscellaneous information.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoCapability`] if this is not the capability block of an IOMMU.
    pub const fn decode(header: u32, misc: u32) -> Result<Self, Refusal> {
        let (wide, misc) = (header as u64, misc as u64);
        if field(wide, 7, 0) != Self::ID || field(wide, 18, 16) != Self::TYPE {
            return Err(Refusal::NoCapability { header });
        }
        Ok(Self {
            iotlb: bit(wide, 24),
            ht_tunnel: bit(wide, 25),
            caches_not_present: bit(wide, 26),
            feature_registers: bit(wide, 27),
            msi_number: field(misc, 4, 0),
            physical_bits: field(misc, 14, 8),
            virtual_bits: field(misc, 21, 15),
        })
    }
}

/// What addresses host tables can map.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AddressSpace {
    /// Levels of host tables that the unit walks at most: 4 to 6.
    pub levels: u8,
    /// Bits of an address that may be mapped: 48 to 64.
    pub bits: u8,
}

/// The page sizes of host tables: every power of two from 4 KiB to 2^51 bytes except 512 GiB, which
/// some units handle wrongly.
pub const HOST_PAGE_SIZES: u64 = ((1 << 52) - 1) & !((1 << 12) - 1) & !(1 << 39);

/// The page sizes of guest tables.
pub const GUEST_PAGE_SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;

/// Decides whether a unit with these features can translate with host tables, and if not, why.
///
/// Firmware says the other two: `host_disabled`, that the unit must not use host tables (HATDis),
/// and `virtual_bits`, how many bits of an address devices may use (0: any).
pub const fn judge(
    words: [u64; 2],
    host_disabled: bool,
    virtual_bits: u8,
) -> Result<(Features, AddressSpace), Refusal> {
    if words[0] == u64::MAX {
        return Err(Refusal::NoRegisters);
    }
    let features = Features::decode(words);
    if host_disabled || features.host_levels == 0 {
        return Err(Refusal::NoHostTables);
    }
    // Six levels would be 66 bits.
    let walked = match features.host_levels {
        4 => 48,
        5 => 57,
        _ => 64,
    };
    let bits = match virtual_bits {
        1.. if virtual_bits < walked => virtual_bits,
        _ => walked,
    };
    if bits <= 30 {
        return Err(Refusal::TooNarrow { bits });
    }
    let levels = features.host_levels;
    Ok((features, AddressSpace { levels, bits }))
}

/// The format of the page tables of a unit's paging domains.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TableKind {
    /// Host tables, version 1.
    Host,
    /// Guest tables, version 2.
    Guest,
}

/// The page tables of a unit's paging domains.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TableConfig {
    /// Their format.
    pub kind: TableKind,
    /// How many levels the unit walks: at most if they are host tables, always if they are guest
    /// tables.
    pub levels: u8,
    /// Bits of an address that can be mapped.
    pub bits: u8,
    /// Whether the tables can forbid instruction fetches. Host tables have no bit for that. In
    /// guest tables the bit is reserved unless the unit has NXSup.
    pub no_execute: bool,
}

/// Decides which page tables a unit with these features gets: host tables if it has them. The
/// arguments are those of [`judge`].
pub fn table_config(
    words: [u64; 2],
    host_disabled: bool,
    virtual_bits: u8,
) -> Result<(Features, TableConfig), Refusal> {
    match judge(words, host_disabled, virtual_bits) {
        Ok((features, space)) => {
            let tables = TableConfig {
                kind: TableKind::Host,
                levels: space.levels,
                bits: space.bits,
                no_execute: false,
            };
            Ok((features, tables))
        }
        Err(Refusal::NoHostTables) => {
            let features = Features::decode(words);
            if !(features.guest_translation && features.guest_io) {
                return Err(Refusal::NoHostTables);
            }
            // Only the lower half of a processor's addresses: in the upper half the highest bits
            // are ones.
            let (levels, bits) = match features.guest_levels {
                4 => (4, 47),
                _ => (5, 56),
            };
            let tables = TableConfig {
                kind: TableKind::Guest,
                levels,
                bits,
                no_execute: features.no_execute,
            };
            Ok((features, tables))
        }
        Err(refusal) => Err(refusal),
    }
}

/// Whether memory is encrypted (SME), and whether units can access encrypted memory.
// A kernel that cannot encrypt memory does not ask.
#[cfg_attr(not(CONFIG_AMD_MEM_ENCRYPT), allow(dead_code))]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Encryption {
    /// Memory is not encrypted.
    None,
    /// Memory is encrypted. Addresses that units are given need the C-bit.
    CBit(u64),
    /// Memory is encrypted, and units of this processor handle that wrongly.
    Erratum {
        /// Revision of the processor's microcode.
        microcode: u32,
    },
    /// Memory is that of an encrypted guest (SEV), which the unit, being the host's, cannot read.
    Guest,
}

#[cfg_attr(not(CONFIG_AMD_MEM_ENCRYPT), allow(dead_code))]
impl Encryption {
    /// The family of processors whose units need a certain microcode (17h).
    const FAMILY: u8 = 0x17;

    /// Decides by the C-bit (0 for none), by whether the kernel itself encrypts memory (and not a
    /// host), and by the processor.
    pub const fn judge(bit: u64, is_host: bool, family: u8, microcode: u32) -> Self {
        let works = family != Self::FAMILY
            || matches!(microcode, 0x0800_1126..=0x0800_11ff | 0x0800_1205..);
        match (bit, is_host) {
            (0, _) => Self::None,
            (_, false) => Self::Guest,
            (_, true) if !works => Self::Erratum { microcode },
            (_, true) => Self::CBit(bit),
        }
    }
}

/// Why a unit cannot be driven.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The PCI function has no capability block of an IOMMU where firmware says.
    NoCapability {
        /// The header that was read.
        header: u32,
    },
    /// The feature register reads all ones.
    NoRegisters,
    /// The unit walks no host tables. It may walk guest tables.
    NoHostTables,
    /// Devices cannot address more than 1 GiB.
    TooNarrow {
        /// Bits of an address.
        bits: u8,
    },
    /// Memory is encrypted, and the processor's microcode is too old for that.
    Encryption {
        /// Its revision.
        microcode: u32,
    },
    /// Memory is encrypted with a key that the unit does not have.
    EncryptedGuest,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoCapability { header } => write!(
                f,
                "its PCI function has no capability block of an IOMMU where the IVRS table says \
                 (it reads {header:#010x})"
            ),
            Self::NoRegisters => f.write_str(
                "its feature register reads all ones, so nothing answers at the address in the \
                 IVRS table",
            ),
            Self::NoHostTables => f.write_str(
                "it cannot translate: it walks no host page tables (HATDis, or HATS is 3), nor guest \
                 page tables for requests without a process id (GTSup, GIOSup)",
            ),
            Self::Encryption { microcode } => write!(
                f,
                "memory is encrypted (SME), and with this microcode ({microcode:#010x}) units of the \
                 processor get that wrong; update it, or boot with mem_encrypt=off"
            ),
            Self::EncryptedGuest => f.write_str(
                "the guest's memory is encrypted (SEV), so the unit, which is the host's, cannot \
                 read tables there",
            ),
            Self::TooNarrow { bits } => write!(
                f,
                "its devices use addresses of {bits} bits (VAsize), and 31 is the least that is \
                 supported"
            ),
        }
    }
}
