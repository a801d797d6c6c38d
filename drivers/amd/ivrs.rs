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
mod hardware;
mod memory;
mod oddities;

use core::fmt;

pub use self::{
    device_entries::{
        DeviceEntries, DeviceEntry, Devices, Named, Settings, Special, UniqueId, Variety,
    },
    error::{Error, Problem, Warning},
    hardware::{Flags, Ivhd},
    memory::{Ivmd, Usage},
};

/// Bytes of the ACPI header, the virtualization information and the reserved field.
const HEADER_LEN: usize = 48;
/// Type, flags and length of a block.
const BLOCK_PREFIX: usize = 4;
/// Bytes of registers that a unit has at least, and that are aligned so: what is above serves
/// performance counters only.
pub const WINDOW: u64 = 0x4000;
/// A longer table than this is a broken table. It also bounds how long it takes to look at.
pub const MAX_LEN: usize = 1 << 20;
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
        if bytes.len() > MAX_LEN {
            return Err(Problem::TooLong { claims });
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
                let unit = Ivhd::new(bytes, at, kind);
                Self::check_registers(unit).map_err(refuse)?;
                unit.entries().check().map_err(|(entry, problem)| Error {
                    entry: Some(entry),
                    ..refuse(problem)
                })?;
            }
            Kind::IvmdAll | Kind::IvmdOne | Kind::IvmdRange => {
                Self::check_region(Ivmd::new(bytes, at, kind)).map_err(refuse)?;
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
            Kind::Ivhd10 | Kind::Ivhd11 | Kind::Ivhd40 => {
                Block::Ivhd(Ivhd::new(bytes, offset, kind))
            }
            Kind::IvmdAll | Kind::IvmdOne | Kind::IvmdRange => {
                Block::Ivmd(Ivmd::new(bytes, offset, kind))
            }
            Kind::Header | Kind::Unknown(_) => Block::Other,
        })
    }
}
