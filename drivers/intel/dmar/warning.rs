// SPDX-License-Identifier: GPL-2.0

//! What is wrong in a DMAR table that can be used all the same, and what that means.

#![forbid(unsafe_code)]

use core::fmt;

use super::{
    error::Problem,
    kind::Kind,
    scopes::{Listed, Scopes},
};

/// What is wrong in a table that can be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Oddity {
    /// The bytes of the table do not sum up to zero.
    Checksum {
        /// What they sum up to.
        sum: u8,
    },
    /// A host address width that no machine has; it counts as 64 bits.
    AddressWidth {
        /// Bits that the table claims.
        bits: u16,
    },
    /// Zeros after the last structure.
    Padding {
        /// How many.
        bytes: usize,
    },
    /// A structure whose end cannot be found; it and what follows it is left out.
    Unreadable(Problem),
    /// A structure that is too short for its kind is left out.
    LeftOut(Problem),
    /// A register base that is zero or all ones; the unit is not used.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base that is not on a 4 KiB boundary; the unit is not used.
    BaseMisaligned {
        /// The base.
        base: u64,
    },
    /// A register window that wraps around the end of the address space; the unit is not used.
    BaseWraps {
        /// The base.
        base: u64,
    },
    /// A second structure for the registers of a unit of another segment; the unit is not used.
    SegmentsDiffer {
        /// The base.
        base: u64,
        /// Offset of the first structure.
        other: usize,
    },
    /// A second structure for one unit; its devices count.
    DescribedTwice {
        /// The base.
        base: u64,
        /// Offset of the first structure.
        other: usize,
    },
    /// A register window that reaches into that of another unit.
    WindowsOverlap {
        /// The base.
        base: u64,
        /// Offset of the other unit's structure.
        other: usize,
    },
    /// A second unit that claims every other device of one segment; the first gets them.
    SecondIncludeAll {
        /// The PCI segment.
        segment: u16,
        /// Offset of the first unit's structure.
        other: usize,
    },
    /// The unit for all other devices of a segment must be listed last (8.4), and is not.
    IncludeAllNotLast {
        /// The PCI segment.
        segment: u16,
    },
    /// A memory region without bytes is left out.
    RegionEmpty {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// A memory region that is not made of whole 4 KiB pages; the pages that it touches count.
    RegionMisaligned {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// An ACPI object name without a terminator, or with nothing before it, is left out.
    Name {
        /// The number of the named device.
        number: u8,
    },
    /// No structure gives a named device behind a unit a name (8.3.1).
    NameMissing {
        /// The number of the named device.
        number: u8,
    },
    /// The path of a named device is more than the device and function number of its requests
    /// (8.3.1), so that these are not known.
    NamePath {
        /// The number of the named device.
        number: u8,
    },
    /// A device scope is shorter than its fixed part; it and those that follow it are left out.
    ScopeTooShort {
        /// Length that the scope claims.
        claims: usize,
    },
    /// A device scope reaches into the next structure; it is left out.
    ScopePastStructure {
        /// Length that the scope claims.
        claims: usize,
        /// Bytes left in the structure.
        left: usize,
    },
    /// Zeros after the last device scope.
    ScopePadding {
        /// How many.
        bytes: usize,
    },
    /// A device scope's path does not consist of whole (device, function) pairs; its last byte is
    /// left out.
    ScopePathOdd {
        /// Length that the scope claims.
        claims: usize,
    },
    /// A device scope has no path, so that it names no device.
    ScopePathMissing,
    /// A device scope's path has a device above 31 or a function above 7, so that it names no
    /// device.
    ScopePath {
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A device scope of a type that is not known names no device.
    ScopeUnknown {
        /// The type.
        value: u8,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Checksum { sum } => write!(
                f,
                "the bytes sum up to {sum:#04x} instead of 0; what the table says may be wrong"
            ),
            Self::AddressWidth { bits } => write!(
                f,
                "a host address width of {bits} bits cannot be true; it counts as 64 bits"
            ),
            Self::Padding { bytes } => write!(f, "the table ends with {bytes} zeros"),
            Self::Unreadable(problem) => write!(
                f,
                "{problem}; it and all that follows it is left out, so memory regions and names in \
                 there reach no device"
            ),
            Self::LeftOut(problem) => write!(f, "{problem}; it is left out"),
            Self::BaseImpossible { base } => write!(
                f,
                "the register base {base:#x} cannot be true, so the unit is not used and DMA of \
                 its devices is not translated"
            ),
            Self::BaseMisaligned { base } => write!(
                f,
                "the register base {base:#x} is not on a 4 KiB boundary, so the unit \
                 is not used and DMA of its devices is not translated"
            ),
            Self::BaseWraps { base } => write!(
                f,
                "the registers at {base:#x} reach past the end of the address space, so the unit \
                 is not used and DMA of its devices is not translated"
            ),
            Self::SegmentsDiffer { base, other } => write!(
                f,
                "the registers at {base:#x} are those of the unit at offset {other:#x}, which is in \
                 another segment, so the unit is not used and DMA of its devices is not translated"
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
            Self::SecondIncludeAll { segment, other } => write!(
                f,
                "a second unit for all other devices of segment {segment:#06x}; they count as \
                 behind the first, at offset {other:#x}, and those that are behind this one are \
                 blocked"
            ),
            Self::IncludeAllNotLast { segment } => write!(
                f,
                "the unit for all other devices of segment {segment:#06x} is not the last one \
                 listed"
            ),
            Self::RegionEmpty { base, limit } => write!(
                f,
                "the region {base:#x}-{limit:#x} ends before it starts; it is left out, no device \
                 can reach it"
            ),
            Self::RegionMisaligned { base, limit } => write!(
                f,
                "the region {base:#x}-{limit:#x} is not made of whole 4 KiB pages; all pages that \
                 it touches are its own"
            ),
            Self::Name { number } => write!(
                f,
                "the name of device {number} is empty or never ends; it is left out"
            ),
            Self::NameMissing { number } => write!(
                f,
                "no ANDD gives device {number} behind the unit a name; its DMA is blocked"
            ),
            Self::NamePath { number } => write!(
                f,
                "the path of the named device {number} is no requester id; its DMA is blocked"
            ),
            Self::ScopeTooShort { claims } => write!(
                f,
                "claims {claims} bytes, but has 6 at least; it and those that follow it are left \
                 out"
            ),
            Self::ScopePastStructure { claims, left } => write!(
                f,
                "claims {claims} bytes, but its structure ends after {left}; it is left out"
            ),
            Self::ScopePadding { bytes } => write!(f, "the structure ends with {bytes} zeros"),
            Self::ScopePathOdd { claims } => write!(
                f,
                "claims {claims} bytes, which is no whole number of path entries; the last byte is \
                 left out"
            ),
            Self::ScopePathMissing => f.write_str("names no device (it has no path)"),
            Self::ScopePath { device, function } => write!(
                f,
                "names device {device}, function {function}, which cannot be; it is left out"
            ),
            Self::ScopeUnknown { value } => {
                write!(f, "type {value} is not known; it is left out")
            }
        }
    }
}

/// The devices of a structure.
#[derive(Clone, Debug)]
pub enum Devices<'a> {
    /// Those that it lists.
    Listed(Scopes<'a>),
    /// Those of a segment that no other unit lists, too.
    Rest {
        /// The PCI segment.
        segment: u16,
    },
}

impl fmt::Display for Devices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(scopes) => Listed(scopes.clone()).fmt(f),
            Self::Rest { segment } => {
                write!(
                    f,
                    "all devices of segment {segment:#06x} that no other unit lists"
                )
            }
        }
    }
}

/// Something that is wrong in a table that can be used: where, what, and which devices it concerns.
#[derive(Clone, Debug)]
pub struct Warning<'a> {
    /// The structure.
    pub kind: Kind,
    /// Offset of the structure in the table.
    pub offset: usize,
    /// Offset in the table of the device scope in the structure, if that is what is wrong.
    pub scope: Option<usize>,
    /// What is wrong.
    pub oddity: Oddity,
    /// The devices that this concerns, if they are known.
    pub devices: Option<Devices<'a>>,
}

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {:#x}: ", self.kind, self.offset)?;
        if let Some(scope) = self.scope {
            write!(f, "device scope at offset {scope:#x}: ")?;
        }
        self.oddity.fmt(f)?;
        match &self.devices {
            None => Ok(()),
            Some(devices) => write!(f, " ({devices})"),
        }
    }
}
