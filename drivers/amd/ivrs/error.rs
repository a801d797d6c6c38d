// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with an IVRS table, and where.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;
use crate::requester::RequesterId;

/// A longer table than this is a broken table. It also bounds how long it takes to look at.
pub const MAX_LEN: usize = 1 << 20;
/// More blocks of units than this in one table is a broken table. It also bounds the comparison of
/// every unit with every other.
pub const MAX_UNITS: usize = 256;

/// What is wrong with a table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The signature is not `IVRS`.
    Signature,
    /// The table says that it is longer than the memory it was found in.
    TableTruncated {
        /// Length that the table claims.
        claims: u32,
        /// Bytes that there are.
        has: usize,
    },
    /// The table is longer than [`MAX_LEN`].
    TooLong {
        /// Length that the table claims.
        claims: u32,
    },
    /// The length field is smaller than the fixed part.
    TooShort {
        /// Length that the block claims.
        claims: usize,
        /// Length that its kind has at least.
        needs: usize,
    },
    /// The block reaches past the end of the table.
    PastTable {
        /// Length that the block claims.
        claims: usize,
        /// Bytes left in the table.
        left: usize,
    },
    /// The bytes of the table do not sum up to zero.
    Checksum {
        /// What they sum up to.
        sum: u8,
    },
    /// Addresses of more than 64 bits.
    AddressWidth {
        /// Bits that the table claims.
        bits: u8,
    },
    /// A register base that is zero or all ones.
    BaseImpossible {
        /// The base.
        base: u64,
    },
    /// A register base that is not on a 16 KiB boundary.
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
        /// Offset of the other unit's block.
        other: usize,
    },
    /// Two blocks of one kind for the same unit.
    SecondBlock {
        /// The unit's own device id.
        device: u16,
        /// The PCI segment.
        segment: u16,
        /// Offset of the first block.
        other: usize,
    },
    /// More hardware definition blocks than [`MAX_UNITS`].
    TooManyUnits,
    /// A device entry reaches past the end of its block.
    EntryPastBlock {
        /// Length that the entry's type stands for.
        claims: usize,
        /// Bytes left in the block.
        left: usize,
    },
    /// A device entry of a type without a known length, so what follows cannot be found.
    EntryLength {
        /// The type.
        value: u8,
    },
    /// A range of devices that is started and never ended.
    RangeNotEnded {
        /// Its first device.
        first: u16,
    },
    /// A range of devices that is ended and was never started.
    RangeNotStarted {
        /// Its last device.
        last: u16,
    },
    /// A range of devices that ends before it starts.
    RangeBackwards {
        /// Its first device.
        first: u16,
        /// Its last device.
        last: u16,
    },
    /// A memory region without a single byte.
    RegionEmpty {
        /// First byte.
        base: u64,
    },
    /// A memory region that wraps around the end of the address space.
    RegionWraps {
        /// First byte.
        base: u64,
        /// Bytes.
        length: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signature => f.write_str("the signature is not \"IVRS\""),
            Self::TableTruncated { claims, has } => {
                write!(f, "claims {claims} bytes, but there are {has}")
            }
            Self::TooLong { claims } => {
                write!(
                    f,
                    "claims {claims} bytes, more than the {MAX_LEN} that make sense"
                )
            }
            Self::TooShort { claims: 0, .. } => f.write_str("length 0 would never end"),
            Self::TooShort { claims, needs } => {
                write!(f, "claims {claims} bytes, but has {needs} at least")
            }
            Self::PastTable { claims, left } => {
                write!(f, "claims {claims} bytes, but the table ends after {left}")
            }
            Self::Checksum { sum } => write!(f, "the bytes sum up to {sum:#04x} instead of 0"),
            Self::AddressWidth { bits } => write!(f, "addresses of {bits} bits"),
            Self::BaseImpossible { base } => {
                write!(f, "the register base {base:#x} cannot be true")
            }
            Self::BaseMisaligned { base } => {
                write!(f, "the register base {base:#x} is not on a 16 KiB boundary")
            }
            Self::BaseWraps { base } => write!(
                f,
                "the registers at {base:#x} reach past the end of the address space"
            ),
            Self::UnitsOverlap { base, other } => write!(
                f,
                "the registers at {base:#x} overlap those of the unit at offset {other:#x}"
            ),
            Self::SecondBlock {
                device,
                segment,
                other,
            } => write!(
                f,
                "a second block of this kind for unit {segment:04x}:{}, the first is at offset \
                 {other:#x}",
                id(device)
            ),
            Self::TooManyUnits => write!(f, "more than {MAX_UNITS} blocks of units"),
            Self::EntryPastBlock { claims, left } => {
                write!(f, "needs {claims} bytes, but its block ends after {left}")
            }
            Self::EntryLength { value } => {
                write!(f, "type {value:#04x} has a length that is not known")
            }
            Self::RangeNotEnded { first } => {
                write!(f, "the range from {} on is never ended", id(first))
            }
            Self::RangeNotStarted { last } => {
                write!(f, "the range up to {} was never started", id(last))
            }
            Self::RangeBackwards { first, last } => {
                write!(
                    f,
                    "the range {}-{} ends before it starts",
                    id(first),
                    id(last)
                )
            }
            Self::RegionEmpty { base } => write!(f, "the region at {base:#x} has no bytes"),
            Self::RegionWraps { base, length } => write!(
                f,
                "the region of {length:#x} bytes at {base:#x} reaches past the end of the address \
                 space"
            ),
        }
    }
}

