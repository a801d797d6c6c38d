// SPDX-License-Identifier: GPL-2.0

//! Tags: each id is allocated once, all ids are allocated, and reserved ids are not.

use iommu_core_host::shell::tags::Tags;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn ids(limit: u32, reserved: u32) -> Tags<Vec<u64>> {
    let words = vec![u64::MAX; Tags::<Vec<u64>>::words_for(limit)];
    Tags::new(words, limit, reserved).unwrap()
}

#[test]
fn all_of_them_and_no_more() {
    for (limit, reserved) in [(16, 0), (16, 1), (64, 1), (65, 2), (256, 1), (65536, 1)] {
        let mut ids = ids(limit, reserved);
        assert_eq!(ids.capacity(), limit - reserved);
        let taken: BTreeSet<u16> = core::iter::from_fn(|| ids.take()).collect();
        assert_eq!(taken.len() as u32, limit - reserved);
        assert_eq!(u32::from(*taken.first().unwrap()), reserved);
        assert_eq!(u32::from(*taken.last().unwrap()), limit - 1);
        assert_eq!(ids.used(), ids.capacity());
        assert_eq!(ids.take(), None);

        assert!(ids.give_back(7));
        assert!(!ids.is_taken(7));
        assert_eq!(ids.take(), Some(7));
        assert_eq!(ids.take(), None);
    }
}

#[test]
fn a_freed_id_is_not_reused_at_once() {
    let mut ids = ids(16, 1);
    assert_eq!(ids.take(), Some(1));
    assert_eq!(ids.take(), Some(2));
    assert!(ids.give_back(1));
    assert_eq!(ids.take(), Some(3));
    for id in 4..16 {
        assert_eq!(ids.take(), Some(id));
    }
    assert_eq!(ids.take(), Some(1));
}

#[test]
fn an_id_not_in_use_cannot_be_freed() {
    let mut ids = ids(16, 1);
    for id in [0, 1, 15, 16, 63, 64, u16::MAX] {
        assert!(!ids.give_back(id), "{id}");
    }
    assert_eq!(ids.used(), 0);
    assert_eq!(ids.take(), Some(1));
    assert!(ids.give_back(1));
    assert!(!ids.give_back(1));
}

#[test]
fn bad_arguments() {
    assert!(Tags::new(vec![0u64; 1], 16, 16).is_none());
    assert!(Tags::new(vec![0u64; 1], 65, 0).is_none());
    assert!(Tags::new(vec![0u64; 2], 64, 0).is_none());
    assert!(Tags::new(vec![0u64; 1025], 65537, 0).is_none());
    assert!(Tags::new(vec![0u64; 0], 0, 0).is_none());
}

proptest! {
    /// Any sequence behaves like a set.
    #[test]
    fn like_a_set(
        limit in 2u32..200,
        reserved in 0u32..2,
        steps in prop::collection::vec((any::<bool>(), 0u16..220), 0..600),
    ) {
        let mut ids = ids(limit, reserved);
        let mut model = BTreeSet::new();
        for (take, id) in steps {
            if take {
                match ids.take() {
                    Some(id) => {
                        prop_assert!((reserved..limit).contains(&u32::from(id)));
                        prop_assert!(model.insert(id));
                    }
                    None => prop_assert_eq!(model.len() as u32, limit - reserved),
                }
            } else {
                prop_assert_eq!(ids.give_back(id), model.remove(&id));
            }
            prop_assert_eq!(ids.used() as usize, model.len());
        }
    }
}
