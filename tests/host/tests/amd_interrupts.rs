// SPDX-License-Identifier: GPL-2.0

//! Entries of AMD-Vi interrupt tables against bit patterns of the specification.

#[path = "../../../drivers/amd/irte.rs"]
mod irte;
mod targets;

use iommu_core_host::interrupt::{self, Delivery, Target};
use irte::{decode_long, decode_short, long, short, Format};
use proptest::prelude::*;
use targets::{targets, FIXED};

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
}
