// SPDX-License-Identifier: GPL-2.0

//! What is wrong with a DMAR table, in words that name the place.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;

/// More units than this in one table is a broken table. It also bounds the comparison of every
/// unit with every other.
pub const MAX_UNITS: usize = 1024;

/// What is wrong with a table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The signature is not `DMAR`.
    Signature,
    /// The table says that it is longer than the memory it was found in.
    TableTruncated {
        /// Length that the table claims.
        claims: u32,
        /// Bytes that there are.
        has: usize,
    },
    /// The length field is smaller than the fixed part.
    TooShort {
        /// Length that the structure claims.
        claims: usize,
        /// Length that its kind has at least.
        needs: usize,
    },
    /// The structure reaches past the end of the table.
    PastTable {
        /// Length that the structure claims.
        claims: usize,
        /// Bytes left in the table.
        left: usize,
    },
    /// The bytes of the table do not sum up to zero.
    Checksum {
        /// What they sum up to.
        sum: u8,
    },
    /// A host address width outside 1 to 64 bits.
    AddressWidth {
        /// Bits that the table claims.
        bits: u16,
    },
    /// A device scope is shorter than its fixed part.
    ScopeTooShort {
        /// Length that the scope claims.
        claims: u8,
    },
    /// A device scope reaches into the next structure.
    ScopePastStructure {
        /// Length that the scope claims.
        claims: usize,
        /// Bytes left in the structure.
        left: usize,
    },
    /// A device scope's path does not consist of whole (device, function) pairs.
    ScopePathOdd {
        /// Length that the scope claims.
        claims: u8,
    },
    /// A device scope names no device at all.
    ScopePathMissing,
    /// A device scope's path has a device above 31 or a function above 7.
    ScopePath {
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A register base that is zero or all ones.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base that is not on a 4 KiB boundary.
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
        /// Offset of the other unit's structure.
        other: usize,
    },
    /// More units than [`MAX_UNITS`].
    TooManyUnits,
    /// Two units that both claim every other device of one segment.
    SecondIncludeAll {
        /// The PCI segment.
        segment: u16,
        /// Offset of the first unit's structure.
        other: usize,
    },
    /// A memory region that ends before it starts.
    RegionEmpty {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// A memory region that is not made of whole 4 KiB pages.
    RegionMisaligned {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// An ACPI object name without a terminator, or with nothing before it.
    Name,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signature => f.write_str("the signature is not \"DMAR\""),
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
            Self::AddressWidth { bits } => write!(f, "a host address width of {bits} bits"),
            Self::ScopeTooShort { claims } => {
                write!(f, "claims {claims} bytes, but has 6 at least")
            }
            Self::ScopePastStructure { claims, left } => write!(
                f,
                "claims {claims} bytes, but its structure ends after {left}"
            ),
            Self::ScopePathOdd { claims } => write!(
                f,
                "claims {claims} bytes, which is no whole number of path entries"
            ),
            Self::ScopePathMissing => f.write_str("names no device (it has no path)"),
            Self::ScopePath { device, function } => {
                write!(f, "names device {device}, function {function}")
            }
            Self::BaseImpossible { base } => {
                write!(f, "the register base {base:#x} cannot be true")
            }
            Self::BaseMisaligned { base } => {
                write!(f, "the register base {base:#x} is not on a 4 KiB boundary")
            }
            Self::BaseWraps { base } => write!(
                f,
                "the registers at {base:#x} reach past the end of the address space"
            ),
            Self::UnitsOverlap { base, other } => write!(
                f,
                "the registers at {base:#x} overlap those of the unit at offset {other:#x}"
            ),
            Self::TooManyUnits => write!(f, "more than {MAX_UNITS} units"),
            Self::SecondIncludeAll { segment, other } => write!(
                f,
                "a second unit for all other devices of segment {segment:#06x}, \
                 the first is at offset {other:#x}"
            ),
            Self::RegionEmpty { base, limit } => {
                write!(f, "the region {base:#x}-{limit:#x} ends before it starts")
            }
            Self::RegionMisaligned { base, limit } => write!(
                f,
                "the region {base:#x}-{limit:#x} is not made of whole 4 KiB pages"
            ),
            Self::Name => f.write_str("an object name that is empty or never ends"),
        }
    }
}

/// Why a table was refused: the structure, where in the table the trouble is, and what it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The structure.
    pub kind: Kind,
    /// Offset of the structure in the table.
    pub offset: usize,
    /// Offset in the table of the device scope in the structure, if that is where the trouble is.
    pub scope: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

impl Error {
    pub(super) const fn new(kind: Kind, offset: usize, problem: Problem) -> Self {
        Self {
            kind,
            offset,
            scope: None,
            problem,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {:#x}: ", self.kind, self.offset)?;
        if let Some(scope) = self.scope {
            write!(f, "device scope at offset {scope:#x}: ")?;
        }
        self.problem.fmt(f)
    }
}

/// Something odd that does not keep the table from being used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// The unit for all other devices of a segment must be listed last (8.4), and is not.
    IncludeAllNotLast {
        /// The PCI segment.
        segment: u16,
        /// Offset of the structure.
        offset: usize,
    },
    /// A named device behind a unit has no name, so that it cannot be found (8.3.1).
    NameMissing {
        /// The device's number.
        number: u8,
        /// Offset of the unit's structure.
        offset: usize,
    },
    /// The path of a named device is more than the device and function number of its requests
    /// (8.3.1), so that these are not known.
    NamePath {
        /// The device's number.
        number: u8,
        /// Offset of the unit's structure.
        offset: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IncludeAllNotLast { segment, offset } => write!(
                f,
                "DRHD at offset {offset:#x}: the unit for all other devices of segment \
                 {segment:#06x} is not the last one listed"
            ),
            Self::NameMissing { number, offset } => write!(
                f,
                "DRHD at offset {offset:#x}: no ANDD gives device {number} behind the unit a name; \
                 its DMA is blocked"
            ),
            Self::NamePath { number, offset } => write!(
                f,
                "DRHD at offset {offset:#x}: the path of the named device {number} is no requester \
                 id; its DMA is blocked"
            ),
        }
    }
}
