// SPDX-License-Identifier: GPL-2.0

//! Claims: the proof that one may attach domains of one's own to a group.

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
    ownership::{Change, Owner, Refusal},
};

/// A claim on a group.
///
/// Only [`Group::claim`] makes one, and only a claim can attach (law 5): code that has none does
/// not compile. Dropping it detaches what is still attached, blocks the group, and lets it go back
/// to its default domain.
pub struct Claim<D: Attach> {
    group: Arc<Group<D>>,
    owner: Owner,
    ended: bool,
}

impl<D: Attach> Claim<D> {
    /// Who holds it.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Attaches the group to `domain`: all of it or, when that fails, nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Attach::prepare`]; the group stays where it was.
    pub fn attach(&self, domain: &Arc<Domain<D>>) -> Result {
        self.group.attach_claimed(self.owner, domain)
    }

    /// Takes the owner's domain away: the group is blocked, and stays claimed.
    pub fn detach(&self) {
        self.group.detach_claimed(self.owner);
    }

    /// Ends the claim.
    ///
    /// # Errors
    ///
    /// `EBUSY` while a domain of the owner's is attached: the claim goes on.
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
    /// Claims the group for `owner`: it leaves the default domain and is blocked until the owner
    /// attaches a domain.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else holds the group; the log says who. `EINVAL` if a member
    /// [is pinned](Endpoint::is_pinned); the log says which. Otherwise `ENOMEM` and the like from
    /// preparing the way back. The group is as it was.
    pub fn claim(self: &Arc<Self>, owner: Owner) -> Result<Claim<D>> {
        self.take(owner, true)
    }

    /// As [`claim`](Self::claim) for an owner that wants no second claim: that is refused as well.
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
                if let Some(pinned) = state.members.iter().find(|m| m.endpoint().is_pinned()) {
                    log_warn!(
                        "{}: refused to {}: firmware does DMA with {} at all times, so it cannot be \
                         blocked",
                        self.name,
                        owner.name,
                        pinned.endpoint().name(),
                    );
                    return Err(EINVAL);
                }
                if let Some(default) = state.default.clone() {
                    self.prepare_way_back(state, &default)?;
                }
                if let Err(error) = self.switch(state, &self.blocked) {
                    state.members.iter_mut().for_each(Member::abandon_home);
                    return Err(error);
                }
            }
            Ok(_) => {}
        }
        // `may_claim` said that it succeeds.
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
        // A claim exists, so the group is its owner's.
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
        match state.ownership.release(owner) {
            Ok(change) => {
                self.follow(state, change);
                Ok(())
            }
            Err(refusal) => Err(self.refuse(state, owner.name, refusal)),
        }
    }

    /// As [`end_claim`](Self::end_claim), but what is still attached is detached.
    fn drop_claim(&self, owner: Owner) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut released = state.ownership.release(owner);
        if released.is_err() {
            // The domain of its owner's goes with the last claim.
            let _ = state.ownership.set_attached(owner, false);
            released = state.ownership.release(owner);
        }
        // A claim existed and nothing keeps it any more, so it has ended.
        if let Ok(change) = released {
            self.follow(state, change);
        }
    }

    /// After a claim has ended: if it was the last one the group goes back to its default domain.
    fn follow(&self, state: &mut GroupState<D>, change: Change) {
        if change == Change::Freed {
            self.block(state);
            self.go_home(state);
        }
    }
}
