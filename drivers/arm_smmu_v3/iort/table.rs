// SPDX-License-Identifier: GPL-2.0

//! A whole IORT, which is checked once.

#![forbid(unsafe_code)]

use super::{
    error::{Error, Problem, Warning, MAX_MAPPINGS, MAX_NODES, MAX_REGIONS},
    kind::{Kind, HEADER_LEN, NODE_PREFIX},
    mapping::{Mapping, Mappings},
    memory::{Region, Regions, Rmr},
    node::Node,
    nodes::{RootComplex, SmmuV3},
};
use crate::drivers::shell::bytes::{u16_at, u32_at, u8_at};

/// Registers are addressed in pages of this size.
const REGISTER_PAGE: u64 = 0x1_0000;
/// The first revision of the table that may have reserved memory ranges (DEN 0049E.d; earlier
/// definitions of them were withdrawn).
const REGIONS_SINCE: u8 = 5;

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
/// # Invariants
///
/// `bytes` passed every check of [`Table::parse`]. In particular nodes lie in the table and arrays
/// in their node, no node is shorter than its fixed part, and each reference is the offset of a
/// node whose kind is allowed there.
#[derive(Copy, Clone, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

/// Elements of all nodes so far.
#[derive(Default)]
struct Counts {
    mappings: usize,
    regions: usize,
}

impl<'a> Table<'a> {
    /// The table that `bytes` begin with, which [`parse`](Self::parse) accepts. With others the
    /// answers are wrong, and that is all.
    pub fn new(bytes: &'a [u8]) -> Self {
        let length = u32_at(bytes, 4) as usize;
        Self {
            bytes: bytes.get(..length).unwrap_or_default(),
        }
    }

    /// Checks the table that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let bytes = Self::check_header(bytes)?;
        let table = Self { bytes };
        let mut at = table.first_node();
        let mut counts = Counts::default();

