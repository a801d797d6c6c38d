// SPDX-License-Identifier: GPL-2.0

//! What a group is attached to for requests with a PASID.
//!
//! For each PASID the same rules hold as for requests without one: all members that use PASIDs are
//! attached, or none (law 3); the same domain again does nothing (law 4); the attachment counts
//! the domain (law 2). There is no default domain: a PASID that is not attached is blocked.
//!
//! Who may attach: while the group is claimed, only the holder of the [`Claim`] (law 5). Otherwise
//! any driver of the group, as the DMA API is shared as well. The group cannot be claimed before
//! all of them have detached their PASIDs.
//!
//! A group with a member that shares an id with another one is attached for no PASID: the unit
//! could not tell which of the two a request is from, and only one of them may use PASIDs.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{
    claim::Claim,
    member::{commit, Member},
    state::{Group, GroupState},
};
use crate::{
    domain::{Attachment, Domain},
    driver::{Attach, When},
    endpoint::Endpoint,
    log::log_warn,
    ownership::Ownership,
    pasid::{Pasid, Selector},
};

impl<D: Attach> GroupState<D> {
    /// Prepares the attach of `member`, which is new, for each PASID.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the member uses PASIDs, and not as many; otherwise those of [`Attach::prepare`].
    pub(super) fn prepare_pasids(&self, member: &mut Member<D>) -> Result {
        let count = member.pasids();
        if count == 0 {
            return Ok(());
        }
        self.pasids.iter().try_for_each(|(pasid, at)| {
            if pasid.number() >= count {
                return Err(EINVAL);
            }
            member.add_space(*pasid)?;
            member.prepare(Selector::Pasid(*pasid), at.domain(), When::Later)
        })
    }
}

impl<D: Attach> Claim<D> {
    /// Attaches the group to `domain` for requests with `pasid`: all members that use PASIDs or, on
    /// failure, none. A blocked domain detaches.
    ///
    /// # Errors
    ///
    /// Those of [`Group::attach_pasid`] but the first.
    pub fn attach_pasid(&self, pasid: Pasid, domain: &Arc<Domain<D>>) -> Result {
        let group = self.group();
        group.switch_pasid(&mut group.state.lock(), pasid, domain)
    }

    /// Blocks the requests with `pasid`. Cannot fail.
    pub fn detach_pasid(&self, pasid: Pasid) {
        let group = self.group();
        group.end_pasid(&mut group.state.lock(), pasid);
    }
}

impl<D: Attach> Group<D> {
    /// A driver of the group attaches it to `domain` for requests with `pasid`: all members that
    /// use PASIDs or, on failure, none. A blocked domain detaches.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the group is claimed; the log names the holder. `EINVAL` if no member uses
    /// PASIDs, or one cannot use this PASID, or shares an id with another member. Otherwise those
    /// of [`Attach::prepare`]. The group then stays attached as it is.
    pub fn attach_pasid(&self, pasid: Pasid, domain: &Arc<Domain<D>>) -> Result {
        let mut state = self.state.lock();
        if matches!(state.ownership, Ownership::Claimed { .. }) {
            log_warn!(
                "{}: {} cannot be attached: {}",
                self.name(),
                pasid,
                self.holder(&state)
            );
            return Err(EBUSY);
        }
        self.switch_pasid(&mut state, pasid, domain)
    }

    /// Ends [`attach_pasid`](Self::attach_pasid). Cannot fail; does nothing if the group is
    /// claimed, since no driver has attached the PASID then.
    pub fn detach_pasid(&self, pasid: Pasid) {
        let mut state = self.state.lock();
        if !matches!(state.ownership, Ownership::Claimed { .. }) {
            self.end_pasid(&mut state, pasid);
        }
    }

    /// What the group is attached to for requests with `pasid`; `None` if they are blocked.
    pub fn pasid_domain(&self, pasid: Pasid) -> Option<Arc<Domain<D>>> {
        let state = self.state.lock();
        state.pasids.get(pasid).map(|at| at.domain().clone())
    }

    fn switch_pasid(
        &self,
        state: &mut GroupState<D>,
        pasid: Pasid,
        domain: &Arc<Domain<D>>,
    ) -> Result {
        if domain.is_blocked() {
            self.end_pasid(state, pasid);
            return Ok(());
        }
        let old = state.pasids.get(pasid);
        if old.is_some_and(|old| old.is_on(domain)) {
            return Ok(());
        }
        let is_new = old.is_none();
        self.check_pasid(state, pasid)?;
        state.pasids.reserve()?;
        let prepared = self.prepare_pasid(state, pasid, domain);
        if prepared.is_err() {
            let members = &mut state.members;
            members.iter_mut().for_each(Member::drop_next);
            if is_new {
                members.iter_mut().for_each(|m| m.remove_space(pasid));
            }
            return prepared;
        }
        self.commit(state);
        state.pasids.set(pasid, Attachment::new(domain));
        Ok(())
    }

