// SPDX-License-Identifier: GPL-2.0

//! Compares the set with a list that is sorted again after each change.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{Keyed, OrderedSet};

/// An item whose value distinguishes it from another item with the same key.
#[derive(Copy, Clone, PartialEq, Debug)]
struct Item {
    key: u32,
    value: u32,
}

impl Keyed for Item {
    type Key = u32;

    fn key(&self) -> u32 {
        self.key
    }
}

fn item(key: u32) -> Item {
    Item {
        key,
        value: key * 10,
    }
}

/// A set of items with these keys, inserted in this order.
fn set_of(keys: &[u32]) -> Result<OrderedSet<Item>> {
    let mut set = OrderedSet::new();
    for &key in keys {
        let mut room = KVec::with_capacity(set.len() + 1, GFP_KERNEL)?;
        if set.insert(item(key), &mut room).is_err() {
            return Err(EINVAL);
        }
    }
    Ok(set)
}

fn holds(set: &OrderedSet<Item>, keys: &[u32]) -> bool {
    set.len() == keys.len() && set.iter().copied().eq(keys.iter().map(|&key| item(key)))
}

#[kunit_tests(iommu_core_ordered_set)]
mod suite {
    use super::*;

    #[test]
    fn items_are_ordered_by_key_for_any_order_of_insertion() -> Result {
        for keys in [
            [1, 2, 3, 4],
            [4, 3, 2, 1],
            [2, 4, 1, 3],
            [3, 1, 4, 2],
            [1, 4, 2, 3],
        ] {
            assert!(holds(&set_of(&keys)?, &[1, 2, 3, 4]));
        }
        Ok(())
    }

    #[test]
    fn inserting_without_room_returns_the_item_and_changes_nothing() -> Result {
        let mut set = set_of(&[5, 7])?;
        let mut room = KVec::new();
        // The set's own memory may have room for more items than were requested.
        let mut keys = KVec::new();
        keys.extend_from_slice(&[5, 7], GFP_KERNEL)?;
        let refused = loop {
            let key = keys.len() as u32 + 6;
            match set.insert(item(key), &mut room) {
                Ok(()) => keys.push(key, GFP_KERNEL)?,
                Err(refused) => break refused,
            }
        };
        assert!(refused == item(keys.len() as u32 + 6));
        assert!(holds(&set, &keys));
        let mut room = KVec::with_capacity(set.len() + 1, GFP_KERNEL)?;
        assert!(set.insert(refused, &mut room).is_ok());
        keys.push(refused.key, GFP_KERNEL)?;
        assert!(holds(&set, &keys));
        // The set's old memory holds no item any more.
        assert!(room.is_empty());
        Ok(())
    }

    #[test]
    fn inserting_a_key_twice_returns_the_second_item() -> Result {
        let mut set = set_of(&[1, 2])?;
        let mut room = KVec::with_capacity(3, GFP_KERNEL)?;
        let second = Item { key: 2, value: 99 };
        assert!(set.insert(second, &mut room) == Err(second));
        assert!(holds(&set, &[1, 2]));
        Ok(())
    }

    #[test]
    fn after_works_for_a_key_that_is_not_in_the_set() -> Result {
        let set = set_of(&[2, 4, 6])?;
        for (after, keys) in [
            (None, &[2, 4, 6][..]),
            (Some(1), &[2, 4, 6]),
            (Some(2), &[4, 6]),
            (Some(3), &[4, 6]),
            (Some(6), &[]),
            (Some(7), &[]),
        ] {
            assert!(set
                .after(after)
                .map(|item| item.key)
                .eq(keys.iter().copied()));
        }
        Ok(())
    }

    #[test]
    fn an_item_is_found_and_removed_by_its_key() -> Result {
        let mut set = set_of(&[3, 1, 2])?;
        assert!(set.get_mut(4).is_none());
        assert!(set.remove(4).is_none());
        if let Some(found) = set.get_mut(2) {
            found.value += 1;
        }
        let changed = Item { key: 2, value: 21 };
        assert!(set.remove(2) == Some(changed));
        assert!(set.get_mut(2).is_none());
        assert!(holds(&set, &[1, 3]));
        Ok(())
    }
}
