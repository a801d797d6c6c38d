// SPDX-License-Identifier: GPL-2.0

//! What is wrong in an IORT that can be used all the same, and what that means.

#![forbid(unsafe_code)]

use core::fmt;

use super::{elements::Elements, kind::Kind};
use crate::drivers::shell::acpi_structures::BadLength;

/// What is wrong in a table that can be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Oddity {
    /// The bytes of the table do not sum up to zero.
    Checksum {
        /// What they sum up to.
        sum: u8,
    },
    /// The table claims more nodes than it has; those that it has count.
    NodesMissing {
        /// How many the table claims.
        claims: u32,
        /// How many it has.
        has: usize,
    },
    /// A node whose end cannot be found; it and what follows it is left out.
    Unreadable(BadLength),
    /// A node that is too short for its kind is left out.
    LeftOut(BadLength),
    /// An array has more elements than its node has room for; those that fit count.
    ArrayCut {
        /// What its elements are.
        of: Elements,
        /// How many the node claims.
        claims: u32,
        /// How many there is room for.
        has: u32,
    },
    /// An array would start in the fixed part of its node, or behind the node; it is left out.
    ArrayMisplaced {
        /// What its elements are.
        of: Elements,
        /// How many the node claims.
        claims: u32,
        /// Offset in the node where they would start.
        start: u32,
    },
    /// The node has mappings, but its kind has none; they are not used.
    MappingsUnexpected,
    /// The ids of a mapping go past the largest id; those that there are count.
    IdsWrap {
        /// The first id.
        base: u32,
        /// How many follow it.
        more: u32,
    },
    /// A reference to an offset where no node starts. The mapping leads nowhere.
    ReferenceDangling {
        /// The offset in the table.
        to: u32,
        /// How many mappings of the node behind this one lead nowhere, too.
        others: u32,
    },
    /// A reference to a node of a kind that takes no ids of this node. The mapping leads nowhere.
    ReferenceKind {
        /// The offset in the table.
        to: u32,
        /// The kind of the node there.
        kind: Kind,
    },
    /// Two mappings of a node have ids in common. If the last id of one is the first of the other,
    /// firmware counted one too many, and the other mapping is used; otherwise the first in the
    /// table is used.
    MappingsOverlap {
        /// Offset of the other mapping.
        other: usize,
    },
    /// A mapping takes no id, but the node has ids of its own. The mapping is not used.
    SingleUnexpected,
    /// A register base that is zero or all ones; the unit is not used.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base that is not on a 64 KiB boundary; it counts all the same.
    BaseMisaligned {
        /// The base.
        base: u64,
    },
    /// A register window that wraps around the end of the address space; the unit is not used.
    BaseWraps {
        /// The base.
        base: u64,
    },
    /// A second node for one unit; mappings to either lead to the unit.
    DescribedTwice {
        /// The base.
        base: u64,
        /// Offset of the first node.
        other: usize,
    },
    /// A register window that reaches into that of another unit.
    WindowsOverlap {
        /// The base.
        base: u64,
        /// Offset of the other unit's node.
        other: usize,
    },
    /// The unit does not have the mapping that its own interrupts shall use.
    MappingIndex {
        /// Index of the mapping.
        index: u32,
    },
    /// An ACPI object name without a terminator, or with nothing before it; the node is left out.
    Name,
    /// A second root complex of a PCI segment. It is not used.
    SecondRootComplex {
        /// The PCI segment.
        segment: u32,
        /// Offset of the first one.
        other: usize,
    },
    /// The table is too old for reserved memory ranges. They are not used.
    RegionsTooOld {
        /// The table's revision.
        revision: u8,
    },
    /// A memory range without bytes is left out.
    RegionEmpty {
        /// Its address.
        base: u64,
    },
    /// A memory range that wraps around the end of the address space is left out.
    RegionWraps {
        /// First byte.
        base: u64,
        /// Bytes.
        length: u64,
    },
    /// A memory range that is not made of whole 4 KiB pages; the pages that it touches count.
    RegionMisaligned {
        /// First byte.
        base: u64,
        /// Bytes.
        length: u64,
    },
    /// Two memory ranges of a node that overlap.
    RegionsOverlap {
        /// Offset of the other one.
        other: usize,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Checksum { sum } => write!(
                f,
                "the bytes sum up to {sum:#04x} instead of 0; what the table says may be wrong"
            ),
            Self::NodesMissing { claims, has } => {
                write!(f, "claims {claims} nodes, but there are {has}")
            }
            Self::Unreadable(problem) => write!(
                f,
                "{problem}; it and all that follows it is left out, so devices and memory ranges \
                 in there are not known"
            ),
            Self::LeftOut(problem) => write!(f, "{problem}; it is left out"),
            Self::ArrayCut { of, claims, has } => write!(
                f,
                "claims {claims} {of}, but has room for {has}; the others are left out"
            ),
            Self::ArrayMisplaced { of, claims, start } => write!(
                f,
                "{claims} {of} at offset {start:#x} of the node would not lie in the node behind \
                 its fixed part; they are left out"
            ),
            Self::MappingsUnexpected => {
                f.write_str("has mappings, but nothing to map; they are not used")
            }
            Self::IdsWrap { base, more } => write!(
                f,
                "{more} ids after {base:#x} are more than there are; the others are left out"
            ),
            Self::ReferenceDangling { to, others } => {
                write!(
                    f,
                    "leads to offset {to:#x}, where no node starts; no unit translates its ids"
                )?;
                match others {
                    0 => Ok(()),
                    _ => write!(f, " (nor those of {others} more mappings of the node)"),
                }
            }
            Self::ReferenceKind { to, kind } => write!(
                f,
                "leads to the {kind} at offset {to:#x}, where its ids cannot go; no unit \
                 translates them"
            ),
            Self::MappingsOverlap { other } => {
                write!(f, "has ids in common with the mapping at offset {other:#x}")
            }
            Self::SingleUnexpected => f.write_str(
                "takes no id, which mappings of this kind of node must; it is not used",
            ),
            Self::BaseImpossible { base } => write!(
                f,
                "the register base {base:#x} cannot be true, so the unit is not used and DMA of \
                 its devices is not translated"
            ),
            Self::BaseMisaligned { base } => {
                write!(f, "the register base {base:#x} is not on a 64 KiB boundary")
            }
            Self::BaseWraps { base } => write!(
                f,
                "the registers at {base:#x} reach past the end of the address space, so the unit \
                 is not used and DMA of its devices is not translated"
            ),
            Self::DescribedTwice { base, other } => write!(
                f,
                "the registers at {base:#x} are those of the unit at offset {other:#x}; the devices \
                 of both are behind it"
            ),
            Self::WindowsOverlap { base, other } => write!(
                f,
                "the registers at {base:#x} overlap those of the unit at offset {other:#x}; only \
                 one of the two can be taken over if that is true"
            ),
            Self::MappingIndex { index } => write!(
                f,
                "its interrupts use mapping {index}, which it does not have"
            ),
            Self::Name => f.write_str("the object name is empty or never ends; it is left out"),
            Self::SecondRootComplex { segment, other } => write!(
                f,
                "segment {segment:#06x} has the root complex at offset {other:#x}, too; only that \
                 one is used"
            ),
            Self::RegionsTooOld { revision } => write!(
                f,
                "a table of revision {revision} cannot have memory ranges; they are left out, no \
                 device can reach them"
            ),
            Self::RegionEmpty { base } => write!(
                f,
                "the range has no byte at {base:#x}; it is left out, no device can reach it"
            ),
            Self::RegionWraps { base, length } => write!(
                f,
                "{length:#x} bytes at {base:#x} reach past the end of the address space; the range \
                 is left out, no device can reach it"
            ),
            Self::RegionMisaligned { base, length } => write!(
                f,
                "{length:#x} bytes at {base:#x} are not whole 4 KiB pages; all pages that the range \
                 touches are its own"
            ),
            Self::RegionsOverlap { other } => {
                write!(f, "overlaps the memory range at offset {other:#x}")
            }
        }
    }
}

/// Something that is wrong in a table that can be used: where, and what.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The kind of the node.
    pub kind: Kind,
    /// Offset of the node in the table.
    pub offset: usize,
    /// Offset in the table of the mapping or memory range in the node, if that is what is wrong.
    pub element: Option<usize>,
    /// What is wrong.
    pub oddity: Oddity,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {:#x}: ", self.kind, self.offset)?;
        if let Some(element) = self.element {
            let what = match self.oddity {
                Oddity::RegionEmpty { .. }
                | Oddity::RegionWraps { .. }
                | Oddity::RegionMisaligned { .. }
                | Oddity::RegionsOverlap { .. } => "memory range",
                _ => "mapping",
            };
            write!(f, "{what} at offset {element:#x}: ")?;
        }
        self.oddity.fmt(f)
    }
}
