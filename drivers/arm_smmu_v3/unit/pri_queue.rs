// SPDX-License-Identifier: GPL-2.0

//! Refuses the page requests in the PRI queue (IHI 0070, chapter 8).
//!
//! The driver enables page requests (PRI) of no device, but a device may send some nevertheless.
//! The unit answers by itself only those that find no room in the queue. If the others got no
//! answer, the device could never use their credits again, not even for a later owner.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{io::Io, sync::atomic::Relaxed};

use super::super::records::{command::Command, page_request::PageRequest};
use super::{
    hardware::Hardware,
    regs::{PRIQ_CONS, PRIQ_PROD},
};
use crate::{
    drivers::shell::{
        fault_pace::{count_loss, Pace},
        unit::UnitHardware,
    },
    log::log_warn,
    requester::RequesterId,
};

/// What is next in the queue.
enum Next {
    Request(PageRequest),
    /// Requests were lost, because there was no room for them.
    Lost,
}

/// Takes the next request. After an overflow the unit writes no further requests until that is
/// acknowledged. It is acknowledged once all requests before it are read.
fn take(hardware: &Hardware) -> Option<Next> {
    let page1 = hardware.registers.page1();
    let mut requests = hardware.page_requests.lock();
    let Some(requests) = &mut *requests else {
        return None;
    };
    let producer = page1.read(PRIQ_PROD).into();
    let next = match requests.take(producer) {
        Some(words) => Some(Next::Request(PageRequest::decode(words))),
        None => requests.take_overflow(producer).then_some(Next::Lost),
    };
    page1.write_reg(PRIQ_CONS::from(requests.consumer()));
    next
}

/// Refuses pending page requests until none is left or `stopping`.
///
/// Context: may sleep.
pub(super) fn refuse_all(hardware: &Hardware, stopping: impl Fn() -> bool) {
    let mut pace = Pace::new();

    while !stopping() {
        match take(hardware) {
            // A Stop PASID marker needs no answer.
            Some(Next::Request(request)) if request.is_stop_marker() => {}
            Some(Next::Request(request)) => refuse(hardware, request),
            // The unit has answered them with a failure.
            Some(Next::Lost) => count_loss(
                &hardware.lost_requests,
                hardware.health.name(),
                "page requests",
            ),
            None => return,
        }
        pace.count();
        pace.pause_if_due();
    }
}

/// Answers a request with a failure if it is the last of its group. Logs the first, second, fourth,
/// eighth and so on.
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
    batch.push(Command::refuse_page_requests(
        request.stream,
        request.substream,
        request.group,
    ));
    // A unit that fails says so.
    let _ = hardware.answered(batch.run());
}
