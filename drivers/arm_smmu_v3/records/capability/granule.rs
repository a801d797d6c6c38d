// SPDX-License-Identifier: GPL-2.0

//! The granules of page tables that a unit walks (SMMUv3 IHI 0070, SMMU_IDR5 in 6.3).

#![forbid(unsafe_code)]

use crate::pgtable::armv8::GranuleSize;

/// A set of [`GranuleSize`]s.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Granules(u8);

impl Granules {
    /// From the three bits of IDR5: bit 0 is 4 KiB, bit 1 is 16 KiB, bit 2 is 64 KiB.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }

    /// Whether `granule` is one of them.
    pub const fn contains(self, granule: GranuleSize) -> bool {
        let bit = match granule {
            GranuleSize::K4 => 0,
            GranuleSize::K16 => 1,
            GranuleSize::K64 => 2,
        };
        self.0 >> bit & 1 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The best granule for a kernel with pages of `page_bytes`: the largest that is not larger, or
    /// else the smallest; `None` if there is none.
    pub fn for_pages_of(self, page_bytes: u64) -> Option<GranuleSize> {
        GranuleSize::ALL
            .into_iter()
            .filter(|granule| self.contains(*granule))
            .reduce(|best, next| {
                if 1 << next.lg2() <= page_bytes {
                    next
                } else {
                    best
                }
            })
    }
}
