// SPDX-License-Identifier: GPL-2.0

//! The ACPI IVRS table: which units exist, which devices are behind each, which memory firmware
//! keeps using (AMD-Vi 5.2, "I/O Virtualization Reporting Structure").
//!
//! Firmware tables are hostile input. [`Table::parse`] checks every length and offset once; what
//! it accepts can then be walked any number of times without an error path. Nothing is copied and
//! nothing is allocated: every block borrows from the bytes of the table.
//!
//! A unit may be described several times, by blocks of different kinds. The later kinds say more
//! about the same unit, and software uses the one that says most: [`Table::units`].

#![forbid(unsafe_code)]

mod device_entries;
mod error;

use core::fmt;

pub use self::{
    device_entries::{
        DeviceEntries, DeviceEntry, Devices, Named, Settings, Special, UniqueId, Variety,
    },
    error::{Error, Problem, Warning},
};

/// Bytes of the ACPI header, the virtualization information and the reserved field.
const HEADER_LEN: usize = 48;
/// Type, flags and length of a block.
const BLOCK_PREFIX: usize = 4;
/// Memory is in pages of this size.
const PAGE: u64 = 4096;
/// Bytes of registers that a unit has at least, and that are aligned so: what is above serves
/// performance counters only.
pub const WINDOW: u64 = 0x4000;
/// More blocks of units than this in one table is a broken table. It also bounds the comparison of
/// every unit with every other.
pub const MAX_UNITS: usize = 256;

/// A kind of block.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The table's own header.
    Header,
    /// Hardware definition of type 10h.
    Ivhd10,
    /// Hardware definition of type 11h: with the extended feature registers.
    Ivhd11,
    /// Hardware definition of type 40h: with devices by name, too.
    Ivhd40,
    /// Memory definition of type 20h: for all devices.
    IvmdAll,
    /// Memory definition of type 21h: for one device.
    IvmdOne,
    /// Memory definition of type 22h: for a range of devices.
    IvmdRange,
    /// A type that the specification did not define when this was written.
    Unknown(u8),
}

impl Kind {
    const fn from_type(value: u8) -> Self {
        match value {
            0x10 => Self::Ivhd10,
            0x11 => Self::Ivhd11,
            0x40 => Self::Ivhd40,
            0x20 => Self::IvmdAll,
            0x21 => Self::IvmdOne,
            0x22 => Self::IvmdRange,
            other => Self::Unknown(other),
        }
    }

    /// Bytes that a block of this kind has at least.
    const fn fixed_len(self) -> usize {
        match self {
            Self::Header => HEADER_LEN,
            Self::Ivhd10 => 24,
            Self::Ivhd11 | Self::Ivhd40 => 40,
            Self::IvmdAll | Self::IvmdOne | Self::IvmdRange => 32,
            Self::Unknown(_) => BLOCK_PREFIX,
        }
    }

    /// How much a hardware definition says: more is better.
    const fn rank(self) -> u8 {
        match self {
            Self::Ivhd10 => 1,
            Self::Ivhd11 => 2,
            Self::Ivhd40 => 3,
            _ => 0,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Ivhd10 => "IVHD of type 10h",
            Self::Ivhd11 => "IVHD of type 11h",
            Self::Ivhd40 => "IVHD of type 40h",
            Self::IvmdAll => "IVMD of type 20h",
            Self::IvmdOne => "IVMD of type 21h",
            Self::IvmdRange => "IVMD of type 22h",
            Self::Unknown(value) => return write!(f, "block of type {value:02x}h"),
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.get(..N)?.try_into().ok()
}

fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    array(bytes, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array(bytes, at).map_or(0, u64::from_le_bytes)
}

/// An IVRS table that was checked from end to end.
///
/// | bytes | field |
/// |---|---|
/// | 0-3 | signature, `IVRS` |
/// | 4-7 | length of the whole table |
/// | 8 | revision |
/// | 9 | checksum: all bytes sum up to 0 |
/// | 10-35 | OEM and creator, not used |
/// | 36-39 | virtualization information (IVinfo) |
/// | 40-47 | reserved |
/// | 48- | blocks |
///
/// Virtualization information:
///
/// | bits | field |
/// |---|---|
/// | 0 | EFRSup: images of the extended feature registers are valid |
/// | 1 | DMA was remapped before the system started |
/// | 7:5 | width of guest virtual addresses |
/// | 14:8 | width of physical addresses |
/// | 21:15 | width of device addresses |
/// | 22 | the address range of HyperTransport's ATS responses is reserved |
///
/// # Invariants
///
/// `bytes` passed every check of [`Table::parse`]; in particular every block and every device entry
/// lies inside what contains it, none is shorter than its fixed part, and every range of devices
/// that starts also ends.
#[derive(Copy, Clone, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Checks `bytes`, which may be longer than the table in them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let bytes =
            Self::check_header(bytes).map_err(|problem| Error::new(Kind::Header, 0, problem))?;

        let mut at = HEADER_LEN;
        let mut units = 0;
        while at < bytes.len() {
            at += Self::check_block(bytes, at, &mut units)?;
        }

        let table = Self { bytes };
        table.check_units()?;
        Ok(table)
    }

