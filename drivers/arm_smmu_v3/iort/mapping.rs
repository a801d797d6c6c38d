// SPDX-License-Identifier: GPL-2.0

//! Mappings of ids of a node to ids of the node that they lead to (DEN 0049, "ID mappings").

#![forbid(unsafe_code)]

use super::{array::Array, elements::Elements, kind::Kind};
use crate::drivers::shell::bytes::u32_at;

/// One mapping.
///
/// | bytes | field |
/// |---|---|
/// | 0-3 | first id |
/// | 4-7 | how many ids follow it |
/// | 8-11 | id that the first id becomes |
/// | 12-15 | offset in the table of the node that it leads to |
/// | 16-19 | flags; bit 0: single mapping, which takes no id |
#[derive(Copy, Clone, Debug)]
pub struct Mapping<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Mapping<'a> {
    /// Bytes of a mapping.
    const LEN: usize = 20;

    /// The mapping at `offset` of a table.
    pub(super) fn at(table: &'a [u8], offset: usize) -> Self {
        Self {
            bytes: table.get(offset..).unwrap_or_default(),
            offset,
        }
    }

    /// Offset of the mapping in the table.
    pub fn offset(self) -> usize {
        self.offset
    }

    /// The first id.
    pub fn input(self) -> u32 {
        u32_at(self.bytes, 0)
    }

    /// How many ids follow the first one.
    pub fn more(self) -> u32 {
        u32_at(self.bytes, 4)
    }

    /// The id that the first id becomes.
    pub fn output(self) -> u32 {
        u32_at(self.bytes, 8)
    }

    /// Offset in the table of the node that it leads to.
    pub fn reference(self) -> u32 {
        u32_at(self.bytes, 12)
    }

    /// Whether it is a single mapping: it takes no id, and gives the device's only one.
    pub fn is_single(self) -> bool {
        u32_at(self.bytes, 16) & 1 != 0
    }

    /// The last id; the largest that there is if the mapping goes past it.
    pub(super) fn last(self) -> u32 {
        self.input().saturating_add(self.more())
    }

    /// The id that `id` becomes; `None` if the mapping is for other ids.
    fn map(self, id: u32) -> Option<u32> {
        if id > self.last() {
            return None;
        }
        self.output().checked_add(id.checked_sub(self.input())?)
    }

    /// Whether some id becomes `id`.
    pub(super) fn gives(self, id: u32) -> bool {
        id.checked_sub(self.output())
            .is_some_and(|above| above <= self.more())
    }

    /// The first id of a range, the input's or the output's, that has not as many ids after it as
    /// the mapping says.
    pub(super) fn wraps(self) -> Option<u32> {
        let ends = |base: u32| base.checked_add(self.more()).is_none();
        [self.input(), self.output()]
            .into_iter()
            .find(|base| !self.is_single() && ends(*base))
    }
}

/// Iterates over the mappings of a node.
#[derive(Clone, Debug)]
pub struct Mappings<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Mappings<'a> {
    /// The mappings that lie in a node. The node is at `offset` of the table.
    pub(super) fn new(kind: Kind, node: &'a [u8], offset: usize) -> Self {
        let (rest, offset) = Array::new(kind, node, offset, Elements::Mappings).bytes();
        Self { rest, offset }
    }

    /// The id that `id` becomes, and its mapping. A single mapping is for every id.
    ///
    /// Some firmware counts one id too many in a mapping. So an id that is the last of one mapping
    /// belongs to another one that begins with it, or that is for every id.
    pub(super) fn map(self, id: u32) -> Option<(u32, Mapping<'a>)> {
        let mut found = None;

        for mapping in self {
            if mapping.is_single() {
                return Some((mapping.output(), mapping));
            }
            let Some(output) = mapping.map(id) else {
                continue;
            };
            if found.is_none() {
                found = Some((output, mapping));
                if mapping.more() == 0 || id != mapping.last() {
                    break;
                }
            } else if id == mapping.input() {
                return Some((output, mapping));
            }
        }
        found
    }
}

impl<'a> Iterator for Mappings<'a> {
    type Item = Mapping<'a>;

    fn next(&mut self) -> Option<Mapping<'a>> {
        let (bytes, rest) = self.rest.split_at_checked(Mapping::LEN)?;
        let mapping = Mapping {
            bytes,
            offset: self.offset,
        };
        self.rest = rest;
        self.offset += Mapping::LEN;
        Some(mapping)
    }
}
