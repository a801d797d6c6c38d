// SPDX-License-Identifier: GPL-2.0

//! Where the blocks of an IVRS table start and end.

#![forbid(unsafe_code)]

use super::kind::{Kind, BLOCK_PREFIX, HEADER_LEN};
use crate::drivers::shell::bytes::{u16_at, u8_at};

/// One block as it is in the table.
#[derive(Copy, Clone, Debug)]
pub(super) struct Raw<'a> {
    pub(super) kind: Kind,
    /// Offset in the table.
    pub(super) offset: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// The block at `offset`, if its end can be found.
    pub(super) fn at(table: &'a [u8], offset: usize) -> Option<Self> {
        let rest = table.get(offset..)?;
        let len = usize::from(u16_at(rest, 2));
        if len < BLOCK_PREFIX {
            return None;
        }
        let bytes = rest.get(..len)?;
        let kind = Kind::from_type(u8_at(bytes, 0));
        Some(Self {
            kind,
            offset,
            bytes,
        })
    }

    /// Whether it has as many bytes as its kind has at least.
    pub(super) fn is_complete(&self) -> bool {
        self.bytes.len() >= self.kind.fixed_len()
    }
}

/// The blocks of a table as they are in it, up to the first whose end cannot be found.
#[derive(Clone, Debug)]
pub(super) struct RawBlocks<'a> {
    table: &'a [u8],
    at: usize,
}

impl<'a> RawBlocks<'a> {
    /// The blocks of `table`, the bytes of a whole table.
    pub(super) fn new(table: &'a [u8]) -> Self {
        Self {
            table,
            at: HEADER_LEN,
        }
    }

    /// Offset of the next block.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for RawBlocks<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let raw = Raw::at(self.table, self.at)?;
        self.at += raw.bytes.len();
        Some(raw)
    }
}