    /// Checks the header and returns the bytes of the table.
    fn check_header(bytes: &[u8]) -> Result<&[u8], Problem> {
        let too_short = |claims| Problem::TooShort {
            claims,
            needs: HEADER_LEN,
        };

        if bytes.len() < HEADER_LEN {
            return Err(too_short(bytes.len()));
        }
        if !bytes.starts_with(b"IVRS") {
            return Err(Problem::Signature);
        }
        let claims = u32_at(bytes, 4);
        let Some(bytes) = usize::try_from(claims)
            .ok()
            .and_then(|len| bytes.get(..len))
        else {
            let has = bytes.len();
            return Err(Problem::TableTruncated { claims, has });
        };
        if bytes.len() < HEADER_LEN {
            return Err(too_short(bytes.len()));
        }
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if sum != 0 {
            return Err(Problem::Checksum { sum });
        }
        let info = Info(u32_at(bytes, 36));
        match info.physical_bits().max(info.virtual_bits()) {
            bits @ 65.. => Err(Problem::AddressWidth { bits }),
            _ => Ok(bytes),
        }
    }

    /// Checks one block and returns its length.
    fn check_block(table: &[u8], at: usize, units: &mut usize) -> Result<usize, Error> {
        let rest = table.get(at..).unwrap_or_default();
        let kind = Kind::from_type(u8_at(rest, 0));
        let refuse = |problem| Error::new(kind, at, problem);

        if rest.len() < BLOCK_PREFIX {
            return Err(refuse(Problem::PastTable {
                claims: BLOCK_PREFIX,
                left: rest.len(),
            }));
        }
        let claims = usize::from(u16_at(rest, 2));
        let needs = kind.fixed_len();
        if claims < needs {
            return Err(refuse(Problem::TooShort { claims, needs }));
        }
        let Some(bytes) = rest.get(..claims) else {
            let left = rest.len();
            return Err(refuse(Problem::PastTable { claims, left }));
        };

        match kind {
            Kind::Ivhd10 | Kind::Ivhd11 | Kind::Ivhd40 => {
                *units += 1;
                if *units > MAX_UNITS {
                    return Err(refuse(Problem::TooManyUnits));
                }
                let unit = Ivhd {
                    bytes,
                    offset: at,
                    kind,
                };
                Self::check_registers(unit).map_err(refuse)?;
                unit.entries().check().map_err(|(entry, problem)| Error {
                    entry: Some(entry),
                    ..refuse(problem)
                })?;
            }
            Kind::IvmdAll | Kind::IvmdOne | Kind::IvmdRange => {
                Self::check_region(Ivmd {
                    bytes,
                    offset: at,
                    kind,
                })
                .map_err(refuse)?;
            }
            Kind::Header | Kind::Unknown(_) => {}
        }
        Ok(claims)
    }

