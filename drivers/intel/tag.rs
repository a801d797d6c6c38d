// SPDX-License-Identifier: GPL-2.0

//! How a unit's caches identify a domain.

#![forbid(unsafe_code)]

use core::fmt;

use crate::{driver, drivers::shell::domain_ids::DomainId};

/// The domain's id in the unit's caches and, if these tell its translations apart by PASID (6.2.1),
/// the PASID.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The domain id.
    pub domain: DomainId,
    /// The PASID; 0 for requests without one, and if the caches do not tell them apart.
    pub pasid: u32,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.domain.fmt(f)?;
        match self.pasid {
            0 => Ok(()),
            pasid => write!(f, ", PASID {pasid}"),
        }
    }
}

/// | bits | field |
/// |---|---|
/// | 15:0 | domain id |
/// | 35:16 | PASID |
impl driver::Tag for Tag {
    #[inline]
    fn pack(self) -> u64 {
        u64::from(self.domain.0) | u64::from(self.pasid) << 16
    }

    #[inline]
    fn unpack(number: u64) -> Self {
        Self {
            domain: DomainId(number as u16),
            pasid: (number >> 16) as u32,
        }
    }
}
