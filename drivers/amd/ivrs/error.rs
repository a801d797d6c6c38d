// SPDX-License-Identifier: GPL-2.0

//! Why an IVRS table cannot be used at all.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;

/// The most bytes that a table may have.
pub const MAX_LEN: usize = 1 << 20;
/// The most hardware definition blocks that a table may have.
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
    /// The bytes of the table do not sum up to zero. The C driver refuses such a table, too, so no
    /// machine needs one.
    Checksum {
        /// The sum, modulo 256.
        sum: u8,
    },
    /// More hardware definition blocks than [`MAX_UNITS`].
    TooManyUnits,
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
            Self::TooManyUnits => write!(f, "more than {MAX_UNITS} blocks of units"),
        }
    }
}

/// Why a table was refused: the block, its offset in the table, and what is wrong with it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The block.
    pub kind: Kind,
    /// Offset of the block in the table.
    pub offset: usize,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {:#x}: {}",
            self.kind, self.offset, self.problem
        )
    }
}
