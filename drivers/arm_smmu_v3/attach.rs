// SPDX-License-Identifier: GPL-2.0

//! Attaches: the STEs of a group change, and what is cached of the old ones is invalidated.

#![forbid(unsafe_code)]

use super::{
    device_tlb::{self, change::Action, EndpointStep, EndpointSteps},
    plan::of_asid,
    records::{
        command::{self, Command},
        ste::{Ste, Words},
        update::{self, Step},
    },
    unit::{command_queue::Failure, hardware::Hardware},
};
use crate::{
    drivers::shell::unit::UnitHardware,
    ffi::compat::{dma_mb, Write},
};

/// An STE changes in [`update::MAX_STEPS`] steps or fewer. One more look finds no step left.
const MAX_STEPS: usize = update::MAX_STEPS + 1;

/// The domains that STEs have pointed to before the attach.
#[derive(Default)]
struct OldDomains {
    tags: [Option<command::Tag>; Self::ROOM],
    /// More domains than there is room for, or an STE that this driver does not write.
    all: bool,
}

impl OldDomains {
    /// The endpoints of a group usually come from one domain.
    const ROOM: usize = 4;

    /// Notes the domain that an STE points to.
    fn note(&mut self, hardware: &Hardware, ste: &Words) {
        let tag = match Ste::decode(ste) {
            Some(Ste::Invalid | Ste::Abort | Ste::Bypass { .. }) => return,
            Some(Ste::Stage2(stage)) => Some(command::Tag::Stage2 { vmid: stage.vmid }),
            Some(Ste::Stage1(stage)) => {
                let tags = hardware.tags.lock();
                tags.asid_at(stage.context_descriptor).map(of_asid)
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
            true => batch.invalidate_everything(),
            false => self
                .tags
                .into_iter()
                .flatten()
                .for_each(|tag| batch.push(Command::invalidate_domain(tag))),
        }
        batch.run()
    }
}

/// Takes the next step of each STE that is not yet as planned, and waits until the unit has seen
/// it. Returns whether there was a step to take.
fn step(hardware: &Hardware, steps: &mut dyn EndpointSteps) -> Result<bool, Failure> {
    let stream_table = &hardware.stream_table;
    let mut batch = hardware.batch();
    let mut found = false;

    steps.for_each(&mut |EndpointStep { tlb, ids, plan }| {
        if let Some(tlb) = tlb {
            tlb.check(&mut batch, plan);
        }
        for &id in ids {
            if let Some(step) = Step::first(&stream_table.read(id), plan.ste()) {
                stream_table.write(id, &step);
                found = true;
                // The level 1 descriptor may be new as well.
                batch.push(Command::invalidate_ste(id.raw(), false));
            }
        }
    });
    batch.run()?;
    Ok(found)
}

/// Writes all STEs. They take their steps together, with one batch for each step; most need one.
fn write(hardware: &Hardware, steps: &mut dyn EndpointSteps) -> Result<(), Failure> {
    for _ in 0..MAX_STEPS {
        // The unit sees what was written to memory before it sees the STEs that point there.
        dma_mb(Write);
        if !step(hardware, steps)? {
            break;
        }
    }
    Ok(())
}

/// Makes the plans of all `steps` true. [`Step`] says how an STE changes, and [`Action`] what
/// comes before and after that.
pub(super) fn commit(hardware: &Hardware, steps: &mut dyn EndpointSteps) {
    let stream_table = &hardware.stream_table;
    let mut old_domains = OldDomains::default();
    steps.for_each(&mut |EndpointStep { ids, plan, .. }| {
        for &id in ids {
            let old = stream_table.read(id);
            if old != *plan.ste() {
                old_domains.note(hardware, &old);
            }
        }
    });

    let result = Action::ORDER
        .into_iter()
        .try_for_each(|action| match action {
            Action::WriteSte => write(hardware, steps),
            Action::InvalidateUnit => old_domains.invalidate(hardware),
            _ => device_tlb::take(hardware, steps, action),
        });
    // A unit that fails says so.
    let _ = hardware.answered(result);
    if hardware.has_failed_meanwhile() {
        steps.for_each(&mut |EndpointStep { ids, .. }| {
            for &id in ids {
                stream_table.clear(id);
            }
        });
        device_tlb::disable_all(steps);
    }
}
