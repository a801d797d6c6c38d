// SPDX-License-Identifier: GPL-2.0

//! The facts of an IVRS table.

use std::collections::BTreeSet;

use super::{
    amd::{
        ivrs::{Block, DeviceEntry, Variety},
        scope::{alias_of, ats_disabled, named_for, regions_for, settings_of, special, unit_for},
        Checked,
    },
    print_ids, Report,
};

pub fn parse(bytes: &[u8]) -> Result<Checked<'_>, String> {
    Checked::new(bytes).map_err(|error| error.to_string())
}

impl Report for Checked<'_> {
    fn print(&self) -> usize {
        let table = self.table();
        for words in &self.words {
            println!("odd {words}");
        }
        let (mut units, mut regions) = (0, 0);
        for block in table.blocks() {
            match block {
                Block::Ivhd(_) => units += 1,
                Block::Ivmd(_) => regions += 1,
                Block::Other => {}
            }
        }
        println!("count IVHD {units}");
        println!("count IVMD {regions}");
        let mut segments = BTreeSet::new();
        for unit in table.units() {
            println!("unit {:x} {:04x}", unit.base(), unit.segment());
            segments.insert(unit.segment());
        }
        for region in table.regions() {
            let (first, last) = (region.base(), region.limit());
            println!("region {first:x} {last:x} {:04x}", region.segment());
        }

        let mut lookups = 0;
        for segment in segments {
            lookups += print_ids(segment, |id| {
                let unit = unit_for(table, segment, id)?;
                alias_of(unit, id);
                settings_of(unit, id);
                ats_disabled(unit, id);
                regions_for(table, segment, id).count();
                Some(unit.base())
            });
        }
        for unit in table.units() {
            for entry in unit.entries() {
                match entry {
                    DeviceEntry::Special(device) if device.variety != Variety::Unknown(0) => {
                        assert!(special(table, device.variety, device.handle).is_some());
                    }
                    DeviceEntry::Named(device) => {
                        named_for(table, device.hid, b"0");
                    }
                    _ => continue,
                }
                lookups += 1;
            }
        }
        lookups
    }
}
