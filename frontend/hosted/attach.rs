// SPDX-License-Identifier: GPL-2.0

//! Attaches of single devices, made into attaches of groups.
//!
//! C attaches the devices of a group one after the other. Here the first call moves the whole group
//! (law 3), and the calls for the others find it there (law 4). A device becomes a member with its
//! own first attach, when C has mapped what must be mapped for it.
//!
//! What C wants is told by the domain:
//!
//! | domain | meaning |
//! |---|---|
//! | for the DMA API, identity | the group's default domain; a claim ends |
//! | any other paging domain | the owner's domain; a driver's own, if it uses the DMA API at other times |
//! | blocked | the group is claimed; if it is, the owner's domain is taken away |
//! | blocked, one device of several, or its driver is at work | the device is being reset |
//! | release | the device leaves |

use kernel::{prelude::*, sync::Arc};

use super::inferred::{Hosted, Inferred};
use crate::{
    domain::Domain,
    ffi::{device::Process, pci::Pci},
    frontend::provider::{
        device::ProviderDevice,
        domain::{ProviderDomain, Role},
        group::ProviderGroup,
        instance::Instance,
    },
    group::{Claim, Loan},
    log::log_info,
    ownership::{Owner, Ownership},
};

/// C attaches a device to a domain; it holds the mutex of the device's group.
pub fn attach<D: Hosted>(
    instance: &Instance<D>,
    known: &ProviderDevice<D>,
    to: &ProviderDomain<D>,
) -> Result {
    let group = known.group()?;
    let mut state = group.data().lock();
    let result = attach_locked(instance, group, &mut state, known, to);
    post(instance, group, &state);
    result
}

/// Says who holds the group, for those who are refused.
pub fn post<D: Hosted>(instance: &Instance<D>, group: &ProviderGroup<D>, state: &Inferred<D>) {
    let owner = state.claim.as_ref().map(|claim| claim.owner().name);
    let held_by = owner.or(state.loan.as_ref().map(Loan::driver));
    let board = instance.layer.board();
    board.set(group.as_c() as usize, held_by, group.core().used_by());
}

fn attach_locked<D: Hosted>(
    instance: &Instance<D>,
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    known: &ProviderDevice<D>,
    to: &ProviderDomain<D>,
) -> Result {
    match to.role() {
        Role::Release => {
            come_back(group, state, known);
            if !known.lingers() {
                group.core().leave(known.endpoint());
            }
            return Ok(());
        }
        Role::Blocked => return block(instance, group, state, known),
        Role::Paging if !to.is_for_dma_api() => own(group, state, known, to.core())?,
        Role::Paging | Role::Identity => give_back(group, state, to.core())?,
    }
    group.join(instance, known)?;
    come_back(group, state, known);
    Ok(())
}

/// Attaches the group to its default domain. A claim ends, or the time that a driver had a domain
/// of its own.
fn give_back<D: Hosted>(
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    domain: &Arc<Domain<D>>,
) -> Result {
    group.core().set_default(domain)?;
    if let Some(claim) = state.claim.take() {
        claim.detach();
        if let Err((claim, error)) = claim.release() {
            state.claim = Some(claim);
            return Err(error);
        }
        log_info!("{}: no longer claimed", group.core().name());
    }
    state.loan = None;
    Ok(())
}

/// Attaches the group to its owner's domain, or to a driver's own.
fn own<D: Hosted>(
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    known: &ProviderDevice<D>,
    domain: &Arc<Domain<D>>,
) -> Result {
    if let Some(claim) = &state.claim {
        return claim.attach(domain);
    }
    if let Some(loan) = &state.loan {
        return loan.attach(domain);
    }
    if let Some(driver) = group.core().only_user(known.endpoint()) {
        state.loan = Some(group.core().lend(driver, domain)?);
        return Ok(());
    }
    state.claim = Some(claim(group)?);
    let result = state
        .claim
        .as_ref()
        .map_or(Err(EBUSY), |claim| claim.attach(domain));
    if result.is_err() {
        // The group is where it was before, on its default domain.
        state.claim = None;
    }
    result
}

/// Blocks the group for an owner, or one device for a reset.
fn block<D: Hosted>(
    instance: &Instance<D>,
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    known: &ProviderDevice<D>,
) -> Result {
    let is_blocked = state.claim.is_some() && group.core().is_on(instance.blocked());
    if !is_blocked {
        if may_be_reset(known) {
            match is_reset(group, state, known) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // To block an owner's whole group needs nothing, and C counts on it.
                Err(_) if state.claim.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        match &state.claim {
            Some(claim) => claim.detach(),
            None => match claim(group) {
                Ok(claim) => state.claim = Some(claim),
                Err(error) => {
                    // C does not undo what it was refused.
                    come_back(group, state, known);
                    return Err(error);
                }
            },
        }
    }
    while let Some(endpoint) = state.alone.pop() {
        // Blocked with the others now.
        group.core().resume(&endpoint);
    }
    group.join(instance, known)
}

/// Whether C blocks the device alone while it is reset.
fn may_be_reset<D: Hosted>(known: &ProviderDevice<D>) -> bool {
    known.device().pci().is_some_and(Pci::supports_ats)
}

/// C uses the same call to block one device while it is reset, and to block each device of a group.
/// A device whose group is a driver's can only be reset; and as long as some device was
/// not blocked it is not the group that is. Blocks the device, and says whether that is all.
fn is_reset<D: Hosted>(
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    known: &ProviderDevice<D>,
) -> Result<bool> {
    let endpoint = known.endpoint();
    if !state.alone.iter().any(|other| Arc::ptr_eq(other, endpoint)) {
        state.alone.reserve(1, GFP_KERNEL)?;
        match group.core().suspend(endpoint) {
            Ok(()) => {}
            // It joins with the others.
            Err(error) if error == ENODEV => return Ok(false),
            Err(error) => return Err(error),
        }
        // There is room.
        let _ = state.alone.push_within_capacity(endpoint.clone());
    }
    let in_use = matches!(
        group.core().ownership(),
        Ownership::Kernel { .. } | Ownership::Lent { .. }
    );
    Ok(in_use || state.alone.len() < group.device_count())
}

/// Ends the time that a device was blocked alone.
fn come_back<D: Hosted>(
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    known: &ProviderDevice<D>,
) {
    let endpoint = known.endpoint();
    let was = state.alone.len();
    state.alone.retain(|other| !Arc::ptr_eq(other, endpoint));
    if state.alone.len() != was {
        group.core().resume(endpoint);
    }
}

/// Claims the group for whoever makes the system call. C has no other name for an owner.
fn claim<D: Hosted>(group: &ProviderGroup<D>) -> Result<Claim<D>> {
    let process = Process::current();
    let claim = group.core().claim(Owner {
        token: process.id as usize,
        name: process.label,
    })?;
    log_info!("{}: claimed by {}", group.core().name(), process.label);
    Ok(claim)
}
