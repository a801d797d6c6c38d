// SPDX-License-Identifier: GPL-2.0

//! Errors in a DMAR table that the driver can still use, and their consequences.

#![forbid(unsafe_code)]

use core::fmt;

use super::{
    kind::Kind,
    scopes::{Listed, Scopes},
};
use crate::drivers::shell::acpi_structures::BadLength;

/// An error in a table that can be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Oddity {
    /// The bytes of the table do not sum up to zero.
    Checksum {
        /// The sum, modulo 256.
        sum: u8,
    },
    /// No machine has this host address width. The driver takes 64 bits.
    AddressWidth {
        /// Bits that the table claims.
        bits: u16,
    },
    /// Zeros after the last structure.
    Padding {
        /// Their number.
        bytes: usize,
    },
    /// A structure whose end cannot be found; it and what follows it is left out.
    Unreadable(BadLength),
    /// A structure that is too short for its kind is left out.
    LeftOut(BadLength),
    /// A register base that is zero or all ones; the unit is not used.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base is not on a 4 KiB boundary. The unit is left out.
    BaseMisaligned {
        /// The base.
        base: u64,
    },
    /// A register window wraps around the end of the address space. The unit is left out.
    BaseWraps {
        /// The base.
        base: u64,
    },
    /// An earlier structure has the same registers and another segment. The second unit is left
    /// out.
    SegmentsDiffer {
        /// The base.
        base: u64,
        /// Offset of the first structure.
        other: usize,
    },
    /// An earlier structure describes the same unit. The devices of both are behind the unit.
    DescribedTwice {
        /// The base.
        base: u64,
        /// Offset of the first structure.
        other: usize,
    },
    /// Two units' register windows overlap.
    WindowsOverlap {
        /// The base.
        base: u64,
        /// Offset of the other unit's structure.
        other: usize,
    },
    /// A second unit claims all other devices of a segment. The first unit gets them.
    SecondIncludeAll {
        /// The PCI segment.
        segment: u16,
        /// Offset of the first unit's structure.
        other: usize,
    },
    /// The unit for all other devices of a segment is not the last one listed (8.4).
    IncludeAllNotLast {
        /// The PCI segment.
        segment: u16,
    },
    /// A memory region has no bytes. It is left out.
    RegionEmpty {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// A memory region does not consist of whole 4 KiB pages. All pages that it touches belong to
    /// it.
    RegionMisaligned {
        /// First byte.
        base: u64,
        /// Last byte.
        limit: u64,
    },
    /// An ACPI object name is empty or has no terminator. It is left out.
    Name {
        /// The number of the named device.
        number: u8,
    },
    /// A unit lists a named device, and no structure has this device's name (8.3.1).
    NameMissing {
        /// The number of the named device.
        number: u8,
    },
    /// The path of a named device does not have exactly one step. So the id of its requests is
    /// unknown (8.3.1).
    NamePath {
        /// The number of the named device.
        number: u8,
    },
    /// A device scope is shorter than its fixed part. The scope and all after it are left out.
    ScopeTooShort {
        /// The length field.
        claims: usize,
    },
    /// A device scope reaches into the next structure. The scope is left out.
    ScopePastStructure {
        /// The length field.
        claims: usize,
        /// Bytes left in the structure.
        left: usize,
    },
    /// Zeros after the last device scope.
    ScopePadding {
        /// Their number.
        bytes: usize,
    },
    /// A device scope's path does not consist of whole (device, function) pairs. Its last byte is
    /// left out.
    ScopePathOdd {
        /// The length field.
        claims: usize,
    },
    /// A device scope has no path, so it names no device.
    ScopePathMissing,
    /// A device scope's path has a device above 31 or a function above 7, so it names no device.
    ScopePath {
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A device scope has an unknown type, so it names no device.
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
                "no machine has a host address width of {bits} bits; the driver takes 64 bits"
            ),
            Self::Padding { bytes } => write!(f, "the table ends with {bytes} zeros"),
            Self::Unreadable(problem) => write!(
                f,
                "{problem}; this structure and all after it are left out, so their memory regions \
                 and names reach no device"
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
                 of both structures are behind that unit"
            ),
            Self::WindowsOverlap { base, other } => write!(
                f,
                "the registers at {base:#x} overlap those of the unit at offset {other:#x}; the \
                 driver can take over only one of the two units"
            ),
            Self::SecondIncludeAll { segment, other } => write!(
                f,
                "a second unit for all other devices of segment {segment:#06x}; the first unit, at \
                 offset {other:#x}, gets these devices, and those that are behind this unit are \
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
                "claims {claims} bytes, so its path has half an entry at the end; the last byte is \
                 left out"
            ),
            Self::ScopePathMissing => f.write_str("names no device (it has no path)"),
            Self::ScopePath { device, function } => write!(
                f,
                "names device {device}, function {function}, which cannot exist; the scope is left \
                 out"
            ),
            Self::ScopeUnknown { value } => {
                write!(f, "type {value} is unknown; the scope is left out")
            }
        }
    }
}

/// The devices of a structure.
#[derive(Clone, Debug)]
pub enum Devices<'a> {
    /// The devices that the structure lists.
    Listed(Scopes<'a>),
    /// All devices of a segment that no other unit lists.
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

/// An error in a table that can be used: its place, what is wrong, and which devices it concerns.
#[derive(Clone, Debug)]
pub struct Warning<'a> {
    /// The structure.
    pub kind: Kind,
    /// Offset of the structure in the table.
    pub offset: usize,
    /// Offset in the table of the device scope, if the error is in a device scope.
    pub scope: Option<usize>,
    /// What is wrong.
    pub oddity: Oddity,
    /// The devices that the error concerns, if they are known.
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
