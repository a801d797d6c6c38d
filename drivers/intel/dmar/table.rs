// SPDX-License-Identifier: GPL-2.0

//! A checked DMAR table.

#![forbid(unsafe_code)]

use super::{
    check::{self, Report},
    error::Error,
    index::{Entry, Use},
    structures::{Drhd, Rmrr, Structure, Structures},
};
use crate::drivers::shell::bytes::u8_at;

/// A DMAR table that was checked from end to end.
///
/// | bytes | field |
/// |---|---|
/// | 0-3 | signature, `DMAR` |
/// | 4-7 | length of the whole table |
/// | 8 | revision |
/// | 9 | checksum: all bytes sum up to 0 |
/// | 10-35 | OEM and creator, not used |
/// | 36 | host address width, minus 1 |
/// | 37 | flags |
/// | 38-47 | reserved |
/// | 48- | remapping structures |
///
/// [`count`](Self::count) and [`index`](Self::index) check a table, once. After that, [`new`] makes
/// this view of it, as often as needed.
///
/// [`new`]: Self::new
#[derive(Copy, Clone, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
    index: &'a [Entry],
}

impl<'a> Table<'a> {
    /// Returns how many entries the index of the table in `bytes` needs. `bytes` may be longer than
    /// the table.
    ///
    /// # Errors
    ///
    /// Why the table cannot be used.
    pub fn count(bytes: &[u8]) -> Result<usize, Error> {
        check::count(bytes)
    }

    /// Fills the index of the table in `bytes`, and reports everything that is wrong in the table.
    ///
    /// `index` has as many entries as [`count`](Self::count) has returned.
    pub fn index(bytes: &[u8], index: &mut [Entry], report: Report<'_>) {
        check::index(bytes, index, report);
    }

    /// The table in `bytes`. [`index`](Self::index) has filled `index` for these bytes.
    ///
    /// With the index of another table the answers are wrong, but nothing worse happens.
    pub fn new(bytes: &'a [u8], index: &'a [Entry]) -> Self {
        let bytes = check::whole(bytes).unwrap_or_default();
        Self { bytes, index }
    }

    /// The width of physical addresses on this machine in bits, 12 to 64.
    pub fn host_address_width(self) -> u8 {
        check::host_address_bits(self.bytes).unwrap_or(64)
    }

    /// Whether firmware says that units may remap interrupts (flags bit 0).
    pub fn interrupt_remapping(self) -> bool {
        u8_at(self.bytes, 37) & 1 != 0
    }

    /// Whether firmware asks for DMA to stay blocked while the system starts (flags bit 2).
    pub fn dma_protection_opt_in(self) -> bool {
        u8_at(self.bytes, 37) & (1 << 2) != 0
    }

    /// Whether firmware wants DMA remapping to stay off (flags bit 3).
    pub fn remapping_opt_out(self) -> bool {
        u8_at(self.bytes, 37) & (1 << 3) != 0
    }

    /// Every structure, in the order of the table.
    pub fn structures(self) -> Structures<'a> {
        Structures::new(self.bytes)
    }

    /// Every unit that can be used, in the order of the table. Each unit comes once.
    pub fn units(self) -> impl Iterator<Item = Drhd<'a>> + Clone {
        self.index
            .iter()
            .filter(|entry| entry.how == Use::Unit)
            .map(move |entry| Drhd::at(self.bytes, entry.offset))
    }

    /// Every DRHD structure, in the order of the table, also those of units that cannot be used,
    /// and further structures of a unit.
    pub fn drhds(self) -> impl Iterator<Item = Drhd<'a>> + Clone {
        let bytes = self.bytes;
        self.index
            .iter()
            .map(move |entry| Drhd::at(bytes, entry.offset))
    }

    /// Every reserved memory region, in the order of the table.
    pub fn reserved_regions(self) -> impl Iterator<Item = Rmrr<'a>> {
        self.structures().filter_map(|structure| match structure {
            Structure::Rmrr(region) => Some(region),
            _ => None,
        })
    }
}
