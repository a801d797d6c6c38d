// SPDX-License-Identifier: GPL-2.0

//! Arrays in nodes: where the elements are, and how many there is room for.

#![forbid(unsafe_code)]

use super::{elements::Elements, kind::Kind, warning::Oddity};
use crate::drivers::shell::{acpi_structures::StructureKind, bytes::u32_at};

/// An array of a node.
#[derive(Copy, Clone, Debug)]
pub(super) struct Array<'a> {
    kind: Kind,
    /// The bytes of the node.
    node: &'a [u8],
    /// Offset of the node in the table.
    offset: usize,
    of: Elements,
    start: u32,
    claims: u32,
}

impl<'a> Array<'a> {
    /// The array of these elements of a node, whose kind has one. The node is at `offset` of the
    /// table.
    pub(super) fn new(kind: Kind, node: &'a [u8], offset: usize, of: Elements) -> Self {
        let word = |at| u32_at(node, at);
        let (claims, start) = match of {
            Elements::Mappings => (word(8), word(12)),
            Elements::Regions => (word(20), word(24)),
            // They follow the fixed part.
            Elements::Translators => (word(16), kind.fixed_len() as u32),
        };
        Self {
            kind,
            node,
            offset,
            of,
            start,
            claims,
        }
    }

    /// Bytes of an element.
    fn size(self) -> usize {
        match self.of {
            Elements::Mappings | Elements::Regions => 20,
            Elements::Translators => 4,
        }
    }

    /// How many elements there are.
    pub(super) fn count(self) -> u32 {
        let room = match self.start as usize {
            start if start < self.kind.fixed_len() => 0,
            start => self.node.len().saturating_sub(start) / self.size(),
        };
        // A node has less than 64 KiB.
        self.claims.min(room as u32)
    }

    /// The bytes of the elements, and the offset of the first in the table.
    pub(super) fn bytes(self) -> (&'a [u8], usize) {
        let start = self.start as usize;
        let end = start.saturating_add(self.count() as usize * self.size());
        let bytes = self.node.get(start..end).unwrap_or_default();
        (bytes, self.offset + start)
    }

    /// What is wrong with the array.
    pub(super) fn oddity(self) -> Option<Oddity> {
        let Self {
            of, start, claims, ..
        } = self;
        let has = self.count();
        if has == claims {
            return None;
        }
        let fixed = self.kind.fixed_len();
        Some(match start as usize {
            start if start < fixed || start > self.node.len() => Oddity::ArrayMisplaced {
                of,
                claims,
                start: self.start,
            },
            _ => Oddity::ArrayCut { of, claims, has },
        })
    }
}