    /// Prepares the attach of each member that uses PASIDs.
    fn prepare_pasid(
        &self,
        state: &mut GroupState<D>,
        pasid: Pasid,
        domain: &Arc<Domain<D>>,
    ) -> Result {
        let mut users = state.members.iter_mut().filter(|m| m.pasids() > 0);
        users.try_for_each(|member| {
            member.add_space(pasid)?;
            member.prepare(Selector::Pasid(pasid), domain, When::Now)
        })
    }

    /// Whether the group can be attached for `pasid`.
    fn check_pasid(&self, state: &GroupState<D>, pasid: Pasid) -> Result {
        let members = &state.members;
        if !D::PREPARES && members.iter().any(Member::is_suspended) {
            // As for an attach without a PASID.
            return Err(EBUSY);
        }
        let mut count = 0;
        for member in members.iter().filter(|m| m.pasids() > 0) {
            if pasid.number() >= member.pasids() {
                return Err(EINVAL);
            }
            count += 1;
        }
        if count == 0 {
            return Err(EINVAL);
        }
        for (index, member) in members.iter().enumerate() {
            for other in &members[..index] {
                self.tell_apart(member.endpoint(), other.endpoint())?;
            }
        }
        Ok(())
    }

    /// Checks that the unit can tell the requests of two members apart.
    fn tell_apart(&self, one: &Endpoint<D>, other: &Endpoint<D>) -> Result {
        match one.shared_id(other) {
            None => Ok(()),
            Some(id) => {
                log_warn!(
                    "{}: no PASID can be attached: {} and {} share the id {}",
                    self.name(),
                    one.name(),
                    other.name(),
                    id,
                );
                Err(EINVAL)
            }
        }
    }

    /// Whether `endpoint` can become a member as far as the PASIDs are concerned that the group is
    /// attached for.
    pub(super) fn may_share_pasids(&self, state: &GroupState<D>, endpoint: &Endpoint<D>) -> Result {
        if state.pasids.is_empty() {
            return Ok(());
        }
        let mut members = state.members.iter();
        members.try_for_each(|member| self.tell_apart(endpoint, member.endpoint()))
    }

    /// Blocks the requests of one member with `pasid`, for callers that detach member by member:
    /// with the last one the group is detached. Cannot fail; does nothing if the member does not
    /// use the PASID.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn cut_pasid(&self, endpoint: &Endpoint<D>, pasid: Pasid) {
        let mut state = self.state.lock();
        let members = &mut state.members;
        if let Some(member) = members.iter_mut().find(|m| m.is(endpoint) && m.uses(pasid)) {
            member.cut_pasid(pasid);
            commit(core::slice::from_mut(member));
        }
        if !members.iter().any(|m| m.uses(pasid)) {
            self.end_pasid(&mut state, pasid);
        }
    }

    /// Ends [`cut_pasid`](Self::cut_pasid), if the group is still attached.
    ///
    /// # Errors
    ///
    /// Those of [`Attach::prepare`]. The requests stay blocked.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn resume_pasid(&self, endpoint: &Endpoint<D>, pasid: Pasid) -> Result {
        let mut state = self.state.lock();
        let (members, now) = state.split();
        let mut members = members.iter_mut();
        let (Some(member), Some(domain)) = (
            members.find(|m| m.is(endpoint) && !m.uses(pasid)),
            now.domain(Selector::Pasid(pasid)),
        ) else {
            return Ok(());
        };
        member.resume_pasid(pasid, domain)?;
        commit(core::slice::from_mut(member));
        Ok(())
    }

    /// Blocks the requests with `pasid`. Cannot fail; does nothing if they are blocked.
    fn end_pasid(&self, state: &mut GroupState<D>, pasid: Pasid) {
        if state.pasids.get(pasid).is_none() {
            return;
        }
        let members = state.members.iter_mut();
        members.for_each(|m| m.prepare_blocked(Selector::Pasid(pasid)));
        self.commit(state);
        let members = state.members.iter_mut();
        members.for_each(|m| m.remove_space(pasid));
        state.pasids.remove(pasid);
    }

    /// The last driver has left the group: blocks what it has not detached. Cannot fail.
    pub(super) fn end_pasids_of_drivers(&self, state: &mut GroupState<D>) {
        let Some(attached) = state.pasids.first() else {
            return;
        };
        log_warn!(
            "{}: the last driver has left, and {}; blocked now",
            self.name(),
            attached
        );
        let members = state.members.iter_mut();
        members.for_each(Member::prepare_others_blocked);
        self.commit(state);
        self.forget_pasids(state);
    }

    /// Forgets all PASIDs. Every member's requests with one are blocked.
    pub(super) fn forget_pasids(&self, state: &mut GroupState<D>) {
        state.members.iter_mut().for_each(Member::remove_spaces);
        state.pasids.clear();
    }
}
