// SPDX-License-Identifier: GPL-2.0

//! The in-place sort against that of the standard library.

use iommu_core_host::shell::sort::sort_by_key;
use proptest::prelude::*;

proptest! {
    #[test]
    fn keys_ascend_and_every_item_is_still_there(
        mut items in prop::collection::vec((0u8..40, any::<u32>()), 0..200)
    ) {
        let mut sorted = items.clone();
        sorted.sort();
        sort_by_key(&mut items, |item| item.0);
        prop_assert!(items.is_sorted_by_key(|item| item.0));
        items.sort();
        prop_assert_eq!(items, sorted);
    }
}

#[test]
fn the_number_of_comparisons_does_not_depend_on_the_order_before() {
    const LEN: u64 = 1 << 14;
    for start in [
        (0..LEN).collect::<Vec<_>>(),
        (0..LEN).rev().collect(),
        vec![0; LEN as usize],
    ] {
        let mut items = start;
        let keys = std::cell::Cell::new(0u64);
        sort_by_key(&mut items, |item| {
            keys.set(keys.get() + 1);
            *item
        });
        assert!(items.is_sorted());
        assert!(keys.get() < 6 * LEN * 14, "{} keys", keys.get());
    }
}
