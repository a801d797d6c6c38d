// SPDX-License-Identifier: GPL-2.0

//! Granules of page tables (SMMUv3 IHI 0070, SMMU_IDR5 in 6.3).

#![forbid(unsafe_code)]

/// A size of the smallest page, and with it of the tables.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Granule {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl Granule {
    /// Every granule, smallest first.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// Binary logarithm of the bytes.
    pub const fn shift(self) -> u8 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }
}

/// A set of [`Granule`]s.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Granules(u8);

impl Granules {
    /// From the three bits of IDR5: bit 0 is 4 KiB, bit 1 is 16 KiB, bit 2 is 64 KiB.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }

    /// Whether `granule` is one of them.
    pub const fn contains(self, granule: Granule) -> bool {
        self.0 >> granule as u8 & 1 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The best one for a kernel with pages of `page_bytes`: the same, or else the largest that is
    /// smaller, or else the smallest; `None` if there is none.
    pub fn for_pages_of(self, page_bytes: u64) -> Option<Granule> {
        Granule::ALL
            .into_iter()
            .filter(|granule| self.contains(*granule))
            .reduce(|best, next| {
                if next.bytes() <= page_bytes {
                    next
                } else {
                    best
                }
            })
    }
}
