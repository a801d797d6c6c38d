// SPDX-License-Identifier: GPL-2.0

//! The unit of a device, and its settings in the IVRS table.

mod amd;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use amd::{
    ivrs::{Settings, UniqueId, Usage, Variety},
    scope::{
        alias_of, ats_disabled, claims, last_device, named, named_for, regions_for, settings_of,
        special, unit_for,
    },
    tables::{table, LAPTOP, QEMU, SERVER},
    Checked,
};

fn unit(bytes: &[u8], segment: u16, device: u16) -> Option<u64> {
    unit_for(Checked::new(bytes).unwrap().table(), segment, device).map(|unit| unit.base())
}

/// A unit of type 11h at 00:00.2 of segment 0.
fn unit_with(entries: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x11, 0];
    bytes.extend_from_slice(&(40 + entries.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[2, 0, 0x40, 0, 0, 0, 0xd8, 0xfe]);
    bytes.resize(40, 0);
    bytes.extend_from_slice(entries);
    bytes
}

#[test]
fn qemu() {
    const UNIT: Option<u64> = Some(0xfed8_0000);
    for device in [0x00, 0x08, 0xf8, 0xfa, 0xfb, 0xa0] {
        assert_eq!(unit(&QEMU, 0, device), UNIT, "{device:#x}");
    }
    // No unit translates: the unit itself, although it is listed; a device that is not listed;
    // another segment.
    assert_eq!(unit(&QEMU, 0, 0x10), None);
    assert_eq!(unit(&QEMU, 0, 0x18), None);
    assert_eq!(unit(&QEMU, 0, 0x100), None);
    assert_eq!(unit(&QEMU, 1, 0x08), None);
    assert_eq!(
        last_device(Checked::new(&QEMU).unwrap().table(), 0),
        Some(0xfb)
    );
    assert_eq!(last_device(Checked::new(&QEMU).unwrap().table(), 1), None);
}

#[test]
fn laptop() {
    const UNIT: Option<u64> = Some(0xfd20_0000);
    assert_eq!(unit(&LAPTOP, 0, 3), UNIT);
    assert_eq!(unit(&LAPTOP, 0, 0xfffe), UNIT);
    assert_eq!(unit(&LAPTOP, 0, 0xffff), UNIT);
    // An id below the range, listed only for a special device.
    assert_eq!(unit(&LAPTOP, 0, 1), UNIT);
    assert_eq!(unit(&LAPTOP, 0, 0), None);
    assert_eq!(unit(&LAPTOP, 0, 2), None);

    let checked = Checked::new(&LAPTOP).unwrap();
    let table = checked.table();
    let the_unit = table.units().next().unwrap();
    assert_eq!(alias_of(the_unit, 0xfeff), None);
    for device in [0xff00, 0xff80, 0xffff] {
        assert_eq!(alias_of(the_unit, device), Some(0xa5));
    }
    // The range for all devices has no settings; two special devices and a named device have some.
    assert_eq!(settings_of(the_unit, 0x100), Settings::NONE);
    assert_eq!(settings_of(the_unit, 0xa0), Settings(0xd7));
    assert_eq!(settings_of(the_unit, 0xa5), Settings(0x40));

    let regions = |device| {
        regions_for(table, 0, device)
            .map(|region| region.base())
            .collect::<Vec<_>>()
    };
    assert_eq!(regions(0x60), [0x7d90_0000]);
    assert_eq!(regions(0xc407), [0x7600_0000]);
    assert_eq!(regions(0x61), [0u64; 0]);
    assert_eq!(regions_for(table, 1, 0x60).count(), 0);
    assert_eq!(last_device(table, 0), Some(0xffff));

    let (behind, apic) = special(table, Variety::IoApic, 0x22).unwrap();
    assert_eq!((behind.base(), apic.device), (0xfd20_0000, 1));
    let (_, timer) = special(table, Variety::Hpet, 0).unwrap();
    assert_eq!(timer.device, 0xa0);
    assert!(special(table, Variety::IoApic, 0).is_none());

    let names: Vec<_> = named(table)
        .map(|(unit, named)| (unit.base(), named.device, named.hid, named.uid))
        .collect();
    assert_eq!(names.len(), 6);
    assert_eq!(
        names[4],
        (0xfd20_0000, 0x60, &b"MSFT0201"[..], UniqueId::Integer(1))
    );

    let find = |hid: &str, uid: &str| {
        named_for(table, hid.as_bytes(), uid.as_bytes())
            .map(|(unit, named)| (unit.base(), named.device))
    };
    assert_eq!(find("AMDI0020", "ID00"), Some((0xfd20_0000, 0xa5)));
    assert_eq!(find("AMDI0020", "ID04"), Some((0xfd20_0000, 0xa5)));
    assert_eq!(find("MSFT0201", "1"), Some((0xfd20_0000, 0x60)));
    // The only device with this hardware id matches with any unique id.
    assert_eq!(find("MSFT0201", "2"), Some((0xfd20_0000, 0x60)));
    assert_eq!(find("MSFT0201", ""), Some((0xfd20_0000, 0x60)));
    // If there are several such devices, the unique id must match.
    assert_eq!(find("AMDI0020", "ID05"), None);
    assert_eq!(find("AMDI0020", ""), None);
    assert_eq!(find("AMDI0021", "ID00"), None);
    assert_eq!(find("AMDI002", "ID00"), None);
    assert_eq!(find("", ""), None);
}

