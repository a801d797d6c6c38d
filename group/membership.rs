// SPDX-License-Identifier: GPL-2.0

//! Endpoints join a group, leave it, and move to another group.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    member::{commit, Member},
    reason::Reason,
    state::{Group, GroupState},
};
use crate::{
    domain::Domain,
    driver::{Attach, When},
    endpoint::Endpoint,
    label::Label,
    log::log_warn,
    ownership::Ownership,
    pasid::Selector,
};

impl<D: Attach> Group<D> {
    /// Adds an endpoint and attaches it to the group's current domain.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another group has one of its ids, `EEXIST` if it is a member already, `EINVAL` if
    /// the group is claimed and firmware does DMA with the device at all times, or if the group is
    /// attached for a PASID that the endpoint cannot have (the log says why), otherwise those of
    /// [`Attach::prepare`]. The endpoint is then unchanged: blocked.
    pub fn join(self: &Arc<Self>, endpoint: &Arc<Endpoint<D>>, reason: Reason) -> Result {
        self.admit(Member::new(endpoint, reason)?)
    }

    /// As [`join`](Self::join), for an endpoint whose `driver` uses the DMA API with physical
    /// addresses and goes on to do so.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the group is claimed or lent, or not on identity; otherwise those of
    /// [`join`](Self::join).
    pub fn join_in_use(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint<D>>,
        reason: Reason,
        driver: Label,
    ) -> Result {
        let mut member = Member::new(endpoint, reason)?;
        member.set_driver(Some(driver));
        self.admit(member)
    }

    /// Moves all members of `from` to this group. They go from that group's domain to this group's
    /// domain in one step, so memory that both domains map stays reachable throughout. If both
    /// groups are on one domain nothing is written.
    ///
    /// # Errors
    ///
    /// `EBUSY` if `from` is claimed or lent or attached for a PASID, if one of its members is
    /// suspended, or if a driver uses one of them and would lose its domain, or is not admitted by
    /// the holder of this group; otherwise those of [`join`](Self::join). All members then stay in
    /// `from`, unchanged.
    pub fn adopt(self: &Arc<Self>, from: &Arc<Self>) -> Result {
        if Arc::ptr_eq(self, from) {
            return Ok(());
        }
        let (mut moving, domain) = {
            let mut state = from.state.lock();
            let is_in_use = state.ownership.is_exclusive() || !state.pasids.is_empty();
            if is_in_use || state.members.iter().any(Member::is_suspended) {
                return Err(EBUSY);
            }
            let members = core::mem::replace(&mut state.members, KVec::new());
            (members, state.current.domain().clone())
        };
        let users = moving.iter().filter(|m| m.driver().is_some()).count();
        let result = self.admit_all(&mut moving, &domain, users);
        let mut state = from.state.lock();
        match result {
            Ok(()) => (0..users).for_each(|_| {
                // The users are those of the members that have moved.
                let _ = state.ownership.end_use();
            }),
            Err(_) => {
                moving.iter_mut().for_each(Member::drop_next);
                moving.iter_mut().for_each(Member::drop_return);
                moving.iter_mut().for_each(Member::remove_spaces);
                state.members = moving;
            }
        }
        result
    }

    /// Makes the former members of a group that is on `domain` members of this one; drivers use
    /// `users` of them. On failure `moving` still holds all of them, and the id map leads to their
    /// old group.
    fn admit_all(
        self: &Arc<Self>,
        moving: &mut KVec<Member<D>>,
        domain: &Arc<Domain<D>>,
        users: usize,
    ) -> Result {
        let mut state = self.state.lock();
        let is_same = state.current.is_on(domain);
        if users > 0 && (!is_same || state.ownership.is_exclusive()) {
            return Err(EBUSY);
        }
        for member in moving.iter() {
            self.may_join(&state, member.endpoint())?;
        }
        state.members.reserve(moving.len(), GFP_KERNEL)?;
        for member in moving.iter_mut() {
            if let Some(default) = state
                .default
                .as_ref()
                .filter(|_| state.ownership.is_exclusive())
            {
                member.prepare_return(default)?;
            }
            state.prepare_pasids(member)?;
            if !is_same {
                // The last plan before the commit.
                member.prepare(Selector::NoPasid, state.current.domain(), When::Now)?;
            }
        }
        for member in moving.drain_all() {
            for &id in member.drives() {
                self.ids.move_to(id, member.endpoint().unit(), self);
            }
            // `reserve` above made room.
            let _ = state.members.push_within_capacity(member);
        }
        for _ in 0..users {
            // The group is not exclusive.
            let _ = state.ownership.start_use();
        }
        commit(&mut state.members);
        Ok(())
    }

