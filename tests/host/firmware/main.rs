// SPDX-License-Identifier: GPL-2.0

//! Reads firmware tables and prints what the parsers make of them, one line a fact, for
//! `tools/ic firmware-test`. With `--write <folder>` it writes the tests' tables there instead.
//!
//! | line | what |
//! |---|---|
//! | `table <file> <kind> accepted` or `refused <why>` | the other lines are about it |
//! | `odd <words>` | a warning |
//! | `count <kind> <number>` | structures of a kind, left out ones not counted |
//! | `unit <base> <segment>` | a unit that is used |
//! | `region <first> <last> <segment>` | memory that firmware keeps using |
//! | `ids <segment> <first> <last> <unit>` | the unit of these ids: its base, or `none` |
//! | `streams <segment> <first> <last> <unit> <stream>` | the same, with the first id's stream id |
//! | `named <unit> <stream> <path>` | a stream of a device that only ACPI names |
//! | `cost <bytes> <parse> <lookups> <time>` | nanoseconds for one parse, and for so many look-ups |

#[path = "../tests/amd/mod.rs"]
mod amd;
#[path = "../tests/intel/mod.rs"]
mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
#[path = "../tests/smmu/mod.rs"]
mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

mod dmar;
mod iort;
mod ivrs;

use std::{env, fs, process::ExitCode, time::Instant};

use iommu_core_host::pgtable;

/// What is asked of each table.
trait Report {
    /// Prints the facts; returns how many look-ups that took.
    fn print(&self) -> usize;
}

/// Whose id each one is: prints runs of ids that belong to the same unit.
fn print_ids(segment: u16, owner: impl FnMut(u16) -> Option<u64>) -> usize {
    print_runs(owner, |first, last, unit| match unit {
        Some(base) => println!("ids {segment:04x} {first:04x} {last:04x} {base:x}"),
        None => println!("ids {segment:04x} {first:04x} {last:04x} none"),
    })
}

/// Calls `end` with the first and the last of each run of ids that have the same owner. Returns how
/// many look-ups that took.
fn print_runs<T: Copy + PartialEq>(
    mut owner: impl FnMut(u16) -> Option<T>,
    end: impl Fn(u16, u16, Option<T>),
) -> usize {
    let mut run: Option<(u16, Option<T>)> = None;
    for id in 0..=u16::MAX {
        let unit = owner(id);
        match run {
            Some((_, before)) if before == unit => {}
            Some((first, before)) => {
                end(first, id - 1, before);
                run = Some((id, unit));
            }
            None => run = Some((id, unit)),
        }
    }
    if let Some((first, unit)) = run {
        end(first, u16::MAX, unit);
    }
    usize::from(u16::MAX) + 1
}

/// Prints what one table says.
fn table<'b, T: Report>(
    file: &str,
    bytes: &'b [u8],
    parse: impl Fn(&'b [u8]) -> Result<T, String>,
) {
    let kind = String::from_utf8_lossy(&bytes[..4]).into_owned();
    // Of several times the shortest: this process may have to wait for the processor.
    let took = (0..5).map(|_| {
        let started = Instant::now();
        drop(parse(bytes));
        started.elapsed().as_nanos()
    });
    let took = took.min().unwrap_or(0);
    match parse(bytes) {
        Err(why) => println!("table {file} {kind} refused {why}"),
        Ok(parsed) => {
            println!("table {file} {kind} accepted");
            let started = Instant::now();
            let lookups = parsed.print();
            let looked = started.elapsed().as_nanos();
            println!("cost {} {took} {lookups} {looked}", bytes.len());
        }
    }
}

/// Writes the good tables of the tests.
fn write(folder: &str) -> std::io::Result<()> {
    let tables = [
        ("dmar-qemu", intel::tables::QEMU.to_vec()),
        ("dmar-laptop", intel::tables::table(intel::tables::LAPTOP)),
        ("dmar-server", intel::tables::table(intel::tables::SERVER)),
        ("ivrs-qemu", amd::tables::QEMU.to_vec()),
        ("ivrs-laptop", amd::tables::LAPTOP.to_vec()),
        ("ivrs-server", amd::tables::table(amd::tables::SERVER)),
        ("iort-qemu", smmu::tables::QEMU.to_vec()),
        ("iort-server", smmu::tables::server()),
    ];
    for (name, bytes) in tables {
        fs::write(format!("{folder}/host-{name}.bin"), bytes)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    if let [_, option, folder] = &env::args().collect::<Vec<_>>()[..] {
        if option == "--write" {
            return match write(folder) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{folder}: {error}");
                    ExitCode::FAILURE
                }
            };
        }
    }
    let mut status = ExitCode::SUCCESS;
    for file in env::args().skip(1) {
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("{file}: {error}");
                status = ExitCode::FAILURE;
                continue;
            }
        };
        match bytes.get(..4) {
            Some(b"DMAR") => table(&file, &bytes, dmar::parse),
            Some(b"IVRS") => table(&file, &bytes, ivrs::parse),
            Some(b"IORT") => table(&file, &bytes, iort::parse),
            _ => println!("table {file} ? ignored"),
        }
    }
    status
}
