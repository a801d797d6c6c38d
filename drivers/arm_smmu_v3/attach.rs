// SPDX-License-Identifier: GPL-2.0

//! Attaches: the stream table entries of a group change, and what is cached of the old ones goes.

#![forbid(unsafe_code)]

use kernel::sync::{
    atomic::Full,
    barrier::{dma_mb, smp_mb, Write},
};

use super::{
    device_tlb::{self, change::Action, EndpointStep, EndpointSteps},
    plan::of_asid,
    records::{
        command::{self, Command},
        ste::{StreamEntry, Words},
        update::Update,
    },
    unit::{command_queue::Failure, hardware::Hardware},
};

/// An entry changes in three steps at most; one more look finds that there is none left.
const MAX_STEPS: usize = Update::MAX_STEPS + 1;

/// The domains that entries are taken away from.
#[derive(Default)]
struct Left {
    tags: [Option<command::Tag>; Self::ROOM],
    /// There was no room, or an entry that this driver has not written.
    all: bool,
}

impl Left {
    /// The endpoints of a group come from one domain; more than that is rare.
    const ROOM: usize = 4;

    /// Notes whom an entry belongs to.
    fn note(&mut self, hardware: &Hardware, entry: &Words) {
        let tag = match StreamEntry::decode(entry) {
            Some(StreamEntry::Invalid | StreamEntry::Abort | StreamEntry::Bypass { .. }) => return,
            Some(StreamEntry::Stage2(stage)) => Some(command::Tag::Stage2 { vmid: stage.vmid }),
            Some(StreamEntry::Stage1(stage)) => {
                let contexts = hardware.contexts.lock();
                contexts.asid_at(stage.contexts).map(of_asid)
            }
            None => None,
        };
        if tag.is_some() && self.tags.contains(&tag) {
            return;
        }
        match (tag, self.tags.iter_mut().find(|tag| tag.is_none())) {
            (Some(_), Some(room)) => *room = tag,
            _ => self.all = true,
        }
    }

    /// Invalidates what the unit has cached of them.
    fn invalidate(&self, hardware: &Hardware) -> Result<(), Failure> {
        let mut batch = hardware.batch();
        match self.all {
            true => batch.forget_everything(),
            false => self
                .tags
                .into_iter()
                .flatten()
                .for_each(|tag| batch.push(Command::forget_domain(tag))),
        }
        batch.run()
    }
}

/// Takes one step with each entry that is not yet what it is to be, and waits until the unit has
/// seen that. Returns whether there was one to take.
fn step(hardware: &Hardware, steps: &mut dyn EndpointSteps) -> Result<bool, Failure> {
    let tables = &hardware.tables;
    let mut batch = hardware.batch();
    let mut found = false;

    steps.for_each(&mut |EndpointStep { tlb, ids, plan }| {
        if let Some(tlb) = tlb {
            tlb.check(&mut batch, plan);
        }
        for &id in ids {
            let update = Update::of_stream(&tables.read(id), plan.entry());
            if let Some(step) = update.steps().first() {
                tables.write(id, step);
                found = true;
                // The level 1 descriptor may be new as well.
                batch.push(Command::forget_stream(id.raw(), false));
            }
        }
    });
    batch.run()?;
    Ok(found)
}

/// Writes all entries.
///
/// They take their steps together, with one batch for each; mostly there is one.
fn write(hardware: &Hardware, steps: &mut dyn EndpointSteps) -> Result<(), Failure> {
    for _ in 0..MAX_STEPS {
        // What was written to memory before comes before the entries that lead there.
        dma_mb(Write);
        if !step(hardware, steps)? {
            break;
        }
    }
    Ok(())
}

/// Makes the plans of all `steps` true. See [`Update`] for what a change of an entry needs, and
/// [`Action`] for what comes before and after it.
pub(super) fn commit(hardware: &Hardware, steps: &mut dyn EndpointSteps) {
    let tables = &hardware.tables;
    let mut left = Left::default();
    steps.for_each(&mut |EndpointStep { ids, plan, .. }| {
        for &id in ids {
            let old = tables.read(id);
            if old != *plan.entry() {
                left.note(hardware, &old);
            }
        }
    });

    let result = Action::ORDER
        .into_iter()
        .try_for_each(|action| match action {
            Action::WriteEntry => write(hardware, steps),
            Action::ForgetInUnit => left.invalidate(hardware),
            _ => device_tlb::take(hardware, steps, action),
        });
    if let Err(failure) = result {
        hardware.fail(failure);
    }
    // Who declares the unit failed says so first and clears the tables then; here it is the
    // other way round. So one of the two sees what the other did.
    smp_mb(Full);
    if hardware.health.has_failed() {
        steps.for_each(&mut |EndpointStep { ids, .. }| {
            for &id in ids {
                tables.clear(id);
            }
        });
        device_tlb::give_up(steps);
    }
}