    fn check_registers(unit: Ivhd<'_>) -> Result<(), Problem> {
        let base = unit.base();

        if base == 0 || base == u64::MAX {
            return Err(Problem::BaseImpossible { base });
        }
        if base % WINDOW != 0 {
            return Err(Problem::BaseMisaligned { base });
        }
        if base.checked_add(WINDOW - 1).is_none() {
            return Err(Problem::BaseWraps { base });
        }
        Ok(())
    }

    fn check_region(region: Ivmd<'_>) -> Result<(), Problem> {
        let (base, length) = (region.start(), region.length());

        if length == 0 {
            return Err(Problem::RegionEmpty { base });
        }
        if base.checked_add(length - 1).is_none() {
            return Err(Problem::RegionWraps { base, length });
        }
        let (first, last) = region.devices();
        if last < first {
            return Err(Problem::RangeBackwards { first, last });
        }
        Ok(())
    }

    /// Checks what concerns more than one block of units.
    fn check_units(self) -> Result<(), Error> {
        for unit in self.hardware() {
            let before = || {
                self.hardware()
                    .take_while(|other| other.offset() < unit.offset())
            };
            let refuse = |problem| Error::new(unit.kind(), unit.offset(), problem);

            if let Some(other) =
                before().find(|other| other.is_same_unit(unit) && other.kind() == unit.kind())
            {
                return Err(refuse(Problem::SecondBlock {
                    device: unit.device(),
                    segment: unit.segment(),
                    other: other.offset(),
                }));
            }
            // Windows are aligned to their size.
            if let Some(other) =
                before().find(|other| !other.is_same_unit(unit) && other.base() == unit.base())
            {
                return Err(refuse(Problem::UnitsOverlap {
                    base: unit.base(),
                    other: other.offset(),
                }));
            }
        }
        Ok(())
    }

    /// What is odd, but does not keep the table from being used.
    pub fn warnings(self) -> impl Iterator<Item = Warning> + 'a {
        let bases = self.units().filter_map(move |unit| {
            self.hardware()
                .find(|other| other.is_same_unit(unit) && other.base() != unit.base())
                .map(|other| Warning::BasesDiffer {
                    offset: unit.offset(),
                    other: other.offset(),
                })
        });
        let entries = self.units().flat_map(|unit| unit.entries().warnings());
        let regions = self.regions().filter_map(Ivmd::warning);

        bases.chain(entries).chain(regions).chain(self.contests())
    }

    /// For each segment, the first device that two units claim.
    fn contests(self) -> impl Iterator<Item = Warning> + 'a {
        self.units()
            .filter(move |unit| {
                self.units()
                    .take_while(|other| other.offset() < unit.offset())
                    .all(|other| other.segment() != unit.segment())
            })
            .filter_map(move |unit| {
                (0..=u8::MAX).find_map(|bus| self.contest_on(unit.segment(), bus))
            })
    }

    /// The first device on `bus` that two units of `segment` claim.
    fn contest_on(self, segment: u16, bus: u8) -> Option<Warning> {
        let units = || self.units().filter(move |unit| unit.segment() == segment);
        let mut claimed = [0u64; 4];

        for unit in units() {
            let mut mine = [0u64; 4];
            for entry in unit.entries() {
                let DeviceEntry::Devices(devices) = entry else {
                    continue;
                };
                // Of this bus.
                let first = devices.first.max(u16::from_be_bytes([bus, 0]));
                let last = devices.last.min(u16::from_be_bytes([bus, u8::MAX]));
                for device in first..=last {
                    if let Some(word) = mine.get_mut(usize::from(device >> 6 & 3)) {
                        *word |= 1 << (device & 63);
                    }
                }
            }
            for (word, (mine, claimed)) in (0u16..).zip(mine.into_iter().zip(&mut claimed)) {
                let both = mine & *claimed;
                if both != 0 {
                    let device =
                        u16::from_be_bytes([bus, 0]) | word << 6 | both.trailing_zeros() as u16;
                    let first = units().find(|other| other.lists(device))?;
                    return Some(Warning::Contested {
                        segment,
                        device,
                        first: first.offset(),
                        second: unit.offset(),
                    });
                }
                *claimed |= mine;
            }
        }
        None
    }

    /// What the header says about the machine.
    pub fn info(self) -> Info {
        Info(u32_at(self.bytes, 36))
    }

    /// Every block, in the order of the table.
    pub fn blocks(self) -> Blocks<'a> {
        Blocks {
            table: self.bytes,
            at: HEADER_LEN,
        }
    }

    /// Every hardware definition, in the order of the table; a unit may have several.
    fn hardware(self) -> impl Iterator<Item = Ivhd<'a>> + Clone {
        self.blocks().filter_map(|block| match block {
            Block::Ivhd(unit) => Some(unit),
            _ => None,
        })
    }

    /// Every unit once, in the order of the table: the block that says most about it.
    pub fn units(self) -> impl Iterator<Item = Ivhd<'a>> + Clone {
        self.hardware().filter(move |unit| {
            self.hardware().all(|other| {
                !other.is_same_unit(*unit) || other.kind().rank() <= unit.kind().rank()
            })
        })
    }

    /// Every memory definition, in the order of the table.
    pub fn regions(self) -> impl Iterator<Item = Ivmd<'a>> + Clone {
        self.blocks().filter_map(|block| match block {
            Block::Ivmd(region) => Some(region),
            _ => None,
        })
    }
}