    /// Whether the group's holder and firmware permit that `endpoint` becomes a member.
    fn may_join(&self, state: &GroupState<D>, endpoint: &Endpoint<D>) -> Result {
        if endpoint.is_pinned() && matches!(state.ownership, Ownership::Claimed { .. }) {
            log_warn!(
                "{}: {} cannot join: firmware does DMA with it at all times, and the group is held by {}",
                self.name(),
                endpoint.name(),
                state.ownership,
            );
            return Err(EINVAL);
        }
        self.may_share_pasids(state, endpoint)
    }

    /// Makes `member`, which no group has, a member.
    fn admit(self: &Arc<Self>, mut member: Member<D>) -> Result {
        let mut state = self.state.lock();
        let endpoint = member.endpoint().clone();
        if state.members.iter().any(|m| m.is(&endpoint)) {
            return Err(EEXIST);
        }
        self.may_join(&state, &endpoint)?;
        if let Some(driver) = member.driver() {
            if !state.current.domain().is_identity() {
                log_warn!(
                    "{}: {} cannot join: its driver {} relies on identity, and the group is on {}",
                    self.name(),
                    endpoint.name(),
                    driver,
                    &**state.current.domain(),
                );
                return Err(EBUSY);
            }
            // Nobody holds a group that is on its default domain.
            if state.ownership.is_exclusive() {
                return Err(EBUSY);
            }
        }
        for &id in endpoint.ids() {
            let driven = state
                .members
                .iter()
                .any(|m| m.drives_at(endpoint.unit(), id));
            if !driven {
                member.drive(id);
            }
        }
        state.members.reserve(1, GFP_KERNEL)?;
        // An endpoint outside of a group is blocked, so there is nothing to write. A driver that
        // cannot prepare an attach does not block endpoints before their first attach; its group
        // does not touch the endpoint until it has a default domain.
        let stays = state.current.domain().is_blocked() && (D::PREPARES || state.default.is_none());
        // The plan for now is the last one: between it and the commit the core makes no other.
        if state.ownership.is_exclusive() {
            if let Some(default) = &state.default {
                member.prepare_return(default)?;
            }
        }
        state.prepare_pasids(&mut member)?;
        if !stays {
            member.prepare(Selector::NoPasid, state.current.domain(), When::Now)?;
        }
        for (done, &id) in member.drives().iter().enumerate() {
            if let Err(error) = self.ids.insert(id, &endpoint, self) {
                for &id in &member.drives()[..done] {
                    self.ids.remove(id, endpoint.unit());
                }
                return Err(error);
            }
        }
        for other in state.members.iter_mut().filter(|m| m.is_suspended()) {
            // The ids that both share are blocked with the suspended member. The new member uses
            // them from now on.
            other.transfer_shared_ids(&mut member, |id, to| self.ids.reassign(id, to));
        }
        if member.driver().is_some() {
            // The group is not exclusive.
            let _ = state.ownership.start_use();
        }
        // `reserve` above made room.
        let _ = state.members.push_within_capacity(member);
        commit(&mut state.members);
        Ok(())
    }

    /// Removes an endpoint from the group and blocks it. The other members stay unchanged, even if
    /// they share an id with it. Cannot fail; does nothing if the endpoint is not a member.
    pub fn leave(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let index = state.members.iter().position(|m| m.is(endpoint));
        let Some(Ok(mut member)) = index.map(|index| state.members.remove(index)) else {
            return;
        };
        if member.driver().is_some() {
            // The endpoint's driver no longer uses the DMA API either.
            let _ = state.ownership.end_use();
            if matches!(state.ownership, Ownership::Free) {
                self.end_pasids_of_drivers(&mut state);
            }
        }
        for other in state.members.iter_mut().filter(|m| !m.is_suspended()) {
            member.transfer_shared_ids(other, |id, to| self.ids.reassign(id, to));
        }
        member.prepare_blocked(Selector::NoPasid);
        member.prepare_others_blocked();
        commit(core::slice::from_mut(&mut member));
        for other in state.members.iter_mut() {
            // These members are suspended, and the ids that they now drive are blocked.
            member.transfer_shared_ids(other, |id, to| self.ids.reassign(id, to));
        }
        self.remove_ids(&member);
        Self::refuse_messages(&member, &state.members);
        if state.members.is_empty() {
            self.forget_pasids(&mut state);
        }
    }

    /// Removes the ids of a former member from the id map.
    fn remove_ids(&self, member: &Member<D>) {
        for &id in member.drives() {
            self.ids.remove(id, member.endpoint().unit());
        }
    }

    /// Changes the reason that sysfs and debugfs show for an endpoint's membership.
    pub fn explain(&self, endpoint: &Endpoint<D>, reason: Reason) {
        let mut state = self.state.lock();
        if let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) {
            member.set_reason(reason);
        }
    }
}
