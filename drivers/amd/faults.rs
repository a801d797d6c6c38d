// SPDX-License-Identifier: GPL-2.0

//! Reads a unit's events and reports them.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    io::Io,
    prelude::*,
    sync::atomic::Relaxed,
    time::{delay::udelay, Delta},
};

use super::{
    events::{Access as EventAccess, Event},
    hardware::Hardware,
    regs::STATUS,
};
use crate::{
    addr::Iova,
    drivers::shell::{
        fault_pace::{count_loss, Pace},
        wait::Wait,
    },
    fault::{Access, Fault, FaultSink},
    log::log_err,
    pasid::Pasid,
    requester::RequesterId,
};

/// How often the status register may announce an event when the log has none.
const MISTAKES: usize = 16;
/// How long an event may take to arrive in memory after the unit has moved the log's tail.
const ARRIVAL: Delta = Delta::from_millis(1);
/// How long a log may take to stop.
const TIMEOUT: Delta = Delta::from_millis(100);

/// Reports logged events until none is left or `stopping`.
///
/// Context: may sleep.
pub(super) fn report(hardware: &Hardware, sink: &dyn FaultSink, stopping: impl Fn() -> bool) {
    let registers = &hardware.registers;
    let io = registers.io();
    let mut pace = Pace::new();
    let mut mistakes = 0;

    while !stopping() {
        let status = io.read(STATUS);
        if u32::from(status) == u32::MAX {
            // The unit does not answer.
            break;
        }
        if status.event_interrupt() {
            // Cleared before the log is read, so that a later event raises a new interrupt. Some
            // units set the bit again meanwhile, hence the loop.
            io.write_reg(STATUS::zeroed().with_event_interrupt(true));
        }
        let mut found = false;
        while let Some(slot) = hardware.events.next(registers) {
            found = true;
            match arrived(|| hardware.events.read(slot)) {
                Some(event) => report_event(hardware, sink, &event),
                None => report_own(
                    hardware,
                    &"it says that there is an event, but there is none",
                ),
            }
            hardware.events.done(registers, slot);
            pace.count();
            if pace.is_due() || stopping() {
                break;
            }
        }
        if status.event_overflow() {
            restart(hardware);
            count_loss(&hardware.overflows, hardware.health.name(), "events");
        }
        if !found {
            mistakes += 1;
            if !status.event_interrupt() && !status.event_overflow() || mistakes == MISTAKES {
                break;
            }
        }
        pace.pause_if_due();
    }
}

/// Waits until `done`, and gives the unit's accesses to memory a microsecond after each look.
fn wait(limit: Delta, mut done: impl FnMut() -> bool) {
    let wait = Wait::begin(limit);
    while wait
        .look(1, &mut done)
        .is_err_and(|in_vain| !in_vain.is_late())
    {
        udelay(Delta::from_micros(1));
    }
}

/// Waits until `read` returns an event.
fn arrived(read: impl Fn() -> [u64; 2]) -> Option<Event> {
    let mut event = None;
    wait(ARRIVAL, || {
        event = Event::decode(read());
        event.is_some()
    });
    event
}

/// Restarts the log after it has stopped because it was full (2.5.1).
fn restart(hardware: &Hardware) {
    let registers = &hardware.registers;
    let io = registers.io();
    registers.control(|control| control.with_event_log(false));
    wait(TIMEOUT, || !io.read(STATUS).event_log());
    io.write_reg(STATUS::zeroed().with_event_overflow(true));
    registers.control(|control| control.with_event_log(true));
}

/// Reports an event: to `sink` if it is about a device, else to the kernel log.
fn report_event(hardware: &Hardware, sink: &dyn FaultSink, event: &Event) {
    if let Some(request) = event.request() {
        sink.report(&Fault {
            requester: RequesterId::new(u32::from(request.device)),
            pasid: request.pasid.and_then(Pasid::new),
            address: Some(Iova::new(request.address)),
            access: Some(match request.access {
                _ if request.execute => Access::Execute,
                EventAccess::Read | EventAccess::Translation => Access::Read,
                EventAccess::Write => Access::Write,
                EventAccess::Interrupt => Access::Interrupt,
            }),
            code: u32::from(request.code),
            reason: event.reason(),
        });
        return;
    }
    report_own(hardware, event);
}

/// Logs an event that is about no device: the first, second, fourth, eighth and so on.
fn report_own(hardware: &Hardware, what: &dyn fmt::Display) {
    let count = hardware.own_events.fetch_add(1, Relaxed) + 1;
    if count.is_power_of_two() {
        log_err!(
            "{}: {} ({} such events so far)",
            hardware.health.name(),
            what,
            count
        );
    }
}
