// SPDX-License-Identifier: GPL-2.0

//! A unit's state in words.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{io::Io, sync::atomic::Relaxed};

use super::{
    hardware::Kind,
    regs::{COMMAND_HEAD, COMMAND_TAIL, CONTROL_HIGH, CONTROL_LOW, EVENT_HEAD, EVENT_TAIL, STATUS},
    unit::AmdViUnit,
};

/// Writes what is to be known about a unit, several lines.
pub(super) fn unit(described: &AmdViUnit, f: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(
        f,
        "AMD-Vi unit at {:#x}, PCI function {:04x}:{}",
        described.base, described.segment, described.function,
    )?;
    let Ok(hardware) = described.hardware() else {
        return writeln!(f, "not taken over");
    };
    let description = &hardware.description;
    let (features, capability) = (&description.features, &description.capability);
    let io = hardware.registers.io();

    writeln!(
        f,
        "{} tables, up to {} levels, {} address bits",
        match description.space.kind {
            Kind::Host => "v1",
            Kind::Guest => "v2",
        },
        description.space.levels,
        description.space.bits,
    )?;
    write!(f, "can:")?;
    for (can, what) in [
        (capability.iotlb, "device-tlb"),
        (capability.ht_tunnel, "ht-tunnel"),
        (capability.caches_not_present, "caches-absent-entries"),
        (features.invalidate_all, "invalidate-all"),
        (features.prefetch, "prefetch"),
        (features.page_requests, "page-requests"),
        (features.x2apic, "x2apic"),
        (features.no_execute, "no-execute"),
        (features.guest_translation, "guest-translation"),
        (features.guest_io, "guest-io"),
        (features.guest_apic, "guest-apic"),
        (features.host_accessed, "accessed-bits"),
        (features.host_dirty, "dirty-bits"),
        (features.performance_counters, "performance-counters"),
    ] {
        if can {
            write!(f, " {what}")?;
        }
    }
    writeln!(f)?;
    writeln!(
        f,
        "control {:#010x} {:#010x}, status {:#010x}",
        u32::from(io.read(CONTROL_HIGH)),
        u32::from(io.read(CONTROL_LOW)),
        u32::from(io.read(STATUS)),
    )?;
    let (used, capacity) = {
        let ids = hardware.ids.lock();
        (ids.used(), ids.capacity())
    };
    writeln!(f, "domain ids: {used} of {capacity} in use")?;
    writeln!(
        f,
        "device table: {} entries in {} parts, {} not blocked",
        hardware.tables.count(),
        hardware.tables.segments(),
        hardware.tables.unblocked(),
    )?;
    let queue = hardware.queue();
    let counts = queue.counts();
    writeln!(
        f,
        "queue: head {:#x}, tail {:#x}, {} batches, {} commands, {} repairs{}",
        u32::from(io.read(COMMAND_HEAD)),
        u32::from(io.read(COMMAND_TAIL)),
        counts.batches,
        counts.commands,
        counts.repairs,
        if queue.has_failed() { ", failed" } else { "" },
    )?;
    writeln!(
        f,
        "event log: head {:#x}, tail {:#x}, {} overflows, {} events of the unit itself",
        u32::from(io.read(EVENT_HEAD)),
        u32::from(io.read(EVENT_TAIL)),
        hardware.overflows.load(Relaxed),
        hardware.own_events.load(Relaxed),
    )
}
