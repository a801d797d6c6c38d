// SPDX-License-Identifier: GPL-2.0

//! The blocks that an IVRS table consists of.

#![forbid(unsafe_code)]

use super::{
    hardware::Ivhd,
    kind::Kind,
    memory::Ivmd,
    raw::{blocks_of, Raw, RawBlocks},
};

/// One block.
#[derive(Copy, Clone, Debug)]
pub enum Block<'a> {
    /// A unit.
    Ivhd(Ivhd<'a>),
    /// A memory region.
    Ivmd(Ivmd<'a>),
    /// A block of an unknown kind, or one that the check has left out.
    Other,
}

/// The blocks of a table. A block that makes no sense is [`Block::Other`].
#[derive(Clone, Debug)]
pub struct Blocks<'a>(RawBlocks<'a>);

impl<'a> Blocks<'a> {
    /// The blocks of `table`, the bytes of a whole table.
    pub(super) fn new(table: &'a [u8]) -> Self {
        Self(blocks_of(table))
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let raw = self.0.next()?;
        if !raw.is_complete() {
            return Some(Block::Other);
        }
        let Raw {
            kind,
            offset,
            bytes,
        } = raw;

        Some(match kind {
            Kind::Ivhd10 | Kind::Ivhd11 | Kind::Ivhd40 => {
                Block::Ivhd(Ivhd::new(bytes, offset, kind))
            }
            Kind::IvmdAll | Kind::IvmdOne | Kind::IvmdRange => match Ivmd::new(bytes, kind) {
                region if region.refusal().is_some() => Block::Other,
                region => Block::Ivmd(region),
            },
            Kind::Header | Kind::Unknown(_) => Block::Other,
        })
    }
}
