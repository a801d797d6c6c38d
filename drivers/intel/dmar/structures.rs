// SPDX-License-Identifier: GPL-2.0

//! The structures that a DMAR table consists of.

#![forbid(unsafe_code)]

use super::{
    kind::{Kind, HEADER_LEN, STRUCTURE_PREFIX},
    scopes::Scopes,
};
use crate::drivers::shell::bytes::{u16_at, u32_at, u64_at, u8_at};

/// Registers are addressed in pages of this size.
pub(super) const PAGE: u64 = 4096;

/// One remapping structure.
#[derive(Copy, Clone, Debug)]
pub enum Structure<'a> {
    /// A unit.
    Drhd(Drhd<'a>),
    /// A reserved memory region.
    Rmrr(Rmrr<'a>),
    /// Root ports that pass translation requests on.
    Atsr(Atsr<'a>),
    /// The memory node of a unit.
    Rhsa(Rhsa),
    /// The name of a device that firmware describes by name.
    Andd(Andd<'a>),
    /// Devices on the board that cache translations.
    Satc(Satc<'a>),
    /// A structure that is not looked into: SIDP, and kinds that are not known.
    Other,
}

/// Iterates over the structures of a table.
#[derive(Clone, Debug)]
pub struct Structures<'a> {
    table: &'a [u8],
    at: usize,
}

impl<'a> Structures<'a> {
    /// The structures of `table`, the bytes of a whole table.
    pub(super) fn new(table: &'a [u8]) -> Self {
        Self {
            table,
            at: HEADER_LEN,
        }
    }
}

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Structure<'a>> {
        let offset = self.at;
        let rest = self.table.get(offset..)?;
        if rest.len() < STRUCTURE_PREFIX {
            return None;
        }
        // `max` keeps the walk going forward whatever the bytes are.
        let len = usize::from(u16_at(rest, 2)).max(STRUCTURE_PREFIX);
        let bytes = rest.get(..len)?;
        self.at += len;

        Some(match Kind::from_type(u16_at(bytes, 0)) {
            Kind::Drhd => Structure::Drhd(Drhd { bytes, offset }),
            Kind::Rmrr => Structure::Rmrr(Rmrr { bytes }),
            Kind::Atsr => Structure::Atsr(Atsr { bytes }),
            Kind::Rhsa => Structure::Rhsa(Rhsa {
                base: u64_at(bytes, 8),
                proximity_domain: u32_at(bytes, 16),
            }),
            Kind::Andd => Structure::Andd(Andd { bytes }),
            Kind::Satc => Structure::Satc(Satc { bytes }),
            _ => Structure::Other,
        })
    }
}

/// A unit: DMA remapping hardware unit definition (8.4).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 0 |
/// | 2-3 | length |
/// | 4 | flags; bit 0: `INCLUDE_PCI_ALL` |
/// | 5 | bits 3:0: the register window is 2^n pages of 4 KiB |
/// | 6-7 | PCI segment |
/// | 8-15 | base of the registers |
/// | 16- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Drhd<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) offset: usize,
}

impl<'a> Drhd<'a> {
    /// Offset of the structure in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    /// Whether every device of the segment that no other unit lists is behind this one.
    pub fn include_all(self) -> bool {
        u8_at(self.bytes, 4) & 1 != 0
    }

    /// Bytes of the register window: a power of two, 4 KiB to 128 MiB.
    pub fn window(self) -> u64 {
        PAGE << (u8_at(self.bytes, 5) & 0xf)
    }

    /// The PCI segment of every device behind the unit.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// Physical address of the registers; 4 KiB aligned.
    pub fn base(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// The devices that are listed.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Drhd)
    }
}

/// Memory that firmware's devices keep using (8.5).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 1 |
/// | 2-3 | length |
/// | 6-7 | PCI segment |
/// | 8-15 | first byte; 4 KiB aligned |
/// | 16-23 | last byte |
/// | 24- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Rmrr<'a> {
    bytes: &'a [u8],
}

impl<'a> Rmrr<'a> {
    /// The PCI segment of the devices.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// Physical address of the first byte; 4 KiB aligned.
    pub fn base(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// Physical address of the last byte; the last one of a 4 KiB page.
    pub fn limit(self) -> u64 {
        u64_at(self.bytes, 16)
    }

    /// The devices that use the memory.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Rmrr)
    }
}

/// Root ports below which devices may ask for translations (8.6).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 2 |
/// | 2-3 | length |
/// | 4 | flags; bit 0: `ALL_PORTS` |
/// | 6-7 | PCI segment |
/// | 8- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Atsr<'a> {
    bytes: &'a [u8],
}

impl<'a> Atsr<'a> {
    /// Whether every root port of the segment is meant.
    pub fn all_ports(self) -> bool {
        u8_at(self.bytes, 4) & 1 != 0
    }

    /// The PCI segment of the ports.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// The ports, unless all are meant.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Atsr)
    }
}

/// The memory node that a unit is close to (8.7).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rhsa {
    /// Base of the unit's registers.
    pub base: u64,
    /// The ACPI proximity domain.
    pub proximity_domain: u32,
}

/// A device that firmware describes by name (8.8).
#[derive(Copy, Clone, Debug)]
pub struct Andd<'a> {
    bytes: &'a [u8],
}

impl<'a> Andd<'a> {
    /// The number that device scopes of type [`ScopeKind::Named`] refer to.
    pub fn number(self) -> u8 {
        u8_at(self.bytes, 7)
    }

    /// The ACPI path of the device, without the terminator.
    pub fn name(self) -> &'a [u8] {
        let name = self.bytes.get(8..).unwrap_or_default();
        name.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Devices on the board that cache translations (8.9).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 5 |
/// | 2-3 | length |
/// | 4 | flags; bit 0: `ATC_REQUIRED` |
/// | 6-7 | PCI segment |
/// | 8- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Satc<'a> {
    bytes: &'a [u8],
}

impl<'a> Satc<'a> {
    /// Whether the devices cannot work without their cache of translations.
    pub fn cache_required(self) -> bool {
        u8_at(self.bytes, 4) & 1 != 0
    }

    /// The PCI segment of the devices.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// The devices.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Satc)
    }
}
