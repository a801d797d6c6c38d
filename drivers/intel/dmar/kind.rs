// SPDX-License-Identifier: GPL-2.0

//! Kinds of remapping structures (8.2).

#![forbid(unsafe_code)]

use core::fmt;

use crate::drivers::shell::{
    acpi_structures::{StructureKind, HEADER_LEN},
    bytes::{u16_at, u8_at},
};

/// A kind of remapping structure (8.2).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The table's own header.
    Header,
    /// DMA remapping hardware unit definition.
    Drhd,
    /// Reserved memory region reporting.
    Rmrr,
    /// Root port ATS capability reporting.
    Atsr,
    /// Remapping hardware static affinity.
    Rhsa,
    /// ACPI name-space device declaration.
    Andd,
    /// SoC integrated address translation cache reporting.
    Satc,
    /// SoC integrated device property reporting.
    Sidp,
    /// A type that this driver does not know.
    Unknown(u16),
}

impl Kind {
    const fn from_type(value: u16) -> Self {
        match value {
            0 => Self::Drhd,
            1 => Self::Rmrr,
            2 => Self::Atsr,
            3 => Self::Rhsa,
            4 => Self::Andd,
            5 => Self::Satc,
            6 => Self::Sidp,
            other => Self::Unknown(other),
        }
    }

    /// Whether device scopes follow the fixed part.
    pub(super) const fn has_scopes(self) -> bool {
        matches!(
            self,
            Self::Drhd | Self::Rmrr | Self::Atsr | Self::Satc | Self::Sidp
        )
    }
}

/// Bytes 0-1 are the type, bytes 2-3 the length (8.2).
impl StructureKind for Kind {
    const HEADER: Self = Self::Header;
    const LEN: usize = 4;

    fn kind(bytes: &[u8]) -> Self {
        match bytes {
            [_] => Self::Unknown(u16::from(u8_at(bytes, 0))),
            _ => Self::from_type(u16_at(bytes, 0)),
        }
    }

    fn claims(bytes: &[u8]) -> usize {
        usize::from(u16_at(bytes, 2))
    }

    fn fixed_len(self) -> usize {
        match self {
            Self::Header => HEADER_LEN,
            Self::Drhd => 16,
            Self::Rmrr => 24,
            Self::Atsr | Self::Satc | Self::Sidp => 8,
            Self::Rhsa => 20,
            // With a name of one character and its terminator.
            Self::Andd => 10,
            Self::Unknown(_) => Self::LEN,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Drhd => "DRHD",
            Self::Rmrr => "RMRR",
            Self::Atsr => "ATSR",
            Self::Rhsa => "RHSA",
            Self::Andd => "ANDD",
            Self::Satc => "SATC",
            Self::Sidp => "SIDP",
            Self::Unknown(value) => return write!(f, "structure of type {value}"),
        })
    }
}
