// SPDX-License-Identifier: GPL-2.0

//! The facts of a DMAR table.

use std::collections::BTreeSet;

use super::{
    intel::{
        dmar::{ScopeKind, Structure},
        scope::{ids_for, regions_for, translation_cache, unit_for, Device, Location},
        Checked,
    },
    print_ids,
    requester::RequesterId,
    Report,
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
        let mut counts = [0; 6];
        for structure in table.structures() {
            let kind = match structure {
                Structure::Drhd(_) => 0,
                Structure::Rmrr(_) => 1,
                Structure::Atsr(_) => 2,
                Structure::Rhsa(_) => 3,
                Structure::Andd(_) => 4,
                Structure::Satc(_) => 5,
                Structure::Other => continue,
            };
            counts[kind] += 1;
        }
        for (kind, count) in ["DRHD", "RMRR", "ATSR", "RHSA", "ANDD", "SATC"]
            .iter()
            .zip(counts)
        {
            println!("count {kind} {count}");
        }
        let mut segments = BTreeSet::new();
        for unit in table.units() {
            println!("unit {:x} {:04x}", unit.base(), unit.segment());
            segments.insert(unit.segment());
        }
        for region in table.reserved_regions() {
            let (first, last) = (region.base(), region.limit());
            println!("region {first:x} {last:x} {:04x}", region.segment());
        }

        let mut lookups = 0;
        for segment in segments {
            // Every function of every bus, each taken for a root bus.
            lookups += print_ids(segment, |id| {
                let function = RequesterId::new(id.into());
                let device = Device::Function(Location {
                    segment,
                    function,
                    upstream: &[],
                });
                translation_cache(table, device);
                assert!(regions_for(table, device).all(|region| region.segment() == segment));
                unit_for(table, device).map(|unit| unit.base())
            });
        }
        // Every path over bridges leads to a unit that lists it, or to no unit that is used.
        for drhd in table.drhds() {
            for scope in drhd.scopes() {
                let is_pci = matches!(
                    scope.kind(),
                    Some(ScopeKind::Endpoint | ScopeKind::SubHierarchy)
                );
                let devfns: Option<Vec<u8>> = scope.path().map(|hop| hop.devfn()).collect();
                let Some(devfns) = devfns.filter(|devfns| is_pci && !devfns.is_empty()) else {
                    continue;
                };
                // The numbers of the buses below the first do not matter.
                let mut way: Vec<_> = devfns
                    .iter()
                    .enumerate()
                    .map(|(below, devfn)| {
                        RequesterId::pci(scope.start_bus().wrapping_add(below as u8), *devfn)
                    })
                    .collect();
                way.reverse();
                let device = Device::Function(Location {
                    segment: drhd.segment(),
                    function: way[0],
                    upstream: &way[1..],
                });
                let found = unit_for(table, device);
                lookups += 1;
                assert!(found.is_some() || table.units().all(|unit| !unit.is_same_unit(drhd)));
            }
        }
        for structure in table.structures() {
            if let Structure::Andd(named) = structure {
                let device = Device::Named(named.name());
                lookups += 1;
                if let Some(unit) = unit_for(table, device) {
                    lookups += ids_for(table, unit, device).count();
                }
            }
        }
        lookups
    }
}
