// SPDX-License-Identifier: GPL-2.0

//! Reads a unit's fault records and reports them.

#![forbid(unsafe_code)]

use kernel::{
    io::Io,
    sync::atomic::Relaxed,
    time::{delay::fsleep, Delta},
};

use super::{
    fault_record::{FaultRecord, FaultStatus, Request},
    hardware::Hardware,
    regs::FSTS,
};
use crate::{
    addr::Iova,
    fault::{Access, Fault, FaultSink},
    log::log_warn,
    requester::RequesterId,
};

/// Records that are read without a pause. A device that faults all the time costs a part of one
/// processor's time, and records are lost, which is counted.
const BURST: usize = 256;
const PAUSE: Delta = Delta::from_millis(10);

/// Reports all faults that are pending, until there is none or `stopping`.
///
/// Context: may sleep.
pub(super) fn report(hardware: &Hardware, sink: &dyn FaultSink, stopping: impl Fn() -> bool) {
    let io = hardware.registers.io();
    let records = usize::from(hardware.capability.fault_records);
    let mut burst = 0;

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
                burst += 1;
            }
        }
        if status.has(FaultStatus::OVERFLOW) {
            // Nothing is recorded while this is set, so it is cleared after the records are.
            io.write_reg(FSTS::from(FaultStatus::OVERFLOW));
            let before = hardware.overflows.fetch_add(1, Relaxed);
            if before == 0 {
                log_warn!(
                    "{}: faults come faster than they are read, some are lost (said once; \
                     debugfs counts)",
                    hardware.health.name(),
                );
            }
        }
        if !status.has(FaultStatus::PENDING) && !status.has(FaultStatus::OVERFLOW) {
            break;
        }
        if burst >= BURST {
            burst = 0;
            fsleep(PAUSE);
        }
    }
}

/// Reads a record and frees its register; `None` if there is none.
fn take(hardware: &Hardware, index: usize) -> Option<FaultRecord> {
    let offset = hardware.fault_record_offset(index);
    let record = hardware.registers.fault_record(offset).ok()??;
    hardware.registers.clear_fault_record(offset).ok()?;
    Some(record)
}

/// The record in the core's words.
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
