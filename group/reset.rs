// SPDX-License-Identifier: GPL-2.0

//! Blocks one member, most of the time because its device is reset.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    attached::Attached,
    member::{commit, find_with_others, Member},
    state::Group,
};
use crate::{driver::Attach, endpoint::Endpoint};

impl<D: Attach> Group<D> {
    /// Blocks one member for a time, also its requests with a PASID, because its device is being
    /// reset and invalidations must not reach it (PCIe 10.3.1). The group stays attached to its
    /// domain, and so do the ids that the member shares with other members that are not suspended.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the endpoint is not a member, otherwise those of [`Attach::prepare`]: the
    /// member's return to the group's domain is prepared now, so that [`resume`](Self::resume)
    /// cannot fail. There is no other error than `ENODEV` while the group is blocked and attached
    /// for no PASID.
    pub fn suspend(&self, endpoint: &Endpoint<D>) -> Result {
        self.block_alone(endpoint, Member::suspend)
    }

    /// As [`suspend`](Self::suspend), for callers that cannot handle an error: the return is not
    /// prepared. Does nothing if the endpoint is not a member.
    // The native frontend can handle errors.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn cut(&self, endpoint: &Endpoint<D>) {
        let _ = self.block_alone(endpoint, |member, _| {
            member.cut();
            Ok(())
        });
    }

    fn block_alone(
        &self,
        endpoint: &Endpoint<D>,
        prepare: impl FnOnce(&mut Member<D>, Attached<'_, D>) -> Result,
    ) -> Result {
        let mut state = self.state.lock();
        let (members, now) = state.split();
        let Some((member, others)) = find_with_others(members, endpoint) else {
            return Err(ENODEV);
        };
        if !member.is_suspended() {
            prepare(member, now)?;
            for other in others.filter(|m| !m.is_suspended()) {
                member.transfer_shared_ids(other, |id, to| self.ids.reassign(id, to));
            }
            commit(core::slice::from_mut(member));
        }
        Ok(())
    }

    /// Prepares what [`resume`](Self::resume) needs after [`cut`](Self::cut). An attach of the
    /// group to another domain does so, too. Does nothing for other endpoints.
    ///
    /// # Errors
    ///
    /// Those of [`Attach::prepare`]. The member stays blocked.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn prepare_resume(&self, endpoint: &Endpoint<D>) -> Result {
        let mut state = self.state.lock();
        let (members, now) = state.split();
        let mut members = members.iter_mut();
        match members.find(|m| m.is(endpoint) && m.is_cut()) {
            Some(member) => member.prepare_resume(now),
            None => Ok(()),
        }
    }

    /// Ends [`suspend`](Self::suspend): attaches the member to the group's current domain.
    pub fn resume(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let Some((member, others)) = find_with_others(&mut state.members, endpoint) else {
            return;
        };
        if member.is_suspended() && !member.is_cut() {
            for other in others.filter(|m| m.is_suspended()) {
                // The ids that both share are blocked with the other member, which is still
                // suspended.
                other.transfer_shared_ids(member, |id, to| self.ids.reassign(id, to));
            }
            member.resume();
            commit(core::slice::from_mut(member));
        }
    }
}
