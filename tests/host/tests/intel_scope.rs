// SPDX-License-Identifier: GPL-2.0

//! Which unit a device is behind.

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::blocks;
}

use intel::{
    dmar::Table,
    scope::{regions_for, translation_cache, unit_for, Location, TranslationCache},
    tables::{table, LAPTOP, QEMU, SERVER},
};
use requester::RequesterId;

fn id(bus: u8, device: u8, function: u8) -> RequesterId {
    RequesterId::pci(bus, device << 3 | function)
}

fn unit(
    bytes: &[u8],
    segment: u16,
    function: RequesterId,
    upstream: &[RequesterId],
) -> Option<u64> {
    let location = Location {
        segment,
        function,
        upstream,
    };
    unit_for(Table::parse(bytes).unwrap(), &location).map(|unit| unit.base())
}

#[test]
fn listed_devices_and_sub_hierarchies() {
    let q = |function, upstream: &[_]| unit(&QEMU, 0, function, upstream);

    assert_eq!(q(id(0, 2, 0), &[]), Some(0xfed9_0000));
    // A bridge that is listed as a sub-hierarchy, what is behind it, and two levels down.
    assert_eq!(q(id(0, 3, 0), &[]), Some(0xfed9_0000));
    assert_eq!(q(id(1, 0, 0), &[id(0, 3, 0)]), Some(0xfed9_0000));
    assert_eq!(
        q(id(9, 4, 1), &[id(1, 0, 0), id(0, 3, 0)]),
        Some(0xfed9_0000)
    );
    // Not listed, and no unit takes the rest.
    assert_eq!(q(id(0, 6, 0), &[]), None);
    assert_eq!(q(id(0, 2, 1), &[]), None);
    assert_eq!(q(id(1, 0, 0), &[id(0, 6, 0)]), None);
    // A device with the same device and function number as one listed, on another bus.
    assert_eq!(q(id(1, 2, 0), &[id(0, 6, 0)]), None);
    // An I/O APIC's path is not a function's.
    assert_eq!(q(id(0xff, 0, 0), &[]), None);
}

#[test]
fn another_segment_is_another_world() {
    assert_eq!(unit(&QEMU, 1, id(0, 2, 0), &[]), None);
}

#[test]
fn the_rest_goes_to_include_all() {
    let bytes = table(LAPTOP);
    let l = |function, upstream: &[_]| unit(&bytes, 0, function, upstream);

    assert_eq!(l(id(0, 2, 0), &[]), Some(0xfed9_0000));
    assert_eq!(l(id(0, 0x14, 0), &[]), Some(0xfed9_1000));
    assert_eq!(l(id(4, 0, 0), &[id(0, 0x1c, 0)]), Some(0xfed9_1000));
}

#[test]
fn paths_through_bridges() {
    let bytes = table(SERVER);
    let s = |segment, function, upstream: &[_]| unit(&bytes, segment, function, upstream);

    // 17:02.0 / 00.1, whatever number its bus got.
    for bus in [0x18, 0x40, 0xfe] {
        assert_eq!(s(0, id(bus, 0, 1), &[id(0x17, 2, 0)]), Some(0xc7ff_c000));
        assert_eq!(s(0, id(bus, 0, 0), &[id(0x17, 2, 0)]), Some(0xda7f_c000));
        assert_eq!(s(0, id(bus, 0, 1), &[id(0x17, 2, 1)]), Some(0xda7f_c000));
        assert_eq!(s(0, id(bus, 0, 1), &[id(0x16, 2, 0)]), Some(0xda7f_c000));
    }
    // An endpoint scope names that function, not what is behind it, nor the bridge on its way.
    assert_eq!(
        s(0, id(0x19, 0, 0), &[id(0x18, 0, 1), id(0x17, 2, 0)]),
        Some(0xda7f_c000)
    );
    assert_eq!(s(0, id(0x17, 2, 0), &[]), Some(0xda7f_c000));
    // The sub-hierarchy below 17:00.0.
    assert_eq!(
        s(0, id(0x19, 3, 3), &[id(0x18, 9, 0), id(0x17, 0, 0)]),
        Some(0xc7ff_c000)
    );
    // The other segment has its own unit for everything.
    assert_eq!(s(1, id(0x17, 0, 0), &[]), Some(0xd17f_c000));
    assert_eq!(s(2, id(0x17, 0, 0), &[]), None);
}

/// A path may start on a bus that is not a root bus, if firmware assigned the number.
#[test]
fn a_path_that_starts_below_a_bridge() {
    let bytes = table(SERVER);
    assert_eq!(
        unit(&bytes, 0, id(0x20, 0, 1), &[id(0x17, 2, 0), id(0, 1, 0)]),
        Some(0xc7ff_c000)
    );
}

#[test]
fn regions() {
    let bytes = table(LAPTOP);
    let table = Table::parse(&bytes).unwrap();
    let of = |segment, function| {
        let location = Location {
            segment,
            function,
            upstream: &[],
        };
        regions_for(table, &location)
            .map(|r| r.base())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0, id(0, 0x14, 0)), [0x9d00_0000]);
    assert_eq!(of(0, id(0, 2, 0)), [0x9f80_0000]);
    assert_eq!(of(0, id(0, 3, 0)), [0u64; 0]);
    assert_eq!(of(1, id(0, 2, 0)), [0u64; 0]);
}

#[test]
fn who_may_cache_translations() {
    let bytes = table(SERVER);
    let cache = |bytes: &[u8], function, upstream: &[_]| {
        let location = Location {
            segment: 0,
            function,
            upstream,
        };
        translation_cache(Table::parse(bytes).unwrap(), &location)
    };

    assert_eq!(
        cache(&bytes, id(0x6a, 1, 0), &[]),
        TranslationCache::Required
    );
    assert_eq!(
        cache(&bytes, id(0x18, 0, 1), &[id(0x17, 2, 0)]),
        TranslationCache::Supported
    );
    assert_eq!(
        cache(&bytes, id(0x19, 0, 0), &[id(0x18, 0, 0), id(0x17, 2, 0)]),
        TranslationCache::Supported
    );
    assert_eq!(
        cache(&bytes, id(0x18, 0, 1), &[id(0x17, 3, 0)]),
        TranslationCache::Unsupported
    );
    assert_eq!(
        cache(&bytes, id(0x17, 2, 0), &[]),
        TranslationCache::Unsupported
    );
    assert_eq!(
        cache(&QEMU, id(1, 0, 0), &[id(0, 3, 0)]),
        TranslationCache::Supported
    );
    assert_eq!(
        cache(&table(LAPTOP), id(1, 0, 0), &[id(0, 3, 0)]),
        TranslationCache::Unsupported
    );
}
