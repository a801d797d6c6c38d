// SPDX-License-Identifier: GPL-2.0

//! Reads what a unit reports: events, errors of its own.

#![forbid(unsafe_code)]

use kernel::{
    io::Io,
    sync::atomic::Relaxed,
    time::{delay::fsleep, Delta},
};

use super::super::records::{
    command::{Command, Resume},
    event::{Event, GlobalErrors},
};
use super::{
    hardware::Hardware,
    regs::{EVENTQ_CONS, EVENTQ_PROD},
};
use crate::{
    addr::Iova,
    fault::{Access, Fault, FaultSink},
    log::{log_err, log_warn},
    requester::RequesterId,
};

/// Records that are read without a pause. A device that faults all the time costs a part of one
/// processor's time, and records are lost, which is counted.
pub(super) const BURST: usize = 256;
/// How long the pause is.
pub(super) const PAUSE: Delta = Delta::from_millis(10);

/// Reports all events that are pending, until there is none or `stopping`.
///
/// Context: may sleep.
pub(super) fn report_events(
    hardware: &Hardware,
    sink: &dyn FaultSink,
    stopping: impl Fn() -> bool,
) {
    let page1 = hardware.registers.page1();
    let mut burst = 0;

    while !stopping() {
        let (record, lost) = {
            let mut events = hardware.events.lock();
            let producer = page1.read(EVENTQ_PROD).into();
            let record = events.take::<4>(producer);
            // Answered when all that came before is read.
            let lost = record.is_none() && events.take_overflow(producer);
            page1.write_reg(EVENTQ_CONS::from(events.consumer()));
            (record, lost)
        };
        if lost {
            let before = hardware.overflows.fetch_add(1, Relaxed);
            if before == 0 {
                log_warn!(
                    "{}: faults come faster than they are read, some are lost (said once; \
                     debugfs counts)",
                    hardware.health.name(),
                );
            }
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
        burst += 1;
        if burst >= BURST {
            burst = 0;
            fsleep(PAUSE);
        }
    }
}

/// Terminates the transaction of an event if it is stalled: nobody is there to make the page
/// present.
fn end_stall(hardware: &Hardware, event: &Event) {
    let Some(tag) = event.stall else { return };
    let mut batch = hardware.batch();
    batch.push(Command::resume(event.stream, tag, Resume::Abort));
    if let Err(failure) = batch.run() {
        hardware.fail(failure);
    }
}

/// The record in the core's words.
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
        address: event.address.map(Iova::new),
        access,
        code: u32::from(code),
        reason: event.kind.text(),
    }
}

/// Reports errors of the unit itself. A device that faults faster than events are read makes some
/// kinds come again and again: they are said at the first, second, fourth, eighth time.
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
        hardware
            .health
            .fail(format_args!("it is in service failure mode"));
        hardware.block_all();
    }
}
