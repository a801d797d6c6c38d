// SPDX-License-Identifier: GPL-2.0

//! IVRS tables: no input panics, accepted tables are consistent, and the times are linear.

#![no_main]

#[path = "../../tests/amd/mod.rs"]
mod amd;
#[allow(dead_code)]
#[path = "../../../../requester.rs"]
mod requester;
mod table;
mod drivers {
    pub use iommu_core_host::shell;
}

use amd::{
    ivrs::{DeviceEntry, Table, Variety},
    scope::{
        alias_of, ats_disabled, last_device, named_for, regions_for, settings_of, special, unit_for,
    },
    Checked,
};
use libfuzzer_sys::fuzz_target;

fn look_up(table: Table<'_>, segment: u16, device: u16) {
    if let Some(unit) = unit_for(table, segment, device) {
        assert!(table.units().any(|used| used.base() == unit.base()));
        assert_ne!(unit.device(), device);
        alias_of(unit, device);
        settings_of(unit, device);
        ats_disabled(unit, device);
    }
    for region in regions_for(table, segment, device) {
        assert!(region.base() < region.limit());
        assert_eq!((region.base() % 4096, region.limit() % 4096), (0, 4095));
        region.usage();
    }
    last_device(table, segment);
}

fn look(bytes: &[u8]) {
    let Ok(checked) = Checked::new(bytes) else {
        return;
    };
    let table = checked.table();
    assert!(checked.words.iter().all(|words| !words.is_empty()));
    let mut bases: Vec<_> = table.units().map(|unit| unit.base()).collect();
    let units = bases.len();
    bases.sort_unstable();
    bases.dedup();
    assert_eq!(bases.len(), units);
    assert!(bases.iter().all(|base| *base != 0 && *base % 0x4000 == 0));

    if let Some(unit) = table.units().next() {
        unit.features(table.info(), [1, 2]);
        for entry in unit.entries().take(4) {
            look_up(table, unit.segment(), entry.last_id());
            match entry {
                DeviceEntry::Devices(devices) => assert!(devices.first <= devices.last),
                DeviceEntry::Named(named) => {
                    assert!((1..=8).contains(&named.hid.len()));
                    named_for(table, named.hid, b"1");
                }
                DeviceEntry::Special(_) => {}
            }
        }
        look_up(table, unit.segment(), 0xfff8);
    }
    special(table, Variety::IoApic, 0);
}

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    let table = table::with_header(b"IVRS", bytes);
    look(&table);
    table::check_time(b"IVRS", &table, look);
});
