// SPDX-License-Identifier: GPL-2.0

//! Reserved regions: address ranges of a device with a special use.

#![forbid(unsafe_code)]

use core::fmt;

use crate::addr::{Iova, Prot};

/// What a reserved region is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Firmware does DMA here: always mapped one to one.
    Direct,
    /// Like [`Direct`](Self::Direct), but not kept mapped once a driver or an owner uses the
    /// device.
    DirectRelaxable,
    /// Interrupt messages go here, untranslated.
    Msi,
    /// The owner of the device may map MSI doorbells here. Interrupt messages are translated.
    SoftwareMsi,
    /// Must never be mapped.
    Reserved,
}

/// One reserved region, `first..=last`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// First byte.
    pub first: Iova,
    /// Last byte.
    pub last: Iova,
    /// The accesses that the device makes there.
    pub prot: Prot,
    /// What the region is for.
    pub kind: Kind,
}

impl Reserved {
    /// Whether firmware relies on a one-to-one mapping of the region.
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
