// SPDX-License-Identifier: GPL-2.0

//! Sorting in place, in time n log n whatever the order before.
//!
//! The sorts of `core` end in a panic that objtool of Linux 7.3 does not know, so that it warns of
//! each copy ("falls through to next function").

#![forbid(unsafe_code)]

/// Sorts `items` so that their keys ascend. Items with equal keys are in no particular order.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root, &key);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(&mut items[..end], 0, &key);
    }
}

/// Restores the heap order below `root`: no item's key is above its parent's.
fn sift_down<T, K: Ord>(items: &mut [T], mut root: usize, key: &impl Fn(&T) -> K) {
    loop {
        let mut child = 2 * root + 1;
        if child >= items.len() {
            return;
        }
        if child + 1 < items.len() && key(&items[child]) < key(&items[child + 1]) {
            child += 1;
        }
        if key(&items[root]) >= key(&items[child]) {
            return;
        }
        items.swap(root, child);
        root = child;
    }
}
