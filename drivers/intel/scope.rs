// SPDX-License-Identifier: GPL-2.0

//! Which unit is responsible for a device, and which parts of the DMAR table concern it.
//!
//! A device scope does not name a bus number for its device, because bus numbers below a bridge
//! are the operating system's to assign: it names a bus to start on and the bridges to go through
//! (VT-d 8.3.1). So a device is matched from below: it must be the last step of the path, its
//! bridge the step before, and so on up to the bus where the path starts. Nothing is remembered
//! between look-ups, so buses that are renumbered and devices that come and go need no care.
//!
//! A device on no bus that has numbers is named by its path in the ACPI namespace (8.8), and its
//! scope is the id that its requests have.

#![forbid(unsafe_code)]

use super::dmar::{DeviceScope, Drhd, Hop, Numbers, Rmrr, ScopeKind, Structure, Table};
use crate::requester::RequesterId;

/// A device, as far as firmware's tables tell one from another.
#[derive(Copy, Clone, Debug)]
pub enum Device<'a> {
    /// A PCI function.
    Function(Location<'a>),
    /// A device that has this path in the ACPI namespace, and is no PCI function.
    Named(&'a [u8]),
}

/// A device as device scopes name it.
#[derive(Copy, Clone, Debug)]
enum Subject<'a> {
    /// A PCI function.
    Function(Location<'a>),
    /// A named device, by its numbers.
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

    /// Whether a structure of this segment may be about the device. A named one is in none.
    fn may_be_in(&self, segment: u16) -> bool {
        match self {
            Self::Function(location) => location.segment == segment,
            Self::Named(_) => true,
        }
    }

    /// Whether `scope` names the device, directly or as a part of a sub-hierarchy.
    ///
    /// The segment is the structure's and is compared by the callers. I/O APICs and timers are no
    /// devices on the operating system's side and never match.
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

/// Where a PCI function is.
#[derive(Copy, Clone, Debug)]
pub struct Location<'a> {
    /// PCI segment.
    pub segment: u16,
    /// The function. For a virtual function its physical function: firmware cannot list virtual
    /// functions, and they are behind the unit that their physical function is behind (8.3).
    pub function: RequesterId,
    /// The bridges above it, the nearest first, up to the root bus.
    pub upstream: &'a [RequesterId],
}

impl Location<'_> {
    /// The function, the bridge above it, the bridge above that, and so on.
    fn way_up(&self) -> impl Iterator<Item = RequesterId> + '_ {
        core::iter::once(self.function).chain(self.upstream.iter().copied())
    }

    /// The port of the root complex that the function is below; `None` on a root bus.
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

/// Whether two paths in the ACPI namespace lead to the same object. Both start at the root, with a
/// backslash or without; a name of less than four characters ends in as many underscores as are
/// missing (ACPI 5.3), written or not.
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

/// The unit that is responsible for the device.
///
/// The one that lists it, or else, for a PCI function, the first one for all other devices of its
/// segment (8.4). `None` means that no unit translates what the device does, or that the unit that
/// does cannot be used.
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

    // What was found may be a second structure of the unit, or one of a unit that is left out.
    table.units().find(|unit| unit.is_same_unit(responsible))
}

/// The ids that the unit's own scopes give to the device: none to a PCI function, whose bus has
/// them; to a named device those that its scopes are (8.3.1).
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
                // Bridges on its way would give the bus a number that firmware does not know.
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
    /// The device does not work correctly without (8.9).
    Required,
}

/// Whether the device may cache translations: it is listed itself (8.9), or the root port above it
/// passes translation requests on (8.6).
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
                    // Ports are listed as bridges, and which of the two types says so is not
                    // consistent between machines: where the path leads is what counts.
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