#[test]
fn server() {
    let bytes = table(SERVER);
    let s = |segment, device| unit(&bytes, segment, device);
    const ALL: Option<u64> = Some(0xf010_0000);
    const LISTED: Option<u64> = Some(0xf020_0000);
    const OTHER: Option<u64> = Some(0x10_f030_0000);

    // A listed device is behind the unit that lists it, in any order of the units. All other
    // devices are behind the unit for all devices.
    assert_eq!(s(0, 0x4008), LISTED);
    assert_eq!(s(0, 0x4010), LISTED);
    assert_eq!(s(0, 0x41ff), LISTED);
    assert_eq!(s(0, 0x4200), LISTED);
    assert_eq!(s(0, 0x43ff), LISTED);
    assert_eq!(s(0, 0x400f), ALL);
    assert_eq!(s(0, 0x4202), ALL);
    assert_eq!(s(0, 0), ALL);
    assert_eq!(s(0, 0xffff), ALL);
    // Aliases that no other entry lists, and special devices.
    assert_eq!(s(0, 0x4201), LISTED);
    assert_eq!(s(0, 0x4210), LISTED);
    assert_eq!(s(0, 0x40a1), LISTED);
    // The units themselves.
    assert_eq!(s(0, 2), None);
    assert_eq!(s(0, 0x4002), None);
    assert_eq!(s(1, 2), None);
    // The second segment has its own units, the third has none.
    assert_eq!(s(1, 0x4008), OTHER);
    assert_eq!(s(1, 0x4002), OTHER);
    assert_eq!(s(2, 0x4008), None);

    let checked = Checked::new(&bytes).unwrap();
    let table = checked.table();
    let units: Vec<_> = table.units().collect();
    assert_eq!(alias_of(units[1], 0x4200), Some(0x4201));
    assert_eq!(alias_of(units[1], 0x4300), Some(0x4210));
    assert_eq!(alias_of(units[1], 0x4201), None);
    assert_eq!(alias_of(units[0], 0x4200), None);
    assert!(ats_disabled(units[1], 0x4400));
    assert!(!ats_disabled(units[1], 0x4500));
    assert!(!ats_disabled(units[0], 0x4400));
    assert_eq!(settings_of(units[1], 0x4008), Settings(0x45));
    assert_eq!(settings_of(units[1], 0x4100), Settings(0x10));
    // An alias gets the settings of the device that uses it.
    assert_eq!(settings_of(units[1], 0x4200), Settings(0x02));
    assert_eq!(settings_of(units[1], 0x4201), Settings(0x02));

    let regions = |segment, device| {
        regions_for(table, segment, device)
            .map(|region| (region.base(), region.usage()))
            .collect::<Vec<_>>()
    };
    let unity = |read, write| Usage::Unity { read, write };
    assert_eq!(
        regions(0, 0x4008),
        [
            (0x9f80_0000, unity(true, true)),
            (0x1_0000_0000, unity(true, true))
        ]
    );
    assert_eq!(regions(0, 0x41ff), [(0x1_0000_0000, unity(true, true))]);
    assert_eq!(regions(0, 0x4200), []);
    assert_eq!(regions(1, 0x77), [(0x9d00_0000, unity(true, false))]);
    assert_eq!(last_device(table, 0), Some(0xffff));
}

