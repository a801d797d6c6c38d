// SPDX-License-Identifier: GPL-2.0

//! Loans: a driver attaches a domain of its own to a group that it has not claimed.
//!
//! Drivers that know their devices well do that: they map what the device may reach and nothing
//! else. They belong to the kernel as those do that use the DMA API, and most of them use it at
//! other times, so nobody makes them claim the group first. From then on it is as with a claim:
//! nobody else can start to use the group, borrow or claim it, and only who has the [`Loan`]
//! attaches.
//!
//! A loan goes from the default domain to the driver's and back in one step each, without a time in
//! between when the group is blocked: the device may be at work.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{member::Member, state::Group};
use crate::{domain::Domain, driver::Attach, label::Label};

/// A group that is lent to a driver.
///
/// Only [`Group::lend`] makes one. Dropping it attaches the group to its default domain again.
pub struct Loan<D: Attach> {
    group: Arc<Group<D>>,
    driver: Label,
}

impl<D: Attach> Loan<D> {
    /// Who has it.
    pub fn driver(&self) -> Label {
        self.driver
    }

    /// Attaches the group to another domain of the driver's: all of it or, when that fails,
    /// nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Attach::prepare`]; the group stays where it was.
    pub fn attach(&self, domain: &Arc<Domain<D>>) -> Result {
        self.group.switch(&mut self.group.state.lock(), domain)
    }
}

impl<D: Attach> Drop for Loan<D> {
    fn drop(&mut self) {
        let mut state = self.group.state.lock();
        // A loan exists, so there is one to end.
        let _ = state.ownership.end_loan();
        self.group.go_home(&mut state);
    }
}

impl<D: Attach> Group<D> {
    /// Lends the group to `driver`, and attaches it to `domain`, which is the driver's own.
    ///
    /// Drivers that use the DMA API with the group, this one among them, are without it until the
    /// loan ends.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the group is claimed or lent; the log says to whom. Otherwise those of
    /// [`Attach::prepare`]. The group is then as it was.
    pub fn lend(self: &Arc<Self>, driver: Label, domain: &Arc<Domain<D>>) -> Result<Loan<D>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut lent = state.ownership;
        if let Err(refusal) = lent.lend(driver) {
            return Err(self.refuse(state, driver, refusal));
        }
        if let Some(default) = state.default.clone() {
            self.prepare_way_back(state, &default)?;
        }
        if let Err(error) = self.switch(state, domain) {
            state.members.iter_mut().for_each(Member::abandon_home);
            return Err(error);
        }
        state.ownership = lent;
        Ok(Loan {
            group: self.clone(),
            driver,
        })
    }
}