/// What the header says about the machine (IVinfo).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Info(pub u32);

impl Info {
    /// Whether the images of the extended feature registers are valid, and count instead of the
    /// registers.
    pub const fn feature_images(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// Whether DMA was remapped before the system started.
    pub const fn preboot_protection(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// Bits of a physical address; 0 if firmware does not say.
    pub const fn physical_bits(self) -> u8 {
        (self.0 >> 8 & 0x7f) as u8
    }

    /// Bits of an address that a device may use; 0 if firmware does not say.
    pub const fn virtual_bits(self) -> u8 {
        (self.0 >> 15 & 0x7f) as u8
    }

    /// Whether HyperTransport's address range for ATS responses must not be used.
    pub const fn ht_ats_reserved(self) -> bool {
        self.0 & 1 << 22 != 0
    }
}

/// One block.
#[derive(Copy, Clone, Debug)]
pub enum Block<'a> {
    /// A unit.
    Ivhd(Ivhd<'a>),
    /// A memory region.
    Ivmd(Ivmd<'a>),
    /// A kind that is not known.
    Other,
}

/// Iterates over the blocks of a [`Table`].
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    table: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let offset = self.at;
        let rest = self.table.get(offset..)?;
        if rest.len() < BLOCK_PREFIX {
            return None;
        }
        // `max` keeps the walk going forward whatever the bytes are.
        let len = usize::from(u16_at(rest, 2)).max(BLOCK_PREFIX);
        let bytes = rest.get(..len)?;
        self.at += len;

        let kind = Kind::from_type(u8_at(bytes, 0));
        Some(match kind {
            Kind::Ivhd10 | Kind::Ivhd11 | Kind::Ivhd40 => Block::Ivhd(Ivhd {
                bytes,
                offset,
                kind,
            }),
            Kind::IvmdAll | Kind::IvmdOne | Kind::IvmdRange => Block::Ivmd(Ivmd {
                bytes,
                offset,
                kind,
            }),
            Kind::Header | Kind::Unknown(_) => Block::Other,
        })
    }
}

/// A unit: I/O virtualization hardware definition.
///
/// | bytes | field |
/// |---|---|
/// | 0 | type: 10h, 11h or 40h |
/// | 1 | flags |
/// | 2-3 | length |
/// | 4-5 | the unit's own device id |
/// | 6-7 | offset of its capability block in PCI configuration space |
/// | 8-15 | base of the registers |
/// | 16-17 | PCI segment |
/// | 18-19 | bits 4:0: MSI number of the event log; bits 12:8: HyperTransport unit id |
/// | 20-23 | 10h: features; 11h and 40h: attributes |
/// | 24-31 | 11h and 40h: image of the extended feature register |
/// | 32-39 | 11h and 40h: image of the second extended feature register |
/// | 24-, 40- | device entries |
#[derive(Copy, Clone, Debug)]
pub struct Ivhd<'a> {
    bytes: &'a [u8],
    offset: usize,
    kind: Kind,
}