/// Several entries for one device, as in the C driver: the last alias, and the settings of the
/// smallest range, the first of equal ones.
#[test]
fn entries_that_overlap() {
    let bytes = table(&unit_with(&[
        // 00:01.0 to 00:1f.7 with alias 00:14.0 and INIT; 00:02.0 with alias 00:15.0 and no
        // setting; 00:03.0 with EInt, then with NMI; 00:04.0 with itself as alias; all devices with
        // Lint1.
        0x43, 0x08, 0x00, 0x01, 0x00, 0xa0, 0x00, 0x00, 0x04, 0xff, 0x00, 0x00, //
        0x42, 0x10, 0x00, 0x00, 0x00, 0xa8, 0x00, 0x00, //
        0x02, 0x18, 0x00, 0x02, 0x02, 0x18, 0x00, 0x04, //
        0x42, 0x20, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, //
        0x01, 0x00, 0x00, 0x80,
    ]));
    let checked = Checked::new(&bytes).unwrap();
    let unit = checked.table().units().next().unwrap();
    assert_eq!(alias_of(unit, 0x08), Some(0xa0));
    assert_eq!(alias_of(unit, 0x10), Some(0xa8));
    assert_eq!(alias_of(unit, 0x20), None);
    assert_eq!(alias_of(unit, 0x100), None);
    assert_eq!(alias_of(unit, 0xa0), None);
    assert_eq!(settings_of(unit, 0x08), Settings(0x01));
    assert_eq!(settings_of(unit, 0x10), Settings(0x01));
    assert_eq!(settings_of(unit, 0x18), Settings(0x02));
    assert_eq!(settings_of(unit, 0x100), Settings(0x80));
    assert_eq!(
        last_device(Checked::new(&bytes).unwrap().table(), 0),
        Some(0xffff)
    );
}

/// A unit of type 11h of segment 0.
fn unit_at(device: u16, base: u32, entries: &[u8]) -> Vec<u8> {
    let mut bytes = unit_with(entries);
    bytes[4..6].copy_from_slice(&device.to_le_bytes());
    bytes[8..12].copy_from_slice(&base.to_le_bytes());
    bytes
}

/// Of several units that claim a device the last one gets it, as in Linux: ASUS X399-A and ROG
/// Zenith II have two.
#[test]
fn units_that_claim_the_same_device() {
    const FIRST: u32 = 0xfed8_0000;
    const SECOND: u32 = 0xfed8_4000;
    let found = |one: &[u8], other: &[u8], device| {
        let blocks = [unit_at(2, FIRST, one), unit_at(3, SECOND, other)].concat();
        let bytes = table(&blocks);
        let checked = Checked::new(&bytes).unwrap();
        assert_eq!(checked.words, [] as [&str; 0]);
        let unit = unit_for(checked.table(), 0, device).map(|unit| unit.base() as u32);
        (unit, claims(checked.table(), 0, device).count())
    };
    let range = [3, 0, 0x10, 0, 4, 0xff, 0x1f, 0];
    let single = [2, 0x41, 0x15, 0];
    let all = [1, 0, 0, 0];

    assert_eq!(found(&range, &single, 0x1541), (Some(SECOND), 2));
    assert_eq!(found(&single, &range, 0x1541), (Some(SECOND), 2));
    assert_eq!(found(&single, &range, 0x1540), (Some(SECOND), 1));
    assert_eq!(found(&range, &single, 0x1540), (Some(FIRST), 1));
    assert_eq!(found(&range, &range, 0x1fff), (Some(SECOND), 2));
    assert_eq!(found(&range, &range, 0x2000), (None, 0));
    // A unit may list a device twice.
    let twice = [range, range].concat();
    assert_eq!(found(&twice, &[], 0x1541), (Some(FIRST), 1));
    // A unit that lists the device comes before a unit for all devices.
    assert_eq!(found(&single, &all, 0x1541), (Some(FIRST), 1));
    assert_eq!(found(&all, &single, 0x1541), (Some(SECOND), 1));
    assert_eq!(found(&all, &all, 0x1541), (Some(SECOND), 2));
    // The units themselves.
    assert_eq!(found(&all, &all, 2), (None, 0));
    assert_eq!(found(&all, &all, 3), (None, 0));
}

/// If a device's unit is left out, no other unit gets the device.
#[test]
fn units_that_are_left_out() {
    const GOOD: u32 = 0xfed8_0000;
    let all = [1, 0, 0, 0];
    let single = [2, 0x41, 0x15, 0];
    for base in [0, GOOD + 0x1000, GOOD] {
        for swapped in [false, true] {
            // The second unit at the same base is left out.
            if base == GOOD && swapped {
                continue;
            }
            let mut blocks = [unit_at(2, GOOD, &all), unit_at(3, base, &single)];
            if swapped {
                blocks.reverse();
            }
            let bytes = table(&blocks.concat());
            let checked = Checked::new(&bytes).unwrap();
            assert_eq!(checked.words.len(), 1);
            assert_eq!(checked.table().units().count(), 1);
            let unit = |device| unit_for(checked.table(), 0, device).map(|unit| unit.device());
            assert_eq!(unit(0x1540), Some(2));
            assert_eq!(unit(0x1541), None);
            // Also then, the unit's own function is behind no unit.
            assert_eq!(unit(3), None);
        }
    }
}
