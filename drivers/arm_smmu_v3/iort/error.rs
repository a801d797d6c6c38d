// SPDX-License-Identifier: GPL-2.0

//! Errors and oddities of an IORT.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;

/// The most nodes of a table. This and the next two limits bound the comparisons of all elements
/// with each other.
pub const MAX_NODES: u32 = 4096;
/// The most mappings of a table.
pub const MAX_MAPPINGS: usize = 8192;
/// The most memory ranges of a table.
pub const MAX_REGIONS: usize = 1024;

/// What is wrong with a table that cannot be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The signature is not `IORT`.
    Signature,
    /// The table claims to be longer than the memory that it was found in.
    TableTruncated {
        /// Length that the table claims.
        claims: u32,
        /// Bytes of the memory.
        has: usize,
    },
    /// The length field is smaller than the fixed part.
    TooShort {
        /// Length that the node claims.
        claims: usize,
        /// The least length for its kind.
        needs: usize,
    },
    /// The node reaches past the end of the table.
    PastTable {
        /// Length that the node claims.
        claims: usize,
        /// Bytes left in the table.
        left: usize,
    },
    /// The bytes of the table do not sum up to zero.
    Checksum {
        /// What they sum up to.
        sum: u8,
    },
    /// The first node would be in the table's header.
    FirstNode {
        /// Offset that the table claims.
        claims: u32,
    },
    /// More nodes than [`MAX_NODES`].
    TooManyNodes {
        /// How many the table claims.
        claims: u32,
    },
    /// More mappings than [`MAX_MAPPINGS`] in all nodes.
    TooManyMappings,
    /// More memory ranges than [`MAX_REGIONS`] in all nodes.
    TooManyRegions,
    /// An array does not lie in its node, behind the fixed part.
    ArrayPastNode {
        /// Offset in the node where it starts.
        start: u32,
        /// How many elements it has.
        count: u32,
        /// Length of the node.
        len: usize,
    },
    /// The node has mappings, but its kind has none.
    MappingsUnexpected,
    /// The ids of a mapping go past the largest id.
    IdsWrap {
        /// The first id.
        base: u32,
        /// How many follow it.
        more: u32,
    },
    /// A reference to an offset where no node starts.
    ReferenceDangling {
        /// The offset in the table.
        to: u32,
    },
    /// A reference to a node of a kind that mappings of this node cannot lead to. Such references
    /// could form a circle.
    ReferenceKind {
        /// The offset in the table.
        to: u32,
        /// The kind of the node there.
        kind: Kind,
    },
    /// A register base that is zero or all ones.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base that is not on a 64 KiB boundary.
    BaseMisaligned {
        /// The base.
        base: u64,
    },
    /// A register window that wraps around the end of the address space.
    BaseWraps {
        /// The base.
        base: u64,
    },
    /// Two units whose registers overlap.
    UnitsOverlap {
        /// The register base of this unit.
        base: u64,
        /// Offset of the other unit's node.
        other: usize,
    },
    /// A memory range that wraps around the end of the address space.
    RegionWraps {
        /// First byte.
        base: u64,
        /// Bytes.
        length: u64,
    },
    /// An ACPI object name without a terminator, or with nothing before it.
    Name,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signature => f.write_str("the signature is not \"IORT\""),
            Self::TableTruncated { claims, has } => {
                write!(f, "claims {claims} bytes, but there are {has}")
            }
            Self::TooShort { claims: 0, .. } => f.write_str("length 0 would never end"),
            Self::TooShort { claims, needs } => {
                write!(f, "claims {claims} bytes, but has {needs} at least")
            }
            Self::PastTable { claims, left } => {
                write!(f, "claims {claims} bytes, but the table ends after {left}")
            }
            Self::Checksum { sum } => write!(f, "the bytes sum up to {sum:#04x} instead of 0"),
            Self::FirstNode { claims } => {
                write!(
                    f,
                    "the first node at offset {claims:#x} would be in the header"
                )
            }
            Self::TooManyNodes { claims } => {
                write!(
                    f,
                    "claims {claims} nodes, and {MAX_NODES} is the most that is supported"
                )
            }
            Self::TooManyMappings => write!(f, "more than {MAX_MAPPINGS} mappings in all"),
            Self::TooManyRegions => write!(f, "more than {MAX_REGIONS} memory ranges in all"),
            Self::ArrayPastNode { start, count, len } => write!(
                f,
                "{count} elements from offset {start:#x} on do not fit into the node's {len} bytes"
            ),
            Self::MappingsUnexpected => f.write_str("has mappings, but nothing to map"),
            Self::IdsWrap { base, more } => {
                write!(f, "{more} ids after {base:#x} are more than there are")
            }
            Self::ReferenceDangling { to } => {
                write!(f, "refers to offset {to:#x}, where no node starts")
            }
            Self::ReferenceKind { to, kind } => {
                write!(
                    f,
                    "refers to the {kind} at offset {to:#x}, where its ids cannot go"
                )
            }
            Self::BaseImpossible { base } => {
                write!(f, "the register base {base:#x} cannot be true")
            }
            Self::BaseMisaligned { base } => {
                write!(f, "the register base {base:#x} is not on a 64 KiB boundary")
            }
            Self::BaseWraps { base } => write!(
                f,
                "the registers at {base:#x} reach past the end of the address space"
            ),
            Self::UnitsOverlap { base, other } => write!(
                f,
                "the registers at {base:#x} overlap those of the unit at offset {other:#x}"
            ),
            Self::RegionWraps { base, length } => write!(
                f,
                "{length:#x} bytes at {base:#x} reach past the end of the address space"
            ),
            Self::Name => f.write_str("an object name that is empty or never ends"),
        }
    }
}

