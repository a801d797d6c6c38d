// SPDX-License-Identifier: GPL-2.0

//! The blocks that an IVRS table consists of.

#![forbid(unsafe_code)]

use super::{
    hardware::Ivhd,
    kind::{Kind, BLOCK_PREFIX, HEADER_LEN},
    memory::Ivmd,
};
use crate::drivers::shell::bytes::{u16_at, u8_at};

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

/// Iterates over the blocks of a table.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    table: &'a [u8],
    at: usize,
}

impl<'a> Blocks<'a> {
    /// The blocks of `table`, the bytes of a whole table.
    pub(super) fn new(table: &'a [u8]) -> Self {
        Self {
            table,
            at: HEADER_LEN,
        }
    }
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
