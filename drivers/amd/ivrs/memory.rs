// SPDX-License-Identifier: GPL-2.0

//! Memory definitions of an IVRS table: memory that firmware uses with devices (AMD-Vi 5.2, IVMD).

#![forbid(unsafe_code)]

use super::{kind::Kind, warning::Oddity};
use crate::drivers::shell::bytes::{u16_at, u64_at, u8_at};

/// Memory is in pages of this size.
const PAGE: u64 = 4096;

/// How devices must reach the memory of a memory definition.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Usage {
    /// Firmware does DMA here. The core maps the memory one to one, with these permissions.
    Unity {
        /// Devices may read.
        read: bool,
        /// Devices may write.
        write: bool,
    },
    /// Devices need not reach the memory.
    None,
}

/// Memory that firmware uses with devices: I/O virtualization memory definition.
///
/// | bytes | field |
/// |---|---|
/// | 0 | type: 20h, 21h or 22h |
/// | 1 | flags; 0 unity, 1 readable, 2 writable, 3 exclusion range |
/// | 2-3 | length |
/// | 4-5 | 21h: the device; 22h: the first device |
/// | 6-7 | 22h: the last device |
/// | 8-9 | PCI segment |
/// | 16-23 | first byte |
/// | 24-31 | bytes |
#[derive(Copy, Clone, Debug)]
pub struct Ivmd<'a> {
    bytes: &'a [u8],
    kind: Kind,
}

impl<'a> Ivmd<'a> {
    const UNITY: u8 = 1 << 0;
    const READ: u8 = 1 << 1;
    const WRITE: u8 = 1 << 2;
    const EXCLUSION: u8 = 1 << 3;

    /// The block in `bytes`.
    pub(super) fn new(bytes: &'a [u8], kind: Kind) -> Self {
        Self { bytes, kind }
    }

    fn has(self, flag: u8) -> bool {
        u8_at(self.bytes, 1) & flag != 0
    }

    /// How devices must reach the memory.
    ///
    /// A unit has registers for one exclusion range, but a table may have many. So the core maps an
    /// exclusion range one to one, which has the same effect for a device.
    pub fn usage(self) -> Usage {
        if self.has(Self::EXCLUSION) {
            Usage::Unity {
                read: true,
                write: true,
            }
        } else if self.has(Self::UNITY) {
            Usage::Unity {
                read: self.has(Self::READ),
                write: self.has(Self::WRITE),
            }
        } else {
            Usage::None
        }
    }

    /// The PCI segment of the devices.
    pub fn segment(self) -> u16 {
        u16_at(self.bytes, 8)
    }

    /// The first and the last device that use the memory.
    pub fn devices(self) -> (u16, u16) {
        let first = u16_at(self.bytes, 4);
        match self.kind {
            Kind::IvmdOne => (first, first),
            Kind::IvmdRange => (first, u16_at(self.bytes, 6)),
            _ => (0, u16::MAX),
        }
    }

    fn start(self) -> u64 {
        u64_at(self.bytes, 16)
    }

    fn length(self) -> u64 {
        u64_at(self.bytes, 24)
    }

    /// The last byte. It wraps only in a region that the check leaves out.
    fn end(self) -> u64 {
        self.start().saturating_add(self.length().saturating_sub(1))
    }

    /// Physical address of the first byte, rounded down to a page.
    pub fn base(self) -> u64 {
        self.start() & !(PAGE - 1)
    }

    /// Physical address of the last byte, rounded up to the end of a page.
    pub fn limit(self) -> u64 {
        self.end() | (PAGE - 1)
    }

    /// Why the region is left out.
    pub(super) fn refusal(self) -> Option<Oddity> {
        let (base, length) = (self.start(), self.length());
        let (first, last) = self.devices();

        if length == 0 {
            Some(Oddity::RegionEmpty { base })
        } else if base.checked_add(length - 1).is_none() {
            Some(Oddity::RegionWraps { base, length })
        } else if last < first {
            Some(Oddity::RangeBackwards { first, last })
        } else {
            None
        }
    }

    /// What is odd about a region that can be used.
    pub(super) fn oddity(self) -> Option<Oddity> {
        if self.start() != self.base() || self.end() != self.limit() {
            Some(Oddity::RegionMisaligned)
        } else if self.has(Self::UNITY) && self.has(Self::EXCLUSION) {
            Some(Oddity::RegionContradicts)
        } else {
            None
        }
    }
}
