// SPDX-License-Identifier: GPL-2.0

//! Merging the reserved regions of several devices into one list.

use iommu_core_host::merge::{merge, Region};
use proptest::prelude::*;

fn region(first: u64, last: u64, kind: u32) -> Region {
    Region {
        first,
        last,
        prot: 0,
        kind,
    }
}

fn merged(regions: &[(u64, u64, u32)]) -> Vec<(u64, u64, u32)> {
    let mut regions: Vec<_> = regions
        .iter()
        .map(|&(first, last, kind)| region(first, last, kind))
        .collect();
    let count = merge(&mut regions);
    regions[..count]
        .iter()
        .map(|region| (region.first, region.last, region.kind))
        .collect()
}

#[test]
fn in_order() {
    assert_eq!(merged(&[]), []);
    assert_eq!(merged(&[(5, 6, 0), (1, 2, 0)]), [(1, 2, 0), (5, 6, 0)]);
    assert_eq!(merged(&[(1, 2, 3), (1, 2, 1)]), [(1, 2, 1), (1, 2, 3)]);
}

#[test]
fn regions_of_one_kind_that_overlap_or_touch_are_merged() {
    assert_eq!(merged(&[(1, 4, 0), (3, 6, 0)]), [(1, 6, 0)]);
    assert_eq!(merged(&[(1, 4, 0), (5, 6, 0)]), [(1, 6, 0)]);
    assert_eq!(merged(&[(1, 4, 0), (6, 6, 0)]), [(1, 4, 0), (6, 6, 0)]);
    assert_eq!(merged(&[(1, 9, 0), (3, 4, 0)]), [(1, 9, 0)]);
    assert_eq!(merged(&[(1, 2, 0), (1, 2, 0), (1, 2, 0)]), [(1, 2, 0)]);
}

#[test]
fn other_kinds_in_between_change_nothing() {
    assert_eq!(
        merged(&[(1, 4, 0), (2, 3, 1), (4, 8, 0)]),
        [(1, 8, 0), (2, 3, 1)]
    );
}

#[test]
fn up_to_the_last_byte() {
    assert_eq!(
        merged(&[(u64::MAX, u64::MAX, 0), (0, u64::MAX, 0)]),
        [(0, u64::MAX, 0)]
    );
}

proptest! {
    #[test]
    fn every_byte_keeps_its_kinds(
        regions in prop::collection::vec((0u64..60, 0u64..12, 0u32..3), 0..12),
    ) {
        let regions: Vec<_> = regions
            .into_iter()
            .map(|(first, len, kind)| (first, first + len, kind))
            .collect();
        let result = merged(&regions);
        for byte in 0..80 {
            for kind in 0..3 {
                let covers = |&(first, last, of): &(u64, u64, u32)| {
                    of == kind && (first..=last).contains(&byte)
                };
                let times = result.iter().filter(|region| covers(region)).count();
                prop_assert_eq!(times, usize::from(regions.iter().any(covers)));
            }
        }
        prop_assert!(result.windows(2).all(|pair| (pair[0].0, pair[0].2) < (pair[1].0, pair[1].2)));
    }
}