        for _ in 0..table.node_count() {
            at += Self::check_node(bytes, at, &mut counts)?;
        }
        // From here on the nodes can be walked.
        table.check_references()?;
        table.check_units()?;
        Ok(table)
    }

    /// Checks the header and returns the bytes of the table.
    fn check_header(bytes: &[u8]) -> Result<&[u8], Error> {
        let refuse = |problem| Error::new(Kind::Header, 0, problem);
        let short = |claims| {
            refuse(Problem::TooShort {
                claims,
                needs: HEADER_LEN,
            })
        };

        if bytes.len() < HEADER_LEN {
            return Err(short(bytes.len()));
        }
        if !bytes.starts_with(b"IORT") {
            return Err(refuse(Problem::Signature));
        }
        let claims = u32_at(bytes, 4);
        let Some(bytes) = usize::try_from(claims)
            .ok()
            .and_then(|len| bytes.get(..len))
        else {
            return Err(refuse(Problem::TableTruncated {
                claims,
                has: bytes.len(),
            }));
        };
        if bytes.len() < HEADER_LEN {
            return Err(short(bytes.len()));
        }
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if sum != 0 {
            return Err(refuse(Problem::Checksum { sum }));
        }
        let (count, first) = (u32_at(bytes, 36), u32_at(bytes, 40));
        if count > MAX_NODES {
            return Err(refuse(Problem::TooManyNodes { claims: count }));
        }
        if count > 0 && (first as usize) < HEADER_LEN {
            return Err(refuse(Problem::FirstNode { claims: first }));
        }
        Ok(bytes)
    }

    /// Checks one node without its references. Returns its length.
    fn check_node(table: &[u8], at: usize, counts: &mut Counts) -> Result<usize, Error> {
        let rest = table.get(at..).unwrap_or_default();
        let kind = Kind::from_type(u8_at(rest, 0));
        let refuse = |problem| Error::new(kind, at, problem);
        if rest.len() < NODE_PREFIX {
            return Err(refuse(Problem::PastTable {
                claims: NODE_PREFIX,
                left: rest.len(),
            }));
        }
        let claims = usize::from(u16_at(rest, 1));
        if claims < kind.fixed_len() {
            return Err(refuse(Problem::TooShort {
                claims,
                needs: kind.fixed_len(),
            }));
        }
        let Some(bytes) = rest.get(..claims) else {
            return Err(refuse(Problem::PastTable {
                claims,
                left: rest.len(),
            }));
        };

        if kind.is_known() {
            counts.mappings += Self::check_mappings(bytes, at, kind)?;
            if counts.mappings > MAX_MAPPINGS {
                return Err(refuse(Problem::TooManyMappings));
            }
        }
        match kind {
            Kind::ItsGroup => {
                let count = u32_at(bytes, 16);
                Self::check_array(bytes, kind, kind.fixed_len() as u32, count, 4)
                    .map_err(refuse)?;
            }
            Kind::NamedComponent => Self::check_name(bytes, 29).map_err(refuse)?,
            Kind::Iwb => Self::check_name(bytes, 26).map_err(refuse)?,
            Kind::SmmuV3 => Self::check_registers(SmmuV3::new(bytes, at)).map_err(refuse)?,
            Kind::Rmr => {
                counts.regions += Self::check_regions(bytes, at)?;
                if counts.regions > MAX_REGIONS {
                    return Err(refuse(Problem::TooManyRegions));
                }
            }
            _ => {}
        }
        Ok(claims)
    }

    /// Checks that `count` elements of `size` bytes from offset `start` on lie in a node, behind
    /// its fixed part.
    fn check_array(
        node: &[u8],
        kind: Kind,
        start: u32,
        count: u32,
        size: u64,
    ) -> Result<(), Problem> {
        let end = u64::from(start) + u64::from(count) * size;
        if count > 0 && ((start as usize) < kind.fixed_len() || end > node.len() as u64) {
            return Err(Problem::ArrayPastNode {
                start,
                count,
                len: node.len(),
            });
        }
        Ok(())
    }

    /// Checks the mappings of a node without their references. Returns how many there are.
    fn check_mappings(node: &[u8], at: usize, kind: Kind) -> Result<usize, Error> {
        let (count, start) = (u32_at(node, 8), u32_at(node, 12));
        Self::check_array(node, kind, start, count, Mapping::LEN as u64)
            .map_err(|problem| Error::new(kind, at, problem))?;
        if count > 0 && kind == Kind::ItsGroup {
            return Err(Error::new(kind, at, Problem::MappingsUnexpected));
        }
        for mapping in Mappings::new(node, at) {
            let more = mapping.more();
            for base in [mapping.input(), mapping.output()] {
                if !mapping.is_single() && base.checked_add(more).is_none() {
                    return Err(Error {
                        element: Some(mapping.offset()),
                        ..Error::new(kind, at, Problem::IdsWrap { base, more })
                    });
                }
            }
        }
        Ok(count as usize)
    }

    fn check_name(node: &[u8], at: usize) -> Result<(), Problem> {
        let name = node.get(at..).unwrap_or_default();
        if !name.contains(&0) || name.first() == Some(&0) {
            return Err(Problem::Name);
        }
        Ok(())
    }

    fn check_registers(unit: SmmuV3<'_>) -> Result<(), Problem> {
        let base = unit.base();
        if base == 0 || base == u64::MAX {
            return Err(Problem::BaseImpossible { base });
        }
        if base % REGISTER_PAGE != 0 {
            return Err(Problem::BaseMisaligned { base });
        }
        if base.checked_add(unit.window() - 1).is_none() {
            return Err(Problem::BaseWraps { base });
        }
        Ok(())
    }

    /// Checks the memory ranges of a node. Returns how many there are.
    fn check_regions(node: &[u8], at: usize) -> Result<usize, Error> {
        let kind = Kind::Rmr;
        let (count, start) = (u32_at(node, 20), u32_at(node, 24));
        Self::check_array(node, kind, start, count, Region::LEN as u64)
            .map_err(|problem| Error::new(kind, at, problem))?;
        for region in Regions::new(node, at) {
            let (base, length) = (region.raw_base(), region.raw_length());
            if base.checked_add(length.saturating_sub(1)).is_none() {
                return Err(Error {
                    element: Some(region.offset()),
                    ..Error::new(kind, at, Problem::RegionWraps { base, length })
                });
            }
        }
        Ok(count as usize)
    }

    /// Checks the references of all mappings.
    fn check_references(self) -> Result<(), Error> {
        for node in self.nodes().filter(|node| node.kind().is_known()) {
            for mapping in node.mappings() {
                let to = mapping.reference();
                let refuse = |problem| Error {
                    element: Some(mapping.offset()),
                    ..Error::new(node.kind(), node.offset(), problem)
                };
                let Some(target) = self.node_at(to) else {
                    return Err(refuse(Problem::ReferenceDangling { to }));
                };
                if !node.kind().maps_to(target.kind()) {
                    return Err(refuse(Problem::ReferenceKind {
                        to,
                        kind: target.kind(),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Checks that units do not overlap.
    fn check_units(self) -> Result<(), Error> {
        for unit in self.units() {
            let (start, end) = (unit.base(), unit.base() + (unit.window() - 1));
            for before in self
                .units()
                .take_while(|other| other.offset() < unit.offset())
            {
                if start <= before.base() + (before.window() - 1) && before.base() <= end {
                    return Err(Error::new(
                        Kind::SmmuV3,
                        unit.offset(),
                        Problem::UnitsOverlap {
                            base: start,
                            other: before.offset(),
                        },
                    ));
                }
            }
        }
        Ok(())
    }

    fn node_count(self) -> u32 {
        u32_at(self.bytes, 36)
    }

    fn first_node(self) -> usize {
        u32_at(self.bytes, 40) as usize
    }

    /// The table's revision.
    pub fn revision(self) -> u8 {
        u8_at(self.bytes, 8)
    }

    /// Every node, in the order of the table.
    pub fn nodes(self) -> Nodes<'a> {
        Nodes {
            table: self.bytes,
            at: self.first_node(),
            left: self.node_count(),
        }
    }

    /// The node at an offset in the table.
    pub(super) fn node_at(self, offset: u32) -> Option<Node<'a>> {
        self.nodes().find(|node| node.offset() == offset as usize)
    }

    /// Every unit, in the order of the table.
    pub fn units(self) -> impl Iterator<Item = SmmuV3<'a>> {
        self.nodes().filter_map(Node::as_unit)
    }

    /// The unit whose registers are at physical address `base`.
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
        self.revision() >= REGIONS_SINCE
    }

    /// Oddities of a table that can be used.
    pub fn warnings(self) -> impl Iterator<Item = Warning> + 'a {
        self.nodes().flat_map(move |node| {
            let unit = node.as_unit().and_then(SmmuV3::warning);
            let root = node
                .as_root_complex()
                .filter(|root| {
                    let first = self.root_complex(root.segment()).map(RootComplex::offset);
                    first != Some(root.offset())
                })
                .map(|root| Warning::SecondRootComplex {
                    segment: root.segment(),
                    offset: root.offset(),
                });
            let old =
                node.as_rmr()
                    .filter(|_| !self.has_regions())
                    .map(|rmr| Warning::RegionsTooOld {
                        offset: rmr.offset(),
                        revision: self.revision(),
                    });
            let regions = node.as_rmr().into_iter().flat_map(Rmr::warnings);
            unit.into_iter()
                .chain(root)
                .chain(old)
                .chain(node.mapping_warnings())
                .chain(regions)
        })
    }
}

/// Iterates over the nodes of a [`Table`].
#[derive(Clone, Debug)]
pub struct Nodes<'a> {
    table: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.at;
        let rest = self.table.get(offset..)?;
        if rest.len() < NODE_PREFIX {
            return None;
        }
        // `max` keeps the walk going forward whatever the bytes are.
        let len = usize::from(u16_at(rest, 1)).max(NODE_PREFIX);
        let bytes = rest.get(..len)?;
        self.at += len;
        Some(Node::new(bytes, offset))
    }
}
