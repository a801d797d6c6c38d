// SPDX-License-Identifier: GPL-2.0

//! TLBs in devices (IHI 0070 3.9 and 4.5; PCIe chapter 10, ATS).
//!
//! A device with a TLB asks the unit for translations, caches them, and sends transactions with
//! translated addresses. The driver lets it do so while it is attached to a paging domain:
//!
//! - EATS in its STE allows ATS, and CR0.ATSCHK makes the unit check that for translated
//!   transactions as well.
//! - The unit's list of [`AtsStreams`](super::unit::ats_streams::AtsStreams) has its stream, so
//!   that invalidations of the domain reach the TLB.
//!
//! [`change`] gives the order of these steps in an attach.
//!
//! # Devices that do not answer
//!
//! The TLB of a device that does not answer an invalidation may still lead to the unmapped memory.
//! So before the invalidation is reported as complete, the driver forbids ATS in the device's STE
//! (law 8). Transactions without a translated address pass as before. The driver enables ATS again
//! only after the device was removed and probed anew.
//!
//! The unit does not say which of several devices has not answered, so the driver asks them once
//! more, one at a time.
//!
//! The unit gives up on a device as PCIe says, after a minute or more. Until then it executes no
//! other command, so nobody can invalidate anything: all wait, and nothing is reported as complete
//! that is not. [`command_queue`](super::unit::command_queue) says how they wait.
//!
//! # Locking
//!
//! The list and EATS change under the lock of the command queue. A [`Batch`] holds it, but while
//! the unit works. The lock of a TLB's state nests inside it.
//!
//! An invalidation looks at the list after the unit has invalidated its own TLB. A device that is
//! listed later gets its STE later, and then finds no old translation in the unit.

#![forbid(unsafe_code)]

pub(super) mod change;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{prelude::*, sync::Arc};

use self::change::{Action, Change};
use super::{
    plan::Plan,
    records::{
        capability::{Stage, Stalls},
        command::{Command, Tag},
    },
    unit::{
        batch::{Batch, Unanswered},
        command_queue::Failure,
        hardware::Hardware,
    },
};
use crate::{
    device::DeviceTlb,
    ffi::compat::{new_spinlock_irq, SpinLockIrq},
    label::Label,
    log::{log_info, log_warn},
    requester::RequesterId,
};

/// One endpoint of an attach.
pub(super) struct EndpointStep<'a> {
    /// Its TLB, if the driver may use one.
    pub(super) tlb: Option<&'a Tlb>,
    /// The stream ids whose STEs are written.
    pub(super) ids: &'a [RequesterId],
    pub(super) plan: &'a mut Plan,
}

