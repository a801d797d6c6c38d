// SPDX-License-Identifier: GPL-2.0

//! Endpoints join, leave, and change their group.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    member::{commit, Member},
    reason::Reason,
    state::Group,
};
use crate::{
    driver::{Attach, When},
    endpoint::Endpoint,
    log::log_warn,
    ownership::Ownership,
};

impl<D: Attach> Group<D> {
    /// Adds an endpoint. It is attached to what the group is attached to.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another group uses one of its ids, `EEXIST` if it is a member already, `EINVAL`
    /// if the group is claimed and firmware needs the device, otherwise those of
    /// [`Attach::prepare`]. The endpoint is then as it was: blocked.
    pub fn join(self: &Arc<Self>, endpoint: &Arc<Endpoint<D>>, reason: Reason) -> Result {
        self.admit(&mut Some(Member::new(endpoint, reason)?))
    }

    /// Adds an endpoint that is a member of `from`. It goes from that group's domain to this
    /// group's in one step, so that what both map is never out of its reach.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is not a member of `from`; `EBUSY` if `from` is claimed or lent, if a driver
    /// uses the endpoint, if it is suspended, or if it shares an id with another member, which
    /// would then be in two groups; otherwise those of [`join`](Self::join). The endpoint is then
    /// where it was.
    pub fn adopt(
        self: &Arc<Self>,
        endpoint: &Endpoint<D>,
        from: &Arc<Self>,
        reason: Reason,
    ) -> Result {
        let mut moving = {
            let mut state = from.state.lock();
            let index = state.members.iter().position(|m| m.is(endpoint));
            let index = index.ok_or(ENODEV)?;
            let member = &state.members[index];
            if state.ownership.is_exclusive()
                || member.driver().is_some()
                || member.is_suspended()
                || state
                    .members
                    .iter()
                    .any(|m| !m.is(endpoint) && m.shares_with(member))
            {
                return Err(EBUSY);
            }
            let member = state.members.remove(index)?;
            from.vacate(&member);
            Some(member)
        };
        let mut before = reason;
        if let Some(member) = &mut moving {
            before = member.set_reason(reason);
        }
        let result = self.admit(&mut moving);
        if let Some(mut member) = moving {
            member.set_reason(before);
            member.abandon();
            member.abandon_home();
            from.take_back(member);
        }
        result
    }

    /// Makes `newcomer` a member; it is still there if that fails.
    fn admit(self: &Arc<Self>, newcomer: &mut Option<Member<D>>) -> Result {
        let mut state = self.state.lock();
        let Some(member) = newcomer else {
            return Err(ENODEV);
        };
        let endpoint = member.endpoint().clone();
        if state.members.iter().any(|m| m.is(&endpoint)) {
            return Err(EEXIST);
        }
        if endpoint.is_pinned() && matches!(state.ownership, Ownership::Claimed { .. }) {
            log_warn!(
                "{}: {} cannot join: firmware does DMA with it at all times, and the group is held by {}",
                self.name,
                endpoint.name(),
                state.ownership,
            );
            return Err(EINVAL);
        }
        for &id in endpoint.ids() {
            let driven = state
                .members
                .iter()
                .any(|m| m.drives_at(endpoint.unit(), id));
            if !driven && !member.drives_at(endpoint.unit(), id) {
                member.drive(id);
            }
        }
        state.members.reserve(1, GFP_KERNEL)?;
        // An endpoint outside of a group is blocked, so there is nothing to write. Where that is
        // not so a group has no business with it before it has a default domain.
        let stays = state.current.domain().is_blocked()
            && !member.is_attached()
            && (D::PREPARES || state.default.is_none());
        if !stays {
            member.prepare(state.current.domain(), When::Now)?;
        }
        if state.ownership.is_exclusive() {
            if let Some(default) = &state.default {
                member.prepare_home(default)?;
            }
        }
        for (done, &id) in member.drives().iter().enumerate() {
            if let Err(error) = self.ids.enter(id, &endpoint, self) {
                for &id in &member.drives()[..done] {
                    self.ids.remove(id, endpoint.unit());
                }
                return Err(error);
            }
        }
        for other in state.members.iter_mut().filter(|m| m.is_suspended()) {
            // What they share is blocked with it, and now there is somebody who uses it.
            other.hand_over_shared(member, |id, to| self.ids.rename(id, to));
        }
        if let Some(member) = newcomer.take() {
            // Room was reserved.
            let _ = state.members.push_within_capacity(member);
        }
        commit(&mut state.members);
        Ok(())
    }

    /// Takes an endpoint out of the group and blocks it. The others stay as they are, also where
    /// they share an id with it. Cannot fail; does nothing if it is not a member.
    pub fn leave(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let index = state.members.iter().position(|m| m.is(endpoint));
        let Some(Ok(mut member)) = index.map(|index| state.members.remove(index)) else {
            return;
        };
        if member.driver().is_some() {
            // Its driver is gone with it.
            let _ = state.ownership.end_use();
        }
        for other in state.members.iter_mut().filter(|m| !m.is_suspended()) {
            member.hand_over_shared(other, |id, to| self.ids.rename(id, to));
        }
        member.prepare_blocked();
        commit(core::slice::from_mut(&mut member));
        for other in state.members.iter_mut() {
            // They are suspended, and what they get is blocked now.
            member.hand_over_shared(other, |id, to| self.ids.rename(id, to));
        }
        self.vacate(&member);
    }

    /// Gives up the ids of a member that was taken out.
    fn vacate(&self, member: &Member<D>) {
        for &id in member.drives() {
            self.ids.remove(id, member.endpoint().unit());
        }
    }

    /// Makes a member that was taken out one again.
    fn take_back(self: &Arc<Self>, member: Member<D>) {
        let mut state = self.state.lock();
        let endpoint = member.endpoint().clone();
        for &id in member.drives() {
            // Without an entry its faults have no name; nothing else depends on it.
            let _ = self.ids.enter(id, &endpoint, self);
        }
        // Removing it left its room.
        let _ = state.members.push_within_capacity(member);
    }

    /// Changes the reason that an endpoint is in the group for, as people read it.
    pub fn explain(&self, endpoint: &Endpoint<D>, reason: Reason) {
        let mut state = self.state.lock();
        if let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) {
            member.set_reason(reason);
        }
    }
}
