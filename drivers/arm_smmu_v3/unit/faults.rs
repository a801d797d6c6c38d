// SPDX-License-Identifier: GPL-2.0

//! Reports what a unit has recorded: events, and global errors.

#![forbid(unsafe_code)]

use kernel::{io::Io, sync::atomic::Relaxed};

use super::super::records::{
    command::Command,
    event::{Event, GlobalErrors},
};
use super::{
    command_queue::Failure,
    hardware::Hardware,
    regs::{EVENTQ_CONS, EVENTQ_PROD},
};
use crate::{
    addr::Iova,
    drivers::shell::{
        fault_pace::{count_loss, Pace},
        unit::UnitHardware,
    },
    fault::{Access, Fault, FaultSink},
    log::log_err,
    pasid::Pasid,
    requester::RequesterId,
};

/// Reports pending events until none is left or `stopping`.
///
/// Context: may sleep.
pub(super) fn report_events(
    hardware: &Hardware,
    sink: &dyn FaultSink,
    stopping: impl Fn() -> bool,
) {
    let page1 = hardware.registers.page1();
    let mut pace = Pace::new();

    while !stopping() {
        let (record, lost) = {
            let mut events = hardware.events.lock();
            let producer = page1.read(EVENTQ_PROD).into();
            let record = events.take(producer);
            // An overflow is acknowledged once all records before it are read.
            let lost = record.is_none() && events.take_overflow(producer);
            page1.write_reg(EVENTQ_CONS::from(events.consumer()));
            (record, lost)
        };
        if lost {
            count_loss(&hardware.overflows, hardware.health.name(), "faults");
        }
        match record {
            Some(words) => {
                let event = Event::decode(words);
                end_stall(hardware, &event);
                sink.report(&fault(&event, Event::code(words)));
            }
            None if lost => {}
            None => break,
        }
        pace.count();
        pace.pause_if_due();
    }
}

/// Terminates the transaction of an event if it is stalled: the driver cannot make the page
/// present.
fn end_stall(hardware: &Hardware, event: &Event) {
    let Some(tag) = event.stall else { return };
    let mut batch = hardware.batch();
    batch.push(Command::abort_stalled(event.stream, tag));
    // A unit that fails says so.
    let _ = hardware.answered(batch.run());
}

/// The event as the core describes faults.
fn fault(event: &Event, code: u8) -> Fault {
    let access = event.access.map(|access| {
        if access.execute {
            Access::Execute
        } else if access.read {
            Access::Read
        } else {
            Access::Write
        }
    });
    Fault {
        requester: RequesterId::new(event.stream),
        pasid: event.substream.and_then(Pasid::new),
        address: event.address.map(Iova::new),
        access,
        code: u32::from(code),
        reason: event.kind.text(),
    }
}

/// Reports global errors. Some repeat while a device faults faster than events are read, so the
/// first, second, fourth, eighth and so on are logged.
pub(super) fn report_errors(hardware: &Hardware) {
    let errors = hardware.take_errors();
    if errors.is_empty() {
        return;
    }
    let count = hardware.errors.fetch_add(1, Relaxed) + 1;
    let is_fatal = errors.has(GlobalErrors::SERVICE_FAILURE);
    if is_fatal || count.is_power_of_two() {
        for text in errors.texts() {
            log_err!(
                "{}: {} ({} errors so far)",
                hardware.health.name(),
                text,
                count
            );
        }
    }
    if is_fatal {
        hardware.fail(Failure::OutOfService);
    }
}
