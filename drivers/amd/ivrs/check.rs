// SPDX-License-Identifier: GPL-2.0

//! Checks an IVRS table.
//!
//! The check leaves out what makes no sense, as little as possible, and reports each case:
//!
//! - A region that is left out is mapped for no device.
//! - If a device entry is left out, its unit blocks the device: a unit blocks every id that the
//!   driver did not attach there.
//! - If the registers of a unit cannot be where the table says, the unit is left out. The driver
//!   cannot block the devices that the unit lists: their DMA is not translated, as without the
//!   driver. The driver accepts none of these devices, so none gets a domain that no unit enforces.
//!
//! The check refuses the table if it cannot read the block of a unit: the devices behind that unit
//! are unknown, so a unit for all devices would get them. The check also refuses a wrong checksum,
//! as the C driver does, and a header that makes no sense.
//!
//! The time is linear in the length of the table, and n log n in the number of units.

#![forbid(unsafe_code)]

use super::{
    error::{Error, Problem, MAX_LEN, MAX_UNITS},
    hardware::{Ivhd, WINDOW},
    index::{Entry, Use},
    info::Info,
    kind::Kind,
    memory::Ivmd,
    raw::{blocks_of, Raw},
    warning::{Oddity, Warning},
};
use crate::drivers::shell::{
    acpi_structures::{self, unreadable, BadLength, StructureKind},
    bytes::u32_at,
    sort::sort_by_key,
};

/// The function to call with each warning.
pub type Report<'r> = &'r mut dyn FnMut(&Warning);

/// Returns the bytes of the table, which is at the start of `bytes`.
pub(super) fn whole(bytes: &[u8]) -> Result<&[u8], Error> {
    let table = acpi_structures::whole(bytes, b"IVRS")?;
    if table.len() > MAX_LEN {
        return Err(Error {
            kind: Kind::Header,
            offset: 0,
            problem: Problem::TooLong {
                claims: u32_at(table, 4),
            },
        });
    }
    Ok(table)
}

/// Returns the number of hardware definitions in the table.
///
/// # Errors
///
/// Why the table cannot be used.
pub(super) fn count(bytes: &[u8]) -> Result<usize, Error> {
    let table = whole(bytes)?;
    let sum = acpi_structures::sum(table);
    if sum != 0 {
        return Err(Error {
            kind: Kind::Header,
            offset: 0,
            problem: Problem::Checksum { sum },
        });
    }

    let mut blocks = blocks_of(table);
    let mut units = 0;
    for raw in blocks.by_ref().filter(|raw| raw.kind.is_unit()) {
        let refuse = |problem| Error {
            kind: raw.kind,
            offset: raw.offset,
            problem,
        };
        if !raw.is_complete() {
            return Err(refuse(Problem::Length(BadLength::TooShort {
                claims: raw.bytes.len(),
                needs: raw.kind.fixed_len(),
            })));
        }
        units += 1;
        if units > MAX_UNITS {
            return Err(refuse(Problem::TooManyUnits));
        }
    }
    match unreadable::<Kind>(table, blocks.at()) {
        Some((kind, problem)) if kind.is_unit() => Err(Error {
            kind,
            offset: blocks.at(),
            problem: Problem::Length(problem),
        }),
        _ => Ok(units),
    }
}

/// Fills `index`, one entry for each hardware definition, and reports what is wrong.
///
/// [`count`] has accepted `bytes` and counted the entries.
pub(super) fn index(bytes: &[u8], index: &mut [Entry], report: Report<'_>) {
    let table = whole(bytes).unwrap_or_default();

    let info = Info(u32_at(table, 36));
    let bits = info.physical_bits().max(info.virtual_bits());
    if bits > 64 {
        report(&about(Kind::Header, 0, Oddity::AddressWidth { bits }));
    }
    let found = blocks_of(table).filter(|raw| raw.kind.is_unit());
    for (entry, raw) in index.iter_mut().zip(found) {
        *entry = Entry {
            offset: raw.offset,
            how: Use::Unit,
        };
    }
    same_units(table, index, report);
    registers(table, index, report);
    sort_by_key(index, |entry| entry.offset);
    blocks(table, index, report);
}

/// A warning about a block.
fn about(kind: Kind, offset: usize, oddity: Oddity) -> Warning {
    Warning {
        kind,
        offset,
        entry: None,
        oddity,
        devices: None,
    }
}