/// The endpoints of an attach, all behind one unit.
pub(super) trait EndpointSteps {
    /// Calls `f` for each endpoint, in the same order each time.
    fn for_each(&mut self, f: &mut dyn FnMut(EndpointStep<'_>));
}

/// The state of a TLB. Only attaches change it, which hold the lock of the device's group.
#[derive(Default)]
struct State {
    /// The domain whose translations the TLB may hold; `None` if ATS is off.
    under: Option<Tag>,
    /// ATS stays off, because the device has not done what it was asked to do.
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
    /// The TLB of the device called `name`, which has the stream ids `ids`; `None` if the driver
    /// does not use it.
    ///
    /// It uses none of a device with several ids: an invalidation needs the id that the device uses
    /// for ATS, which is not known.
    pub(super) fn new(
        hardware: &Arc<Hardware>,
        name: Label,
        ids: &[RequesterId],
        switch: KBox<dyn DeviceTlb>,
    ) -> Result<Option<Self>> {
        let capability = &hardware.capability;
        // An STE of stage 2 must not have both stalls and ATS (5.2, S2S).
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
        hardware.reserve_ats_stream()?;
        Ok(Some(Self {
            hardware: hardware.clone(),
            name,
            id,
            switch,
            state,
        }))
    }

    /// Whether ATS may be enabled.
    pub(super) fn is_usable(&self) -> bool {
        !self.state.lock().is_unusable
    }

    fn change(&self, plan: &Plan) -> Change {
        Change {
            before: self.state.lock().under,
            after: plan.tlb(),
        }
    }

    /// Keeps ATS off from now on, also if `plan` was to enable it.
    fn set_unusable(&self, plan: &mut Plan) {
        self.state.lock().is_unusable = true;
        plan.forbid_tlb();
    }

    /// Changes `plan` if the device was found not to answer since the plan was made: its STE must
    /// not allow ATS again. Until `batch` is executed this cannot happen anew.
    pub(super) fn check(&self, batch: &mut Batch<'_>, plan: &mut Plan) {
        let Change { before, after } = self.change(plan);
        let stream = self.id.raw();
        let mut is_unresponsive = |tag: Option<Tag>| {
            tag.is_some_and(|tag| batch.ats_streams().is_unresponsive(tag, stream))
        };
        if is_unresponsive(before) || is_unresponsive(after) {
            self.set_unusable(plan);
        }
    }

    fn list(&self, plan: &mut Plan) {
        let mut batch = self.hardware.batch();
        self.check(&mut batch, plan);
        if !self.is_usable() {
            plan.forbid_tlb();
        }
        if let Some(tag) = self.change(plan).after {
            // Room is reserved, so this does not fail.
            if !batch.change_ats_streams(|streams| streams.insert(tag, self.id.raw())) {
                self.set_unusable(plan);
            }
        }
        // The batch has no command; it was there for the lock.
        let _ = batch.run();
    }

    fn unlist(&self, Change { before, after }: Change) {
        if let Some(tag) = before {
            self.hardware
                .with_ats_streams(|streams| streams.remove(tag, self.id.raw()));
        }
        self.state.lock().under = after;
    }

    fn enable(&self, plan: &mut Plan) -> Result<(), Failure> {
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
                self.set_unusable(plan);
                let mut batch = self.hardware.batch();
                forbid(&self.hardware, &mut batch, self.id);
                let result = batch.run();
                self.disable();
                result
            }
        }
    }

    /// Disables ATS in the device, and takes it off the list. Its STE forbids ATS by now.
    fn disable(&self) {
        self.switch.disable();
        self.hardware
            .with_ats_streams(|streams| streams.remove_all(self.id.raw()));
        self.state.lock().under = None;
    }
}

impl Drop for Tlb {
    fn drop(&mut self) {
        // ATS is on if the unit was released while the endpoint was attached.
        self.disable();
        self.hardware
            .with_ats_streams(|streams| streams.unreserve());
    }
}

/// Forbids ATS in the STE of `id`. When this returns the unit uses the new STE. The queue is locked
/// meanwhile: nobody must see the device as one that is left out before it is.
fn forbid(hardware: &Hardware, batch: &mut Batch<'_>, id: RequesterId) {
    batch.lock();
    hardware.stream_table.forbid_device_tlb(id);
    batch.push(Command::invalidate_ste(id.raw(), true));
    batch.sync_locked();
}

/// As [`forbid`], for a device that does not answer.
#[cold]
fn forbid_unresponsive(hardware: &Hardware, batch: &mut Batch<'_>, id: RequesterId) {
    forbid(hardware, batch, id);
    batch.change_ats_streams(|streams| streams.set_unresponsive(id.raw()));
    log_warn!(
        "{}: {} does not answer invalidations of its TLB (ATS); all that is in there is refused, \
         and it stays unused until the device is removed and found again",
        hardware.health.name(),
        id,
    );
}

/// Takes `action` with the TLBs of all endpoints. [`Action::WriteSte`] and
/// [`Action::InvalidateUnit`] concern no TLB.
pub(super) fn take(
    hardware: &Hardware,
    steps: &mut dyn EndpointSteps,
    action: Action,
) -> Result<(), Failure> {
    if action == Action::InvalidateDevice {
        return invalidate_changed(hardware, steps);
    }
    let mut result = Ok(());
    steps.for_each(&mut |EndpointStep { tlb, plan, .. }| {
        let Some(tlb) = tlb else { return };
        let change = tlb.change(plan);
        match action {
            Action::List => tlb.list(plan),
            // It has not answered during this attach.
            Action::EnableAts if !tlb.is_usable() => tlb.disable(),
            _ if !change.takes(action) => {}
            Action::DisableAts => tlb.switch.disable(),
            Action::Unlist => tlb.unlist(change),
            Action::EnableAts => result = result.and(tlb.enable(plan)),
            Action::WriteSte | Action::InvalidateUnit | Action::InvalidateDevice => {}
        }
    });
    result
}

