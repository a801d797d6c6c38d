// SPDX-License-Identifier: GPL-2.0

//! Which unit is responsible for a device, and what the IVRS table says about it.
//!
//! Unlike on other machines firmware names devices by the ids that their requests carry, bus
//! numbers included (AMD-Vi 5.2). Look-ups need nothing but the id.

#![forbid(unsafe_code)]

use super::ivrs::{
    DeviceEntry, Devices, Ivhd, Ivmd, Named, Settings, Special, Table, UniqueId, Unit, Variety,
};

/// The units of one segment, also those that cannot be used.
fn described(table: Table<'_>, segment: u16) -> impl Iterator<Item = Unit<'_>> + Clone {
    table
        .described()
        .filter(move |unit| unit.block.segment() == segment)
}

/// The units of one segment.
fn units(table: Table<'_>, segment: u16) -> impl Iterator<Item = Ivhd<'_>> + Clone {
    table.units().filter(move |unit| unit.segment() == segment)
}

/// The lists of PCI functions that concern `device` of `unit`.
fn lists(unit: Ivhd<'_>, device: u16) -> impl Iterator<Item = Devices> + use<'_> {
    unit.entries().filter_map(move |entry| match entry {
        DeviceEntry::Devices(devices) if devices.contains(device) => Some(devices),
        _ => None,
    })
}

/// The units of one segment that claim requests with the id `device`, in the order of the table.
///
/// A unit claims an id that it lists: by itself, as another device's alias, or as that of a device
/// without a PCI function. If no unit lists the id, the units for all devices of the segment claim
/// it. The id of a unit's own function is claimed by none, whatever the table says: its requests go
/// through no unit.
///
/// If several units claim an id, the last one counts, as in the C driver. If that is the wrong
/// unit, the right one blocks the device.
pub fn claims(
    table: Table<'_>,
    segment: u16,
    device: u16,
) -> impl Iterator<Item = Unit<'_>> + Clone {
    let all = |unit: Unit<'_>| {
        let mut entries = unit.block.entries();
        entries.any(|entry| is_all(&entry))
    };
    let lists = move |unit: Unit<'_>| {
        let mut entries = unit.block.entries();
        entries.any(|entry| !is_all(&entry) && entry.has(device))
    };
    let units = described(table, segment);
    let is_unit = units.clone().any(|unit| unit.block.device() == device);
    let is_listed = units.clone().any(lists);

    units.filter(move |unit| !is_unit && if is_listed { lists(*unit) } else { all(*unit) })
}

fn is_all(entry: &DeviceEntry<'_>) -> bool {
    matches!(entry, DeviceEntry::Devices(devices) if devices.all)
}

/// The unit that is responsible for requests with the id `device`.
///
/// `None` means that no unit translates what the device does, or that the unit that does cannot be
/// used.
pub fn unit_for(table: Table<'_>, segment: u16, device: u16) -> Option<Ivhd<'_>> {
    claims(table, segment, device).last()?.used()
}

/// The id that requests of `device` carry if it is not the device's own.
///
/// Of several entries the last one counts. The device's own id counts too: some machines use both.
pub fn alias_of(unit: Ivhd<'_>, device: u16) -> Option<u16> {
    lists(unit, device)
        .filter_map(|devices| devices.alias)
        .last()
        .filter(|alias| *alias != device)
}

/// What the device table entry of `device` has to let through.
///
/// Of several entries that say something the one for the fewest devices counts, then the first.
pub fn settings_of(unit: Ivhd<'_>, device: u16) -> Settings {
    unit.entries()
        .filter_map(|entry| match entry {
            DeviceEntry::Devices(devices) if devices.contains(device) => {
                Some((devices.last - devices.first, devices.settings))
            }
            entry if entry.has(device) => Some((0, settings(&entry))),
            _ => None,
        })
        .filter(|(_, settings)| !settings.is_none())
        .min_by_key(|(others, _)| *others)
        .map_or(Settings::NONE, |(_, settings)| settings)
}

fn settings(entry: &DeviceEntry<'_>) -> Settings {
    match entry {
        DeviceEntry::Devices(devices) => devices.settings,
        DeviceEntry::Special(special) => special.settings,
        DeviceEntry::Named(named) => named.settings,
    }
}

/// Whether firmware forbids `device` to use translation services (ATS).
pub fn ats_disabled(unit: Ivhd<'_>, device: u16) -> bool {
    lists(unit, device).any(|devices| devices.ats_disabled)
}

/// The memory regions that `device` uses.
pub fn regions_for(
    table: Table<'_>,
    segment: u16,
    device: u16,
) -> impl Iterator<Item = Ivmd<'_>> + use<'_> {
    table.regions().filter(move |region| {
        let (first, last) = region.devices();
        region.segment() == segment && first <= device && device <= last
    })
}

/// The highest device id of `segment` that the table names: device tables reach as far at least.
pub fn last_device(table: Table<'_>, segment: u16) -> Option<u16> {
    units(table, segment)
        .flat_map(|unit| unit.entries())
        .map(|entry| entry.last_id())
        .max()
}

/// The I/O APIC or timer with the number `handle`, and the unit that it is behind.
pub fn special(table: Table<'_>, variety: Variety, handle: u8) -> Option<(Ivhd<'_>, Special)> {
    table.units().find_map(|unit| {
        unit.entries().find_map(|entry| match entry {
            DeviceEntry::Special(special)
                if special.variety == variety && special.handle == handle =>
            {
                Some((unit, special))
            }
            _ => None,
        })
    })
}

/// Whether this is how the ACPI namespace tells a device from others with its hardware id.
fn is_unique_id(id: UniqueId<'_>, uid: &[u8]) -> bool {
    match id {
        // There are no others, or all are meant.
        UniqueId::None => true,
        UniqueId::Integer(number) => core::str::from_utf8(uid)
            .is_ok_and(|digits| digits.parse().is_ok_and(|other: u64| other == number)),
        UniqueId::Text(text) => text == uid,
    }
}

/// The device that the ACPI namespace has with this hardware id and unique id, and the unit that it
/// is behind.
///
/// Some firmware has other unique ids here than there. An entry that is the only one with the
/// hardware id is the device's all the same.
pub fn named_for<'a>(table: Table<'a>, hid: &[u8], uid: &[u8]) -> Option<(Ivhd<'a>, Named<'a>)> {
    let mut like = None;
    let mut alike = 0;

    for (unit, named) in named(table) {
        if named.hid == hid {
            if is_unique_id(named.uid, uid) {
                return Some((unit, named));
            }
            like = Some((unit, named));
            alike += 1;
        }
    }
    like.filter(|_| alike == 1)
}

/// The devices by name, each with the unit that it is behind.
pub fn named(table: Table<'_>) -> impl Iterator<Item = (Ivhd<'_>, Named<'_>)> {
    table.units().flat_map(|unit| {
        unit.entries().filter_map(move |entry| match entry {
            DeviceEntry::Named(named) => Some((unit, named)),
            _ => None,
        })
    })
}
