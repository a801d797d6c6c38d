// SPDX-License-Identifier: GPL-2.0

//! What debugfs and sysfs show of a unit.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{io::Io, sync::atomic::Relaxed};

use super::{
    capability::TableKind,
    regs::{COMMAND_HEAD, COMMAND_TAIL, CONTROL_HIGH, CONTROL_LOW, EVENT_HEAD, EVENT_TAIL, STATUS},
    unit::AmdViUnit,
};
use crate::{count::Count, drivers::shell::show::abilities};

/// Writes what `unit` is capable of: words with a space between them.
pub(super) fn features(unit: &AmdViUnit, f: &mut dyn fmt::Write) -> fmt::Result {
    let Ok(hardware) = unit.hardware() else {
        return Ok(());
    };
    let properties = &hardware.properties;
    let (features, capability) = (&properties.features, &properties.capability);
    abilities(
        f,
        &[
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
        ],
    )
}

/// Writes the state of `unit`, several lines.
pub(super) fn unit(unit: &AmdViUnit, f: &mut dyn fmt::Write) -> fmt::Result {
    let description = &unit.description;
    writeln!(
        f,
        "AMD-Vi unit at {:#x}, PCI function {:04x}:{}",
        description.base, description.segment, description.function,
    )?;
    let Ok(hardware) = unit.hardware() else {
        return writeln!(f, "not taken over");
    };
    let properties = &hardware.properties;
    let io = hardware.registers.io();

    writeln!(
        f,
        "{} tables, up to {} levels, {} address bits",
        match properties.tables.kind {
            TableKind::Host => "v1",
            TableKind::Guest => "v2",
        },
        properties.tables.levels,
        properties.tables.bits,
    )?;
    write!(f, "can: ")?;
    features(unit, f)?;
    writeln!(f)?;
    writeln!(
        f,
        "control {:#010x} {:#010x}, status {:#010x}",
        u32::from(io.read(CONTROL_HIGH)),
        u32::from(io.read(CONTROL_LOW)),
        u32::from(io.read(STATUS)),
    )?;
    hardware.ids.show(f)?;
    writeln!(
        f,
        "device table: {} entries in {}, {} not blocked",
        hardware.tables.count(),
        Count::new(hardware.tables.segments(), "part"),
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
