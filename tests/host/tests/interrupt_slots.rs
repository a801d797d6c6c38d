// SPDX-License-Identifier: GPL-2.0

//! Which entries of an interrupt table a reservation gets.

#[path = "../../../drivers/shell/interrupt_slots.rs"]
mod interrupt_slots;

use interrupt_slots::{fit, Reservation};
use iommu_core_host::label::{self, Label};
use proptest::prelude::*;

proptest! {
    /// Reservations do not overlap, lie in the table, are aligned, and stay in order. One fails
    /// only if no aligned gap is large enough.
    #[test]
    fn reservations_fit(
        counts in prop::collection::vec(1u16..=33, 1..60),
        freed in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        length in 32u32..=512,
    ) {
        let mut taken: Vec<Reservation> = Vec::new();
        for (at, &count) in counts.iter().enumerate() {
            let align = u32::from(count).next_power_of_two();
            let is_free = |first: u32| {
                taken.iter().all(|r| {
                    let end = u32::from(r.first) + u32::from(r.count);
                    first >= end || first + u32::from(count) <= u32::from(r.first)
                })
            };
            let mut candidates = (0..length).step_by(align as usize);
            let lowest = candidates.find(|first| first + u32::from(count) <= length && is_free(*first));
            let found = fit(&taken, count, 0..length);
            prop_assert_eq!(found.map(|(first, _)| u32::from(first)), lowest);
            if let Some((first, place)) = found {
                taken.insert(place, Reservation { first, count, user: Label::from("a device") });
                prop_assert!(taken.is_sorted_by_key(|r| r.first));
            }
            if let Some(index) = freed.get(at) {
                if !taken.is_empty() {
                    taken.remove(index.index(taken.len()));
                }
            }
        }
    }
}

#[test]
fn nothing_is_reserved_for_no_interrupt() {
    assert!(fit(&[], 0, 0..256).is_none());
}

/// The last entries that 16 bits can name.
#[test]
fn a_table_is_used_up_to_its_end() {
    let reservation = |first, count| Reservation {
        first,
        count,
        user: Label::from("a device"),
    };
    let most = [reservation(0, 0xffff)];
    assert_eq!(fit(&most, 1, 0..1 << 16), Some((0xffff, 1)));
    assert!(fit(&most, 2, 0..1 << 16).is_none());
    let all = [most[0], reservation(0xffff, 1)];
    assert!(fit(&all, 1, 0..1 << 16).is_none());
    let last: Vec<u16> = reservation(0xfffe, 2).entries().collect();
    assert_eq!(last, [0xfffe, 0xffff]);
}