/// Decides which of a unit's blocks counts: the first block of the newest kind.
fn same_units(table: &[u8], index: &mut [Entry], report: Report<'_>) {
    let unit = |entry: &Entry| Ivhd::at(table, entry.offset);
    sort_by_key(index, |entry| {
        let unit = unit(entry);
        let rank = u8::MAX - unit.kind().rank();
        (unit.segment(), unit.device(), rank, entry.offset)
    });

    // The block that counts, and whether another block of the unit has another register base.
    let mut best: Option<(Ivhd<'_>, bool)> = None;
    for entry in index {
        let this = unit(entry);
        let Some((counts, contradicted)) = best
            .as_mut()
            .filter(|(counts, _)| counts.is_same_unit(this))
        else {
            best = Some((this, false));
            continue;
        };
        entry.how = Use::Ignored;
        if counts.kind() == this.kind() {
            let oddity = Oddity::SecondBlock {
                device: this.device(),
                segment: this.segment(),
                other: counts.offset(),
            };
            report(&about(this.kind(), this.offset(), oddity));
        }
        if counts.base() != this.base() && !*contradicted {
            *contradicted = true;
            let other = this.offset();
            let oddity = Oddity::BasesDiffer { other };
            report(&about(counts.kind(), counts.offset(), oddity));
        }
    }
}

/// Leaves out units whose registers cannot be where the table says.
fn registers(table: &[u8], index: &mut [Entry], report: Report<'_>) {
    let unit = |entry: &Entry| Ivhd::at(table, entry.offset);
    sort_by_key(index, |entry| (unit(entry).base(), entry.offset));

    let mut before: Option<Ivhd<'_>> = None;
    for entry in index.iter_mut().filter(|entry| entry.how == Use::Unit) {
        let this = unit(entry);
        let base = this.base();
        let oddity = if base == 0 || base == u64::MAX {
            Oddity::BaseImpossible { base }
        } else if base % WINDOW != 0 {
            Oddity::BaseMisaligned { base }
        } else if let Some(before) = before.filter(|before| before.base() == base) {
            // Windows are aligned to their size, so two of them overlap only if they are equal.
            let other = before.offset();
            Oddity::UnitsOverlap { base, other }
        } else {
            before = Some(this);
            continue;
        };
        entry.how = Use::LeftOut;
        let ids = this
            .entries()
            .map(|entry| (entry.first_id(), entry.last_id()));
        let span = ids.reduce(|(first, last), (low, high)| (first.min(low), last.max(high)));
        report(&Warning {
            devices: span.map(|(first, last)| (this.segment(), first, last)),
            ..about(this.kind(), this.offset(), oddity)
        });
    }
}

/// Reports what is wrong inside of each block. `index` is in the table's order.
fn blocks(table: &[u8], index: &[Entry], report: Report<'_>) {
    let mut units = index.iter();
    let mut walk = blocks_of(table);
    for raw in walk.by_ref() {
        let Raw {
            kind,
            offset,
            bytes,
        } = raw;
        let how = if kind.is_unit() {
            units.next().map(|entry| entry.how)
        } else {
            None
        };
        match kind {
            _ if !raw.is_complete() => {
                let (claims, needs) = (bytes.len(), kind.fixed_len());
                let problem = BadLength::TooShort { claims, needs };
                report(&about(kind, offset, Oddity::LeftOut(problem)));
            }
            Kind::Ivhd10 | Kind::Ivhd11 | Kind::Ivhd40 if how == Some(Use::Unit) => {
                Ivhd::new(bytes, offset, kind)
                    .entries()
                    .check(&mut |entry, oddity| {
                        report(&Warning {
                            entry: Some(entry),
                            ..about(kind, offset, oddity)
                        });
                    });
            }
            Kind::IvmdAll | Kind::IvmdOne | Kind::IvmdRange => {
                let region = Ivmd::new(bytes, kind);
                if let Some(oddity) = region.refusal().or_else(|| region.oddity()) {
                    let (first, last) = region.devices();
                    report(&Warning {
                        devices: Some((region.segment(), first, last)),
                        ..about(kind, offset, oddity)
                    });
                }
            }
            _ => {}
        }
    }

    let offset = walk.at();
    let bytes = table.len() - offset;
    match unreadable::<Kind>(table, offset) {
        Some((kind, problem)) => report(&about(kind, offset, Oddity::Unreadable(problem))),
        None if bytes == 0 => {}
        None => report(&about(Kind::Header, offset, Oddity::Padding { bytes })),
    }
}
