// SPDX-License-Identifier: GPL-2.0

//! What all nodes of an IORT have (DEN 0049, "IORT nodes").

#![forbid(unsafe_code)]

use super::{error::Warning, kind::Kind, mapping::Mappings};
use crate::drivers::shell::bytes::u8_at;

/// One node.
///
/// | bytes | field |
/// |---|---|
/// | 0 | type |
/// | 1-2 | length |
/// | 3 | revision |
/// | 4-7 | identifier |
/// | 8-11 | number of mappings |
/// | 12-15 | offset of the mappings in the node |
/// | 16- | depends on the type |
#[derive(Copy, Clone, Debug)]
pub struct Node<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Node<'a> {
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset }
    }

    /// The kind of node.
    pub fn kind(self) -> Kind {
        Kind::from_type(u8_at(self.bytes, 0))
    }

    /// Offset of the node in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    pub(super) fn revision(self) -> u8 {
        u8_at(self.bytes, 3)
    }

    /// The bytes of the node.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Its mappings, in the order of the table.
    pub(super) fn mappings(self) -> Mappings<'a> {
        Mappings::new(self.bytes, self.offset)
    }

    /// Oddities of its mappings.
    pub(super) fn mapping_warnings(self) -> impl Iterator<Item = Warning> + 'a {
        let kind = self.kind();
        // A single mapping of a unit is no oddity: it may be for the unit's own interrupts.
        kind.is_known()
            .then(|| self.mappings().warnings(kind))
            .into_iter()
            .flatten()
    }
}