/// Why a table cannot be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The kind of the node.
    pub kind: Kind,
    /// Offset of the node in the table.
    pub offset: usize,
    /// Offset in the table of the mapping or memory range that is wrong, if it is one.
    pub element: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

impl Error {
    pub(super) const fn new(kind: Kind, offset: usize, problem: Problem) -> Self {
        Self {
            kind,
            offset,
            element: None,
            problem,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {:#x}: ", self.kind, self.offset)?;
        if let Some(element) = self.element {
            write!(f, "element at offset {element:#x}: ")?;
        }
        self.problem.fmt(f)
    }
}

/// An oddity of a table that can be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// Two mappings of a node have ids in common. If the last id of one is the first of the other,
    /// firmware counted one too many, and the other mapping is used; otherwise the first in the
    /// table is used.
    MappingsOverlap {
        /// Kind of the node.
        kind: Kind,
        /// Offset of the first mapping.
        first: usize,
        /// Offset of the second mapping.
        second: usize,
    },
    /// A mapping takes no id, but the node has ids of its own. The mapping is not used.
    SingleUnexpected {
        /// Kind of the node.
        kind: Kind,
        /// Offset of the mapping.
        offset: usize,
    },
    /// A second root complex of a PCI segment. It is not used.
    SecondRootComplex {
        /// The PCI segment.
        segment: u32,
        /// Offset of the node.
        offset: usize,
    },
    /// The unit does not have the mapping that its own interrupts shall use.
    MappingIndex {
        /// Offset of the unit's node.
        offset: usize,
        /// Index of the mapping.
        index: u32,
    },
    /// The table is too old for reserved memory ranges. They are not used.
    RegionsTooOld {
        /// Offset of the node.
        offset: usize,
        /// The table's revision.
        revision: u8,
    },
    /// A memory range has no byte. It is not used.
    RegionEmpty {
        /// Offset of the memory range.
        offset: usize,
        /// Its address.
        base: u64,
    },
    /// A memory range does not consist of whole 4 KiB pages. It is extended to them.
    RegionMisaligned {
        /// Offset of the memory range.
        offset: usize,
        /// First byte.
        base: u64,
        /// Bytes.
        length: u64,
    },
    /// Two memory ranges of a node that overlap.
    RegionsOverlap {
        /// Offset of the first one.
        first: usize,
        /// Offset of the second one.
        second: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MappingsOverlap {
                kind,
                first,
                second,
            } => write!(
                f,
                "{kind}: the mappings at offsets {first:#x} and {second:#x} have ids in common"
            ),
            Self::SingleUnexpected { kind, offset } => write!(
                f,
                "{kind}: the mapping at offset {offset:#x} takes no id, which this kind of node \
                 must not have"
            ),
            Self::SecondRootComplex { segment, offset } => write!(
                f,
                "root complex at offset {offset:#x}: there is another one for segment \
                 {segment:#06x}"
            ),
            Self::MappingIndex { offset, index } => write!(
                f,
                "SMMUv3 at offset {offset:#x}: its interrupts use mapping {index}, which it does \
                 not have"
            ),
            Self::RegionsTooOld { offset, revision } => write!(
                f,
                "RMR at offset {offset:#x}: a table of revision {revision} cannot have it"
            ),
            Self::RegionEmpty { offset, base } => write!(
                f,
                "RMR: the memory range at offset {offset:#x} has no byte at {base:#x}"
            ),
            Self::RegionMisaligned {
                offset,
                base,
                length,
            } => write!(
                f,
                "RMR: the memory range at offset {offset:#x} ({length:#x} bytes at {base:#x}) is \
                 not made of whole 4 KiB pages"
            ),
            Self::RegionsOverlap { first, second } => write!(
                f,
                "RMR: the memory ranges at offsets {first:#x} and {second:#x} overlap"
            ),
        }
    }
}
