// SPDX-License-Identifier: GPL-2.0

//! Finds the unit of a device, and the other parts of the DMAR table that concern a device.
//!
//! The operating system assigns the bus numbers below bridges, so a device scope cannot have the
//! bus number of its device. It has a start bus and a path over the bridges to the device (VT-d
//! 8.3.1). The comparison goes the other way: the device must be the last step of the path, the
//! bridge above the device the step before, and so on up to the start bus. A look-up reads only the
//! table and the device's place at that time, so hot-plug and new bus numbers need no update here.
//!
//! If a device is on a bus without bus numbers, the table has its path in the ACPI namespace (8.8),
//! and its device scope has the id of its requests.

#![forbid(unsafe_code)]

use super::dmar::{DeviceScope, Drhd, Hop, Numbers, Rmrr, ScopeKind, Structure, Table};
use crate::requester::RequesterId;

/// A device, described in the terms of the table.
#[derive(Copy, Clone, Debug)]
pub enum Device<'a> {
    /// A PCI function.
    Function(Location<'a>),
    /// A device that is not a PCI function, by its path in the ACPI namespace.
    Named(&'a [u8]),
}

/// A device, described in the terms of device scopes.
#[derive(Copy, Clone, Debug)]
enum Subject<'a> {
    /// A PCI function.
    Function(Location<'a>),
    /// A named device, by the numbers that the table gives it.
    Named(Numbers),
}

impl<'a> Subject<'a> {
    fn new(table: Table<'_>, device: Device<'a>) -> Self {
        let path = match device {
            Device::Function(location) => return Self::Function(location),
            Device::Named(path) => path,
        };
        let mut numbers = Numbers::NONE;
        for structure in table.structures() {
            match structure {
                Structure::Andd(named) if is_same_path(named.name(), path) => {
                    numbers.add(named.number());
                }
                _ => {}
            }
        }
        Self::Named(numbers)
    }

    /// Whether a structure of this segment may concern the device. A named device has no segment.
    fn may_be_in(&self, segment: u16) -> bool {
        match self {
            Self::Function(location) => location.segment == segment,
            Self::Named(_) => true,
        }
    }

    /// Whether `scope` names the device, directly or as a part of a sub-hierarchy.
    ///
    /// The callers compare the segment, which belongs to the structure. Scopes of I/O APICs and
    /// timers match no device.
    fn is_in(&self, scope: DeviceScope<'_>) -> bool {
        match (scope.kind(), self) {
            (Some(ScopeKind::Endpoint), Self::Function(location)) => {
                leads_to(scope, location.way_up())
            }
            (Some(ScopeKind::SubHierarchy), Self::Function(location)) => {
                (0..=location.upstream.len())
                    .any(|below| leads_to(scope, location.way_up().skip(below)))
            }
            (Some(ScopeKind::Named), Self::Named(numbers)) => numbers.has(scope.enumeration_id()),
            _ => false,
        }
    }
}

/// The place of a PCI function.
#[derive(Copy, Clone, Debug)]
pub struct Location<'a> {
    /// PCI segment.
    pub segment: u16,
    /// The function. For a virtual function its physical function: firmware cannot list virtual
    /// functions, and they are behind the unit of their physical function (8.3).
    pub function: RequesterId,
    /// The bridges above the function, the nearest first, up to the root bus.
    pub upstream: &'a [RequesterId],
}

impl Location<'_> {
    /// The function, the bridge above it, the bridge above that, and so on.
    fn way_up(&self) -> impl Iterator<Item = RequesterId> + '_ {
        core::iter::once(self.function).chain(self.upstream.iter().copied())
    }

    /// The root port above the function; `None` on a root bus.
    fn root_port(&self) -> Option<RequesterId> {
        self.upstream.last().copied()
    }
}

fn is(function: RequesterId, hop: Hop) -> bool {
    hop.devfn() == Some(function.devfn())
}

/// Whether `scope` leads to exactly the first function of `way_up`.
fn leads_to(scope: DeviceScope<'_>, mut way_up: impl Iterator<Item = RequesterId>) -> bool {
    let mut top = None;

    for hop in scope.path().rev() {
        match way_up.next() {
            Some(step) if is(step, hop) => top = Some(step),
            _ => return false,
        }
    }
    top.is_some_and(|step| step.bus() == scope.start_bus())
}

/// Whether two paths in the ACPI namespace name the same object. Both start at the root, with or
/// without a backslash. Underscores pad names to four characters (ACPI 5.3); a path may leave them
/// out.
fn is_same_path(one: &[u8], other: &[u8]) -> bool {
    let (mut one, mut other) = (names_in(one), names_in(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one.eq_ignore_ascii_case(other) => {}
            _ => return false,
        }
    }
}

/// The names that a path consists of, without underscores at the end.
fn names_in(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_prefix(b"\\").unwrap_or(path);
    path.split(|byte| *byte == b'.').map(|mut name| {
        while let [shorter @ .., b'_'] = name {
            name = shorter;
        }
        name
    })
}