impl<'a> Ivhd<'a> {
    /// Offset of the block in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    /// The kind of block.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// What firmware wants in the control register.
    pub fn flags(self) -> Flags {
        Flags(u8_at(self.bytes, 1))
    }

    /// The device id of the unit's own PCI function.
    pub fn device(self) -> u16 {
        u16_at(self.bytes, 4)
    }

    /// Offset of the unit's capability block in its PCI configuration space.
    pub fn capability(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// Physical address of the registers; aligned to [`WINDOW`].
    pub fn base(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// The PCI segment of the unit and of every device behind it.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 16)
    }

    /// Which of the unit's messages interrupts for events use.
    pub fn msi_number(self) -> u8 {
        (u16_at(self.bytes, 18) & 0x1f) as u8
    }

    /// What a block of type 10h says about features; 0 for the others.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 0 | XTSup |
    /// | 1 | NXSup |
    /// | 2 | GTSup |
    /// | 4:3 | GLXSup |
    /// | 5 | IASup |
    /// | 6 | GASup |
    /// | 7 | HESup |
    /// | 12:8 | PASmax |
    /// | 16:13 | counters of a bank |
    /// | 22:17 | banks of counters |
    /// | 27:23 | MSI number of the page request log |
    /// | 29:28 | GATS |
    /// | 31:30 | HATS |
    fn feature_reporting(self) -> u32 {
        match self.kind {
            Kind::Ivhd10 => u32_at(self.bytes, 20),
            _ => 0,
        }
    }

    /// Whether the unit cannot walk host page tables (attribute bit 0, HATDis); blocks of type 10h
    /// cannot say so.
    pub fn host_translation_disabled(self) -> bool {
        self.kind != Kind::Ivhd10 && u32_at(self.bytes, 20) & 1 != 0
    }

    /// The images of the extended feature registers; `None` for a block of type 10h.
    fn feature_images(self) -> Option<[u64; 2]> {
        match self.kind {
            Kind::Ivhd10 => None,
            _ => Some([u64_at(self.bytes, 24), u64_at(self.bytes, 32)]),
        }
    }

    /// What counts as the unit's extended feature registers, which read as `registers`.
    ///
    /// What firmware says counts instead of them, if it says anything: a block of type 11h or 40h
    /// has an image of both, one of type 10h some fields of the first.
    pub fn features(self, info: Info, registers: [u64; 2]) -> [u64; 2] {
        /// Lowest bit in a block of type 10h, lowest bit in the register, bits.
        const FIELDS: [(u32, u32, u32); 10] = [
            (0, 2, 1),
            (1, 3, 1),
            (2, 4, 1),
            (3, 14, 2),
            (5, 6, 1),
            (6, 7, 1),
            (7, 8, 1),
            (8, 32, 5),
            (28, 12, 2),
            (30, 10, 2),
        ];

        if !info.feature_images() {
            return registers;
        }
        let [mut first, second] = match self.feature_images() {
            Some(images) => return images,
            None => registers,
        };
        for (from, to, bits) in FIELDS {
            let mask = (1 << bits) - 1;
            let value = u64::from(self.feature_reporting() >> from) & mask;
            first = first & !(mask << to) | value << to;
        }
        [first, second]
    }

    /// The devices behind the unit.
    pub fn entries(self) -> DeviceEntries<'a> {
        let fixed = self.kind.fixed_len();
        let entries = self.bytes.get(fixed..).unwrap_or_default();
        DeviceEntries::new(entries, self.offset + fixed, self.kind)
    }

    /// Whether `device` is one of the PCI functions that are listed.
    fn lists(self, device: u16) -> bool {
        self.entries()
            .any(|entry| matches!(entry, DeviceEntry::Devices(devices) if devices.contains(device)))
    }

