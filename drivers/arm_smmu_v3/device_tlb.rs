// SPDX-License-Identifier: GPL-2.0

//! TLBs in devices (IHI 0070 3.9 and 4.5; PCIe chapter 10, ATS).
//!
//! A device with a TLB asks the unit for translations, keeps them, and sends transactions that are
//! translated already. It may do so while it is attached to a paging domain. Its entry says so
//! (EATS), the unit looks at the entry also for what is translated (CR0.ATSCHK), and invalidations
//! of the domain reach the device: the unit's [`Roster`](super::unit::ats_streams::Roster) has a
//! seat for it. [`change`] gives the order in which these change.
//!
//! # A device that does not answer
//!
//! What it has kept may lead to memory that is going to be used for something else. So before
//! anybody is told that the invalidation is done its entry refuses all that it would do with
//! translations (law 8). Its other transactions pass as before. Its TLB is not turned on again
//! until the device is found anew.
//!
//! The unit does not say which of several devices it was, so they are asked once more, one at a
//! time.
//!
//! # Locking
//!
//! The roster and the entries' EATS change under the lock of the command queue, which a batch
//! holds. The lock of a TLB's own state nests inside it.

#![forbid(unsafe_code)]

pub(super) mod change;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{Arc, SpinLockIrq},
};

use self::change::{Action, Change};
use super::{
    plan::Plan,
    records::{
        capability::{Stage, Stalls},
        command::{Command, Tag},
    },
    unit::{
        command_queue::{Batch, Failure},
        hardware::Hardware,
    },
};
use crate::{
    device::DeviceTlb,
    label::Label,
    log::{log_info, log_warn},
    requester::RequesterId,
};

/// One endpoint of an attach.
pub(super) struct EndpointStep<'a> {
    /// Its TLB, if it has one.
    pub(super) tlb: Option<&'a Tlb>,
    /// The ids whose entries are to be written.
    pub(super) ids: &'a [RequesterId],
    pub(super) plan: &'a mut Plan,
}

