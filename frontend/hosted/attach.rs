// SPDX-License-Identifier: GPL-2.0

//! Attaches of single devices, made into attaches of groups.
//!
//! C attaches the devices of a group one after the other. [`intent`](super::intent) finds out what
//! C means; this file carries out the steps. The first call moves the whole group (law 3), and the
//! calls for the other devices find it there (law 4). A device becomes a member with its own first
//! attach, when C has mapped what must be mapped for it.

use kernel::{prelude::*, sync::Arc};

use super::{
    inferred::{Hosted, Inferred, Proofs},
    intent::{Facts, Holder, Intent, Step, Target, Tracked},
};
use crate::{
    domain::Domain,
    endpoint::Endpoint,
    ffi::{device::Process, pci::Pci},
    frontend::provider::{
        device::ProviderDevice,
        domain::{ProviderDomain, Role},
        group::ProviderGroup,
        instance::Instance,
    },
    group::{Claim, Group, Loan},
    label::Label,
    log::log_info,
    ownership::Owner,
};

/// The devices of a group, as the machine tracks them.
type Devices<D> = Intent<KVec<Tracked<Arc<Endpoint<D>>>>>;

/// C attaches a device to a domain; it holds the mutex of the device's group. `is_new` is whether
/// the device was attached to nothing before.
pub fn attach<D: Hosted>(
    instance: &Instance<D>,
    known: &ProviderDevice<D>,
    to: &ProviderDomain<D>,
    is_new: bool,
) -> Result {
    let group = known.group()?;
    let mut state = group.data().lock();
    state.calls = state.calls.wrapping_add(1);
    let result = attach_locked(instance, group, &mut state, known, to, is_new);
    post(instance, group, &state);
    result
}

/// Says who holds the group, for those who are refused.
pub fn post<D: Hosted>(instance: &Instance<D>, group: &ProviderGroup<D>, state: &Inferred<D>) {
    let Inferred { intent, proofs, .. } = state;
    let used_by = group.core().used_by();
    let board = instance.layer.board();
    board.set(group.as_c() as usize, |holders| {
        holders.claimed_by = match intent.holder() {
            Holder::Nobody => None,
            Holder::Owner { .. } => proofs.claim.as_ref().map(|claim| claim.owner().name),
            Holder::Driver => proofs.loan.as_ref().map(Loan::driver),
        };
        holders.perhaps = match &proofs.blocked_by {
            Some(owner) if intent.is_blocked() => {
                Some((owner.name, instance.blocked_as_c() as usize))
            }
            _ => None,
        };
        holders.used_by = used_by;
    });
}

fn attach_locked<D: Hosted>(
    instance: &Instance<D>,
    group: &ProviderGroup<D>,
    state: &mut Inferred<D>,
    known: &ProviderDevice<D>,
    to: &ProviderDomain<D>,
    is_new: bool,
) -> Result {
    let Inferred { intent, proofs, .. } = state;
    let mut devices = intent.devices().iter();
    let at = devices.position(|device| Arc::ptr_eq(device.key(), known.endpoint()));
    let target = match to.role() {
        Role::Paging if !to.is_for_dma_api() => Target::Own,
        Role::Paging | Role::Identity => Target::Default,
        Role::Blocked => Target::Blocked,
        Role::Release => Target::Release,
    };
    if target == Target::Blocked {
        proofs.blocked_by = Some(current_owner());
    }
    let facts = Facts {
        held_user: instance.held.relies_on(group.core()),
        may_be_reset: known.device().pci().is_some_and(Pci::supports_ats),
        is_new,
        is_passing: target == Target::Blocked && is_passing(instance, intent, known),
        new_default: group.core().is_new_default(to.core()),
        direct: known.firmware_uses(),
        unit_leaves: known.unit().may_be_lost(),
    };
    intent.attach(
        at.ok_or(ENODEV)?,
        target,
        facts,
        |step, endpoint| match step {
            Step::Join | Step::Adopt => group.join(instance, known),
            Step::Leave => {
                // It may still be in the group that it was held in.
                instance.held.leave(endpoint);
                Ok(())
            }
            step => proofs.carry_out(step, group.core(), endpoint, to.core()),
        },
    )?;
    match target {
        Target::Default => {
            state.default = to.as_c() as usize;
            state.proofs.blocked_by = None;
        }
        Target::Own => state.proofs.blocked_by = None,
        Target::Blocked | Target::Release => {}
    }
    Ok(())
}

/// Whether C says of another device of the group, which it has blocked, that it is not in a reset.
fn is_passing<D: Hosted>(
    instance: &Instance<D>,
    intent: &Devices<D>,
    known: &ProviderDevice<D>,
) -> bool {
    let devices = instance.devices.lock();
    let mut blocked = intent.devices().iter().filter(|d| d.is_blocked());
    blocked.any(|tracked| {
        let mut others = devices.iter();
        let other = others.find(|other| Arc::ptr_eq(other.endpoint(), tracked.key()));
        other.is_some_and(|other| {
            !core::ptr::eq(&**other, known)
                // SAFETY: C holds the mutex of the group while it attaches a device of it, and it
                // has attached this one, for it is tracked as blocked by C.
                && unsafe { other.device().domain() } != instance.blocked_as_c()
        })
    })
}

impl<D: Hosted> Proofs<D> {
    /// Carries out a step for a group and a device of it. `domain` is the one that C attaches.
    pub fn carry_out(
        &mut self,
        step: Step,
        core: &Arc<Group<D>>,
        endpoint: &Endpoint<D>,
        domain: &Arc<Domain<D>>,
    ) -> Result {
        match step {
            Step::SetDefault => core.set_default(domain)?,
            Step::Claim => {
                let owner = self.blocked_by.unwrap_or_else(current_owner);
                self.claim = Some(core.claim(owner)?);
                log_info!("{}: claimed by {}", core.name(), owner.name);
            }
            Step::AttachClaimed => self.claim()?.attach(domain)?,
            Step::Detach => self.claim()?.detach(),
            Step::EndClaim => {
                if let Some(claim) = self.claim.take() {
                    claim.detach();
                    if let Err((claim, error)) = claim.release() {
                        self.claim = Some(claim);
                        return Err(error);
                    }
                    log_info!("{}: no longer claimed", core.name());
                }
            }
            Step::DropClaim => self.claim = None,
            Step::Lend => self.loan = Some(core.lend(borrower(core), domain)?),
            Step::AttachLent => self.loan.as_ref().ok_or(EBUSY)?.attach(domain)?,
            Step::EndLoan => self.loan = None,
            Step::EndUse => core.end_dma_api(endpoint),
            Step::Suspend => core.suspend(endpoint)?,
            Step::Cut => core.cut(endpoint),
            Step::Resume => {
                core.prepare_resume(endpoint)?;
                core.resume(endpoint);
            }
            // For the caller, who knows C's device.
            Step::Join | Step::Adopt | Step::Leave => {}
        }
        Ok(())
    }

    /// The claim of which the machine knows.
    fn claim(&self) -> Result<&Claim<D>> {
        self.claim.as_ref().ok_or(EBUSY)
    }
}

/// Whoever makes the system call. C has no other name for an owner.
fn current_owner() -> Owner {
    let process = Process::current();
    Owner {
        token: process.id as usize,
        name: process.label,
    }
}

/// Who attaches a domain without a claim. C does not say which of several drivers it is.
fn borrower<D: Hosted>(core: &Group<D>) -> Label {
    match (core.only_user(), core.ownership().users()) {
        (Some(driver), _) => driver,
        (None, 0) => Process::current().label,
        (None, users) => Label::new(format_args!("one of {users} drivers")),
    }
}
