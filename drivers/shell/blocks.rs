// SPDX-License-Identifier: GPL-2.0

//! Splits a range of addresses into a few invalidation commands, for units whose commands name 2^n
//! pages that are aligned to their size.

#![forbid(unsafe_code)]

/// 2^order pages of 4 KiB, aligned to their size.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Address of the first byte.
    pub address: u64,
    /// How many pages, as a power of two.
    pub order: u8,
}

impl Block {
    /// The block with exactly the pages that `first..=last` touches, if there is one, of
    /// 2^`max_order` pages at most.
    #[inline]
    pub fn exactly(first: u64, last: u64, max_order: u8) -> Option<Self> {
        let (first, last) = (first >> 12, last.max(first) >> 12);
        // A page number has 52 bits.
        let pages = last - first + 1;
        let order = pages.trailing_zeros() as u8;

        (pages & (pages - 1) == 0 && first & (pages - 1) == 0 && order <= max_order.min(51))
            .then_some(Self {
                address: first << 12,
                order,
            })
    }
}

/// The maximum number of page-selective commands for one range. One command for the whole domain
/// costs less than a larger number of them.
pub const MAX_BLOCKS: usize = 4;

/// What to invalidate for a range.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Cover {
    /// These blocks cover the range.
    Blocks {
        /// The blocks.
        blocks: [Block; MAX_BLOCKS],
        /// How many entries of `blocks` are valid; 1 to [`MAX_BLOCKS`].
        count: usize,
    },
    /// The whole domain.
    Domain,
}

impl Cover {
    /// Covers the pages that `first..=last` touches. The unit can name 2^`max_order` pages in one
    /// command; with `None` it cannot name pages at all.
    ///
    /// 1. Exact blocks, if few enough are needed.
    /// 2. Otherwise one block around the range, if the block is at most twice as large as the
    ///    range.
    /// 3. Otherwise the whole domain.
    pub fn new(first: u64, last: u64, max_order: Option<u8>) -> Self {
        let Some(max_order) = max_order else {
            return Self::Domain;
        };
        // A page number has at most 52 bits.
        let max_order = max_order.min(51);
        let (first, last) = (first >> 12, last.max(first) >> 12);

        Self::exact(first, last, max_order)
            .or_else(|| Self::around(first, last, max_order))
            .unwrap_or(Self::Domain)
    }

    fn exact(first: u64, last: u64, max_order: u8) -> Option<Self> {
        let mut blocks = [Block {
            address: 0,
            order: 0,
        }; MAX_BLOCKS];
        let mut count = 0;
        let mut page = first;

        loop {
            let slot = blocks.get_mut(count)?;
            // The largest block that the alignment of the page and the rest of the range allow.
            // Page numbers have 52 bits, so neither sum overflows.
            let aligned = page.trailing_zeros().min(u32::from(max_order));
            let left = (last - page + 1).ilog2();
            let order = aligned.min(left) as u8;
            *slot = Block {
                address: page << 12,
                order,
            };
            count += 1;
            page += 1 << order;
            if page > last {
                return Some(Self::Blocks { blocks, count });
            }
        }
    }

    fn around(first: u64, last: u64, max_order: u8) -> Option<Self> {
        // The block covers the highest bit in which the two ends differ, and all bits below it.
        let order = (u64::BITS - (first ^ last).leading_zeros()) as u8;
        if order > max_order || (1 << order) > 2 * (last - first + 1) {
            return None;
        }
        let block = Block {
            address: (first >> order << order) << 12,
            order,
        };
        Some(Self::Blocks {
            blocks: [block; MAX_BLOCKS],
            count: 1,
        })
    }

    /// The blocks; empty for the whole domain.
    pub fn blocks(&self) -> &[Block] {
        match self {
            Self::Blocks { blocks, count } => blocks.get(..*count).unwrap_or_default(),
            Self::Domain => &[],
        }
    }
}
