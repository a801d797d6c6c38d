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
    intent::{Facts, Holder, Step, Target, Users},
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
    let held_by = match state.intent.holder() {
        Holder::Nobody => None,
        Holder::Owner { .. } => state.proofs.claim.as_ref().map(|claim| claim.owner().name),
        Holder::Driver => state.proofs.loan.as_ref().map(Loan::driver),
    };
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
    let Inferred { intent, proofs } = state;
    let mut devices = intent.devices().iter();
    let at = devices.position(|device| Arc::ptr_eq(device.key(), known.endpoint()));
    let target = match to.role() {
        Role::Paging if !to.is_for_dma_api() => Target::Own,
        Role::Paging | Role::Identity => Target::Default,
        Role::Blocked => Target::Blocked,
        Role::Release => Target::Release,
    };
    intent.attach(
        at.ok_or(ENODEV)?,
        target,
        facts(group, known),
        |step, endpoint| match step {
            Step::Join | Step::Adopt => group.join(instance, known),
            step => proofs.carry_out(step, group, endpoint, to.core()),
        },
    )
}

/// What C does not say of a device that it attaches.
fn facts<D: Hosted>(group: &ProviderGroup<D>, known: &ProviderDevice<D>) -> Facts {
    let core = group.core();
    let users = match core.ownership() {
        Ownership::Kernel { .. } => match core.only_user(known.endpoint()) {
            Some(_) => Users::OnlyThis,
            None => Users::Others,
        },
        Ownership::Free | Ownership::Lent { .. } | Ownership::Claimed { .. } => Users::None,
    };
    Facts {
        users,
        may_be_reset: known.device().pci().is_some_and(Pci::supports_ats),
        direct: known.firmware_uses(),
        unit_leaves: known.unit().may_be_lost(),
    }
}

impl<D: Hosted> Proofs<D> {
    /// Carries out a step for a group and a device of it. `domain` is the one that C attaches.
    fn carry_out(
        &mut self,
        step: Step,
        group: &ProviderGroup<D>,
        endpoint: &Endpoint<D>,
        domain: &Arc<Domain<D>>,
    ) -> Result {
        let core = group.core();
        match step {
            Step::SetDefault => core.set_default(domain)?,
            Step::Claim => self.claim = Some(claim(group)?),
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
            Step::Lend => {
                let driver = core.only_user(endpoint).ok_or(EBUSY)?;
                self.loan = Some(core.lend(driver, domain)?);
            }
            Step::AttachLent => self.loan.as_ref().ok_or(EBUSY)?.attach(domain)?,
            Step::EndLoan => self.loan = None,
            Step::Suspend => core.suspend(endpoint)?,
            Step::Resume => core.resume(endpoint),
            Step::Leave => core.leave(endpoint),
            // For the caller, who knows C's device.
            Step::Join | Step::Adopt => {}
        }
        Ok(())
    }

    /// The claim of which the machine knows.
    fn claim(&self) -> Result<&Claim<D>> {
        self.claim.as_ref().ok_or(EBUSY)
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
