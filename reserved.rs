// SPDX-License-Identifier: GPL-2.0

//! Reserved regions: address ranges with a meaning of their own.

#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{Iova, Prot};

/// What a reserved region is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Firmware does DMA here: always mapped one to one.
    Direct,
    /// As [`Direct`](Self::Direct), but given up once a driver or an owner has the device.
    DirectRelaxable,
    /// Interrupt messages go here, untranslated.
    Msi,
    /// Free for whoever owns the device to map the places where interrupt messages go, which are
    /// translated.
    SoftwareMsi,
    /// Never mapped.
    Reserved,
}

/// One reserved region, `first..=last`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// First byte.
    pub first: Iova,
    /// Last byte.
    pub last: Iova,
    /// What the device does there.
    pub prot: Prot,
    /// What the region is for.
    pub kind: Kind,
}

impl Reserved {
    /// Whether firmware relies on the region being mapped one to one.
    pub fn is_direct(&self) -> bool {
        matches!(self.kind, Kind::Direct | Kind::DirectRelaxable)
    }
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Direct => "direct",
            Kind::DirectRelaxable => "direct-relaxable",
            Kind::Msi => "msi",
            Kind::SoftwareMsi => "software-msi",
            Kind::Reserved => "reserved",
        };
        write!(
            f,
            "{:#018x} {:#018x} {kind}",
            self.first.raw(),
            self.last.raw()
        )
    }
}
