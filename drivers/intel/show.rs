// SPDX-License-Identifier: GPL-2.0

//! What debugfs and sysfs show of a unit.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{io::Io, sync::atomic::Relaxed};

use super::{
    regs::{FECTL, FSTS, GSTS, IQH, IQT, VER},
    unit::VtdUnit,
};
use crate::drivers::shell::show::abilities;

/// Writes what `unit` is capable of: words with a space between them.
pub(super) fn features(unit: &VtdUnit, f: &mut dyn fmt::Write) -> fmt::Result {
    let Ok(hardware) = unit.hardware() else {
        return Ok(());
    };
    let capability = &hardware.capability;
    abilities(
        f,
        &[
            (capability.caching_mode, "caching-mode"),
            (capability.write_buffer_flush, "write-buffer-flush"),
            (capability.coherent, "coherent-walks"),
            (capability.page_selective, "page-selective-invalidation"),
            (capability.pass_through, "pass-through"),
            (capability.snoop_control, "snoop-control"),
            (capability.device_tlb, "device-tlb"),
            (capability.interrupt_remapping, "interrupt-remapping"),
            (capability.extended_interrupt_mode, "x2apic"),
            (capability.zero_length_read, "zero-length-read"),
            (capability.root_pointer_flushes, "root-pointer-flush"),
            (capability.scalable_mode, "scalable-mode"),
            (capability.scalable_coherent, "coherent-scalable-walks"),
            (capability.first_stage, "first-stage"),
            (capability.second_stage, "second-stage"),
            (capability.second_stage_dirty, "second-stage-dirty"),
            (capability.nested, "nested"),
            (capability.pasid_bits != 0, "pasid"),
            (capability.rid_pasid, "rid-pasid"),
            (capability.page_requests, "page-requests"),
        ],
    )
}

/// Writes the state of `unit`, several lines.
pub(super) fn unit(unit: &VtdUnit, f: &mut dyn fmt::Write) -> fmt::Result {
    let description = &unit.description;
    writeln!(
        f,
        "VT-d unit at {:#x}, segment {:04x}, {}",
        description.base,
        description.segment,
        match description.include_all {
            true => "for all devices that no other unit lists",
            false => "for listed devices",
        },
    )?;
    let Ok(hardware) = unit.hardware() else {
        return writeln!(f, "not taken over");
    };
    let capability = &hardware.capability;
    let io = hardware.registers.io();

    let version = io.read(VER);
    writeln!(
        f,
        "version {}.{}, {}, {} levels, {} address bits, page sizes {:#x}",
        version.major().get(),
        version.minor().get(),
        hardware.mode(),
        hardware.space.width.levels(),
        hardware.space.bits,
        capability.page_sizes(),
    )?;
    write!(f, "can: ")?;
    features(unit, f)?;
    writeln!(f)?;
    writeln!(
        f,
        "status {:#010x}, fault status {:#010x}, fault control {:#010x}",
        u32::from(io.read(GSTS)),
        u32::from(io.read(FSTS)),
        u32::from(io.read(FECTL)),
    )?;
    hardware.ids.show(f)?;
    writeln!(
        f,
        "root table at {:#x}, {} context tables",
        hardware.tables.root().raw(),
        hardware.tables.count(),
    )?;
    let queue = hardware.queue();
    let counts = queue.counts();
    writeln!(
        f,
        "queue: head {:#x}, tail {:#x}, {} batches, {} descriptors, {} queue errors, {} \
             time-outs, {} completion errors{}",
        u32::from(io.read(IQH)),
        u32::from(io.read(IQT)),
        counts.batches,
        counts.descriptors,
        counts.queue_errors,
        counts.timeouts,
        counts.completion_errors,
        if queue.has_failed() { ", failed" } else { "" },
    )?;
    writeln!(
        f,
        "fault record overflows: {}",
        hardware.overflows.load(Relaxed),
    )
}
