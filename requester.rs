// SPDX-License-Identifier: GPL-2.0

//! Requester ids: how a unit identifies devices.

#![forbid(unsafe_code)]

use core::fmt;

/// The id that a unit sees in a transaction.
///
/// For PCI it is the 16-bit bus, device and function number of the transaction (PCIe 2.2.6.2). For
/// an SMMU it is the stream id. It contains no PCI segment: a unit serves one segment.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequesterId(u32);

impl RequesterId {
    /// An id as the unit sees it.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The id of a PCI function: `devfn` is device number in bits 7:3, function in bits 2:0.
    pub const fn pci(bus: u8, devfn: u8) -> Self {
        Self(((bus as u32) << 8) | devfn as u32)
    }

    /// The id as the unit sees it.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// PCI bus number, bits 15:8.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// PCI device and function number, bits 7:0.
    pub const fn devfn(self) -> u8 {
        self.0 as u8
    }
}

/// PCI ids in lspci's format (`00:1f.2`), wider stream ids in hexadecimal.
impl fmt::Display for RequesterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= 0xffff {
            write!(
                f,
                "{:02x}:{:02x}.{}",
                self.bus(),
                self.devfn() >> 3,
                self.devfn() & 7
            )
        } else {
            write!(f, "{:#x}", self.0)
        }
    }
}
