// SPDX-License-Identifier: GPL-2.0

//! From a device to its unit and its stream ids there, and to the memory that it keeps using.

#![forbid(unsafe_code)]

use super::{Mapping, Named, Node, Rmr, RootComplex, SmmuV3, Table};

/// The first revision of the table that may have memory ranges which software has to map (DEN
/// 0049E.d; earlier descriptions of them were withdrawn).
const REGIONS_SINCE: u8 = 5;

/// A device's name at a unit.
#[derive(Copy, Clone, Debug)]
pub struct Stream<'a> {
    /// The unit.
    pub unit: SmmuV3<'a>,
    /// The stream id.
    pub id: u32,
}

impl<'a> Table<'a> {
    /// The root complex of a PCI segment. If there are several, the first counts.
    pub fn root_complex(self, segment: u32) -> Option<RootComplex<'a>> {
        self.nodes()
            .filter_map(Node::as_root_complex)
            .find(|root| root.segment() == segment)
    }

    /// The device with this ACPI path.
    pub fn named(self, path: &[u8]) -> Option<Named<'a>> {
        self.nodes()
            .filter_map(Node::as_named)
            .find(|device| device.path() == path)
    }

    /// Where a PCI function's transactions go that have this requester id. `None` means that no
    /// unit of this architecture translates them.
    pub fn stream_of_pci(self, segment: u32, requester: u32) -> Option<Stream<'a>> {
        self.stream(self.root_complex(segment)?.map(requester)?)
    }

    /// Where the transactions of a device go that is all that its node is about: one stream for
    /// each id that firmware gives it.
    pub fn streams_of_named(self, device: Named<'a>) -> impl Iterator<Item = Stream<'a>> {
        device
            .singles()
            .filter_map(move |mapping| self.stream((mapping.output(), mapping)))
    }

    /// Where the transactions of one of several devices behind a named one go, which itself gives
    /// them this id.
    pub fn stream_behind_named(self, device: Named<'a>, id: u32) -> Option<Stream<'a>> {
        self.stream(device.map(id)?)
    }

    /// The stream with this id, if the mapping leads to a unit.
    fn stream(self, (id, mapping): (u32, Mapping<'a>)) -> Option<Stream<'a>> {
        // References of root complexes and named devices go to units and interrupt translators,
        // never to something in between.
        let unit = self.node_at(mapping.reference())?.as_unit()?;
        Some(Stream { unit, id })
    }

    /// Whether memory ranges count that firmware's devices keep using.
    pub(super) fn has_regions(self) -> bool {
        self.revision() >= REGIONS_SINCE
    }

    /// Every node of memory that firmware's devices keep using.
    pub fn rmrs(self) -> impl Iterator<Item = Rmr<'a>> {
        self.nodes()
            .filter_map(Node::as_rmr)
            .filter(move |_| self.has_regions())
    }

    /// The nodes of memory that the device with this name keeps using.
    pub fn rmrs_of(self, stream: Stream<'a>) -> impl Iterator<Item = Rmr<'a>> {
        self.rmrs()
            .filter(move |rmr| rmr.concerns(stream.unit.offset(), stream.id))
    }
}
