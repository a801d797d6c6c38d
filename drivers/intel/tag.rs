// SPDX-License-Identifier: GPL-2.0

//! How a unit's caches identify a domain.

#![forbid(unsafe_code)]

use core::fmt;

use crate::{driver, drivers::shell::domain_ids::DomainId};

/// The domain's id in the unit's caches and, if these tell its translations apart by PASID (6.2.1),
/// the PASID.
///
/// | bits | field |
/// |---|---|
/// | 15:0 | domain id |
/// | 35:16 | PASID; 0 for requests without one, and if the caches do not tell them apart |
// In one word, as each invalidation is given a tag.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Tag(u64);

impl Tag {
    /// The tag with this domain id and PASID.
    #[inline]
    pub const fn new(domain: DomainId, pasid: u32) -> Self {
        Self(domain.0 as u64 | (pasid as u64) << 16)
    }

    /// The domain id.
    #[inline]
    pub const fn domain(self) -> DomainId {
        DomainId(self.0 as u16)
    }

    /// The PASID.
    #[inline]
    pub const fn pasid(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.domain().fmt(f)?;
        match self.pasid() {
            0 => Ok(()),
            pasid => write!(f, ", PASID {pasid}"),
        }
    }
}

impl driver::Tag for Tag {
    #[inline]
    fn pack(self) -> u64 {
        self.0
    }

    #[inline]
    fn unpack(number: u64) -> Self {
        Self(number)
    }
}
