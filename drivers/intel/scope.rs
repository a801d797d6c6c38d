// SPDX-License-Identifier: GPL-2.0

//! Which unit is responsible for a device, and which parts of the DMAR table concern it.
//!
//! A device scope does not name a bus number for its device, because bus numbers below a bridge
//! are the operating system's to assign: it names a bus to start on and the bridges to go through
//! (VT-d 8.3.1). So a device is matched from below: it must be the last step of the path, its
//! bridge the step before, and so on up to the bus where the path starts. Nothing is remembered
//! between look-ups, so buses that are renumbered and devices that come and go need no care.

#![forbid(unsafe_code)]

use super::dmar::{DeviceScope, Drhd, Hop, Rmrr, ScopeKind, Structure, Table};
use crate::requester::RequesterId;

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
    function.devfn() == hop.device << 3 | hop.function
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

/// Whether `scope` names the function at `location`, directly or as a part of a sub-hierarchy.
///
/// The segment is the structure's and is compared by the callers. I/O APICs, timers and named
/// devices are not PCI functions on the operating system's side and never match.
pub fn names(scope: DeviceScope<'_>, location: &Location<'_>) -> bool {
    match scope.kind() {
        Some(ScopeKind::Endpoint) => leads_to(scope, location.way_up()),
        Some(ScopeKind::SubHierarchy) => (0..=location.upstream.len())
            .any(|below| leads_to(scope, location.way_up().skip(below))),
        _ => false,
    }
}

/// The unit that is responsible for the function at `location`.
///
/// The one that lists it, or else the one for all other devices of its segment (8.4). `None` means
/// that no unit translates what the device does.
pub fn unit_for<'a>(table: Table<'a>, location: &Location<'_>) -> Option<Drhd<'a>> {
    let units = || {
        table
            .units()
            .filter(|unit| unit.segment() == location.segment)
    };
    let listed = units().find(|unit| unit.scopes().any(|scope| names(scope, location)));

    listed.or_else(|| units().find(|unit| unit.include_all()))
}

/// The reserved memory regions that the function at `location` uses.
pub fn regions_for<'a, 'l>(
    table: Table<'a>,
    location: &'l Location<'l>,
) -> impl Iterator<Item = Rmrr<'a>> + use<'a, 'l> {
    table.reserved_regions().filter(move |region| {
        region.segment() == location.segment && region.scopes().any(|scope| names(scope, location))
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

/// Whether the function at `location` may cache translations: it is listed itself (8.9), or the
/// root port above it passes translation requests on (8.6).
pub fn translation_cache(table: Table<'_>, location: &Location<'_>) -> TranslationCache {
    let mut answer = TranslationCache::Unsupported;

    for structure in table.structures() {
        match structure {
            Structure::Satc(satc) if satc.segment() == location.segment => {
                if satc.scopes().any(|scope| names(scope, location)) {
                    return if satc.cache_required() {
                        TranslationCache::Required
                    } else {
                        TranslationCache::Supported
                    };
                }
            }
            Structure::Atsr(atsr) if atsr.segment() == location.segment => {
                let passes = location.root_port().is_some_and(|port| {
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
