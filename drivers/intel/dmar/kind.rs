// SPDX-License-Identifier: GPL-2.0

//! Kinds of remapping structures (8.2).

#![forbid(unsafe_code)]

use core::fmt;

/// Bytes of the ACPI header, the host address width, the flags and the reserved field (8.1).
pub(super) const HEADER_LEN: usize = 48;
/// Type and length of a remapping structure.
pub(super) const STRUCTURE_PREFIX: usize = 4;

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
    pub(super) const fn from_type(value: u16) -> Self {
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

    /// Bytes that a structure of this kind has at least.
    pub(super) const fn fixed_len(self) -> usize {
        match self {
            Self::Header => HEADER_LEN,
            Self::Drhd => 16,
            Self::Rmrr => 24,
            Self::Atsr | Self::Satc | Self::Sidp => 8,
            Self::Rhsa => 20,
            // With a name of one character and its terminator.
            Self::Andd => 10,
            Self::Unknown(_) => STRUCTURE_PREFIX,
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
