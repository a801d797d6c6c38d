// SPDX-License-Identifier: GPL-2.0

//! One member is blocked while its device is reset.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    member::{commit, pick},
    state::Group,
};
use crate::{driver::Attach, endpoint::Endpoint};

impl<D: Attach> Group<D> {
    /// Blocks one member for a while, because its device is being reset: it must not be reached by
    /// invalidations (PCIe 10.3.1). The group stays where it is, and so do ids that the member
    /// shares with others that are not suspended.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is not a member, otherwise those of [`Attach::prepare`]: the way back
    /// is prepared now, so that [`resume`](Self::resume) cannot fail.
    pub fn suspend(&self, endpoint: &Endpoint<D>) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some((member, others)) = pick(&mut state.members, endpoint) else {
            return Err(ENODEV);
        };
        if !member.is_suspended() {
            member.suspend(state.current.domain())?;
            for other in others.filter(|m| !m.is_suspended()) {
                member.hand_over_shared(other, |id, to| self.ids.rename(id, to));
            }
            commit(core::slice::from_mut(member));
        }
        Ok(())
    }

    /// Ends [`suspend`](Self::suspend): the member joins the others where they are now.
    pub fn resume(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let Some((member, others)) = pick(&mut state.members, endpoint) else {
            return;
        };
        if member.is_suspended() {
            for other in others.filter(|m| m.is_suspended()) {
                // What they share is blocked with them.
                other.hand_over_shared(member, |id, to| self.ids.rename(id, to));
            }
            member.resume();
            commit(core::slice::from_mut(member));
        }
    }
}
