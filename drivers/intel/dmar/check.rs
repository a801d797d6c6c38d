// SPDX-License-Identifier: GPL-2.0

//! Checks a DMAR table.
//!
//! The check leaves out what makes no sense, as little as possible, and reports each case:
//!
//! - A region that is left out is mapped for no device.
//! - If a device scope of a unit is left out, the driver may look for its device behind another
//!   unit. Hardware sends the device's requests to its own unit, which blocks every device that the
//!   driver did not attach there.
//! - If the registers of a unit cannot be where the table says, the unit is left out. The driver
//!   cannot block the devices that the unit lists: their DMA is not translated, as without the
//!   driver. The driver accepts none of these devices, so none gets a domain that no unit enforces.
//!
//! The check refuses the table if it cannot read the structure of a unit: the devices behind that
//! unit are unknown, so a unit for "all other devices" would get them. The check also refuses a
//! header that makes no sense.
//!
//! The time is linear in the length of the table, and n log n in the number of units.

#![forbid(unsafe_code)]

use super::{
    error::{Error, Problem, MAX_UNITS},
    index::{Entry, Use},
    kind::Kind,
    numbers::Numbers,
    scopes::{DeviceScope, ScopeKind, Scopes, SCOPE_PREFIX},
    structures::{scopes_of, structures_of, Andd, Drhd, Raw, Rmrr, PAGE},
    warning::{Devices, Oddity, Warning},
};
use crate::drivers::shell::{
    acpi_structures::{self, unreadable, BadLength, StructureKind},
    bytes::u8_at,
    sort::sort_by_key,
};

