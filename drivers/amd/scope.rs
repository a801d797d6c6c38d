// SPDX-License-Identifier: GPL-2.0

//! Finds the unit of a device, and the IVRS table's other statements about a device.
//!
//! The table names a device by the id of its requests, with the bus number (AMD-Vi 5.2). So a
//! look-up needs only the id.

#![forbid(unsafe_code)]

use super::ivrs::{
    DeviceEntry, Devices, Ivhd, Ivmd, Named, Settings, Special, Table, UniqueId, Unit, Variety,
};

/// The units of one segment, also units that cannot be used.
fn described(table: Table<'_>, segment: u16) -> impl Iterator<Item = Unit<'_>> + Clone {
    table
        .described()
        .filter(move |unit| unit.block.segment() == segment)
}

/// The units of one segment that can be used.
fn units(table: Table<'_>, segment: u16) -> impl Iterator<Item = Ivhd<'_>> + Clone {
    table.units().filter(move |unit| unit.segment() == segment)
}

/// The device entries of `unit` for PCI functions that include `device`.
fn lists(unit: Ivhd<'_>, device: u16) -> impl Iterator<Item = Devices> + use<'_> {
    unit.entries().filter_map(move |entry| match entry {
        DeviceEntry::Devices(devices) if devices.contains(device) => Some(devices),
        _ => None,
    })
}

/// The units of one segment that claim requests with the id `device`, in the order of the table.
///
/// - A unit claims each id that it lists: the id of a PCI function, an alias, or the id of a
///   special or named device.
/// - If no unit lists an id, the units for all devices of the segment claim it.
/// - No unit claims the id of a unit's own PCI function, because this function's requests go
///   through no unit.
///
/// If several units claim an id, the last one counts, as in the C driver. If this is the wrong
/// unit, the right unit blocks the device.
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

/// The unit that translates requests with the id `device`.
///
/// `None` means that no unit does, or that the unit that does cannot be used.
pub fn unit_for(table: Table<'_>, segment: u16, device: u16) -> Option<Ivhd<'_>> {
    claims(table, segment, device).last()?.used()
}

/// The id of requests of `device` if it is not the device's own id.
///
/// Of several entries the last one counts. On some machines a device uses both its own id and the
/// alias.
pub fn alias_of(unit: Ivhd<'_>, device: u16) -> Option<u16> {
    lists(unit, device)
        .filter_map(|devices| devices.alias)
        .last()
        .filter(|alias| *alias != device)
}

/// The messages that the device table entry of `device` must let through.
///
/// Of several entries with such messages the one for the fewest devices counts. If there are
/// several of these, the first one counts.
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

/// Whether the table says which id the requests of an I/O APIC have. Without that, firmware has
/// switched interrupt remapping off.
pub fn names_io_apic(table: Table<'_>) -> bool {
    table
        .described()
        .flat_map(|unit| unit.block.entries())
        .any(|entry| matches!(entry, DeviceEntry::Special(special) if special.variety == Variety::IoApic))
}

/// Whether an I/O APIC or a timer of `unit` has the id `device`. The messages of controllers pass
/// unchanged.
pub fn is_controller(unit: Ivhd<'_>, device: u16) -> bool {
    unit.entries()
        .any(|entry| matches!(entry, DeviceEntry::Special(special) if special.device == device))
}

/// Whether firmware forbids `device` to use ATS.
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

/// The highest device id of `segment` in the table. Device tables must reach at least as far.
pub fn last_device(table: Table<'_>, segment: u16) -> Option<u16> {
    units(table, segment)
        .flat_map(|unit| unit.entries())
        .map(|entry| entry.last_id())
        .max()
}

/// The I/O APIC or timer with the number `handle`, and its unit.
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

/// Whether `id` is the unique id `uid` of the ACPI namespace.
fn is_unique_id(id: UniqueId<'_>, uid: &[u8]) -> bool {
    match id {
        // The entry is for all devices with this hardware id.
        UniqueId::None => true,
        UniqueId::Integer(number) => core::str::from_utf8(uid)
            .is_ok_and(|digits| digits.parse().is_ok_and(|other: u64| other == number)),
        UniqueId::Text(text) => text == uid,
    }
}

/// The entry for a device of the ACPI namespace with this hardware id and unique id, and its unit.
///
/// In some firmware the unique ids of the IVRS table differ from those of the namespace. So if only
/// one entry has the hardware id, it counts with any unique id.
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

/// The named devices, each with its unit.
pub fn named(table: Table<'_>) -> impl Iterator<Item = (Ivhd<'_>, Named<'_>)> {
    table.units().flat_map(|unit| {
        unit.entries().filter_map(move |entry| match entry {
            DeviceEntry::Named(named) => Some((unit, named)),
            _ => None,
        })
    })
}
