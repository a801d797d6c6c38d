// SPDX-License-Identifier: GPL-2.0

//! Reads the PRI queue, and refuses what is in it (IHI 0070, chapter 8).
//!
//! Nobody lets a device make page requests, but one may do so. The unit answers by itself only
//! what finds no place in the queue; without an answer the device would have one request less
//! that it can make, and somebody who uses it later would wait for it in vain.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{io::Io, sync::atomic::Relaxed, time::delay::fsleep};

use super::super::records::{
    command::{Command, PageResponse},
    page_request::PageRequest,
};
use super::{
    faults::{BURST, PAUSE},
    hardware::Hardware,
    regs::{PRIQ_CONS, PRIQ_PROD},
};
use crate::{log::log_warn, requester::RequesterId};

/// A record that is next in the queue, or that there was no room for.
enum Next {
    Request(PageRequest),
    Lost,
}

/// Takes the next record. A queue that has overflown takes no more until that is acknowledged,
/// which is when all that came before is read.
fn take(hardware: &Hardware) -> Option<Next> {
    let page1 = hardware.registers.page1();
    let mut requests = hardware.requests.lock();
    let Some(requests) = &mut *requests else {
        return None;
    };
    let producer = page1.read(PRIQ_PROD).into();
    let next = match requests.take::<2>(producer) {
        Some(words) => Some(Next::Request(PageRequest::decode(words))),
        None => requests.take_overflow(producer).then_some(Next::Lost),
    };
    page1.write_reg(PRIQ_CONS::from(requests.consumer()));
    next
}

/// Refuses all page requests that are pending, until there is none or `stopping`.
///
/// Context: may sleep.
pub(super) fn refuse_all(hardware: &Hardware, stopping: impl Fn() -> bool) {
    let mut burst = 0;

    while !stopping() {
        match take(hardware) {
            // It wants nothing.
            Some(Next::Request(request)) if request.is_stop_marker() => {}
            Some(Next::Request(request)) => refuse(hardware, request),
            // The devices were told by the unit that their requests have failed.
            Some(Next::Lost) => {
                if hardware.lost_requests.fetch_add(1, Relaxed) == 0 {
                    log_warn!(
                        "{}: page requests come faster than they are read, some are lost (said \
                         once; debugfs counts)",
                        hardware.health.name(),
                    );
                }
            }
            None => return,
        }
        burst += 1;
        if burst >= BURST {
            burst = 0;
            fsleep(PAUSE);
        }
    }
}

/// Says that there was a request, at the first, second, fourth, eighth time; and answers it, if it
/// is the last of its group.
fn refuse(hardware: &Hardware, request: PageRequest) {
    let count = hardware.refused_requests.fetch_add(1, Relaxed) + 1;
    if count.is_power_of_two() {
        log_warn!(
            "{}: {} asks for {}, though nobody lets it ask; refused ({} so far)",
            hardware.health.name(),
            RequesterId::new(request.stream),
            request,
            count,
        );
    }
    if !request.last {
        return;
    }
    let mut batch = hardware.batch();
    batch.push(Command::answer(
        request.stream,
        request.substream,
        request.group,
        PageResponse::Failure,
    ));
    if let Err(failure) = batch.run() {
        hardware.fail(failure);
    }
}
