// SPDX-License-Identifier: GPL-2.0

//! What is wrong in an IVRS table that can be used all the same, and what that means.

#![forbid(unsafe_code)]

use core::fmt;

use super::{error::Problem, kind::Kind};
use crate::requester::RequesterId;

/// What is wrong in a table that can be used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Oddity {
    /// Addresses of more than 64 bits; the width counts as not said.
    AddressWidth {
        /// Bits that the table claims.
        bits: u8,
    },
    /// Zeros after the last block.
    Padding {
        /// How many.
        bytes: usize,
    },
    /// A block whose end cannot be found; it and what follows it is left out.
    Unreadable(Problem),
    /// A block that is too short for its kind is left out.
    LeftOut(Problem),
    /// A register base that is zero or all ones; the unit is not used.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base that is not on a 16 KiB boundary; the unit is not used.
    BaseMisaligned {
        /// The base.
        base: u64,
    },
    /// Registers that are those of another unit; the unit is not used.
    UnitsOverlap {
        /// The register base.
        base: u64,
        /// Offset of the other unit's block.
        other: usize,
    },
    /// Two blocks of one kind for the same unit; the first one counts.
    SecondBlock {
        /// The unit's own device id.
        device: u16,
        /// The PCI segment.
        segment: u16,
        /// Offset of the first block.
        other: usize,
    },
    /// Two blocks of one unit do not agree where its registers are; the more capable one counts.
    BasesDiffer {
        /// Offset of the other block.
        other: usize,
    },
    /// A memory region without bytes is left out.
    RegionEmpty {
        /// First byte.
        base: u64,
    },
    /// A memory region that wraps around the end of the address space is left out.
    RegionWraps {
        /// First byte.
        base: u64,
        /// Bytes.
        length: u64,
    },
    /// A memory region is not made of whole 4 KiB pages; the pages that it touches count.
    RegionMisaligned,
    /// A memory region is to be mapped, and to be left out of translation; it is mapped.
    RegionContradicts,
    /// A device entry reaches past the end of its block; it is left out.
    EntryPastBlock {
        /// Length that the entry's type stands for.
        claims: usize,
        /// Bytes left in the block.
        left: usize,
    },
    /// A device entry of a type without a known length; it and those that follow are left out.
    EntryLength {
        /// The type.
        value: u8,
    },
    /// A range of devices that is started and never ended is left out.
    RangeNotEnded {
        /// Its first device.
        first: u16,
    },
    /// A range of devices that is ended and was never started is left out.
    RangeNotStarted {
        /// Its last device.
        last: u16,
    },
    /// A range of devices that ends before it starts is left out.
    RangeBackwards {
        /// Its first device.
        first: u16,
        /// Its last device.
        last: u16,
    },
    /// A special device is of a kind that is not known; nothing needs it to be.
    UnknownSpecial {
        /// The kind.
        variety: u8,
    },
    /// A device by name, in a block of a kind that has none; it is left out.
    NameNotAllowed,
    /// A device by name, without a name; it is left out.
    NameMissing,
    /// A device's unique id has a format or a length that makes no sense; it counts as having none.
    UniqueId,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AddressWidth { bits } => {
                write!(f, "addresses of {bits} bits cannot be true; the width is not used")
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
                "another block of the unit, at offset {other:#x}, does not agree where its \
                 registers are; this one counts"
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
                f.write_str("the region is to be mapped and to be excluded; it is mapped")
            }
            Self::EntryPastBlock { claims, left } => write!(
                f,
                "needs {claims} bytes, but its block ends after {left}; it is left out, DMA of \
                 devices in there is blocked"
            ),
            Self::EntryLength { value } => write!(
                f,
                "type {value:#04x} has a length that is not known; it and those that follow it are \
                 left out, DMA of devices in there is blocked"
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
                "a device by name in a block that cannot have one; it is left out, its DMA is \
                 blocked",
            ),
            Self::NameMissing => f.write_str(
                "a device by name without a name; it is left out, its DMA is blocked",
            ),
            Self::UniqueId => f.write_str("a unique id that makes no sense; it counts as none"),
        }
    }
}

/// Something that is wrong in a table that can be used: where, what, and which devices it is about.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The block.
    pub kind: Kind,
    /// Offset of the block in the table.
    pub offset: usize,
    /// Offset in the table of the device entry in the block, if that is what is wrong.
    pub entry: Option<usize>,
    /// What is wrong.
    pub oddity: Oddity,
    /// The segment and the first and last device of the block, if they are what it is about.
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

/// A device id, to be shown in the way of lspci.
fn id(device: u16) -> RequesterId {
    RequesterId::new(device.into())
}
