// SPDX-License-Identifier: GPL-2.0

//! Reads a unit's events and reports them.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    io::Io,
    prelude::*,
    sync::atomic::Relaxed,
    time::{
        delay::{fsleep, udelay},
        Delta, Instant, Monotonic,
    },
};

use super::{
    events::{Access as EventAccess, Event},
    hardware::Hardware,
    regs::STATUS,
};
use crate::{
    addr::Iova,
    fault::{Access, Fault, FaultSink},
    log::{log_err, log_warn},
    requester::RequesterId,
};

/// Events that are read without a pause. A device that faults all the time costs a part of one
/// processor's time, and events are lost, which is counted.
const BURST: usize = 256;
const PAUSE: Delta = Delta::from_millis(10);
/// How often the unit may say that there is something when there is nothing.
const MISTAKES: usize = 16;
/// How long an event may take to arrive after the unit has said that it is there.
const ARRIVAL: Delta = Delta::from_millis(1);
/// How long a log may take to stop.
const TIMEOUT: Delta = Delta::from_millis(100);

/// Reports all events that are in the log, until there is none or `stopping`.
///
/// Context: may sleep.
pub(super) fn report(hardware: &Hardware, sink: &dyn FaultSink, stopping: impl Fn() -> bool) {
    let registers = &hardware.registers;
    let io = registers.io();
    let mut burst = 0;
    let mut mistakes = 0;

    while !stopping() {
        let status = io.read(STATUS);
        if u32::from(status) == u32::MAX {
            // Nobody answers.
            break;
        }
        if status.event_interrupt() {
            // Before the log is read: an event that comes after that makes an interrupt. Some units
            // set it again meanwhile, which is why all this is a loop.
            io.write_reg(STATUS::zeroed().with_event_interrupt(true));
        }
        let mut found = false;
        while let Some(place) = hardware.events.next(registers) {
            found = true;
            match arrived(|| hardware.events.read(place)) {
                Some(event) => report_event(hardware, sink, &event),
                None => report_own(
                    hardware,
                    &"it says that there is an event, but there is none",
                ),
            }
            hardware.events.done(registers, place);
            burst += 1;
            if burst >= BURST || stopping() {
                break;
            }
        }
        if status.event_overflow() {
            restart(hardware);
            let before = hardware.overflows.fetch_add(1, Relaxed);
            if before == 0 {
                log_warn!(
                    "{}: events come faster than they are read, some are lost (said once; \
                     debugfs counts)",
                    hardware.health.name(),
                );
            }
        }
        if !found {
            mistakes += 1;
            if !status.event_interrupt() && !status.event_overflow() || mistakes == MISTAKES {
                break;
            }
        }
        if burst >= BURST {
            burst = 0;
            fsleep(PAUSE);
        }
    }
}

/// Waits until there is an event in what `read` returns.
fn arrived(read: impl Fn() -> [u64; 2]) -> Option<Event> {
    let start = Instant::<Monotonic>::now();
    loop {
        let late = start.elapsed() >= ARRIVAL;
        let event = Event::decode(read());
        if event.is_some() || late {
            return event;
        }
        udelay(Delta::from_micros(1));
    }
}

/// Starts the log anew, after it has stopped because it was full (2.5.1).
fn restart(hardware: &Hardware) {
    let registers = &hardware.registers;
    let io = registers.io();
    registers.control(|control| control.with_event_log(false));
    let start = Instant::<Monotonic>::now();
    while io.read(STATUS).event_log() && start.elapsed() < TIMEOUT {
        udelay(Delta::from_micros(1));
    }
    io.write_reg(STATUS::zeroed().with_event_overflow(true));
    registers.control(|control| control.with_event_log(true));
}

/// Reports an event: to whom it concerns if it is about a device, else to the log.
fn report_event(hardware: &Hardware, sink: &dyn FaultSink, event: &Event) {
    if let Some(request) = event.request() {
        sink.report(&Fault {
            requester: RequesterId::new(u32::from(request.device)),
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

/// Reports what is about no device, as long as it is seldom.
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
