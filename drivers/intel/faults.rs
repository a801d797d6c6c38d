// SPDX-License-Identifier: GPL-2.0

//! Reads a unit's fault records and reports them.

#![forbid(unsafe_code)]

use kernel::io::Io;

use super::{
    fault_record::{FaultRecord, FaultStatus, Request},
    hardware::Hardware,
    regs::FSTS,
};
use crate::{
    addr::Iova,
    drivers::shell::fault_pace::{count_loss, Pace},
    fault::{Access, Fault, FaultSink},
    requester::RequesterId,
};

/// Reports pending faults until none is left or `stopping`.
///
/// Context: may sleep.
pub(super) fn report(hardware: &Hardware, sink: &dyn FaultSink, stopping: impl Fn() -> bool) {
    let io = hardware.registers.io();
    let records = usize::from(hardware.capability.fault_records);
    let mut pace = Pace::new();

    while !stopping() {
        let status = FaultStatus(io.read(FSTS).into());
        if status.has(FaultStatus::PENDING) {
            let first = status.first_record();
            for step in 0..records {
                let index = (first + step) % records;
                let Some(record) = take(hardware, index) else {
                    break;
                };
                sink.report(&fault(&record));
                pace.count();
            }
        }
        if status.has(FaultStatus::OVERFLOW) {
            // The unit records nothing while this bit is set. So it is cleared last, when the
            // records are free.
            io.write_reg(FSTS::from(FaultStatus::OVERFLOW));
            count_loss(&hardware.overflows, hardware.health.name(), "faults");
        }
        if !status.has(FaultStatus::PENDING) && !status.has(FaultStatus::OVERFLOW) {
            break;
        }
        pace.pause_if_due();
    }
}

/// Reads fault recording register `index` and frees it; `None` if it holds no fault.
fn take(hardware: &Hardware, index: usize) -> Option<FaultRecord> {
    let offset = hardware.fault_record_offset(index);
    let record = hardware.registers.fault_record(offset).ok()??;
    hardware.registers.clear_fault_record(offset).ok()?;
    Some(record)
}

/// The record as the core's fault.
fn fault(record: &FaultRecord) -> Fault {
    let access = if record.is_interrupt() {
        Access::Interrupt
    } else if record.execute {
        Access::Execute
    } else {
        match record.request {
            Request::Write => Access::Write,
            Request::Read | Request::Page | Request::Atomic => Access::Read,
        }
    };
    Fault {
        requester: RequesterId::new(u32::from(record.source)),
        address: record.page().map(Iova::new),
        access: Some(access),
        code: u32::from(record.reason),
        reason: record.reason_text(),
    }
}
