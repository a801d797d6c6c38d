// SPDX-License-Identifier: GPL-2.0

//! The tag of a domain on a unit, and a prepared attach.

#![forbid(unsafe_code)]

use core::fmt;

use super::records::{
    command,
    ste::{DeviceTlb, Ste, Words},
};
use crate::{driver, pgtable::armv8::GranuleSize};

/// The VMID under which the unit caches the translations of all stage 1 domains.
pub(super) const STAGE1_VMID: u16 = 0;

/// The name of a domain in a unit's caches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Tag {
    /// Of a stage 1 domain. The ASID also says which of the unit's CDs is the domain's.
    Asid {
        /// The name.
        asid: u16,
        /// The granule of the domain's page table: invalidations depend on it.
        granule: GranuleSize,
    },
    /// Of a stage 2 domain.
    Vmid {
        /// The name.
        vmid: u16,
        /// As above.
        granule: GranuleSize,
    },
    /// Of the identity domain, of which nothing is cached.
    Untranslated,
}

impl Tag {
    /// The tag in commands, and the granule; `None` if nothing is cached.
    pub(super) fn cached(self) -> Option<(command::Tag, GranuleSize)> {
        match self {
            Self::Asid { asid, granule } => Some((of_asid(asid), granule)),
            Self::Vmid { vmid, granule } => Some((command::Tag::Stage2 { vmid }, granule)),
            Self::Untranslated => None,
        }
    }
}

/// | bits | field |
/// |---|---|
/// | 15:0 | ASID or VMID |
/// | 23:16 | binary logarithm of the granule |
/// | 25:24 | stage; 0 if untranslated |
impl driver::Tag for Tag {
    #[inline]
    fn pack(self) -> u64 {
        let (name, granule, stage) = match self {
            Self::Asid { asid, granule } => (asid, granule.lg2(), 1),
            Self::Vmid { vmid, granule } => (vmid, granule.lg2(), 2),
            Self::Untranslated => return 0,
        };
        u64::from(name) | u64::from(granule) << 16 | stage << 24
    }

    #[inline]
    fn unpack(number: u64) -> Self {
        let name = number as u16;
        let granule = match number >> 16 & 0xff {
            16 => GranuleSize::K64,
            14 => GranuleSize::K16,
            _ => GranuleSize::K4,
        };
        match number >> 24 {
            1 => Self::Asid {
                asid: name,
                granule,
            },
            2 => Self::Vmid {
                vmid: name,
                granule,
            },
            _ => Self::Untranslated,
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asid { asid, .. } => write!(f, "asid {asid}"),
            Self::Vmid { vmid, .. } => write!(f, "vmid {vmid}"),
            Self::Untranslated => write!(f, "no tag"),
        }
    }
}

/// The tag in commands of the stage 1 domain with this ASID.
pub(super) fn of_asid(asid: u16) -> command::Tag {
    command::Tag::Stage1 {
        vmid: STAGE1_VMID,
        asid,
    }
}

/// A prepared attach of one endpoint.
pub struct Plan {
    /// The endpoint's STEs after the attach.
    ste: Words,
    /// The domain whose translations the endpoint's TLB may hold after the attach; `None` if ATS
    /// will be off. EATS in `ste` says the same.
    tlb: Option<command::Tag>,
}

impl Plan {
    /// An attach after which the endpoint has `ste`, and its TLB may hold translations of `tlb`.
    /// EATS in `ste` allows ATS if and only if there is a `tlb`.
    pub(super) fn new(ste: &Ste, tlb: Option<command::Tag>) -> Self {
        Self {
            ste: ste.encode(),
            tlb,
        }
    }

    /// The endpoint's STEs after the attach.
    pub(super) fn ste(&self) -> &Words {
        &self.ste
    }

    /// The domain whose translations the endpoint's TLB may hold after the attach.
    pub(super) fn tlb(&self) -> Option<command::Tag> {
        self.tlb
    }

    /// Changes the plan: ATS will be off.
    pub(super) fn forbid_tlb(&mut self) {
        self.tlb = None;
        self.ste = DeviceTlb::forbid(&self.ste);
    }
}
