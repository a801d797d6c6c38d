// SPDX-License-Identifier: GPL-2.0

//! Why an IORT cannot be used at all.

#![forbid(unsafe_code)]

use core::fmt;

use crate::drivers::shell::acpi_structures::HeaderRefusal;

/// Why a table was refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The table's header makes no sense.
    Header(HeaderRefusal),
    /// The first node would be in the table's header, so nobody knows where the nodes are.
    FirstNode {
        /// Offset that the table claims.
        claims: u32,
    },
}

impl From<HeaderRefusal> for Error {
    fn from(refusal: HeaderRefusal) -> Self {
        Self::Header(refusal)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("header at offset 0x0: ")?;
        match *self {
            Self::Header(ref refusal) => refusal.fmt(f),
            Self::FirstNode { claims } => {
                write!(
                    f,
                    "the first node at offset {claims:#x} would be in the header"
                )
            }
        }
    }
}