/// The unit that the device is behind.
///
/// This is the unit that lists the device. If no unit lists a PCI function, it is the first unit
/// for all other devices of the segment (8.4). `None` means that no unit translates the device's
/// requests, or that the unit that does cannot be used.
pub fn unit_for<'a>(table: Table<'a>, device: Device<'_>) -> Option<Drhd<'a>> {
    let subject = Subject::new(table, device);
    let drhds = || {
        table
            .drhds()
            .filter(|drhd| subject.may_be_in(drhd.segment()))
    };
    let listed = drhds().find(|drhd| drhd.scopes().any(|scope| subject.is_in(scope)));
    let responsible = listed.or_else(|| match subject {
        Subject::Function(_) => drhds().find(|drhd| drhd.include_all()),
        Subject::Named(_) => None,
    })?;

    // The structure may be a further one of the unit, or belong to a unit that is left out.
    table.units().find(|unit| unit.is_same_unit(responsible))
}

/// Whether the structures of `unit` list the device. A unit may be responsible for other devices,
/// too; see [`unit_for`].
pub fn is_listed(table: Table<'_>, unit: Drhd<'_>, device: Device<'_>) -> bool {
    let subject = Subject::new(table, device);
    subject.may_be_in(unit.segment())
        && table
            .drhds()
            .filter(|drhd| drhd.is_same_unit(unit))
            .flat_map(Drhd::scopes)
            .any(|scope| subject.is_in(scope))
}

/// Whether `unit` is for the devices that its structures list and for no others, and all of these
/// are PCI functions.
pub fn lists_functions_only(table: Table<'_>, unit: Drhd<'_>) -> bool {
    table
        .drhds()
        .filter(|drhd| drhd.is_same_unit(unit))
        .all(|drhd| {
            !drhd.include_all()
                && drhd
                    .scopes()
                    .all(|scope| scope.kind() != Some(ScopeKind::Named))
        })
}

/// Whether the structures of `unit` list an I/O APIC or a timer (HPET).
pub fn lists_controllers(table: Table<'_>, unit: Drhd<'_>) -> bool {
    table
        .drhds()
        .filter(|drhd| drhd.is_same_unit(unit))
        .flat_map(Drhd::scopes)
        .any(|scope| matches!(scope.kind(), Some(ScopeKind::IoApic | ScopeKind::Hpet)))
}

/// The ids of a named device, from the unit's device scopes for it (8.3.1). A PCI function has none
/// here, because its bus gives the id.
pub fn ids_for<'a, 'd: 'a>(
    table: Table<'a>,
    unit: Drhd<'a>,
    device: Device<'d>,
) -> impl Iterator<Item = RequesterId> + 'a {
    let subject = Subject::new(table, device);
    table
        .drhds()
        .filter(move |drhd| drhd.is_same_unit(unit))
        .flat_map(Drhd::scopes)
        .filter(move |scope| scope.kind() == Some(ScopeKind::Named) && subject.is_in(*scope))
        .filter_map(|scope| {
            let mut path = scope.path();
            match (path.next().and_then(Hop::devfn), path.next()) {
                (Some(devfn), None) => Some(RequesterId::pci(scope.start_bus(), devfn)),
                // The device's bus number would depend on bridges, so firmware does not know it.
                _ => None,
            }
        })
}

/// The reserved memory regions that the device uses.
pub fn regions_for<'a, 'd: 'a>(
    table: Table<'a>,
    device: Device<'d>,
) -> impl Iterator<Item = Rmrr<'a>> {
    let subject = Subject::new(table, device);
    table.reserved_regions().filter(move |region| {
        subject.may_be_in(region.segment()) && region.scopes().any(|scope| subject.is_in(scope))
    })
}

/// What firmware says about a device that wants to cache translations.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TranslationCache {
    /// Translation requests of the device do not reach a unit.
    Unsupported,
    /// The device may cache translations.
    Supported,
    /// The device does not work correctly without caching translations (8.9).
    Required,
}

/// Whether the device may cache translations: the table lists the device itself (8.9), or the root
/// port above the device (8.6).
pub fn translation_cache(table: Table<'_>, device: Device<'_>) -> TranslationCache {
    let subject = Subject::new(table, device);
    let mut answer = TranslationCache::Unsupported;
    let root_port = match device {
        Device::Function(location) => location.root_port(),
        Device::Named(_) => None,
    };

    for structure in table.structures() {
        match structure {
            Structure::Satc(satc) if subject.may_be_in(satc.segment()) => {
                if satc.scopes().any(|scope| subject.is_in(scope)) {
                    return if satc.cache_required() {
                        TranslationCache::Required
                    } else {
                        TranslationCache::Supported
                    };
                }
            }
            Structure::Atsr(atsr) if subject.may_be_in(atsr.segment()) => {
                let passes = root_port.is_some_and(|port| {
                    // Some machines list ports as endpoints, others as sub-hierarchies. So only the
                    // path counts here, not the scope's type.
                    atsr.all_ports()
                        || atsr
                            .scopes()
                            .any(|scope| leads_to(scope, core::iter::once(port)))
                });
                if passes {
                    answer = TranslationCache::Supported;
                }
            }
            _ => {}
        }
    }
    answer
}
