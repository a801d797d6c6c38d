// SPDX-License-Identifier: GPL-2.0

//! What an IORT says.

use super::{
    print_runs,
    smmu::{iort::Kind, Checked},
    Report,
};

pub fn parse(bytes: &[u8]) -> Result<Checked<'_>, String> {
    Checked::new(bytes).map_err(|error| error.to_string())
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::ItsGroup, "ITS"),
    (Kind::NamedComponent, "NC"),
    (Kind::RootComplex, "RC"),
    (Kind::Smmu, "SMMU"),
    (Kind::SmmuV3, "SMMUv3"),
    (Kind::Pmcg, "PMCG"),
    (Kind::Rmr, "RMR"),
    (Kind::Iwb, "IWB"),
];

impl Report for Checked<'_> {
    fn print(&self) -> usize {
        let table = self.table();
        for words in &self.words {
            println!("odd {words}");
        }
        for (kind, name) in KINDS {
            let count = table.nodes().filter(|node| node.kind() == kind).count();
            println!("count {name} {count}");
        }
        for unit in table.units() {
            println!("unit {:x} 0", unit.base());
        }
        for region in table.rmrs().flat_map(|memory| memory.regions()) {
            println!("region {:x} {:x} 0", region.first(), region.last());
        }

        let mut lookups = 0;
        for root in table.nodes().filter_map(|node| node.as_root_complex()) {
            let segment = root.segment();
            lookups += print_runs(
                |id| {
                    let stream = table.stream_of_pci(segment, id.into())?;
                    let base = stream.unit.base();
                    for memory in table.rmrs() {
                        table.concerns(memory, base, stream.id);
                    }
                    // The same for ids that follow each other.
                    Some((base, stream.id.wrapping_sub(id.into())))
                },
                |first, last, owner| match owner {
                    Some((base, above)) => {
                        let stream = above.wrapping_add(first.into());
                        println!("streams {segment:x} {first:x} {last:x} {base:x} {stream:x}");
                    }
                    None => println!("ids {segment:x} {first:x} {last:x} none"),
                },
            );
        }
        for device in table.nodes().filter_map(|node| node.as_named()) {
            let found = table.named(device.path()).expect("it has a name");
            let path = String::from_utf8_lossy(device.path());
            for stream in table.streams_of_named(found) {
                println!("named {:x} {:x} {path}", stream.unit.base(), stream.id);
                lookups += 1;
            }
        }
        lookups
    }
}
