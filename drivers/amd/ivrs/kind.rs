// SPDX-License-Identifier: GPL-2.0

//! Kinds of blocks (AMD-Vi 5.2).

#![forbid(unsafe_code)]

use core::fmt;

use crate::drivers::shell::{
    acpi_structures::{StructureKind, HEADER_LEN},
    bytes::{u16_at, u8_at},
};

/// A kind of block.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The table's own header.
    Header,
    /// Hardware definition of type 10h.
    Ivhd10,
    /// Hardware definition of type 11h: with the extended feature registers.
    Ivhd11,
    /// Hardware definition of type 40h: as 11h, and may name devices.
    Ivhd40,
    /// Memory definition of type 20h: for all devices.
    IvmdAll,
    /// Memory definition of type 21h: for one device.
    IvmdOne,
    /// Memory definition of type 22h: for a range of devices.
    IvmdRange,
    /// A type that this driver does not know.
    Unknown(u8),
}

impl Kind {
    const fn from_type(value: u8) -> Self {
        match value {
            0x10 => Self::Ivhd10,
            0x11 => Self::Ivhd11,
            0x40 => Self::Ivhd40,
            0x20 => Self::IvmdAll,
            0x21 => Self::IvmdOne,
            0x22 => Self::IvmdRange,
            other => Self::Unknown(other),
        }
    }

    /// Whether it is a hardware definition.
    pub(super) const fn is_unit(self) -> bool {
        self.rank() > 0
    }

    /// The rank of a hardware definition. Of a unit's blocks, the one with the highest rank counts.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Ivhd10 => 1,
            Self::Ivhd11 => 2,
            Self::Ivhd40 => 3,
            _ => 0,
        }
    }
}

/// Byte 0 is the type, byte 1 has flags, bytes 2-3 are the length (5.2).
impl StructureKind for Kind {
    const HEADER: Self = Self::Header;
    const LEN: usize = 4;

    fn kind(bytes: &[u8]) -> Self {
        Self::from_type(u8_at(bytes, 0))
    }

    fn claims(bytes: &[u8]) -> usize {
        usize::from(u16_at(bytes, 2))
    }

    fn fixed_len(self) -> usize {
        match self {
            Self::Header => HEADER_LEN,
            Self::Ivhd10 => 24,
            Self::Ivhd11 | Self::Ivhd40 => 40,
            Self::IvmdAll | Self::IvmdOne | Self::IvmdRange => 32,
            Self::Unknown(_) => Self::LEN,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Ivhd10 => "IVHD of type 10h",
            Self::Ivhd11 => "IVHD of type 11h",
            Self::Ivhd40 => "IVHD of type 40h",
            Self::IvmdAll => "IVMD of type 20h",
            Self::IvmdOne => "IVMD of type 21h",
            Self::IvmdRange => "IVMD of type 22h",
            Self::Unknown(value) => return write!(f, "block of type {value:02x}h"),
        })
    }
}
