// SPDX-License-Identifier: GPL-2.0

//! DMAR tables: no input panics, accepted tables are consistent, and the times are linear.

#![no_main]

#[path = "../../tests/intel/mod.rs"]
mod intel;
#[allow(dead_code)]
#[path = "../../../../requester.rs"]
mod requester;
mod table;
mod drivers {
    pub use iommu_core_host::shell;
}

use intel::{
    dmar::{Structure, Table},
    scope::{ids_for, regions_for, translation_cache, unit_for, Device, Location},
    Checked,
};
use libfuzzer_sys::fuzz_target;
use requester::RequesterId;

fn look_up(table: Table<'_>, device: Device<'_>) {
    if let Some(unit) = unit_for(table, device) {
        assert!(table.units().any(|used| used.base() == unit.base()));
        ids_for(table, unit, device).count();
    }
    regions_for(table, device).count();
    translation_cache(table, device);
}

fn function(segment: u16, id: u16, upstream: &[RequesterId]) -> Device<'_> {
    Device::Function(Location {
        segment,
        function: RequesterId::new(id.into()),
        upstream,
    })
}

fn look(bytes: &[u8]) {
    let Ok(checked) = Checked::new(bytes) else {
        return;
    };
    let table = checked.table();
    assert!(checked.words.iter().all(|words| !words.is_empty()));
    for unit in table.units() {
        assert!(unit.base() != 0 && unit.base() % 4096 == 0);
        assert!(unit.base().checked_add(unit.window() - 1).is_some());
    }
    for region in table.reserved_regions() {
        assert!(region.base() < region.limit());
        assert_eq!((region.base() % 4096, region.limit() % 4096), (0, 4095));
    }
    // The first of each kind of device.
    if let Some(unit) = table.drhds().next() {
        let segment = unit.segment();
        for scope in unit.scopes().take(4) {
            let mut way: Vec<_> = scope
                .path()
                .filter_map(|hop| hop.devfn())
                .map(|devfn| RequesterId::pci(scope.start_bus(), devfn))
                .collect();
            way.reverse();
            if let [function, upstream @ ..] = &way[..] {
                look_up(
                    table,
                    Device::Function(Location {
                        segment,
                        function: *function,
                        upstream,
                    }),
                );
            }
        }
        look_up(table, function(segment, 0xfff8, &[]));
    }
    let named = table.structures().find_map(|structure| match structure {
        Structure::Andd(named) => Some(named.name()),
        _ => None,
    });
    look_up(table, Device::Named(named.unwrap_or(b"\\_SB.X")));
}

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    let table = table::with_header(b"DMAR", bytes);
    look(&table);
    table::check_time(b"DMAR", &table, look);
});
