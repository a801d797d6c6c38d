// SPDX-License-Identifier: GPL-2.0

//! What debugfs and sysfs show of a unit.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{io::Io, sync::atomic::Relaxed};

use super::{
    records::{capability::Stage, stream_table_layout::StreamTableFormat},
    unit::{
        regs::{
            CMDQ_CONS, CMDQ_PROD, CR0, EVENTQ_CONS, EVENTQ_PROD, GBPA, GERROR, GERRORN, PRIQ_CONS,
            PRIQ_PROD,
        },
        smmu_unit::SmmuUnit,
    },
};
use crate::drivers::shell::show::abilities;

/// Writes what `unit` is capable of: words with a space between them.
pub(super) fn features(unit: &SmmuUnit, f: &mut dyn fmt::Write) -> fmt::Result {
    let Ok(hardware) = unit.hardware() else {
        return Ok(());
    };
    let capability = &hardware.capability;
    abilities(
        f,
        &[
            (capability.stage1, "stage-1"),
            (capability.stage2, "stage-2"),
            (capability.nesting, "nesting"),
            (capability.coherent, "coherent-walks"),
            (capability.range_invalidation, "range-invalidation"),
            (capability.messages, "messages"),
            (capability.events, "events"),
            (capability.device_tlb, "device-tlb"),
            (capability.queues.page_requests.is_some(), "page-requests"),
            (capability.broadcast, "broadcast-invalidation"),
            (capability.hypervisor, "el2"),
            (capability.two_level_contexts, "two-level-contexts"),
            (capability.substream_bits > 0, "substreams"),
            (capability.vmid_wildcards, "vmid-wildcards"),
            (capability.force_write_back, "force-write-back"),
        ],
    )
}

/// Writes the state of a unit, several lines.
pub(super) fn unit(unit: &SmmuUnit, f: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(
        f,
        "SMMUv3 at {:#x}, {}",
        unit.description.base, unit.description.name,
    )?;
    let Ok(hardware) = unit.hardware() else {
        return writeln!(f, "not taken over");
    };
    let capability = &hardware.capability;
    let io = hardware.registers.io();
    let page1 = hardware.registers.page1();

    writeln!(
        f,
        "version {}.{}, stage {}, pages of {:#x} bytes, {} stream id bits, {} output bits",
        capability.version.0,
        capability.version.1,
        match hardware.stage {
            Stage::One => 1,
            Stage::Two => 2,
        },
        1u64 << hardware.granule.lg2(),
        capability.stream_bits,
        capability.output_bits,
    )?;
    write!(f, "can: ")?;
    features(unit, f)?;
    writeln!(f)?;
    writeln!(
        f,
        "control {:#x}, bypass {:#010x}, errors {:#x}",
        u32::from(io.read(CR0)),
        u32::from(io.read(GBPA)),
        u32::from(io.read(GERROR)) ^ u32::from(io.read(GERRORN)),
    )?;
    let [asids, vmids] = hardware.tags.lock().usage();
    writeln!(
        f,
        "asids: {} of {} in use; vmids: {} of {} in use",
        asids.0, asids.1, vmids.0, vmids.1,
    )?;
    let layout = hardware.stream_table.layout();
    match layout.format() {
        StreamTableFormat::Linear => writeln!(f, "stream table: linear, {} bits", layout.bits()),
        StreamTableFormat::TwoLevel => writeln!(
            f,
            "stream table: two levels, {} bits, {} second-level tables",
            layout.bits(),
            hardware.stream_table.level2_tables(),
        ),
    }?;
    let (counts, failed) = (hardware.commands.counts(), hardware.commands.has_failed());
    writeln!(
        f,
        "command queue: consumer {:#x}, producer {:#x}, {} batches, {} commands, {} illegal, {} \
         aborts, {} device time-outs{}",
        u32::from(io.read(CMDQ_CONS)),
        u32::from(io.read(CMDQ_PROD)),
        counts.batches,
        counts.commands,
        counts.illegal,
        counts.aborts,
        counts.device_timeouts,
        if failed { ", failed" } else { "" },
    )?;
    writeln!(
        f,
        "event queue: consumer {:#x}, producer {:#x}, {} overflows; {} global errors",
        u32::from(page1.read(EVENTQ_CONS)),
        u32::from(page1.read(EVENTQ_PROD)),
        hardware.overflows.load(Relaxed),
        hardware.errors.load(Relaxed),
    )?;
    if capability.queues.page_requests.is_some() {
        writeln!(
            f,
            "pri queue: consumer {:#x}, producer {:#x}, {} refused, {} overflows",
            u32::from(page1.read(PRIQ_CONS)),
            u32::from(page1.read(PRIQ_PROD)),
            hardware.refused_requests.load(Relaxed),
            hardware.lost_requests.load(Relaxed),
        )?;
    }
    if capability.device_tlb {
        let devices = hardware.with_ats_streams(|streams| streams.devices());
        writeln!(f, "device TLBs: {devices}")?;
    }
    Ok(())
}
