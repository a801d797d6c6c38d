// SPDX-License-Identifier: GPL-2.0

//! Why a DMAR table cannot be used at all.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;
use crate::drivers::shell::acpi_structures::{BadLength, HeaderRefusal, TableError};

/// The most units that a table may have.
pub const MAX_UNITS: usize = 1024;

/// What is wrong with a table.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The table's header makes no sense.
    Header(HeaderRefusal),
    /// The length of a unit's structure makes no sense.
    Length(BadLength),
    /// More units than [`MAX_UNITS`].
    TooManyUnits,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Header(ref problem) => problem.fmt(f),
            Self::Length(ref problem) => problem.fmt(f),
            Self::TooManyUnits => write!(f, "more than {MAX_UNITS} units"),
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
