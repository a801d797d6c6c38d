// SPDX-License-Identifier: GPL-2.0

//! Attaches of single devices for a PASID, made into attaches of groups.
//!
//! C attaches the devices of a group one after the other, those that use PASIDs. The first call
//! attaches the whole group (law 3), and the calls for the other devices find it there (law 4).
//!
//! C blocks a PASID of one device because it is going to be reset, and of each device because the
//! group is detached, and does not say which. Either way the device alone is blocked, and the group
//! is detached with the last of its devices: nothing else happens before C has called for all of
//! them. After a reset C attaches the device again, for each PASID that the group still has.

use kernel::prelude::*;

use super::{
    attach,
    inferred::{Hosted, Inferred},
    intent::Target,
};
use crate::{
    frontend::provider::{
        device::ProviderDevice,
        domain::{ProviderDomain, Role},
        instance::Instance,
    },
    pasid::Pasid,
};

/// C attaches a device to a domain for its requests with `pasid`; it holds the mutex of the
/// device's group.
pub fn attach<D: Hosted>(
    instance: &Instance<D>,
    known: &ProviderDevice<D>,
    to: &ProviderDomain<D>,
    pasid: Pasid,
) -> Result {
    let group = known.group()?;
    let (core, endpoint) = (group.core(), known.endpoint());
    if matches!(to.role(), Role::Blocked | Role::Release) {
        core.cut_pasid(endpoint, pasid);
        return Ok(());
    }
    let mut state = group.data().lock();
    let Inferred { intent, proofs, .. } = &mut *state;
    // C attaches no PASID while a device of the group is in a reset, so a group that is blocked has
    // an owner. At the end of a reset the device was attached before, if its group is.
    if intent.is_blocked() {
        intent.settle(Target::Blocked, |step, endpoint| {
            proofs.carry_out(step, core, endpoint, instance.blocked())
        })?;
        attach::post(instance, group, &state);
    }
    match &state.proofs.claim {
        Some(claim) => claim.attach_pasid(pasid, to.core())?,
        None => core.attach_pasid(pasid, to.core())?,
    }
    core.resume_pasid(endpoint, pasid)
}
