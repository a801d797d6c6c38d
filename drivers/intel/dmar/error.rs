// SPDX-License-Identifier: GPL-2.0

//! Why a DMAR table cannot be used at all.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;

/// The most units that a table may have.
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
    /// More units than [`MAX_UNITS`].
    TooManyUnits,
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
            Self::TooManyUnits => write!(f, "more than {MAX_UNITS} units"),
        }
    }
}

/// Why a table was refused: the structure, its offset in the table, and what is wrong with it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The structure.
    pub kind: Kind,
    /// Offset of the structure in the table.
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
