// SPDX-License-Identifier: GPL-2.0

//! The unit of a device, and the other parts of the DMAR table that concern a device.

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use intel::{
    scope::{
        ids_for, regions_for, translation_cache, unit_for, Device, Location, TranslationCache,
    },
    tables::{table, LAPTOP, QEMU, SERVER},
    Checked,
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
    unit_for(Checked::new(bytes).unwrap().table(), device).map(|unit| unit.base())
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
    let checked = Checked::new(&bytes).unwrap();
    let table = checked.table();
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
        translation_cache(Checked::new(bytes).unwrap().table(), device)
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
    let checked = Checked::new(bytes).unwrap();
    let table = checked.table();
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
    let checked = Checked::new(&server).unwrap();
    let parsed = checked.table();
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

    let checked = Checked::new(&bytes).unwrap();
    let parsed = checked.table();
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

/// A DRHD structure of segment 0.
fn drhd(include_all: bool, base: u32, scopes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![
        0,
        0,
        16 + scopes.len() as u8,
        0,
        u8::from(include_all),
        0,
        0,
        0,
    ];
    bytes.extend_from_slice(&base.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(scopes);
    bytes
}

const GRAPHICS: [u8; 8] = [1, 8, 0, 0, 0, 0, 2, 0];

/// If a device's unit is left out, the unit for all other devices does not get the device.
#[test]
fn units_that_are_left_out() {
    const REST: u32 = 0xfed9_1000;
    for base in [0, u32::MAX, 0xfed9_0800] {
        let bytes = table(&[drhd(false, base, &GRAPHICS), drhd(true, REST, &[])].concat());
        assert_eq!(unit(&bytes, 0, id(0, 2, 0), &[]), None);
        assert_eq!(unit(&bytes, 0, id(0, 3, 0), &[]), Some(REST.into()));
        // On ThinkPad E15 Gen 2 the other unit is left out.
        let bytes = table(&[drhd(false, REST, &GRAPHICS), drhd(true, base, &[])].concat());
        assert_eq!(unit(&bytes, 0, id(0, 2, 0), &[]), Some(REST.into()));
        assert_eq!(unit(&bytes, 0, id(0, 3, 0), &[]), None);
    }
}

/// Two structures may describe one unit.
#[test]
fn units_that_are_described_twice() {
    const ONE: u32 = 0xfed9_0000;
    let name = [5, 8, 0, 0, 1, 0, 0x15, 0];
    let structures = [
        drhd(false, ONE, &GRAPHICS),
        drhd(true, ONE, &name),
        andd(1, "\\_SB.ONE"),
    ];
    let bytes = table(&structures.concat());
    for device in [2, 3] {
        assert_eq!(unit(&bytes, 0, id(0, device, 0), &[]), Some(ONE.into()));
    }
    assert_eq!(named(&bytes, "\\_SB.ONE"), Some((ONE.into(), vec![0xa8])));
}

/// Two units for all other devices: the first counts, as in Linux.
#[test]
fn two_units_for_all_other_devices() {
    const ONE: u32 = 0xfed9_0000;
    const OTHER: u32 = 0xfed9_1000;
    let bytes = table(&[drhd(true, ONE, &[]), drhd(true, OTHER, &GRAPHICS)].concat());
    assert_eq!(unit(&bytes, 0, id(0, 3, 0), &[]), Some(ONE.into()));
    assert_eq!(unit(&bytes, 0, id(0, 2, 0), &[]), Some(OTHER.into()));
}

/// A path with a device number that cannot exist matches no device.
#[test]
fn paths_that_lead_nowhere() {
    const UNIT: u32 = 0xfed9_0000;
    for (device, function) in [(32, 0), (0, 8), (31, 8), (255, 255), (64 + 2, 0)] {
        let scopes = [
            [1, 8, 0, 0, 0, 0, device, function],
            [2, 8, 0, 0, 0, 0, device, function],
            [5, 8, 0, 0, 1, 0, device, function],
        ];
        let bytes = table(&[drhd(false, UNIT, &scopes.concat()), andd(1, "A")].concat());
        for devfn in 0..=u8::MAX {
            let function = RequesterId::pci(0, devfn);
            assert_eq!(unit(&bytes, 0, function, &[]), None);
            assert_eq!(unit(&bytes, 0, id(1, 0, 0), &[function]), None);
        }
        // The device is behind the unit, but has no id, so the unit blocks it.
        assert_eq!(named(&bytes, "A"), Some((UNIT.into(), vec![])));
    }
    // A path with half an entry at the end: the whole entries count.
    let bytes = table(&drhd(false, UNIT, &[1, 9, 0, 0, 0, 0, 2, 0, 7]));
    assert_eq!(unit(&bytes, 0, id(0, 2, 0), &[]), Some(UNIT.into()));
}

/// A region that does not consist of whole pages gets all pages that it touches. A region without
/// bytes is left out.
#[test]
fn odd_regions() {
    let rmrr = |base: u32, limit: u32| {
        let mut bytes = vec![1, 0, 32, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&u64::from(base).to_le_bytes());
        bytes.extend_from_slice(&u64::from(limit).to_le_bytes());
        bytes.extend_from_slice(&GRAPHICS);
        bytes
    };
    let bytes = table(&[rmrr(0, 0), rmrr(0xe_4000, 0xe_8bff), rmrr(0x8000, 0x7fff)].concat());
    let checked = Checked::new(&bytes).unwrap();
    let device = Device::Function(Location {
        segment: 0,
        function: id(0, 2, 0),
        upstream: &[],
    });
    let regions = regions_for(checked.table(), device);
    assert!(regions
        .map(|region| (region.base(), region.limit()))
        .eq([(0xe_4000, 0xe_8fff)]));
}
