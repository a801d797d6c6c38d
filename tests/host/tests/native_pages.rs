// SPDX-License-Identifier: GPL-2.0

//! How a range is split into calls of a driver that maps one page size per call.

use iommu_core_host::{
    addr::PageSizes,
    page_size::{next_run, Run},
};
use proptest::prelude::*;

const K4: u64 = 1 << 12;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;

fn x86() -> PageSizes {
    PageSizes::SZ_4K | PageSizes::SZ_2M | PageSizes::SZ_1G
}

fn run(size: u64, count: u64) -> Option<Run> {
    Some(Run { size, count })
}

#[test]
fn the_largest_page_that_fits() {
    assert_eq!(next_run(x86(), 0, 0, K4), run(K4, 1));
    assert_eq!(next_run(x86(), 0, 0, M2), run(M2, 1));
    assert_eq!(next_run(x86(), 0, 0, G1), run(G1, 1));
    assert_eq!(next_run(x86(), 0, 0, M2 - K4), run(K4, 511));
    // Aligned and shorter than the next size: the whole range.
    assert_eq!(next_run(x86(), G1, 2 * G1, 3 * M2), run(M2, 3));
}

#[test]
fn small_pages_up_to_where_a_larger_one_fits() {
    // 4 KiB short of 2 MiB, and 2 MiB after it.
    assert_eq!(next_run(x86(), M2 - K4, M2 - K4, K4 + M2), run(K4, 1));
    // There is no room for a 2 MiB page after it.
    assert_eq!(next_run(x86(), M2 - K4, M2 - K4, M2), run(K4, 512));
    // 2 MiB pages up to 1 GiB.
    assert_eq!(
        next_run(x86(), G1 - 3 * M2, 5 * G1 - 3 * M2, 2 * G1),
        run(M2, 3)
    );
}

#[test]
fn no_larger_page_if_the_addresses_are_not_mutually_aligned() {
    assert_eq!(next_run(x86(), 0, K4, 4 * M2), run(K4, 1024 * 2));
    assert_eq!(next_run(x86(), M2, G1 + M2 + K4, G1), run(K4, G1 / K4));
}

#[test]
fn nothing() {
    assert_eq!(next_run(x86(), 0, 0, 0), None);
    assert_eq!(next_run(PageSizes::NONE, 0, 0, K4), None);
    assert_eq!(next_run(x86(), 0x800, 0, K4), None);
    assert_eq!(next_run(x86(), 0, 0, 0x800), None);
}

#[test]
fn the_ends_of_the_address_space() {
    let all = PageSizes::new(!0xfff);
    assert_eq!(next_run(all, 0, 0, u64::MAX), run(1 << 63, 1));
    assert_eq!(next_run(all, 1 << 63, 1 << 63, 1 << 63), run(1 << 63, 1));
    let last = u64::MAX - 0xfff;
    assert_eq!(next_run(all, last, last, K4), run(K4, 1));
}

/// The pages of a range one by one: a simple reference that knows no runs.
fn slowly(sizes: PageSizes, mut iova: u64, mut phys: u64, mut len: u64) -> Vec<u64> {
    let mut pages = Vec::new();
    while len > 0 {
        let size = (0..64)
            .rev()
            .map(|bit| 1u64 << bit)
            .find(|&size| {
                sizes.contains(size) && size <= len && iova % size == 0 && phys % size == 0
            })
            .unwrap();
        pages.push(size);
        iova = iova.wrapping_add(size);
        phys = phys.wrapping_add(size);
        len -= size;
    }
    pages
}

proptest! {
    #[test]
    fn the_same_pages_as_one_at_a_time(
        sizes in 0u64..64,
        iova in 0u64..512,
        phys in 0u64..512,
        len in 1u64..700,
    ) {
        // Sizes of 1 to 32 units of 4 KiB, always including the smallest.
        let sizes = PageSizes::new((sizes | 1) << 12);
        let (iova, phys, len) = (iova * K4, phys * K4, len * K4);
        let mut pages = Vec::new();
        let mut done = 0;
        while done < len {
            let run = next_run(sizes, iova + done, phys + done, len - done).unwrap();
            prop_assert!(run.count > 0);
            pages.extend((0..run.count).map(|_| run.size));
            done += run.size * run.count;
        }
        prop_assert_eq!(done, len);
        prop_assert_eq!(pages, slowly(sizes, iova, phys, len));
    }
}
