// SPDX-License-Identifier: GPL-2.0

//! Why an IVRS table cannot be used at all.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;
use crate::drivers::shell::acpi_structures::{BadLength, HeaderRefusal, TableError};

/// The most bytes that a table may have.
pub const MAX_LEN: usize = 1 << 20;
/// The most hardware definition blocks that a table may have.
pub const MAX_UNITS: usize = 256;

/// What is wrong with a table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The table's header makes no sense.
    Header(HeaderRefusal),
    /// The length of a unit's block makes no sense.
    Length(BadLength),
    /// The table is longer than [`MAX_LEN`].
    TooLong {
        /// Length that the table claims.
        claims: u32,
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
            Self::Header(ref problem) => problem.fmt(f),
            Self::Length(ref problem) => problem.fmt(f),
            Self::TooLong { claims } => {
                write!(
                    f,
                    "claims {claims} bytes, more than the {MAX_LEN} that make sense"
                )
            }
            Self::Checksum { sum } => write!(f, "the bytes sum up to {sum:#04x} instead of 0"),
            Self::TooManyUnits => write!(f, "more than {MAX_UNITS} blocks of units"),
        }
    }
}

impl From<HeaderRefusal> for Problem {
    fn from(refusal: HeaderRefusal) -> Self {
        Self::Header(refusal)
    }
}

/// Why a table was refused.
pub type Error = TableError<Kind, Problem>;
