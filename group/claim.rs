// SPDX-License-Identifier: GPL-2.0

//! Claims: the proof that the holder may attach its own domains to a group.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    member::Member,
    state::{Group, GroupState},
};
use crate::{
    domain::Domain,
    driver::Attach,
    log::log_warn,
    ownership::{Change, Owner, Ownership, Refusal},
};

/// A claim on a group.
///
/// Only [`Group::claim`] creates one, and only a claim can attach an owner's domain (law 5): code
/// without a claim does not compile. Dropping it detaches what is still attached, blocks the group,
/// and returns the group to its default domain.
pub struct Claim<D: Attach> {
    group: Arc<Group<D>>,
    owner: Owner,
    ended: bool,
}

impl<D: Attach> Claim<D> {
    /// The owner who holds the claim.
    // The native frontend knows it from its caller.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) fn group(&self) -> &Arc<Group<D>> {
        &self.group
    }

    /// Attaches the group to `domain`: all members or, on failure, none.
    ///
    /// # Errors
    ///
    /// Those of [`Attach::prepare`]; the group then stays attached to its present domain.
    pub fn attach(&self, domain: &Arc<Domain<D>>) -> Result {
        self.group.attach_claimed(self.owner, domain)
    }

    /// Detaches the owner's domain: the group is blocked and stays claimed.
    pub fn detach(&self) {
        self.group.detach_claimed(self.owner);
    }

    /// Ends the claim.
    ///
    /// # Errors
    ///
    /// `EBUSY` while a domain of the owner is attached, for whatever requests: the claim continues.
    pub fn release(mut self) -> Result<(), (Self, Error)> {
        match self.group.end_claim(self.owner) {
            Ok(()) => {
                self.ended = true;
                Ok(())
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl<D: Attach> Drop for Claim<D> {
    fn drop(&mut self) {
        if !self.ended {
            self.group.drop_claim(self.owner);
        }
    }
}

impl<D: Attach> Group<D> {
    /// Claims the group for `owner`: the group leaves its default domain and is blocked until the
    /// owner attaches a domain.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another owner or a driver holds the group; the log names the holder. `EINVAL` if
    /// a member [is pinned](Endpoint::is_pinned); the log names it. Otherwise the errors of
    /// preparing the return to the default domain, such as `ENOMEM`. The group is then unchanged.
    pub fn claim(self: &Arc<Self>, owner: Owner) -> Result<Claim<D>> {
        self.take(owner, true)
    }

    /// Like [`claim`](Self::claim), but also refuses if `owner` itself has a claim already.
    pub fn claim_alone(self: &Arc<Self>, owner: Owner) -> Result<Claim<D>> {
        self.take(owner, false)
    }

    fn take(self: &Arc<Self>, owner: Owner, shared: bool) -> Result<Claim<D>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let change = match (state.ownership.may_claim(owner), state.ownership.owner()) {
            (Ok(_), Some(by)) if !shared => Err(Refusal::Claimed { by }),
            (change, _) => change,
        };
        match change {
            Err(refusal) => {
                return Err(self.refuse(state, owner.name, refusal));
            }
            Ok(Change::Taken) => {
                if let Some(attached) = state.pasids.first() {
                    log_warn!("{}: refused to {}: {}", self.name(), owner.name, attached);
                    return Err(EBUSY);
                }
                if let Some(pinned) = state.members.iter().find(|m| m.endpoint().is_pinned()) {
                    log_warn!(
                        "{}: refused to {}: firmware does DMA with {} at all times, so this device \
                         cannot be blocked",
                        self.name(),
                        owner.name,
                        pinned.endpoint().name(),
                    );
                    return Err(EINVAL);
                }
                if let Some(default) = state.default.clone() {
                    self.prepare_return(state, &default)?;
                }
                if let Err(error) = self.switch(state, &self.blocked) {
                    state.members.iter_mut().for_each(Member::drop_return);
                    return Err(error);
                }
            }
            Ok(_) => {}
        }
        // `may_claim` returned success above, so this succeeds.
        let _ = state.ownership.claim(owner);
        Ok(Claim {
            group: self.clone(),
            owner,
            ended: false,
        })
    }

    fn attach_claimed(&self, owner: Owner, domain: &Arc<Domain<D>>) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        self.switch(state, domain)?;
        // The caller holds a claim, so `owner` owns the group and this succeeds.
        let _ = state.ownership.set_attached(owner, !domain.is_blocked());
        Ok(())
    }

    fn detach_claimed(&self, owner: Owner) {
        let mut state = self.state.lock();
        let state = &mut *state;
        self.block(state);
        let _ = state.ownership.set_attached(owner, false);
    }

    fn end_claim(&self, owner: Owner) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let is_last = matches!(state.ownership, Ownership::Claimed { claims: 1, .. });
        if let Some(attached) = state.pasids.first().filter(|_| is_last) {
            log_warn!(
                "{}: the claim of {} continues: {}",
                self.name(),
                owner.name,
                attached
            );
            return Err(EBUSY);
        }
        match state.ownership.release(owner) {
            Ok(change) => {
                self.after_release(state, change);
                Ok(())
            }
            Err(refusal) => Err(self.refuse(state, owner.name, refusal)),
        }
    }

    /// Like [`end_claim`](Self::end_claim), but also detaches the owner's domains.
    fn drop_claim(&self, owner: Owner) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut released = state.ownership.release(owner);
        if released.is_err() {
            // The owner's domain is detached when the last claim ends.
            let _ = state.ownership.set_attached(owner, false);
            released = state.ownership.release(owner);
        }
        // The caller held a claim, and no attached domain keeps it any more, so `release` has
        // succeeded.
        if let Ok(change) = released {
            self.after_release(state, change);
        }
    }

    /// After a claim has ended: if it was the last claim, returns the group to its default domain.
    fn after_release(&self, state: &mut GroupState<D>, change: Change) {
        if change == Change::Freed {
            self.block_all(state);
            self.return_to_default(state);
        }
    }
}
