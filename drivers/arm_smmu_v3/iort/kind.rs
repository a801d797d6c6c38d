// SPDX-License-Identifier: GPL-2.0

//! Kinds of nodes, and which kinds may refer to which.

#![forbid(unsafe_code)]

use core::fmt;

use crate::drivers::shell::{
    acpi_structures::{StructureKind, HEADER_LEN},
    bytes::{u16_at, u8_at},
};

/// A kind of node.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The table's own header.
    Header,
    /// A group of interrupt translation services (ITS).
    ItsGroup,
    /// A device that firmware describes by name.
    NamedComponent,
    /// A PCI root complex.
    RootComplex,
    /// A unit of an older architecture, SMMUv1 or SMMUv2.
    Smmu,
    /// A unit.
    SmmuV3,
    /// Performance counters of a unit.
    Pmcg,
    /// Reserved memory ranges, which devices use for firmware.
    Rmr,
    /// A bridge from wired interrupts to messages (interrupt wire bridge).
    Iwb,
    /// Not in the specification.
    Unknown(u8),
}

impl Kind {
    pub(super) const fn from_type(value: u8) -> Self {
        match value {
            0 => Self::ItsGroup,
            1 => Self::NamedComponent,
            2 => Self::RootComplex,
            3 => Self::Smmu,
            4 => Self::SmmuV3,
            5 => Self::Pmcg,
            6 => Self::Rmr,
            7 => Self::Iwb,
            other => Self::Unknown(other),
        }
    }

    /// Whether mappings of a node of this kind lead to nodes of kind `to`.
    pub(super) const fn maps_to(self, to: Self) -> bool {
        match self {
            Self::NamedComponent | Self::RootComplex => {
                matches!(to, Self::Smmu | Self::SmmuV3 | Self::ItsGroup)
            }
            Self::Smmu | Self::SmmuV3 | Self::Pmcg | Self::Iwb => matches!(to, Self::ItsGroup),
            Self::Rmr => matches!(to, Self::Smmu | Self::SmmuV3),
            _ => false,
        }
    }

    /// Whether the specification defines this kind, so that its mappings can be read.
    pub(super) const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

/// Byte 0 is the type, bytes 1-2 are the length, see [`Node`](super::node::Node).
impl StructureKind for Kind {
    const HEADER: Self = Self::Header;
    const LEN: usize = 16;

    fn kind(bytes: &[u8]) -> Self {
        Self::from_type(u8_at(bytes, 0))
    }

    fn claims(bytes: &[u8]) -> usize {
        usize::from(u16_at(bytes, 1))
    }

    /// Those of the first revision of the kind.
    fn fixed_len(self) -> usize {
        match self {
            Self::Header => HEADER_LEN,
            Self::ItsGroup => 20,
            // One character and its terminator at least.
            Self::NamedComponent => 31,
            Self::RootComplex => 32,
            Self::Smmu => 60,
            Self::SmmuV3 => 60,
            Self::Pmcg => 32,
            Self::Rmr => 28,
            Self::Iwb => 28,
            Self::Unknown(_) => Self::LEN,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::ItsGroup => "ITS group",
            Self::NamedComponent => "named component",
            Self::RootComplex => "root complex",
            Self::Smmu => "SMMU",
            Self::SmmuV3 => "SMMUv3",
            Self::Pmcg => "PMCG",
            Self::Rmr => "RMR",
            Self::Iwb => "IWB",
            Self::Unknown(value) => return write!(f, "node of type {value}"),
        })
    }
}