    /// Whether both blocks describe one unit.
    fn is_same_unit(self, other: Ivhd<'_>) -> bool {
        (self.segment(), self.device()) == (other.segment(), other.device())
    }
}

/// What firmware wants in a unit's control register.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// HyperTransport tunnel traffic is translated.
    pub const fn ht_tunnel(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// The unit's requests may pass posted writes.
    pub const fn pass_posted_writes(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// Responses to the unit's requests may pass posted writes.
    pub const fn responses_pass_posted_writes(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// The unit's requests are isochronous.
    pub const fn isochronous(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// The unit serves translation caches in devices.
    pub const fn iotlb(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// The unit's requests are coherent.
    pub const fn coherent(self) -> bool {
        self.0 & 1 << 5 != 0
    }
}

/// What a memory definition asks for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Usage {
    /// Firmware does DMA here: the memory is mapped one to one, as far as allowed.
    Unity {
        /// Devices may read.
        read: bool,
        /// Devices may write.
        write: bool,
    },
    /// Nothing.
    None,
}

/// Memory that firmware's devices keep using: I/O virtualization memory definition.
///
/// | bytes | field |
/// |---|---|
/// | 0 | type: 20h, 21h or 22h |
/// | 1 | flags; 0 unity, 1 readable, 2 writable, 3 exclusion range |
/// | 2-3 | length |
/// | 4-5 | 21h: the device; 22h: the first device |
/// | 6-7 | 22h: the last device |
/// | 8-9 | PCI segment |
/// | 16-23 | first byte |
/// | 24-31 | bytes |
#[derive(Copy, Clone, Debug)]
pub struct Ivmd<'a> {
    bytes: &'a [u8],
    offset: usize,
    kind: Kind,
}

impl Ivmd<'_> {
    const UNITY: u8 = 1 << 0;
    const READ: u8 = 1 << 1;
    const WRITE: u8 = 1 << 2;
    const EXCLUSION: u8 = 1 << 3;

    /// Offset of the block in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    fn has(self, flag: u8) -> bool {
        u8_at(self.bytes, 1) & flag != 0
    }

    /// What the memory is for.
    ///
    /// A unit has registers for one exclusion range, and a table may have many: devices that have
    /// one get it mapped one to one instead, which is the same to them.
    pub fn usage(self) -> Usage {
        if self.has(Self::EXCLUSION) {
            Usage::Unity {
                read: true,
                write: true,
            }
        } else if self.has(Self::UNITY) {
            Usage::Unity {
                read: self.has(Self::READ),
                write: self.has(Self::WRITE),
            }
        } else {
            Usage::None
        }
    }

    /// The PCI segment of the devices.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 8)
    }

    /// The first and the last device that use the memory.
    pub fn devices(self) -> (u16, u16) {
        let first = u16_at(self.bytes, 4);
        match self.kind {
            Kind::IvmdOne => (first, first),
            Kind::IvmdRange => (first, u16_at(self.bytes, 6)),
            _ => (0, u16::MAX),
        }
    }

    fn start(self) -> u64 {
        u64_at(self.bytes, 16)
    }

    fn length(self) -> u64 {
        u64_at(self.bytes, 24)
    }

    /// The end of the last byte, which by the table's invariants does not wrap.
    fn end(self) -> u64 {
        self.start().saturating_add(self.length().saturating_sub(1))
    }

    /// Physical address of the first byte; 4 KiB aligned.
    pub fn base(self) -> u64 {
        self.start() & !(PAGE - 1)
    }

    /// Physical address of the last byte; the last one of a 4 KiB page.
    pub fn limit(self) -> u64 {
        self.end() | (PAGE - 1)
    }

    fn warning(self) -> Option<Warning> {
        let offset = self.offset;
        if self.start() != self.base() || self.end() != self.limit() {
            Some(Warning::RegionMisaligned { offset })
        } else if self.has(Self::UNITY) && self.has(Self::EXCLUSION) {
            Some(Warning::RegionContradicts { offset })
        } else {
            None
        }
    }
}
