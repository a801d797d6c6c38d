// SPDX-License-Identifier: GPL-2.0

//! Errors in an IVRS table that the driver can still use, and their consequences.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;
use crate::{drivers::shell::acpi_structures::BadLength, requester::RequesterId};

/// An error in a table that can be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Oddity {
    /// A width of addresses exceeds 64 bits. The driver ignores it.
    AddressWidth {
        /// Bits that the table claims.
        bits: u8,
    },
    /// Zeros after the last block.
    Padding {
        /// Their number.
        bytes: usize,
    },
    /// A block whose end cannot be found; it and what follows it is left out.
    Unreadable(BadLength),
    /// A block that is too short for its kind is left out.
    LeftOut(BadLength),
    /// A register base that is zero or all ones; the unit is not used.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base is not on a 16 KiB boundary. The unit is left out.
    BaseMisaligned {
        /// The base.
        base: u64,
    },
    /// Another unit has the same registers. The second unit is left out.
    UnitsOverlap {
        /// The register base.
        base: u64,
        /// Offset of the other unit's block.
        other: usize,
    },
    /// A unit has two blocks of one kind. The first block counts.
    SecondBlock {
        /// The unit's own device id.
        device: u16,
        /// The PCI segment.
        segment: u16,
        /// Offset of the first block.
        other: usize,
    },
    /// Two blocks of a unit have different register bases. The block of the newer kind counts.
    BasesDiffer {
        /// Offset of the other block.
        other: usize,
    },
    /// A memory region has no bytes. It is left out.
    RegionEmpty {
        /// First byte.
        base: u64,
    },
    /// A memory region wraps around the end of the address space. It is left out.
    RegionWraps {
        /// First byte.
        base: u64,
        /// The number of bytes.
        length: u64,
    },
    /// A memory region does not consist of whole 4 KiB pages. All pages that it touches belong to
    /// it.
    RegionMisaligned,
    /// A memory region is both a unity mapping and an exclusion range. It is mapped.
    RegionContradicts,
    /// A device entry reaches past the end of its block. It is left out.
    EntryPastBlock {
        /// The length of an entry of this type.
        claims: usize,
        /// Bytes left in the block.
        left: usize,
    },
    /// The length of a device entry of this type is unknown. The entry and all after it are left
    /// out.
    EntryLength {
        /// The type.
        value: u8,
    },
    /// A range of devices has no end. It is left out.
    RangeNotEnded {
        /// Its first device.
        first: u16,
    },
    /// A range of devices has no start. It is left out.
    RangeNotStarted {
        /// Its last device.
        last: u16,
    },
    /// A range of devices ends before it starts. It is left out.
    RangeBackwards {
        /// Its first device.
        first: u16,
        /// Its last device.
        last: u16,
    },
    /// A special device is of an unknown kind, which has no consequence.
    UnknownSpecial {
        /// The kind.
        variety: u8,
    },
    /// A block of a kind without named devices has a named device. The device is left out.
    NameNotAllowed,
    /// A named device has no name. It is left out.
    NameMissing,
    /// The format or the length of a unique id makes no sense. The device counts as having none.
    UniqueId,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AddressWidth { bits } => {
                write!(f, "no machine has addresses of {bits} bits; the driver ignores the width")
            }
            Self::Padding { bytes } => write!(f, "the table ends with {bytes} zeros"),
            Self::Unreadable(problem) => write!(
                f,
                "{problem}; it and all that follows it is left out: memory regions in there reach \
                 no device, devices in there are behind no unit"
            ),
            Self::LeftOut(problem) => write!(f, "{problem}; it is left out, no device can reach it"),
            Self::BaseImpossible { base } => write!(
                f,
                "the register base {base:#x} cannot be true, so the unit is not used and DMA of \
                 its devices is not translated"
            ),
            Self::BaseMisaligned { base } => write!(
                f,
                "the register base {base:#x} is not on a 16 KiB boundary, so the unit \
                 is not used and DMA of its devices is not translated"
            ),
            Self::UnitsOverlap { base, other } => write!(
                f,
                "the registers at {base:#x} overlap those of the unit at offset {other:#x}, so the \
                 unit is not used and DMA of its devices is not translated"
            ),
            Self::SecondBlock {
                device,
                segment,
                other,
            } => write!(
                f,
                "a second block of this kind for unit {segment:04x}:{}; the first, at offset \
                 {other:#x}, counts, and devices that only this one lists are blocked",
                id(device)
            ),
            Self::BasesDiffer { other } => write!(
                f,
                "another block of the unit, at offset {other:#x}, has another register base; this \
                 block counts"
            ),
            Self::RegionEmpty { base } => write!(
                f,
                "the region at {base:#x} has no bytes; it is left out, no device can reach it"
            ),
            Self::RegionWraps { base, length } => write!(
                f,
                "the region of {length:#x} bytes at {base:#x} reaches past the end of the address \
                 space; it is left out, no device can reach it"
            ),
            Self::RegionMisaligned => f.write_str(
                "the region is not made of whole 4 KiB pages; all pages that it touches are its \
                 own",
            ),
            Self::RegionContradicts => {
                f.write_str("both a unity mapping and an exclusion range; the region is mapped")
            }
            Self::EntryPastBlock { claims, left } => write!(
                f,
                "needs {claims} bytes, but its block ends after {left}; the entry is left out, DMA \
                 of its devices is blocked"
            ),
            Self::EntryLength { value } => write!(
                f,
                "the length of type {value:#04x} is unknown; this entry and all after it are left \
                 out, DMA of their devices is blocked"
            ),
            Self::RangeNotEnded { first } => write!(
                f,
                "the range from {} on is never ended; it is left out, DMA of its devices is blocked",
                id(first)
            ),
            Self::RangeNotStarted { last } => write!(
                f,
                "the range up to {} was never started; it is left out, DMA of its devices is \
                 blocked",
                id(last)
            ),
            Self::RangeBackwards { first, last } => write!(
                f,
                "the range {}-{} ends before it starts; it is left out",
                id(first),
                id(last)
            ),
            Self::UnknownSpecial { variety } => {
                write!(f, "a special device of unknown kind {variety}")
            }
            Self::NameNotAllowed => f.write_str(
                "a block of this kind cannot have named devices; the device is left out, its DMA \
                 is blocked",
            ),
            Self::NameMissing => f.write_str(
                "a named device without a name; the device is left out, its DMA is blocked",
            ),
            Self::UniqueId => {
                f.write_str("the unique id makes no sense; the device counts as having none")
            }
        }
    }
}

/// An error in a table that can be used: its place, what is wrong, and which devices it concerns.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The block.
    pub kind: Kind,
    /// Offset of the block in the table.
    pub offset: usize,
    /// Offset in the table of the device entry, if the error is in a device entry.
    pub entry: Option<usize>,
    /// What is wrong.
    pub oddity: Oddity,
    /// The devices that the error concerns, if they are known: segment, first, last.
    pub devices: Option<(u16, u16, u16)>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {:#x}: ", self.kind, self.offset)?;
        if let Some(entry) = self.entry {
            write!(f, "device entry at offset {entry:#x}: ")?;
        }
        self.oddity.fmt(f)?;
        match self.devices {
            None => Ok(()),
            Some((segment, first, last)) if first == last => {
                write!(f, " (device {segment:04x}:{})", id(first))
            }
            Some((segment, 0, u16::MAX)) => write!(f, " (all devices of segment {segment:04x})"),
            Some((segment, first, last)) => {
                write!(f, " (devices {segment:04x}:{} to {})", id(first), id(last))
            }
        }
    }
}

/// A device id, to be shown as lspci does.
fn id(device: u16) -> RequesterId {
    RequesterId::new(device.into())
}
