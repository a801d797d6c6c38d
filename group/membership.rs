// SPDX-License-Identifier: GPL-2.0

//! Endpoints join a group, leave it, and move to another group.

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
    /// Adds an endpoint and attaches it to the group's current domain.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another group has one of its ids, `EEXIST` if it is a member already, `EINVAL` if
    /// the group is claimed and firmware does DMA with the device at all times, otherwise those of
    /// [`Attach::prepare`]. The endpoint is then unchanged: blocked.
    pub fn join(self: &Arc<Self>, endpoint: &Arc<Endpoint<D>>, reason: Reason) -> Result {
        self.admit(&mut Some(Member::new(endpoint, reason)?))
    }

    /// Moves a member of `from` to this group. The endpoint goes from that group's domain to this
    /// group's domain in one step, so memory that both domains map stays reachable throughout.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the endpoint is not a member of `from`; `EBUSY` if `from` is claimed or lent, if
    /// a driver uses the endpoint, if the endpoint is suspended, or if it shares an id with another
    /// member, because the id would then be in two groups; otherwise those of [`join`](Self::join).
    /// The endpoint then stays in `from`, unchanged.
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
            from.remove_ids(&member);
            Some(member)
        };
        let mut before = reason;
        if let Some(member) = &mut moving {
            before = member.set_reason(reason);
        }
        let result = self.admit(&mut moving);
        if let Some(mut member) = moving {
            member.set_reason(before);
            member.drop_next();
            member.drop_return();
            from.readmit(member);
        }
        result
    }

    /// Makes `newcomer` a member. On failure `newcomer` still holds it.
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
        // An endpoint outside of a group is blocked, so there is nothing to write. A driver that
        // cannot prepare an attach does not block endpoints before their first attach; its group
        // does not touch the endpoint until it has a default domain.
        let stays = state.current.domain().is_blocked()
            && !member.is_attached()
            && (D::PREPARES || state.default.is_none());
        // The plan for now is the last one: between it and the commit the core makes no other.
        if state.ownership.is_exclusive() {
            if let Some(default) = &state.default {
                member.prepare_return(default)?;
            }
        }
        if !stays {
            member.prepare(state.current.domain(), When::Now)?;
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
            other.transfer_shared_ids(member, |id, to| self.ids.reassign(id, to));
        }
        if let Some(member) = newcomer.take() {
            // `reserve` above made room.
            let _ = state.members.push_within_capacity(member);
        }
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
        }
        for other in state.members.iter_mut().filter(|m| !m.is_suspended()) {
            member.transfer_shared_ids(other, |id, to| self.ids.reassign(id, to));
        }
        member.prepare_blocked();
        commit(core::slice::from_mut(&mut member));
        for other in state.members.iter_mut() {
            // These members are suspended, and the ids that they now drive are blocked.
            member.transfer_shared_ids(other, |id, to| self.ids.reassign(id, to));
        }
        self.remove_ids(&member);
    }

    /// Removes the ids of a former member from the id map.
    fn remove_ids(&self, member: &Member<D>) {
        for &id in member.drives() {
            self.ids.remove(id, member.endpoint().unit());
        }
    }

    /// Makes a former member a member again.
    fn readmit(self: &Arc<Self>, member: Member<D>) {
        let mut state = self.state.lock();
        let endpoint = member.endpoint().clone();
        for &id in member.drives() {
            // If this fails, faults of the id are reported as faults of an unknown id. It has no
            // other effect.
            let _ = self.ids.insert(id, &endpoint, self);
        }
        // The removal of the member left capacity for it.
        let _ = state.members.push_within_capacity(member);
    }

    /// Changes the reason that sysfs and debugfs show for an endpoint's membership.
    pub fn explain(&self, endpoint: &Endpoint<D>, reason: Reason) {
        let mut state = self.state.lock();
        if let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) {
            member.set_reason(reason);
        }
    }
}
