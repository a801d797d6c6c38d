// SPDX-License-Identifier: GPL-2.0

//! Looks up what C means where its calls leave that open.
//!
//! [`intent`](super::intent) says when that is: C has blocked all devices of a group. Outside of
//! C's calls the group's domain tells. Whoever reads who holds a group has it looked up before, and
//! so does a driver that is to be counted.

use kernel::{bindings, prelude::*};

use super::{
    attach,
    inferred::{Hosted, Inferred},
    intent::Target,
};
use crate::{
    frontend::provider::{group::ProviderGroup, instance::Instance},
    log::log_warn,
};

/// How often C may call while its answer is being fetched. Each call is recorded, so a reader who
/// gives up has a record that is right but for the last call.
const TRIES: usize = 8;

/// Looks up what is open of a group. Sleeps; the caller holds neither C's mutex of the group nor a
/// lock of ours.
pub fn settle<D: Hosted>(instance: &Instance<D>, group: &ProviderGroup<D>) {
    for _ in 0..TRIES {
        let before = {
            let state = group.data().lock();
            if !state.intent.is_blocked() {
                return;
            }
            state.calls
        };
        let Some(now) = domain_of(instance, group) else {
            return;
        };
        let mut state = group.data().lock();
        if state.calls != before {
            // C has called meanwhile, and may have gone on after its answer.
            continue;
        }
        let here = Some((before, group.core().ownership()));
        if state.refused_at == here {
            return;
        }
        if let Err(error) = record(instance, group, &mut state, now) {
            state.refused_at = here;
            log_warn!(
                "{}: the kernel has it blocked for an owner whom it is refused: error {}",
                group.core().name(),
                error.to_errno()
            );
        }
        attach::post(instance, group, &state);
        return;
    }
}

fn record<D: Hosted>(
    instance: &Instance<D>,
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    now: usize,
) -> Result {
    let Inferred { intent, proofs, .. } = state;
    let now = match now {
        now if now == instance.blocked_as_c() as usize => Target::Blocked,
        now if now == state.default => Target::Default,
        _ => Target::Own,
    };
    // No step that follows attaches a domain of C's.
    intent.settle(now, |step, endpoint| {
        proofs.carry_out(step, group.core(), endpoint, instance.blocked())
    })
}

/// The address of the domain that C has the group attached to.
fn domain_of<D: Hosted>(instance: &Instance<D>, group: &ProviderGroup<D>) -> Option<usize> {
    let kept = group.keep(instance)?;
    // C's call that is under way, if any, changes the domain after it has called us. This waits for
    // the group's mutex, and the answer does not matter.
    //
    // SAFETY: The group is counted.
    unsafe { bindings::iommu_group_dma_owner_claimed(kept.as_c()) };
    drop(kept);
    let devices = instance.devices.lock();
    let mut domains = devices
        .iter()
        .filter(|device| device.group().is_ok_and(|its| core::ptr::eq(&**its, group)))
        // SAFETY: C takes a device out of its group after it has had it released, for which the
        // table of devices must be unlocked.
        .map(|device| unsafe { device.device().domain_of_group() });
    domains
        .find(|domain| !domain.is_null())
        .map(|domain| domain as usize)
}
