// SPDX-License-Identifier: GPL-2.0

//! Look-ups of a device's unit and stream ids, and of reserved memory ranges.

#![forbid(unsafe_code)]

use super::{
    mapping::Mapping,
    memory::Rmr,
    node::Node,
    nodes::{Named, SmmuV3},
    table::Table,
};

/// A stream: the name of a device's transactions at a unit.
#[derive(Copy, Clone, Debug)]
pub struct Stream<'a> {
    /// The unit.
    pub unit: SmmuV3<'a>,
    /// The stream id.
    pub id: u32,
}

impl<'a> Table<'a> {
    /// The device with this ACPI path.
    pub fn named(self, path: &[u8]) -> Option<Named<'a>> {
        self.nodes()
            .filter_map(Node::as_named)
            .find(|device| device.path() == path)
    }

    /// The stream of transactions with this requester id of a PCI segment; `None` if no unit of
    /// this architecture translates them.
    pub fn stream_of_pci(self, segment: u32, requester: u32) -> Option<Stream<'a>> {
        self.stream(self.root_complex(segment)?.map(requester)?)
    }

    /// The streams of a named component: one for each single mapping that leads to a unit of this
    /// architecture.
    pub fn streams_of_named(self, device: Named<'a>) -> impl Iterator<Item = Stream<'a>> {
        device
            .singles()
            .filter_map(move |mapping| self.stream((mapping.output(), mapping)))
    }

    /// The stream with this id, if the mapping leads to a unit.
    fn stream(self, (id, mapping): (u32, Mapping<'a>)) -> Option<Stream<'a>> {
        // Mappings of root complexes and named components lead to units and ITS groups directly.
        let unit = self.node_at(mapping.reference())?.as_unit()?;
        Some(Stream { unit, id })
    }

    /// All nodes of reserved memory ranges.
    pub fn rmrs(self) -> impl Iterator<Item = Rmr<'a>> {
        self.nodes()
            .filter_map(Node::as_rmr)
            .filter(move |_| self.has_regions())
    }

    /// Whether the device with stream id `stream`, behind the unit whose registers are at `base`,
    /// uses these memory ranges.
    pub fn concerns(self, memory: Rmr<'_>, base: u64, stream: u32) -> bool {
        memory
            .mappings()
            .filter(|mapping| mapping.gives(stream))
            .filter_map(|mapping| self.node_at(mapping.reference())?.as_unit())
            .any(|unit| unit.base() == base)
    }
}
