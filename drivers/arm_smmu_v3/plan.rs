// SPDX-License-Identifier: GPL-2.0

//! What an attach is prepared to: the tag of a domain on a unit, and the entry of an endpoint.

#![forbid(unsafe_code)]

use core::fmt;

use super::records::{
    command,
    ste::{DeviceTlb, StreamEntry, Words, World},
};
use crate::pgtable::armv8::GranuleSize;

/// The VMID under which the unit caches translations of stage 1.
pub(super) const STAGE1_VMID: u16 = 0;

/// The name of a domain in a unit's caches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Tag {
    /// Of stage 1; also which of the unit's context descriptors is the domain's.
    Asid {
        /// The name.
        asid: u16,
        /// The granule of the domain's tables, which invalidations depend on.
        granule: GranuleSize,
    },
    /// Of stage 2.
    Vmid {
        /// The name.
        vmid: u16,
        /// As above.
        granule: GranuleSize,
    },
    /// The domain does not translate, so nothing is cached.
    Untranslated,
}

impl Tag {
    /// The tag as commands have it, and the granule; `None` if nothing is cached.
    pub(super) fn cached(self) -> Option<(command::Tag, GranuleSize)> {
        match self {
            Self::Asid { asid, granule } => Some((of_asid(asid), granule)),
            Self::Vmid { vmid, granule } => Some((command::Tag::Stage2 { vmid }, granule)),
            Self::Untranslated => None,
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

/// The tag of a stage 1 domain with this ASID, as commands have it.
pub(super) fn of_asid(asid: u16) -> command::Tag {
    command::Tag::Stage1 {
        world: World::El1,
        vmid: STAGE1_VMID,
        asid,
    }
}

/// A prepared attach.
pub struct Plan {
    /// What the stream table entries of the endpoint will be.
    entry: Words,
    /// The domain of which the endpoint's TLB will have translations, if it is to be on. The entry
    /// allows that then, and otherwise does not.
    tlb: Option<command::Tag>,
}

impl Plan {
    /// An attach that makes `entry` the endpoint's, and `tlb` the domain of which its TLB will have
    /// translations. `entry` allows them exactly if `tlb` is `Some`.
    pub(super) fn new(entry: &StreamEntry, tlb: Option<command::Tag>) -> Self {
        Self {
            entry: entry.encode(),
            tlb,
        }
    }

    /// What the entries will be.
    pub(super) fn entry(&self) -> &Words {
        &self.entry
    }

    /// The domain of which the endpoint's TLB will have translations.
    pub(super) fn tlb(&self) -> Option<command::Tag> {
        self.tlb
    }

    /// The TLB is not to be on after all.
    pub(super) fn forbid_tlb(&mut self) {
        self.tlb = None;
        self.entry = DeviceTlb::forbid(&self.entry);
    }
}
