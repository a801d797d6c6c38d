// SPDX-License-Identifier: GPL-2.0

//! Entries of VT-d interrupt tables, and messages, against bit patterns of the specification.

#[path = "../../../drivers/intel/irte.rs"]
mod irte;
mod targets;

use iommu_core_host::{
    interrupt::{self, Delivery, Message, Target},
    requester::{self, RequesterId},
};
use irte::{decode_lower, lower, message, reaches, Source};
use proptest::prelude::*;
use targets::{targets, FIXED};

/// VT-d 9.9: P bit 0, DM bit 2, RH bit 3, DLM bits 7:5, vector bits 23:16, destination bits 63:32,
/// of which only bits 47:40 count without EIME.
#[test]
fn lower_halves() {
    assert_eq!(lower(None, true), 0);
    assert_eq!(lower(Some(FIXED), false), 0x0000_3c00_00a5_0001);
    let far = Target {
        destination: 0x1234_5678,
        logical: true,
        ..FIXED
    };
    assert_eq!(lower(Some(far), true), 0x1234_5678_00a5_0005);
    let lowest = Target {
        delivery: Delivery::LowestPriority,
        logical: true,
        ..FIXED
    };
    assert_eq!(lower(Some(lowest), false), 0x0000_3c00_00a5_002d);
}

/// VT-d 9.9: SID bits 79:64, SQ bits 81:80, SVT bits 83:82 (1: by id, 2: by bus).
#[test]
fn upper_halves() {
    let id = Source::Id(RequesterId::pci(0x3a, 0x1d));
    assert_eq!(id.upper(), 0x4_3a1d);
    assert_eq!(Source::Bus(0x07).upper(), 0x8_0707);
    for source in [id, Source::Bus(0x07)] {
        assert_eq!(Source::decode(source.upper()), Some(source));
    }
    // An entry that checks nothing, and a reserved check.
    assert_eq!(Source::decode(0x3a1d), None);
    assert_eq!(Source::decode(0xc_3a1d), None);
}

/// VT-d 5.1.2.2: handle bits 14:0 in bits 19:5 of the address and bit 15 in bit 2, format in bit 4,
/// SHV in bit 3.
#[test]
fn messages() {
    let of = |address| Message { address, data: 0 };
    assert_eq!(message(0), of(0xfee0_0018));
    assert_eq!(message(1), of(0xfee0_0038));
    assert_eq!(message(0x7fff), of(0xfeef_fff8));
    assert_eq!(message(0x8000), of(0xfee0_001c));
    assert_eq!(message(0xffff), of(0xfeef_fffc));
}

#[test]
fn destinations_without_x2apic_have_8_bits() {
    assert!(reaches(0xff, false) && !reaches(0x100, false));
    assert!(reaches(u32::MAX, true));
}

/// Of a device that sends requests with one id, and of devices behind a bridge to PCI. An entry
/// must take no message of a device in another group.
#[test]
fn sources_of_devices() {
    let id = |bus, devfn| RequesterId::pci(bus, devfn);
    let own = id(3, 0x10);
    assert_eq!(Source::of(&[own]), Some(Source::Id(own)));
    assert_eq!(Source::of(&[own, own]), Some(Source::Id(own)));
    assert_eq!(Source::of(&[own, id(3, 0)]), Some(Source::Bus(3)));
    // Another function of the device, and a bridge that sends everything with its own id.
    assert_eq!(Source::of(&[own, id(3, 0x11)]), None);
    assert_eq!(Source::of(&[own, id(0, 0xf0)]), None);
    assert_eq!(Source::of(&[]), None);
}

proptest! {
    #[test]
    fn entries_are_read_as_they_were_written(target in targets()) {
        prop_assert_eq!(decode_lower(lower(Some(target), true), true), Some(target));
        let near = Target { destination: target.destination & 0xff, ..target };
        prop_assert_eq!(decode_lower(lower(Some(target), false), false), Some(near));
        // FPD, TM, IM and reserved bits are 0.
        prop_assert_eq!(lower(Some(target), true) & 0xff00_ff12, 0);
        prop_assert_eq!(lower(Some(target), false) & 0xffff_00ff_ff00_ff12, 0);
    }

    #[test]
    fn a_source_takes_all_ids_of_its_device(
        bus in any::<u8>(),
        devfns in prop::collection::vec(any::<u8>(), 1..4),
        other in any::<u16>(),
    ) {
        let ids: Vec<_> = devfns.iter().map(|&devfn| RequesterId::pci(bus, devfn)).collect();
        if let Some(source) = Source::of(&ids) {
            prop_assert!(ids.iter().all(|&id| source.takes(id)));
            let other = RequesterId::new(other.into());
            prop_assert!(!source.takes(other) || other.bus() == bus);
        }
    }
}
