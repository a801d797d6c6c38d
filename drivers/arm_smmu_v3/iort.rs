// SPDX-License-Identifier: GPL-2.0

//! The ACPI IORT: which units exist, which stream ids devices have at them, which memory firmware
//! keeps using (Arm DEN 0049, "IO Remapping Table").
//!
//! The table is a graph: nodes for PCI root complexes and other devices lead to nodes for units,
//! and those to groups of interrupt translators, by mappings that turn ids of one into ids of the
//! next.
//!
//! Firmware tables are hostile input. [`Table::parse`] checks every length, offset and reference
//! once; what it accepts can then be walked any number of times without an error path. References
//! only go from one kind of node to a kind that is nearer to the interrupt translators, so no walk
//! goes in circles. Nothing is copied and nothing is allocated: every node borrows from the bytes
//! of the table.

#![forbid(unsafe_code)]

mod error;
mod mapping;
mod memory;
mod nodes;
mod streams;

use core::fmt;

pub use self::{
    error::{Error, Problem, Warning},
    mapping::{Mapping, Mappings},
    memory::{Region, Regions, Rmr},
    nodes::{Interrupts, ItsGroup, Model, Named, Node, RootComplex, SmmuV3},
    streams::Stream,
};

/// Bytes of the ACPI header, the number and offset of the nodes and the reserved field.
const HEADER_LEN: usize = 48;
/// Type, length, revision, identifier, number and offset of the mappings.
const NODE_PREFIX: usize = 16;
/// Registers are addressed in pages of this size.
const REGISTER_PAGE: u64 = 0x1_0000;
/// More nodes than this in one table is a broken table. This and the next two bound the comparison
/// of everything with everything else.
pub const MAX_NODES: u32 = 4096;
/// More mappings than this in one table is a broken table.
pub const MAX_MAPPINGS: usize = 8192;
/// More memory ranges than this in one table is a broken table.
pub const MAX_REGIONS: usize = 1024;

/// A kind of node.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The table's own header.
    Header,
    /// A group of interrupt translators.
    ItsGroup,
    /// A device that firmware describes by name.
    NamedComponent,
    /// A PCI root complex.
    RootComplex,
    /// A unit of an older architecture, SMMUv1 or SMMUv2.
    Smmu,
    /// A unit.
    SmmuV3,
    /// Performance counters of a unit.
    Pmcg,
    /// Memory that firmware's devices keep using.
    Rmr,
    /// A bridge that turns wired interrupts into messages.
    Iwb,
    /// A type that the specification did not define when this was written.
    Unknown(u8),
}

impl Kind {
    const fn from_type(value: u8) -> Self {
        match value {
            0 => Self::ItsGroup,
            1 => Self::NamedComponent,
            2 => Self::RootComplex,
            3 => Self::Smmu,
            4 => Self::SmmuV3,
            5 => Self::Pmcg,
            6 => Self::Rmr,
            7 => Self::Iwb,
            other => Self::Unknown(other),
        }
    }

    /// Bytes that a node of this kind has at least, in the first revision of it.
    const fn fixed_len(self) -> usize {
        match self {
            Self::Header => HEADER_LEN,
            Self::ItsGroup => 20,
            // One character and its terminator at least.
            Self::NamedComponent => 31,
            Self::RootComplex => 32,
            Self::Smmu => 60,
            Self::SmmuV3 => 60,
            Self::Pmcg => 32,
            Self::Rmr => 28,
            Self::Iwb => 28,
            Self::Unknown(_) => NODE_PREFIX,
        }
    }

    /// Whether ids of a node of this kind may be mapped to ids of a node of kind `to`.
    const fn maps_to(self, to: Self) -> bool {
        match self {
            Self::NamedComponent | Self::RootComplex => {
                matches!(to, Self::Smmu | Self::SmmuV3 | Self::ItsGroup)
            }
            Self::Smmu | Self::SmmuV3 | Self::Pmcg | Self::Iwb => matches!(to, Self::ItsGroup),
            Self::Rmr => matches!(to, Self::Smmu | Self::SmmuV3),
            _ => false,
        }
    }

    /// Whether mappings of this kind of node are looked into.
    const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::ItsGroup => "ITS group",
            Self::NamedComponent => "named component",
            Self::RootComplex => "root complex",
            Self::Smmu => "SMMU",
            Self::SmmuV3 => "SMMUv3",
            Self::Pmcg => "PMCG",
            Self::Rmr => "RMR",
            Self::Iwb => "IWB",
            Self::Unknown(value) => return write!(f, "node of type {value}"),
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.get(..N)?.try_into().ok()
}

fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    array(bytes, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array(bytes, at).map_or(0, u64::from_le_bytes)
}

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
/// `bytes` passed every check of [`Table::parse`]; in particular every node and every array lies
/// inside what contains it, no node is shorter than its fixed part, and every reference names the
/// start of a node of a kind that it may name.
#[derive(Copy, Clone, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

/// What was counted so far.
#[derive(Default)]
struct Counts {
    mappings: usize,
    regions: usize,
}

impl<'a> Table<'a> {
    /// Checks `bytes`, which may be longer than the table in them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let bytes = Self::check_header(bytes)?;
        let table = Self { bytes };
        let mut at = table.first_node();
        let mut counts = Counts::default();

        for _ in 0..table.node_count() {
            at += Self::check_node(bytes, at, &mut counts)?;
        }
        // From here on nodes can be walked.
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

    /// Checks one node by itself and returns its length.
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

    /// Checks that `count` elements of `size` bytes from `start` on lie in a node, behind its fixed
    /// part.
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

    /// Checks the mappings of a node but for where they lead, and returns how many there are.
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

    /// Checks the memory ranges of a node, and returns how many there are.
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

    /// Checks where mappings lead.
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

    /// Checks what concerns more than one unit.
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
    fn node_at(self, offset: u32) -> Option<Node<'a>> {
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

    /// What is odd, but does not keep the table from being used.
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