/// Why a table was refused: the block, where in the table the trouble is, and what it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The block.
    pub kind: Kind,
    /// Offset of the block in the table.
    pub offset: usize,
    /// Offset in the table of the device entry in the block, if that is where the trouble is.
    pub entry: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

impl Error {
    pub(super) const fn new(kind: Kind, offset: usize, problem: Problem) -> Self {
        Self {
            kind,
            offset,
            entry: None,
            problem,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {:#x}: ", self.kind, self.offset)?;
        if let Some(entry) = self.entry {
            write!(f, "device entry at offset {entry:#x}: ")?;
        }
        self.problem.fmt(f)
    }
}

/// Something odd that does not keep the table from being used.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// Two blocks of one unit do not agree where its registers are; the more capable one counts.
    BasesDiffer {
        /// Offset of the block that counts.
        offset: usize,
        /// Offset of the other block.
        other: usize,
    },
    /// Two units of one segment claim the same device; the first one gets it.
    Contested {
        /// The PCI segment.
        segment: u16,
        /// The first such device.
        device: u16,
        /// Offset of the block of the unit that gets it.
        first: usize,
        /// Offset of the block of the other unit.
        second: usize,
    },
    /// A memory region is not made of whole 4 KiB pages; the pages that it touches count.
    RegionMisaligned {
        /// Offset of the block.
        offset: usize,
    },
    /// A memory region is to be mapped, and to be left out of translation; it is mapped.
    RegionContradicts {
        /// Offset of the block.
        offset: usize,
    },
    /// A special device is of a kind that is not known; nothing needs it to be.
    UnknownSpecial {
        /// Offset of the device entry.
        offset: usize,
        /// The kind.
        variety: u8,
    },
    /// A device by name, in a block of a kind that has none; it is left out.
    NameNotAllowed {
        /// Offset of the device entry.
        offset: usize,
    },
    /// A device by name, without a name; it is left out.
    NameMissing {
        /// Offset of the device entry.
        offset: usize,
    },
    /// A device's unique id has a format or a length that makes no sense; it counts as having none.
    UniqueId {
        /// Offset of the device entry.
        offset: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BasesDiffer { offset, other } => write!(
                f,
                "the blocks of one unit at offsets {offset:#x} and {other:#x} do not agree where \
                 its registers are; the first one counts"
            ),
            Self::Contested {
                segment,
                device,
                first,
                second,
            } => write!(
                f,
                "the units at offsets {first:#x} and {second:#x} both claim device \
                 {segment:04x}:{}; the first one gets it",
                id(device)
            ),
            Self::RegionMisaligned { offset } => write!(
                f,
                "the region at offset {offset:#x} is not made of whole 4 KiB pages"
            ),
            Self::RegionContradicts { offset } => write!(
                f,
                "the region at offset {offset:#x} is to be mapped and to be excluded; it is mapped"
            ),
            Self::UnknownSpecial { offset, variety } => write!(
                f,
                "device entry at offset {offset:#x}: a special device of unknown kind {variety}"
            ),
            Self::NameNotAllowed { offset } => write!(
                f,
                "device entry at offset {offset:#x}: a device by name in a block that cannot have \
                 one; it is left out"
            ),
            Self::NameMissing { offset } => write!(
                f,
                "device entry at offset {offset:#x}: a device by name without a name; it is left \
                 out"
            ),
            Self::UniqueId { offset } => write!(
                f,
                "device entry at offset {offset:#x}: a unique id that makes no sense; it counts as \
                 none"
            ),
        }
    }
}

/// A device id, to be shown in the way of lspci.
fn id(device: u16) -> RequesterId {
    RequesterId::new(device.into())
}
