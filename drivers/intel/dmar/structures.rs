// SPDX-License-Identifier: GPL-2.0

//! The structures that a DMAR table consists of.

#![forbid(unsafe_code)]

use super::{kind::Kind, scopes::Scopes};
use crate::drivers::shell::{
    acpi_structures::{self, RawStructures, HEADER_LEN},
    bytes::{u16_at, u32_at, u64_at, u8_at},
};

/// The size of a page: registers and memory regions consist of whole pages.
pub(super) const PAGE: u64 = 4096;

/// One remapping structure.
#[derive(Copy, Clone, Debug)]
pub enum Structure<'a> {
    /// A unit.
    Drhd(Drhd<'a>),
    /// A reserved memory region.
    Rmrr(Rmrr<'a>),
    /// Root ports below which devices may use ATS.
    Atsr(Atsr<'a>),
    /// The memory node of a unit.
    Rhsa(Rhsa),
    /// The name of a device that firmware describes by name.
    Andd(Andd<'a>),
    /// Devices of the SoC that cache translations.
    Satc(Satc<'a>),
    /// A structure that the driver does not use: SIDP, an unknown kind, or one that was left out.
    Other,
}

/// One structure as it is in the table.
pub(super) type Raw<'a> = acpi_structures::Raw<'a, Kind>;

/// The device scopes of a structure, if its kind has some.
pub(super) fn scopes_of<'a>(raw: &Raw<'a>) -> Option<Scopes<'a>> {
    (raw.is_complete() && raw.kind.has_scopes()).then(|| Scopes::new(raw.bytes, raw.kind))
}

/// The structures of `table`, the bytes of a whole table, as they are in it, up to the first whose
/// end cannot be found.
pub(super) fn structures_of(table: &[u8]) -> RawStructures<'_, Kind> {
    RawStructures::new(table, HEADER_LEN)
}

/// The structures of a table. A structure that makes no sense is [`Structure::Other`].
#[derive(Clone, Debug)]
pub struct Structures<'a>(RawStructures<'a, Kind>);

impl<'a> Structures<'a> {
    /// The structures of `table`, the bytes of a whole table.
    pub(super) fn new(table: &'a [u8]) -> Self {
        Self(structures_of(table))
    }
}

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Structure<'a>> {
        let raw = self.0.next()?;
        if !raw.is_complete() {
            return Some(Structure::Other);
        }
        let Raw { offset, bytes, .. } = raw;

        Some(match raw.kind {
            Kind::Drhd => Structure::Drhd(Drhd { bytes, offset }),
            Kind::Rmrr => match (Rmrr { bytes }) {
                region if region.is_empty() => Structure::Other,
                region => Structure::Rmrr(region),
            },
            Kind::Atsr => Structure::Atsr(Atsr { bytes }),
            Kind::Rhsa => Structure::Rhsa(Rhsa {
                base: u64_at(bytes, 8),
                proximity_domain: u32_at(bytes, 16),
            }),
            Kind::Andd => match (Andd { bytes }) {
                device if device.is_nameless() => Structure::Other,
                device => Structure::Andd(device),
            },
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
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Drhd<'a> {
    /// The structure at `offset` of a table, which is a DRHD.
    pub(super) fn at(table: &'a [u8], offset: usize) -> Self {
        let bytes = Raw::at(table, offset).map_or(&[][..], |raw| raw.bytes);
        Self { bytes, offset }
    }

    /// Offset of the structure in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    /// Whether all devices of the segment that no other unit lists are behind this unit.
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

    /// Physical address of the registers. It is 4 KiB aligned if the unit can be used.
    pub fn base(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// The devices that the structure lists.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Drhd)
    }

    /// Whether both structures are about one unit.
    pub fn is_same_unit(self, other: Drhd<'_>) -> bool {
        (self.base(), self.segment()) == (other.base(), other.segment())
    }
}

/// Memory that firmware uses with devices: reserved memory region reporting (8.5).
///
/// | bytes | field |
/// |---|---|
/// | 0-1 | type, 1 |
/// | 2-3 | length |
/// | 6-7 | PCI segment |
/// | 8-15 | first byte |
/// | 16-23 | last byte |
/// | 24- | device scopes |
#[derive(Copy, Clone, Debug)]
pub struct Rmrr<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Rmrr<'a> {
    /// The PCI segment of the devices.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// The first and the last byte as they are in the table.
    pub(super) fn as_written(self) -> (u64, u64) {
        (u64_at(self.bytes, 8), u64_at(self.bytes, 16))
    }

    /// Whether the region has no bytes. A region whose last byte is its first byte counts as empty:
    /// some firmware writes 0 as both if it has no region, and no real region has one byte.
    pub(super) fn is_empty(self) -> bool {
        let (first, last) = self.as_written();
        last <= first
    }

    /// Physical address of the first byte, rounded down to a page.
    pub fn base(self) -> u64 {
        self.as_written().0 & !(PAGE - 1)
    }

    /// Physical address of the last byte, rounded up to the end of a page.
    pub fn limit(self) -> u64 {
        self.as_written().1 | (PAGE - 1)
    }

    /// The devices that use the memory.
    pub fn scopes(self) -> Scopes<'a> {
        Scopes::new(self.bytes, Kind::Rmrr)
    }
}

/// Root ports below which devices may use ATS (8.6).
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
    /// Whether the structure is for all root ports of the segment.
    pub fn all_ports(self) -> bool {
        u8_at(self.bytes, 4) & 1 != 0
    }

    /// The PCI segment of the ports.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// The ports, if the structure is not for all.
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
    pub(super) bytes: &'a [u8],
}

impl<'a> Andd<'a> {
    /// The number that device scopes of type [`ScopeKind::Named`] refer to.
    pub fn number(self) -> u8 {
        u8_at(self.bytes, 7)
    }

    /// Whether the path is empty or has no terminator.
    pub(super) fn is_nameless(self) -> bool {
        let path = self.bytes.get(8..).unwrap_or_default();
        !path.contains(&0) || path.first() == Some(&0)
    }

    /// The ACPI path of the device, without the terminator.
    pub fn name(self) -> &'a [u8] {
        let name = self.bytes.get(8..).unwrap_or_default();
        name.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Devices of the SoC that cache translations (8.9).
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
    /// Whether the devices do not work correctly without their translation cache.
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
