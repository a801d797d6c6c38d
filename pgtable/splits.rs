// SPDX-License-Identifier: GPL-2.0

//! Splits of pages that are pending: done in the page table, and perhaps not invalidated
//! everywhere.

#![forbid(unsafe_code)]

/// How many splits are pending, and the size of the largest page of which one was, in one word: all
/// of it changes at once.
///
/// Bits 63:6 count the splits. Bits 5:0 are the logarithm of the size; it does not decrease before
/// no split is pending any more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Splits(pub u64);

impl Splits {
    /// The size of the largest page, minus 1; 0 if no split is pending.
    #[inline(always)]
    pub const fn mask(self) -> u64 {
        match self.0 {
            0 => 0,
            word => (1 << (word & 0x3f)) - 1,
        }
    }

    const fn new(count: u64, size_lg2: u32) -> Self {
        match count {
            0 => Self(0),
            count => Self(count << 6 | size_lg2 as u64),
        }
    }

    /// With one more, of a page of `size` bytes, which is a power of two.
    pub fn with(self, size: u64) -> Self {
        let size_lg2 = size.trailing_zeros().max((self.0 & 0x3f) as u32);
        Self::new((self.0 >> 6) + 1, size_lg2)
    }

    /// With `count` fewer.
    pub fn without(self, count: u32) -> Self {
        let left = (self.0 >> 6).saturating_sub(u64::from(count));
        Self::new(left, (self.0 & 0x3f) as u32)
    }
}
