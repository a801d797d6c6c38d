// SPDX-License-Identifier: GPL-2.0

//! A whole IORT, and what can be asked of it.

#![forbid(unsafe_code)]

use super::{
    check::{self, Report},
    error::Error,
    index::{Entry, Use},
    node::Node,
    nodes::{RootComplex, SmmuV3},
};

/// An IORT that was checked from end to end.
///
/// | bytes | field |
/// |---|---|
/// | 0-3 | signature, `IORT` |
/// | 4-7 | length of the whole table |
/// | 8 | revision |
/// | 9 | checksum: all bytes sum up to 0 |
/// | 10-35 | OEM and creator, not used |
/// | 36-39 | number of nodes |
/// | 40-43 | offset of the first node |
/// | 44-47 | reserved |
///
/// A table is checked once, by [`count`](Self::count) and [`index`](Self::index), and may then be
/// looked at any number of times.
#[derive(Copy, Clone, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
    index: &'a [Entry],
}

impl<'a> Table<'a> {
    /// How many entries the index of the table in `bytes` has. `bytes` may be longer than the
    /// table.
    ///
    /// # Errors
    ///
    /// Why the table cannot be used.
    pub fn count(bytes: &[u8]) -> Result<usize, Error> {
        check::count(bytes)
    }

    /// Fills the index of the table in `bytes`, and reports all that is wrong in it.
    ///
    /// `index` has as many entries as [`count`](Self::count) said.
    pub fn index(bytes: &[u8], index: &mut [Entry], report: Report<'_>) {
        check::index(bytes, index, report);
    }

    /// The table in `bytes`, which [`index`](Self::index) has made `index` for.
    ///
    /// With another index the answers are wrong, and that is all.
    pub fn new(bytes: &'a [u8], index: &'a [Entry]) -> Self {
        let bytes = check::whole(bytes).unwrap_or_default();
        let nodes = index.partition_point(|entry| entry.how != Use::Spare);
        Self {
            bytes,
            index: index.get(..nodes).unwrap_or_default(),
        }
    }

    /// The table's revision.
    pub fn revision(self) -> u8 {
        check::revision(self.bytes)
    }

    /// Every node that can be used, in the order of the table.
    pub fn nodes(self) -> impl Iterator<Item = Node<'a>> + Clone {
        self.index
            .iter()
            .filter(|entry| entry.how == Use::Node)
            .map(move |entry| Node::at(self.bytes, entry.offset))
    }

    /// The node at an offset in the table, if it can be used.
    pub(super) fn node_at(self, offset: u32) -> Option<Node<'a>> {
        let entry = check::entry_at(self.index, offset)?;
        (entry.how == Use::Node).then(|| Node::at(self.bytes, entry.offset))
    }

    /// Every node of a unit that can be used, in the order of the table.
    pub fn units(self) -> impl Iterator<Item = SmmuV3<'a>> + Clone {
        self.nodes().filter_map(Node::as_unit)
    }

    /// The unit whose registers are at physical address `base`. If several nodes describe it, it is
    /// the first.
    pub fn unit_at(self, base: u64) -> Option<SmmuV3<'a>> {
        self.units().find(|unit| unit.base() == base)
    }

    /// The root complex of a PCI segment. If there are several, it is the first.
    pub fn root_complex(self, segment: u32) -> Option<RootComplex<'a>> {
        self.nodes()
            .filter_map(Node::as_root_complex)
            .find(|root| root.segment() == segment)
    }

    /// Whether reserved memory ranges are valid.
    pub(super) fn has_regions(self) -> bool {
        check::has_regions(self.bytes)
    }
}
