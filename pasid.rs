// SPDX-License-Identifier: GPL-2.0

//! PASIDs, and which of a device's requests an attachment is for.

#![forbid(unsafe_code)]

use core::fmt;

/// A process address space id (PCIe 6.20): a device names with it which of several address spaces a
/// request is for.
///
/// # Invariants
///
/// The number is not 0, which the kernel uses for requests without a PASID, and has at most
/// [`BITS`](Self::BITS) bits.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pasid(u32);

impl Pasid {
    /// The width of the widest PASID (PCIe 6.20.2).
    pub const BITS: u32 = 20;

    /// The PASID with this number; `None` if there is no such PASID.
    pub const fn new(number: u32) -> Option<Self> {
        match number {
            0 => None,
            // INVARIANT: Checked here.
            _ if number >> Self::BITS == 0 => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PASID {}", self.0)
    }
}

/// Which of an endpoint's requests an attachment is for. Each selector has an address space of its
/// own.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Selector {
    /// Those without a PASID.
    NoPasid,
    /// Those with this PASID.
    Pasid(Pasid),
}

impl Selector {
    /// The number of the PASID; 0 for requests without one.
    pub const fn number(self) -> u32 {
        match self {
            Self::NoPasid => 0,
            Self::Pasid(pasid) => pasid.number(),
        }
    }
}