/// Whether the device that `command`, a CMD_ATC_INV, is for has not answered, which some device has
/// not. Asks it once more, alone, if that is not known.
fn is_silent(batch: &mut Batch<'_>, command: Command, unanswered: Unanswered) -> bool {
    let stream = command.stream();
    if batch.is_silent(stream, unanswered) {
        return true;
    }
    batch.push(command);
    match batch.sync() {
        Some(again) => batch.is_silent(stream, again),
        None => false,
    }
}

/// Invalidates the TLBs of all endpoints that change.
fn invalidate_changed(hardware: &Hardware, steps: &mut dyn EndpointSteps) -> Result<(), Failure> {
    let is_asked = |tlb: &Tlb, plan: &Plan| {
        let change = tlb.change(plan);
        // The STE of a device that is gone, or does not answer, forbids ATS already.
        let is_answering = tlb.is_usable() && tlb.switch.is_present();
        change.takes(Action::InvalidateDevice) && (is_answering || change.after.is_some())
    };
    let mut batch = hardware.batch();
    steps.for_each(&mut |EndpointStep { tlb, plan, .. }| {
        if let Some(tlb) = tlb.filter(|tlb| is_asked(tlb, plan)) {
            batch.push(Command::invalidate_whole_atc(tlb.id.raw()));
        }
    });
    if let Some(unanswered) = batch.sync() {
        steps.for_each(&mut |EndpointStep { tlb, plan, .. }| {
            let Some(tlb) = tlb.filter(|tlb| is_asked(tlb, plan)) else {
                return;
            };
            let command = Command::invalidate_whole_atc(tlb.id.raw());
            if is_silent(&mut batch, command, unanswered) {
                forbid_unresponsive(hardware, &mut batch, tlb.id);
                tlb.set_unusable(plan);
            }
        });
    }
    batch.run()
}

/// Disables ATS of all endpoints, because the unit has failed.
#[cold]
pub(super) fn disable_all(steps: &mut dyn EndpointSteps) {
    steps.for_each(&mut |EndpointStep { tlb, .. }| {
        if let Some(tlb) = tlb {
            tlb.disable();
        }
    });
}

/// Invalidates the translations of `tag` in all device TLBs: those of `range`, its first and last
/// byte, or all. The unit has invalidated what it has cached of them itself, so that devices cannot
/// get it again.
///
/// When this returns no device uses such a translation.
#[inline]
pub(super) fn invalidate(
    hardware: &Hardware,
    tag: Tag,
    range: Option<(u64, u64)>,
) -> Result<(), Failure> {
    match hardware.has_ats_streams() {
        true => invalidate_listed(hardware, tag, range),
        false => Ok(()),
    }
}

#[cold]
fn invalidate_listed(
    hardware: &Hardware,
    tag: Tag,
    range: Option<(u64, u64)>,
) -> Result<(), Failure> {
    let command = |stream| match range {
        Some((first, last)) => Command::invalidate_atc_range(stream, first, last),
        None => Command::invalidate_whole_atc(stream),
    };
    // The list may change while the unit works. A device that is listed meanwhile has nothing of
    // what is invalidated here.
    let for_each = |batch: &mut Batch<'_>, f: &mut dyn FnMut(&mut Batch<'_>, u32)| {
        let mut last = None;
        while let Some(device) = batch.ats_streams().next_of(tag, last) {
            last = Some(device.stream);
            if !device.unresponsive {
                f(batch, device.stream);
            }
        }
    };

    let mut batch = hardware.batch();
    for_each(&mut batch, &mut |batch, stream| batch.push(command(stream)));
    if let Some(unanswered) = batch.sync() {
        for_each(&mut batch, &mut |batch, stream| {
            if is_silent(batch, command(stream), unanswered) {
                forbid_unresponsive(hardware, batch, RequesterId::new(stream));
            }
        });
    }
    batch.run()
}
