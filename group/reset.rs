// SPDX-License-Identifier: GPL-2.0

//! Blocks one member while its device is reset.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    member::{commit, find_with_others},
    state::Group,
};
use crate::{driver::Attach, endpoint::Endpoint};

impl<D: Attach> Group<D> {
    /// Blocks one member for a time, because its device is being reset and invalidations must not
    /// reach it (PCIe 10.3.1). The group stays attached to its domain, and so do the ids that the
    /// member shares with other members that are not suspended.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the endpoint is not a member, otherwise those of [`Attach::prepare`]: the
    /// member's return to the group's domain is prepared now, so that [`resume`](Self::resume)
    /// cannot fail.
    pub fn suspend(&self, endpoint: &Endpoint<D>) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some((member, others)) = find_with_others(&mut state.members, endpoint) else {
            return Err(ENODEV);
        };
        if !member.is_suspended() {
            member.suspend(state.current.domain())?;
            for other in others.filter(|m| !m.is_suspended()) {
                member.transfer_shared_ids(other, |id, to| self.ids.reassign(id, to));
            }
            commit(core::slice::from_mut(member));
        }
        Ok(())
    }

    /// Ends [`suspend`](Self::suspend): attaches the member to the group's current domain.
    pub fn resume(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let Some((member, others)) = find_with_others(&mut state.members, endpoint) else {
            return;
        };
        if member.is_suspended() {
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
