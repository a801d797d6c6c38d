// SPDX-License-Identifier: GPL-2.0

//! Reads a unit's fault records and reports them.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{io::Io, sync::atomic::Relaxed};

use super::{
    fault_record::{FaultRecord, FaultStatus, Request},
    hardware::Hardware,
    regs::FSTS,
};
use crate::{
    addr::Iova,
    drivers::shell::fault_pace::{count_loss, Pace},
    fault::{Access, Fault, FaultSink},
    log::log_warn,
    pasid::Pasid,
    requester::RequesterId,
};

/// How often in a row the status register may announce faults when no register holds one.
const MISTAKES: usize = 16;

/// Reports pending faults until none is left or `stopping`.
///
/// A unit that is gone (its registers read as all ones), or that announces faults which it does not
/// have, is left alone: otherwise this would never end.
///
/// Context: may sleep.
pub(super) fn report(hardware: &Hardware, sink: &dyn FaultSink, stopping: impl Fn() -> bool) {
    let io = hardware.registers.io();
    let records = usize::from(hardware.capability.fault_records);
    let mut pace = Pace::new();
    let mut mistakes = 0;

    while !stopping() {
        let status = FaultStatus(io.read(FSTS).into());
        if status.is_gone() {
            break;
        }
        let mut found = false;
        if status.has(FaultStatus::PENDING) {
            let first = status.first_record();
            for step in 0..records {
                let index = (first + step) % records;
                let Some(record) = take(hardware, index) else {
                    break;
                };
                found = true;
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
        mistakes = match found {
            true => 0,
            false => mistakes + 1,
        };
        if mistakes == MISTAKES {
            log_false_alarm(hardware, status);
            break;
        }
        pace.pause_if_due();
    }
}

/// Logs that the unit announces faults which it does not have: the first, second, fourth, eighth
/// time and so on.
#[cold]
fn log_false_alarm(hardware: &Hardware, FaultStatus(status): FaultStatus) {
    let count = hardware.false_alarms.fetch_add(1, Relaxed) + 1;
    if count.is_power_of_two() {
        log_warn!(
            "{}: the unit says that there are faults (fault status {:#x}), but none is recorded; \
             faults may be lost ({} times so far)",
            hardware.health.name(),
            status,
            count,
        );
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
        pasid: record.pasid.and_then(Pasid::new),
        address: record.page().map(Iova::new),
        access: Some(access),
        code: u32::from(record.reason),
        reason: record.reason_text(),
    }
}