/// The function to call with each warning.
pub type Report<'r> = &'r mut dyn FnMut(&Warning<'_>);

/// Returns the bytes of the table, which is at the start of `bytes`.
pub(super) fn whole(bytes: &[u8]) -> Result<&[u8], Error> {
    Ok(acpi_structures::whole(bytes, b"DMAR")?)
}

/// The width of physical addresses in bits, if it makes sense: 12, the bits of a page, to 64.
pub(super) fn host_address_bits(table: &[u8]) -> Option<u8> {
    match u8_at(table, 36) {
        last @ 11..=63 => Some(last + 1),
        _ => None,
    }
}

/// Returns the number of DRHD structures in the table.
///
/// # Errors
///
/// Why the table cannot be used.
pub(super) fn count(bytes: &[u8]) -> Result<usize, Error> {
    let table = whole(bytes)?;
    let mut structures = structures_of(table);
    let mut units = 0;

    for raw in structures.by_ref().filter(|raw| raw.kind == Kind::Drhd) {
        let refuse = |problem| Error {
            kind: Kind::Drhd,
            offset: raw.offset,
            problem,
        };
        if !raw.is_complete() {
            return Err(refuse(Problem::Length(BadLength::TooShort {
                claims: raw.bytes.len(),
                needs: Kind::Drhd.fixed_len(),
            })));
        }
        units += 1;
        if units > MAX_UNITS {
            return Err(refuse(Problem::TooManyUnits));
        }
    }
    match unreadable::<Kind>(table, structures.at()) {
        // Units come before all other structures (8.2), so only this one can be a unit.
        Some((Kind::Drhd, problem)) => Err(Error {
            kind: Kind::Drhd,
            offset: structures.at(),
            problem: Problem::Length(problem),
        }),
        _ => Ok(units),
    }
}

/// Fills `index`, one entry for each DRHD structure, and reports what is wrong.
///
/// [`count`] has accepted `bytes` and counted the entries.
pub(super) fn index(bytes: &[u8], index: &mut [Entry], report: Report<'_>) {
    let table = whole(bytes).unwrap_or_default();

    header(table, report);
    let found = structures_of(table).filter(|raw| raw.kind == Kind::Drhd);
    for (entry, raw) in index.iter_mut().zip(found) {
        *entry = Entry {
            offset: raw.offset,
            how: Use::Unit,
        };
    }
    registers(table, index, report);
    include_all(table, index, report);
    structures(table, index, report);
}

/// Reports what is wrong in the header.
fn header(table: &[u8], report: Report<'_>) {
    let mut warn = |oddity| {
        report(&Warning {
            kind: Kind::Header,
            offset: 0,
            scope: None,
            oddity,
            devices: None,
        });
    };
    let sum = acpi_structures::sum(table);
    if sum != 0 {
        warn(Oddity::Checksum { sum });
    }
    let bits = u16::from(u8_at(table, 36)) + 1;
    if host_address_bits(table).is_none() {
        warn(Oddity::AddressWidth { bits });
    }
}

/// A warning about a unit, with its devices if it is not used.
fn about_unit(unit: Drhd<'_>, oddity: Oddity, with_devices: bool) -> Warning<'_> {
    Warning {
        kind: Kind::Drhd,
        offset: unit.offset(),
        scope: None,
        oddity,
        devices: with_devices.then(|| match unit.include_all() {
            true => Devices::Rest {
                segment: unit.segment(),
            },
            false => Devices::Listed(unit.scopes()),
        }),
    }
}

/// Decides which structures are units, from the addresses of their registers. `index` is in the
/// table's order before and after.
fn registers(table: &[u8], index: &mut [Entry], report: Report<'_>) {
    let unit = |entry: &Entry| Drhd::at(table, entry.offset);
    sort_by_key(index, |entry| (unit(entry).base(), entry.offset));

    // Of the units so far: the one whose registers end last, and the one with the highest base.
    let mut furthest: Option<(u64, Drhd<'_>)> = None;
    let mut before: Option<Drhd<'_>> = None;
    for entry in index.iter_mut() {
        let this = unit(entry);
        let base = this.base();
        let last = match last_register(this) {
            Ok(last) => last,
            Err(oddity) => {
                entry.how = Use::LeftOut;
                report(&about_unit(this, oddity, true));
                continue;
            }
        };
        if let Some(first) = before.filter(|before| before.base() == base) {
            let other = first.offset();
            if first.is_same_unit(this) {
                entry.how = Use::Again;
                report(&about_unit(
                    this,
                    Oddity::DescribedTwice { base, other },
                    false,
                ));
            } else {
                entry.how = Use::LeftOut;
                report(&about_unit(
                    this,
                    Oddity::SegmentsDiffer { base, other },
                    true,
                ));
            }
            continue;
        }
        if let Some((_, reaching)) = furthest.filter(|(reach, _)| base <= *reach) {
            let other = reaching.offset();
            report(&about_unit(
                this,
                Oddity::WindowsOverlap { base, other },
                false,
            ));
        }
        if furthest.is_none_or(|(reach, _)| reach < last) {
            furthest = Some((last, this));
        }
        before = Some(this);
    }
    sort_by_key(index, |entry| entry.offset);
}

/// The last byte of a unit's registers.
fn last_register(unit: Drhd<'_>) -> Result<u64, Oddity> {
    let base = unit.base();
    if base == 0 || base == u64::MAX {
        return Err(Oddity::BaseImpossible { base });
    }
    if base % PAGE != 0 {
        return Err(Oddity::BaseMisaligned { base });
    }
    base.checked_add(unit.window() - 1)
        .ok_or(Oddity::BaseWraps { base })
}

/// Reports a unit for all other devices of a segment if it is not the only such unit, or not the
/// last unit of the segment. `index` is in the table's order before and after.
fn include_all(table: &[u8], index: &mut [Entry], report: Report<'_>) {
    let unit = |entry: &Entry| Drhd::at(table, entry.offset);
    sort_by_key(index, |entry| (unit(entry).segment(), entry.offset));

    let mut first: Option<Drhd<'_>> = None;
    let mut reported = false;
    for this in index.iter().map(unit) {
        let segment = this.segment();
        if first.is_some_and(|first| first.segment() != segment) {
            first = None;
        }
        match first {
            None if this.include_all() => {
                first = Some(this);
                reported = false;
            }
            None => {}
            Some(first) if this.include_all() => {
                // Two structures for one unit do not contradict each other.
                if !first.is_same_unit(this) {
                    let other = first.offset();
                    let oddity = Oddity::SecondIncludeAll { segment, other };
                    report(&about_unit(this, oddity, false));
                }
            }
            Some(first) if !reported => {
                reported = true;
                report(&about_unit(
                    first,
                    Oddity::IncludeAllNotLast { segment },
                    false,
                ));
            }
            Some(_) => {}
        }
    }
    sort_by_key(index, |entry| entry.offset);
}

/// Reports what is wrong inside of each structure.
fn structures(table: &[u8], index: &[Entry], report: Report<'_>) {
    let mut named = Numbers::NONE;
    for raw in structures_of(table).filter(|raw| raw.kind == Kind::Andd && raw.is_complete()) {
        let device = Andd { bytes: raw.bytes };
        if !device.is_nameless() {
            named.add(device.number());
        }
    }

    let mut units = index.iter();
    let mut walk = structures_of(table);
    for raw in walk.by_ref() {
        let unit = (raw.kind == Kind::Drhd).then(|| units.next()).flatten();
        structure(raw, report);
        if let Some(scopes) = scopes_of(&raw) {
            let names = unit
                .is_some_and(|unit| unit.how != Use::LeftOut)
                .then_some(&named);
            device_scopes(raw, scopes, names, report);
        }
    }

    let offset = walk.at();
    let bytes = table.len() - offset;
    let (kind, oddity) = match unreadable::<Kind>(table, offset) {
        Some((kind, problem)) => (kind, Oddity::Unreadable(problem)),
        None if bytes == 0 => return,
        None => (Kind::Header, Oddity::Padding { bytes }),
    };
    report(&Warning {
        kind,
        offset,
        scope: None,
        oddity,
        devices: None,
    });
}

/// Reports what is wrong in the fixed part of a structure. [`registers`] checks those of units.
fn structure(raw: Raw<'_>, report: Report<'_>) {
    let mut warn = |oddity, with_devices: bool| {
        report(&Warning {
            kind: raw.kind,
            offset: raw.offset,
            scope: None,
            oddity,
            devices: match with_devices {
                true => scopes_of(&raw).map(Devices::Listed),
                false => None,
            },
        });
    };
    if !raw.is_complete() {
        let (claims, needs) = (raw.bytes.len(), raw.kind.fixed_len());
        return warn(
            Oddity::LeftOut(BadLength::TooShort { claims, needs }),
            false,
        );
    }
    match raw.kind {
        Kind::Rmrr => {
            let region = Rmrr { bytes: raw.bytes };
            let (base, limit) = region.as_written();
            if region.is_empty() {
                warn(Oddity::RegionEmpty { base, limit }, true);
            } else if (region.base(), region.limit()) != (base, limit) {
                warn(Oddity::RegionMisaligned { base, limit }, true);
            }
        }
        Kind::Andd => {
            let device = Andd { bytes: raw.bytes };
            if device.is_nameless() {
                let number = device.number();
                warn(Oddity::Name { number }, false);
            }
        }
        _ => {}
    }
}

/// Reports what is wrong in the device scopes of a structure. For a unit, `named` are the named
/// devices whose names are known; otherwise it is `None`.
fn device_scopes(
    raw: Raw<'_>,
    mut scopes: Scopes<'_>,
    named: Option<&Numbers>,
    report: Report<'_>,
) {
    let start = |scopes: &Scopes<'_>| raw.offset + raw.bytes.len() - scopes.rest().len();
    let mut warn = |scope, oddity| {
        report(&Warning {
            kind: raw.kind,
            offset: raw.offset,
            scope,
            oddity,
            devices: None,
        });
    };

    let mut at = start(&scopes);
    while let Some(scope) = scopes.next() {
        if let Some(oddity) = device_scope(scope) {
            warn(Some(at), oddity);
        }
        if let (Some(named), Some(ScopeKind::Named)) = (named, scope.kind()) {
            let number = scope.enumeration_id();
            if !named.has(number) {
                warn(None, Oddity::NameMissing { number });
            } else if scope.path().len() != 1 {
                warn(None, Oddity::NamePath { number });
            }
        }
        at = start(&scopes);
    }

    let rest = scopes.rest();
    let left = rest.len();
    let claims = usize::from(u8_at(rest, 1));
    let oddity = if left == 0 {
        return;
    } else if rest.iter().all(|byte| *byte == 0) {
        Oddity::ScopePadding { bytes: left }
    } else if left < SCOPE_PREFIX {
        let claims = SCOPE_PREFIX;
        Oddity::ScopePastStructure { claims, left }
    } else if claims < SCOPE_PREFIX {
        Oddity::ScopeTooShort { claims }
    } else {
        Oddity::ScopePastStructure { claims, left }
    };
    warn(Some(at), oddity);
}

/// What is wrong inside of a device scope.
fn device_scope(scope: DeviceScope<'_>) -> Option<Oddity> {
    let claims = scope.len();
    if scope.kind().is_none() {
        let value = scope.kind_value();
        return Some(Oddity::ScopeUnknown { value });
    }
    if scope.path().next().is_none() {
        return Some(Oddity::ScopePathMissing);
    }
    if let Some(hop) = scope.path().find(|hop| hop.devfn().is_none()) {
        return Some(Oddity::ScopePath {
            device: hop.device,
            function: hop.function,
        });
    }
    (claims % 2 != 0).then_some(Oddity::ScopePathOdd { claims })
}
