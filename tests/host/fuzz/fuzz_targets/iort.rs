// SPDX-License-Identifier: GPL-2.0

//! IORT tables: nothing panics, what is accepted holds, and the time is linear.

#![no_main]

#[path = "../../tests/smmu/mod.rs"]
mod smmu;
mod table;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable;
use libfuzzer_sys::fuzz_target;
use smmu::{
    iort::{Stream, Table},
    Checked,
};

fn look_up(table: Table<'_>, stream: Stream<'_>) {
    let base = stream.unit.base();
    assert!(table.unit_at(base).is_some());
    for memory in table.rmrs().take(4) {
        table.concerns(memory, base, stream.id);
        memory.is_device_memory();
    }
}

fn look(bytes: &[u8]) {
    let Ok(checked) = Checked::new(bytes) else {
        return;
    };
    let table = checked.table();
    assert!(checked.words.iter().all(|words| !words.is_empty()));
    for unit in table.units() {
        assert!(unit.base() != 0 && unit.base().checked_add(unit.window() - 1).is_some());
        unit.message_mapping();
        unit.flag_updates();
    }
    for region in table.rmrs().flat_map(|memory| memory.regions()) {
        assert!(region.first() < region.last());
        assert_eq!((region.first() % 4096, region.last() % 4096), (0, 4095));
    }
    // The first of each kind of device.
    if let Some(root) = table.nodes().find_map(|node| node.as_root_complex()) {
        let segment = root.segment();
        for id in [0, 8, 0xff, 0x100, 0xffff] {
            if let Some(stream) = table.stream_of_pci(segment, id) {
                look_up(table, stream);
            }
        }
    }
    let device = table.nodes().find_map(|node| node.as_named());
    if let Some(device) = device {
        let device = table.named(device.path()).expect("it has a name");
        for stream in table.streams_of_named(device).take(4) {
            look_up(table, stream);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    look(bytes);
    let mut table = table::with_header(b"IORT", bytes);
    look(&table);
    // All nodes, from the end of the header on.
    table[36..40].fill(0xff);
    table[40..44].copy_from_slice(&48u32.to_le_bytes());
    look(&table);
    table::check_time(b"IORT", &table, look);
});
