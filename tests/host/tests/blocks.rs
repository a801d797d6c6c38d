// SPDX-License-Identifier: GPL-2.0

//! Ranges as blocks: the blocks cover the whole range, and not much more.

use iommu_core_host::shell::blocks::{Block, Cover, MAX_BLOCKS};
use proptest::prelude::*;

fn cover(first: u64, last: u64, order: u8) -> Vec<(u64, u8)> {
    Cover::new(first, last, Some(order))
        .blocks()
        .iter()
        .map(|block| (block.address, block.order))
        .collect()
}

#[test]
fn ranges() {
    assert_eq!(cover(0x1000, 0x1fff, 18), [(0x1000, 0)]);
    assert_eq!(cover(0x1800, 0x1801, 18), [(0x1000, 0)]);
    assert_eq!(cover(0x20_0000, 0x3f_ffff, 18), [(0x20_0000, 9)]);
    // Three pages, the first with an odd number: one page and a pair.
    assert_eq!(cover(0x1000, 0x3fff, 18), [(0x1000, 0), (0x2000, 1)]);
    // The maximum number of blocks.
    assert_eq!(
        cover(0x1000, 0x8fff, 18),
        [(0x1000, 0), (0x2000, 1), (0x4000, 2), (0x8000, 0)]
    );
    // Exact blocks would be too many: one block of 16 pages around the range of 9.
    assert_eq!(cover(0x3000, 0xbfff, 18).len(), 3);
    assert_eq!(cover(0x1000, 0xefff, 18), [(0, 4)]);
    // The block around the range would be far too large: the whole domain.
    assert_eq!(cover(0xffff_f000 - 0xe000, 0x1_0000_0000 + 0xefff, 18), []);
    // The unit's largest block limits the size.
    assert_eq!(
        cover(0, 0x3fff, 0),
        [(0, 0), (0x1000, 0), (0x2000, 0), (0x3000, 0)]
    );
    assert_eq!(cover(0, 0x4fff, 0), []);
    assert_eq!(cover(0, (1 << 30) - 1, 18), [(0, 18)]);
    assert_eq!(cover(0, (1 << 39) - 1, 18), []);
    // Both ends of the address space.
    assert_eq!(cover(0, u64::MAX, 63), [(0, 51), (1 << 63, 51)]);
    assert_eq!(cover(u64::MAX, u64::MAX, 18), [(u64::MAX - 0xfff, 0)]);
    // The unit has no command for pages.
    assert_eq!(Cover::new(0, 0xfff, None), Cover::Domain);
}

proptest! {
    /// The blocks cover every page of the range. They are aligned, the unit can name them, there
    /// are not too many, and they do not cover much more than the range.
    #[test]
    fn covers_cover(
        first in prop_oneof![0u64..1 << 24, any::<u64>()],
        len in prop_oneof![1u64..1 << 20, any::<u64>()],
        order in 0u8..64,
    ) {
        let last = first.saturating_add(len - 1);
        let cover = Cover::new(first, last, Some(order));
        let blocks = cover.blocks();
        prop_assert!(blocks.len() <= MAX_BLOCKS);
        if !blocks.is_empty() {
            let mut next = first & !0xfff;
            let mut pages = 0u128;
            for (n, block) in blocks.iter().enumerate() {
                prop_assert!(block.order <= order);
                prop_assert_eq!(block.address % (4096 << block.order), 0);
                prop_assert!(block.address <= next);
                if n > 0 {
                    prop_assert_eq!(block.address, next);
                }
                pages += 1 << block.order;
                let last = block.address + ((4096u64 << block.order) - 1);
                next = last.wrapping_add(1);
            }
            prop_assert!(next == 0 || next > last);
            let asked = u128::from((last >> 12) - (first >> 12) + 1);
            prop_assert!(pages <= 2 * asked);
        }
    }
}

#[test]
fn one_block_exactly() {
    let exactly = |first, last, order| {
        Block::exactly(first, last, order).map(|block| (block.address, block.order))
    };

    assert_eq!(exactly(0x1000, 0x1fff, 18), Some((0x1000, 0)));
    assert_eq!(exactly(0x1800, 0x1801, 0), Some((0x1000, 0)));
    assert_eq!(exactly(0x20_0000, 0x3f_ffff, 18), Some((0x20_0000, 9)));
    // Not aligned; not a power of two; larger than the unit can name.
    assert_eq!(exactly(0x1000, 0x2fff, 18), None);
    assert_eq!(exactly(0, 0x2fff, 18), None);
    assert_eq!(exactly(0x20_0000, 0x3f_ffff, 8), None);
    assert_eq!(exactly(0, u64::MAX, 63), None);
    assert_eq!(exactly(1 << 63, u64::MAX, 63), Some((1 << 63, 51)));
}

proptest! {
    /// It is what the search for blocks finds.
    #[test]
    fn one_block_exactly_is_the_only_block(
        first in 0u64..1 << 30,
        pages in 1u64..1 << 12,
        order in 0u8..20,
    ) {
        let last = (first | 0xfff) + ((pages - 1) << 12);
        if let Some(block) = Block::exactly(first, last, order) {
            prop_assert_eq!(cover(first, last, order), [(block.address, block.order)]);
        } else if let [(address, order)] = cover(first, last, order)[..] {
            // One block around the range.
            prop_assert!(address != first & !0xfff || (1 << order) != pages);
        }
    }
}
