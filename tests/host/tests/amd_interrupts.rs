// SPDX-License-Identifier: GPL-2.0

//! Entries of AMD-Vi interrupt tables against bit patterns of the specification, and which entries
//! a reservation gets.

#[path = "../../../drivers/amd/irte.rs"]
mod irte;
#[path = "../../../drivers/amd/irte_slots.rs"]
mod irte_slots;

use iommu_core_host::{
    interrupt::{self, Delivery, Target},
    label::{self, Label},
};
use irte::{decode_long, decode_short, long, short, Format};
use irte_slots::{fit, Reservation};
use proptest::prelude::*;

const FIXED: Target = Target {
    vector: 0xa5,
    delivery: Delivery::Fixed,
    logical: false,
    destination: 0x3c,
};

/// AMD-Vi 2.2.5.1: RemapEn bit 0, SupIOPF bit 1, IntType bits 4:2, RqEoi bit 5, DM bit 6,
/// destination bits 15:8, vector bits 23:16.
#[test]
fn short_entries() {
    assert_eq!(short(None), 0);
    assert_eq!(short(Some(FIXED)), 0x00a5_3c01);
    let logical = Target {
        logical: true,
        ..FIXED
    };
    assert_eq!(short(Some(logical)), 0x00a5_3c41);
    let lowest = Target {
        delivery: Delivery::LowestPriority,
        ..FIXED
    };
    assert_eq!(short(Some(lowest)), 0x00a5_3c05);
}

/// AMD-Vi 2.2.5.2: as short entries, but GuestMode bit 7, destination bits 31:8 and 127:120, vector
/// bits 71:64.
#[test]
fn long_entries() {
    assert_eq!(long(None), [0, 0]);
    assert_eq!(long(Some(FIXED)), [0x3c01, 0xa5]);
    let far = Target {
        destination: 0x1234_5678,
        logical: true,
        ..FIXED
    };
    assert_eq!(long(Some(far)), [0x3456_7841, 0x1200_0000_0000_00a5]);
}

#[test]
fn formats_reach_as_far_as_their_destinations() {
    assert!(Format::Short.reaches(0xff) && !Format::Short.reaches(0x100));
    let near = Format::Long { x2apic: false };
    assert!(near.reaches(0xff) && !near.reaches(0x100));
    assert!(Format::Long { x2apic: true }.reaches(u32::MAX));
    assert_eq!((Format::Short.bytes(), near.bytes()), (4, 16));
}

/// PCI 6.8.1, and the processors' manuals: bits 10:8 of a message's data are the delivery mode.
#[test]
fn only_fixed_and_lowest_priority_interrupts_are_remapped() {
    assert_eq!(Delivery::from_data(0x0021), Some(Delivery::Fixed));
    assert_eq!(Delivery::from_data(0x0121), Some(Delivery::LowestPriority));
    for mode in 2..8 {
        assert_eq!(Delivery::from_data(mode << 8), None);
    }
}

fn targets() -> impl Strategy<Value = Target> {
    let delivery = prop_oneof![Just(Delivery::Fixed), Just(Delivery::LowestPriority)];
    (any::<u8>(), delivery, any::<bool>(), any::<u32>()).prop_map(
        |(vector, delivery, logical, destination)| Target {
            vector,
            delivery,
            logical,
            destination,
        },
    )
}

proptest! {
    #[test]
    fn entries_are_read_as_they_were_written(target in targets()) {
        prop_assert_eq!(decode_long(long(Some(target))), Some(target));
        let near = Target { destination: target.destination & 0xff, ..target };
        prop_assert_eq!(decode_short(short(Some(near))), Some(near));
        // Reserved bits, SupIOPF, RqEoi and GuestMode are 0.
        let [low, high] = long(Some(target));
        prop_assert_eq!(low & 0xffff_ffff_0000_00a2, 0);
        prop_assert_eq!(high & 0x00ff_ffff_ffff_ff00, 0);
        prop_assert_eq!(short(Some(target)) & 0xff00_00a2, 0);
    }

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
