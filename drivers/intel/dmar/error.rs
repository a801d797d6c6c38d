// SPDX-License-Identifier: GPL-2.0

//! Why a DMAR table cannot be used at all.

#![forbid(unsafe_code)]

use core::fmt;

use super::kind::Kind;
use crate::drivers::shell::acpi_structures::{BadLength, HeaderRefusal};

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

impl From<HeaderRefusal> for Error {
    fn from(problem: HeaderRefusal) -> Self {
        Self {
            kind: Kind::Header,
            offset: 0,
            problem: Problem::Header(problem),
        }
    }
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
