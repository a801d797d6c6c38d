// SPDX-License-Identifier: GPL-2.0

//! Which unit a device is behind.

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use intel::{
    dmar::Table,
    scope::{
        ids_for, regions_for, translation_cache, unit_for, Device, Location, TranslationCache,
    },
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
    let device = Device::Function(Location {
        segment,
        function,
        upstream,
    });
    unit_for(Table::parse(bytes).unwrap(), device).map(|unit| unit.base())
}

#[test]
fn listed_devices_and_sub_hierarchies() {
    let q = |function, upstream: &[_]| unit(&QEMU, 0, function, upstream);

    assert_eq!(q(id(0, 2, 0), &[]), Some(0xfed9_0000));
    // A bridge that is listed as a sub-hierarchy, a device behind it, and a device two levels
    // below.
    assert_eq!(q(id(0, 3, 0), &[]), Some(0xfed9_0000));
    assert_eq!(q(id(1, 0, 0), &[id(0, 3, 0)]), Some(0xfed9_0000));
    assert_eq!(
        q(id(9, 4, 1), &[id(1, 0, 0), id(0, 3, 0)]),
        Some(0xfed9_0000)
    );
    // A device that is not listed; no unit is for all devices.
    assert_eq!(q(id(0, 6, 0), &[]), None);
    assert_eq!(q(id(0, 2, 1), &[]), None);
    assert_eq!(q(id(1, 0, 0), &[id(0, 6, 0)]), None);
    // A device with the device and function number of a listed device, on another bus.
    assert_eq!(q(id(1, 2, 0), &[id(0, 6, 0)]), None);
    // The path of an I/O APIC does not list a PCI function.
    assert_eq!(q(id(0xff, 0, 0), &[]), None);
}

#[test]
fn segments_have_separate_units() {
    assert_eq!(unit(&QEMU, 1, id(0, 2, 0), &[]), None);
}

#[test]
fn unlisted_devices_belong_to_include_all() {
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

    // 17:02.0 / 00.1, with any number of the secondary bus.
    for bus in [0x18, 0x40, 0xfe] {
        assert_eq!(s(0, id(bus, 0, 1), &[id(0x17, 2, 0)]), Some(0xc7ff_c000));
        assert_eq!(s(0, id(bus, 0, 0), &[id(0x17, 2, 0)]), Some(0xda7f_c000));
        assert_eq!(s(0, id(bus, 0, 1), &[id(0x17, 2, 1)]), Some(0xda7f_c000));
        assert_eq!(s(0, id(bus, 0, 1), &[id(0x16, 2, 0)]), Some(0xda7f_c000));
    }
    // An endpoint scope lists that function only: not a device behind it, and not a bridge above
    // it.
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
    // The other segment has its own unit for all devices.
    assert_eq!(s(1, id(0x17, 0, 0), &[]), Some(0xd17f_c000));
    assert_eq!(s(2, id(0x17, 0, 0), &[]), None);
}

/// A path may start on a bus that is not a root bus, if firmware has assigned the bus number.
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
        let device = Device::Function(Location {
            segment,
            function,
            upstream: &[],
        });
        regions_for(table, device)
            .map(|r| r.base())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0, id(0, 0x14, 0)), [0x9d00_0000]);
    assert_eq!(of(0, id(0, 2, 0)), [0x9f80_0000]);
    assert_eq!(of(0, id(0, 3, 0)), [0u64; 0]);
    assert_eq!(of(1, id(0, 2, 0)), [0u64; 0]);
}