/// The endpoints of an attach, all behind one unit.
pub(super) trait EndpointSteps {
    /// Calls `f` for each; each time in the same order.
    fn for_each(&mut self, f: &mut dyn FnMut(EndpointStep<'_>));
}

/// What is known of a TLB. Only attaches change it, with the lock of the device's group.
#[derive(Default)]
struct State {
    /// The domain of which the device may have translations; `None` if the TLB is off.
    under: Option<Tag>,
    /// It did not do what it was told once, and stays off.
    is_unusable: bool,
}

/// The TLB of an endpoint.
pub struct Tlb {
    hardware: Arc<Hardware>,
    name: Label,
    id: RequesterId,
    switch: KBox<dyn DeviceTlb>,
    state: Pin<KBox<SpinLockIrq<State>>>,
}

impl Tlb {
    /// The TLB of a device with these ids; `None` if it is not going to be used.
    ///
    /// A device that has several ids does not tell under which of them it is going to be asked.
    pub(super) fn new(
        hardware: &Arc<Hardware>,
        name: Label,
        ids: &[RequesterId],
        switch: KBox<dyn DeviceTlb>,
    ) -> Result<Option<Self>> {
        let capability = &hardware.capability;
        // Entries of stage 2 can have stalls or this (5.2, S2S).
        let stalls = hardware.stage == Stage::Two && capability.stalls == Stalls::Always;
        let &[id] = ids else { return Ok(None) };
        if !capability.device_tlb || stalls {
            return Ok(None);
        }
        if let Err(error) = switch.prepare(hardware.granule.lg2()) {
            log_info!(
                "{}: its TLB (ATS) cannot be used: error {}",
                name,
                error.to_errno()
            );
            return Ok(None);
        }
        let state = KBox::pin_init(new_spinlock_irq!(State::default()), GFP_KERNEL)?;
        hardware.promise_seats()?;
        Ok(Some(Self {
            hardware: hardware.clone(),
            name,
            id,
            switch,
            state,
        }))
    }

    /// Whether it may be turned on.
    pub(super) fn is_usable(&self) -> bool {
        !self.state.lock().is_unusable
    }

    fn change(&self, plan: &Plan) -> Change {
        Change {
            before: self.state.lock().under,
            after: plan.tlb(),
        }
    }

    /// Keeps it off from now on, also where `plan` wanted it.
    fn rule_out(&self, plan: &mut Plan) {
        self.state.lock().is_unusable = true;
        plan.forbid_tlb();
    }

    /// Rules it out if it was found to be silent since the plan was made. An entry must not allow
    /// again what it was made to refuse; `batch` keeps that from happening meanwhile.
    pub(super) fn check(&self, batch: &mut Batch<'_>, plan: &mut Plan) {
        let Change { before, after } = self.change(plan);
        let stream = self.id.raw();
        let mut is_silent =
            |tag: Option<Tag>| tag.is_some_and(|tag| batch.roster().is_silent(tag, stream));
        if is_silent(before) || is_silent(after) {
            self.rule_out(plan);
        }
    }

    fn enter(&self, plan: &mut Plan) {
        let mut batch = self.hardware.batch();
        self.check(&mut batch, plan);
        if !self.is_usable() {
            plan.forbid_tlb();
        }
        if let Some(tag) = self.change(plan).after {
            // The seat was promised.
            if !batch.roster().enter(tag, self.id.raw()) {
                self.rule_out(plan);
            }
        }
        // There is nothing in it.
        let _ = batch.run();
    }

    fn leave(&self, Change { before, after }: Change) {
        if let Some(tag) = before {
            self.hardware
                .with_roster(|roster| roster.leave(tag, self.id.raw()));
        }
        self.state.lock().under = after;
    }

    fn turn_on(&self, plan: &mut Plan) -> Result<(), Failure> {
        match self.switch.enable(self.hardware.granule.lg2()) {
            Ok(()) => {
                self.state.lock().under = plan.tlb();
                Ok(())
            }
            Err(error) => {
                log_warn!(
                    "{}: its TLB (ATS) does not turn on: error {}",
                    self.name,
                    error.to_errno(),
                );
                self.rule_out(plan);
                let mut batch = self.hardware.batch();
                refuse(&self.hardware, &mut batch, self.id);
                let result = batch.run();
                self.give_up();
                result
            }
        }
    }

    /// Turns it off, and forgets that it ever was on. Its entry refuses what it would do.
    fn give_up(&self) {
        self.switch.disable();
        self.hardware
            .with_roster(|roster| roster.leave_all(self.id.raw()));
        self.state.lock().under = None;
    }
}

impl Drop for Tlb {
    fn drop(&mut self) {
        // It is off by now, unless its unit was given back first.
        self.give_up();
        self.hardware.with_roster(|roster| roster.end_promise());
    }
}

/// Has the entry of `id` refuse all that its device would do with translations, and the unit see
/// that.
fn refuse(hardware: &Hardware, batch: &mut Batch<'_>, id: RequesterId) {
    hardware.tables.forbid_device_tlb(id);
    batch.push(Command::forget_stream(id.raw(), true));
    batch.sync();
}

/// As [`refuse`], because the device does not answer.
#[cold]
fn cut_off(hardware: &Hardware, batch: &mut Batch<'_>, id: RequesterId) {
    refuse(hardware, batch, id);
    batch.roster().silence(id.raw());
    log_warn!(
        "{}: {} does not answer invalidations of its TLB (ATS); all that is in there is refused, \
         and it stays unused until the device is removed and found again",
        hardware.health.name(),
        id,
    );
}

/// Takes `action`, which is neither for entries nor for the unit, with the TLBs of all endpoints.
pub(super) fn take(
    hardware: &Hardware,
    steps: &mut dyn EndpointSteps,
    action: Action,
) -> Result<(), Failure> {
    if action == Action::ForgetInDevice {
        return forget_all(hardware, steps);
    }
    let mut result = Ok(());
    steps.for_each(&mut |EndpointStep { tlb, plan, .. }| {
        let Some(tlb) = tlb else { return };
        let change = tlb.change(plan);
        match action {
            Action::Enter => tlb.enter(plan),
            // It was found to be silent on the way.
            Action::TurnOn if !tlb.is_usable() => tlb.give_up(),
            _ if !change.takes(action) => {}
            Action::TurnOff => tlb.switch.disable(),
            Action::Leave => tlb.leave(change),
            Action::TurnOn => result = result.and(tlb.turn_on(plan)),
            Action::WriteEntry | Action::ForgetInUnit | Action::ForgetInDevice => {}
        }
    });
    result
}

/// Has all endpoints that change forget everything.
fn forget_all(hardware: &Hardware, steps: &mut dyn EndpointSteps) -> Result<(), Failure> {
    let is_asked = |tlb: &Tlb, plan: &Plan| {
        let change = tlb.change(plan);
        // Who is not there any more, or is known to be silent, is refused already.
        let is_answering = tlb.is_usable() && tlb.switch.is_present();
        change.takes(Action::ForgetInDevice) && (is_answering || change.after.is_some())
    };
    let mut batch = hardware.batch();
    steps.for_each(&mut |EndpointStep { tlb, plan, .. }| {
        if let Some(tlb) = tlb.filter(|tlb| is_asked(tlb, plan)) {
            batch.push(Command::forget_all_in_device(tlb.id.raw(), None));
        }
    });
    if !batch.sync() {
        steps.for_each(&mut |EndpointStep { tlb, plan, .. }| {
            let Some(tlb) = tlb.filter(|tlb| is_asked(tlb, plan)) else {
                return;
            };
            batch.push(Command::forget_all_in_device(tlb.id.raw(), None));
            if !batch.sync() {
                cut_off(hardware, &mut batch, tlb.id);
                tlb.rule_out(plan);
            }
        });
    }
    batch.run()
}

/// Turns the TLBs of all endpoints off, because the unit has failed.
#[cold]
pub(super) fn give_up(steps: &mut dyn EndpointSteps) {
    steps.for_each(&mut |EndpointStep { tlb, .. }| {
        if let Some(tlb) = tlb {
            tlb.give_up();
        }
    });
}

/// Has all devices forget the translations of `tag` in `range`, its first and last byte, or all of
/// them, after all that is in `batch` is done: the unit must not know any more what they could ask
/// for.
///
/// When this returns no device reaches anything through them.
#[inline]
pub(super) fn forget(
    hardware: &Hardware,
    batch: &mut Batch<'_>,
    tag: Tag,
    range: Option<(u64, u64)>,
) {
    if !batch.roster().is_empty() {
        ask(hardware, batch, tag, range);
    }
}

fn ask(hardware: &Hardware, batch: &mut Batch<'_>, tag: Tag, range: Option<(u64, u64)>) {
    let command = |stream| match range {
        Some((first, last)) => Command::forget_range_in_device(stream, None, first, last),
        None => Command::forget_all_in_device(stream, None),
    };
    let seat = |batch: &mut Batch<'_>, index| batch.roster().of(tag).get(index).copied();

    batch.sync();
    for index in 0.. {
        match seat(batch, index) {
            Some(seat) if seat.silent => {}
            Some(seat) => batch.push(command(seat.stream)),
            None => break,
        }
    }
    if batch.sync() {
        return;
    }
    for index in 0.. {
        let Some(seat) = seat(batch, index) else {
            return;
        };
        if !seat.silent {
            batch.push(command(seat.stream));
            if !batch.sync() {
                cut_off(hardware, batch, RequesterId::new(seat.stream));
            }
        }
    }
}
