// SPDX-License-Identifier: GPL-2.0

//! A checked IVRS table.

#![forbid(unsafe_code)]

use super::{
    blocks::{Block, Blocks},
    check::{self, Report},
    error::Error,
    hardware::Ivhd,
    index::{Entry, Use},
    info::Info,
    memory::Ivmd,
};
use crate::drivers::shell::bytes::u32_at;

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

    /// What the header says about the machine.
    pub fn info(self) -> Info {
        Info(u32_at(self.bytes, 36))
    }

    /// Every block, in the order of the table.
    pub fn blocks(self) -> Blocks<'a> {
        Blocks::new(self.bytes)
    }

    /// Every unit that can be used, with its newest block, in the order of the table.
    pub fn units(self) -> impl Iterator<Item = Ivhd<'a>> + Clone {
        self.described().filter_map(Unit::used)
    }

    /// Every unit, also units that cannot be used, in the order of the table.
    pub fn described(self) -> impl Iterator<Item = Unit<'a>> + Clone {
        let Self { bytes, index } = self;
        index
            .iter()
            .filter(|entry| entry.how != Use::Ignored)
            .map(move |entry| Unit {
                block: Ivhd::at(bytes, entry.offset),
                is_used: entry.how == Use::Unit,
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

/// A unit, with its newest block.
#[derive(Copy, Clone, Debug)]
pub struct Unit<'a> {
    /// The block.
    pub block: Ivhd<'a>,
    /// Whether the unit can be used.
    pub is_used: bool,
}

impl<'a> Unit<'a> {
    /// The unit, if it can be used.
    pub fn used(self) -> Option<Ivhd<'a>> {
        self.is_used.then_some(self.block)
    }
}
