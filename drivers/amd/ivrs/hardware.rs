// SPDX-License-Identifier: GPL-2.0

//! Hardware definitions of an IVRS table: the units (AMD-Vi 5.2, IVHD).

#![forbid(unsafe_code)]

use super::{device_entries::DeviceEntries, info::Info, kind::Kind, raw::Raw};
use crate::drivers::shell::{
    acpi_structures::StructureKind,
    bytes::{u16_at, u32_at, u64_at, u8_at},
};

/// Bytes of registers that a unit has at least, and that are aligned so: what is above serves
/// performance counters only.
pub const WINDOW: u64 = 0x4000;

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
    /// The block at `offset` of a table, which is a hardware definition.
    pub(super) fn at(table: &'a [u8], offset: usize) -> Self {
        match Raw::at(table, offset) {
            Some(raw) => Self::new(raw.bytes, offset, raw.kind),
            None => Self::new(&[], offset, Kind::Ivhd10),
        }
    }

    /// The block in `bytes`, which are at `offset` in the table.
    pub(super) fn new(bytes: &'a [u8], offset: usize, kind: Kind) -> Self {
        Self {
            bytes,
            offset,
            kind,
        }
    }

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

    /// Physical address of the registers; aligned to [`WINDOW`] if the unit is used.
    pub fn base(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// The PCI segment of the unit and of every device behind it.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 16)
    }

    /// The number of the MSI that the unit uses for its event log.
    pub fn msi_number(self) -> u8 {
        (u16_at(self.bytes, 18) & 0x1f) as u8
    }

    /// The features field of a block of type 10h; 0 for other blocks.
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

    /// Whether the unit cannot walk host page tables (attribute bit 0, HATDis). Blocks of type 10h
    /// do not have this bit.
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

    /// The values that count as the unit's extended feature registers, which read as `registers`.
    ///
    /// The table's values count instead of the registers' if the table has them. A block of type
    /// 11h or 40h has images of both registers. A block of type 10h has some fields of the first.
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

    /// Whether both blocks describe one unit.
    pub fn is_same_unit(self, other: Ivhd<'_>) -> bool {
        (self.segment(), self.device()) == (other.segment(), other.device())
    }
}

/// What firmware wants in a unit's control register.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// The unit translates HyperTransport tunnel traffic.
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
