// SPDX-License-Identifier: GPL-2.0

//! Mappings of ids of a node to ids of the node that they lead to (DEN 0049, "ID mappings").

#![forbid(unsafe_code)]

use super::{error::Warning, kind::Kind};
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

impl Mapping<'_> {
    /// Bytes of a mapping.
    pub(super) const LEN: usize = 20;

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

    /// The last id.
    fn last(self) -> u32 {
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

    /// Whether the two mappings take an id in common.
    fn overlaps(self, other: Self) -> bool {
        self.input() <= other.last() && other.input() <= self.last()
    }
}

/// Iterates over the mappings of a node.
#[derive(Clone, Debug)]
pub struct Mappings<'a> {
    rest: &'a [u8],
    left: u32,
    offset: usize,
}

impl<'a> Mappings<'a> {
    /// The mappings of a node whose bytes are at `offset` in the table.
    pub(super) fn new(node: &'a [u8], offset: usize) -> Self {
        let (count, start) = (u32_at(node, 8), u32_at(node, 12) as usize);
        Self {
            rest: node.get(start..).unwrap_or_default(),
            left: count,
            offset: offset + start,
        }
    }

    /// The id that `id` becomes, and its mapping. A single mapping is for every id.
    ///
    /// Some firmware counts one id too many in a mapping. So an id that is the last of one mapping
    /// and the first of another belongs to the other.
    pub(super) fn map(self, id: u32) -> Option<(u32, Mapping<'a>)> {
        let mut found = None;

        for mapping in self {
            if mapping.is_single() {
                if found.is_none() {
                    return Some((mapping.output(), mapping));
                }
                continue;
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

    /// Oddities of the mappings of a node of this kind.
    pub(super) fn warnings(self, kind: Kind) -> impl Iterator<Item = Warning> + 'a {
        let all = self.clone();
        let singles = self
            .clone()
            .filter(move |mapping| mapping.is_single() && kind == Kind::Smmu)
            .map(move |mapping| Warning::SingleUnexpected {
                kind,
                offset: mapping.offset(),
            });
        // One oddity for each mapping is enough.
        let overlaps = self
            .filter(|mapping| !mapping.is_single())
            .filter_map(move |mapping| {
                let other = all
                    .clone()
                    .take_while(|other| other.offset() < mapping.offset())
                    .find(|other| !other.is_single() && other.overlaps(mapping))?;
                Some(Warning::MappingsOverlap {
                    kind,
                    first: other.offset(),
                    second: mapping.offset(),
                })
            });
        singles.chain(overlaps)
    }
}

impl<'a> Iterator for Mappings<'a> {
    type Item = Mapping<'a>;

    fn next(&mut self) -> Option<Mapping<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (bytes, rest) = (
            self.rest.get(..Mapping::LEN)?,
            self.rest.get(Mapping::LEN..)?,
        );
        let mapping = Mapping {
            bytes,
            offset: self.offset,
        };
        self.rest = rest;
        self.offset += Mapping::LEN;
        Some(mapping)
    }
}