#[test]
fn devices_that_may_cache_translations() {
    let bytes = table(SERVER);
    let cache = |bytes: &[u8], function, upstream: &[_]| {
        let device = Device::Function(Location {
            segment: 0,
            function,
            upstream,
        });
        translation_cache(Table::parse(bytes).unwrap(), device)
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

/// An ANDD structure: device `number` has the path `path`.
fn andd(number: u8, path: &str) -> Vec<u8> {
    let mut bytes = vec![4, 0];
    bytes.extend_from_slice(&(8 + path.len() as u16 + 1).to_le_bytes());
    bytes.extend_from_slice(&[0, 0, 0, number]);
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    bytes
}

/// The unit of the device at `path`, and its ids at that unit.
fn named(bytes: &[u8], path: &str) -> Option<(u64, Vec<u32>)> {
    let table = Table::parse(bytes).unwrap();
    let device = Device::Named(path.as_bytes());
    let unit = unit_for(table, device)?;
    let ids = ids_for(table, unit, device).map(RequesterId::raw);
    Some((unit.base(), ids.collect()))
}

#[test]
fn named_devices() {
    let server = table(SERVER);
    // 00:1e.0, independent of the segment of the unit's PCI devices.
    let found = Some((0xd17f_c000, vec![0x00f0]));
    assert_eq!(named(&server, "\\_SB.I2C0"), found);
    // In ACPICA's notation, and in ASL notation.
    assert_eq!(named(&server, "\\_SB_.I2C0"), found);
    assert_eq!(named(&server, "\\_sb.i2c0"), found);
    // Another device. A unit for all devices of a segment is for PCI devices only (8.4).
    for other in [
        "\\_SB.I2C1",
        "\\_SB.I2C",
        "\\_SB",
        "\\_SB.I2C0.HID0",
        "\\_SB.PCI0.I2C0",
        "I2C0",
        "",
        "\\",
    ] {
        assert_eq!(named(&server, other), None, "{other}");
    }
    assert_eq!(named(&table(LAPTOP), "\\_SB.I2C0"), None);
    // A PCI function with the named device's id is a different device.
    assert_eq!(unit(&server, 0, id(0, 0x1e, 0), &[]), Some(0xda7f_c000));
    let function = Device::Function(Location {
        segment: 1,
        function: id(0, 0x1e, 0),
        upstream: &[],
    });
    let parsed = Table::parse(&server).unwrap();
    let unit = unit_for(parsed, function).unwrap();
    assert_eq!(unit.base(), 0xd17f_c000);
    assert_eq!(ids_for(parsed, unit, function).count(), 0);
}

/// A DRHD for two devices with names, one of them with two ids, and memory that firmware uses with
/// the other.
#[test]
fn named_devices_with_several_ids_and_with_regions() {
    // DRHD, 50 bytes, segment 0, 0xfed90000.
    let mut structures = vec![
        0x00, 0x00, 0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd9, 0xfe, 0x00, 0x00, 0x00,
        0x00,
    ];
    // Device 1 at 00:15.0 and 00:15.1, device 2 behind a bridge, device 3 at fe:1f.7.
    structures.extend([5, 8, 0, 0, 1, 0x00, 0x15, 0]);
    structures.extend([5, 8, 0, 0, 1, 0x00, 0x15, 1]);
    structures.extend([5, 10, 0, 0, 2, 0x00, 0x1c, 0, 0, 0]);
    structures.extend([5, 8, 0, 0, 3, 0xfe, 0x1f, 7]);
    // RMRR, 32 bytes, 0x9d000000-0x9d000fff: device 3.
    structures.extend([
        0x01, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9d, 0x00, 0x00, 0x00,
        0x00, 0xff, 0x0f, 0x00, 0x9d, 0x00, 0x00, 0x00, 0x00,
    ]);
    structures.extend([5, 8, 0, 0, 3, 0xfe, 0x1f, 7]);
    for (number, path) in [(1, "\\_SB.ONE"), (2, "\\_SB.TWO"), (3, "\\_SB.TRI")] {
        structures.extend(andd(number, path));
    }
    // A device number that is assigned twice names both devices.
    structures.extend(andd(3, "\\_SB.PCI0.DREI"));
    let bytes = table(&structures);

    assert_eq!(
        named(&bytes, "\\_SB_.ONE_"),
        Some((0xfed9_0000, vec![0xa8, 0xa9]))
    );
    // The bus number of the device is not known.
    assert_eq!(named(&bytes, "\\_SB_.TWO_"), Some((0xfed9_0000, vec![])));
    for path in ["\\_SB.TRI", "\\_SB_.PCI0.DREI"] {
        assert_eq!(named(&bytes, path), Some((0xfed9_0000, vec![0xfeff])));
    }

    let parsed = Table::parse(&bytes).unwrap();
    let regions = |path: &str| {
        regions_for(parsed, Device::Named(path.as_bytes()))
            .map(|region| region.base())
            .collect::<Vec<_>>()
    };
    assert_eq!(regions("\\_SB.TRI_"), [0x9d00_0000]);
    assert_eq!(regions("\\_SB.ONE_"), [0u64; 0]);
    assert_eq!(
        translation_cache(parsed, Device::Named(b"\\_SB.ONE")),
        TranslationCache::Unsupported
    );
}
