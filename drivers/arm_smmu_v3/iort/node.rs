// SPDX-License-Identifier: GPL-2.0

//! What all nodes of an IORT have (DEN 0049, "IORT nodes").

#![forbid(unsafe_code)]

use super::{array::Array, elements::Elements, kind::Kind, mapping::Mappings};
use crate::drivers::shell::{
    acpi_structures::{Raw, StructureKind},
    bytes::u8_at,
};

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
    pub(super) fn new(raw: Raw<'a, Kind>) -> Self {
        Self {
            bytes: raw.bytes,
            offset: raw.offset,
        }
    }

    /// The node at `offset` of a table, where one starts.
    pub(super) fn at(table: &'a [u8], offset: usize) -> Self {
        let bytes = Raw::<Kind>::at(table, offset).map_or(&[][..], |raw| raw.bytes);
        Self { bytes, offset }
    }

    /// The kind of node.
    pub fn kind(self) -> Kind {
        Kind::kind(self.bytes)
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

    /// Its array of these elements, if its kind has one.
    pub(super) fn array(self, of: Elements) -> Array<'a> {
        Array::new(self.kind(), self.bytes, self.offset, of)
    }

    /// Its mappings, in the order of the table.
    pub(super) fn mappings(self) -> Mappings<'a> {
        Mappings::new(self.kind(), self.bytes, self.offset)
    }
}
