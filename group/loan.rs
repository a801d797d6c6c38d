// SPDX-License-Identifier: GPL-2.0

//! Loans: a driver attaches its own domain to a group that it has not claimed.
//!
//! Drivers do this to map only what their device may reach. Most of them use the DMA API at other
//! times, so the kernel does not require them to claim the group first. During a loan the same
//! rules hold as during a claim: no other driver or owner can use, borrow or claim the group, and
//! only the holder of the [`Loan`] attaches domains.
//!
//! At the beginning of a loan the group goes from the default domain to the driver's domain in one
//! step, and back in one step at the end. It is not blocked in between, because the device may be
//! doing DMA.

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
    /// The driver that holds the loan.
    pub fn driver(&self) -> Label {
        self.driver
    }

    /// Attaches the group to another domain of the driver: all members or, on failure, none.
    ///
    /// # Errors
    ///
    /// Those of [`Attach::prepare`]; the group then stays attached to its present domain.
    pub fn attach(&self, domain: &Arc<Domain<D>>) -> Result {
        self.group.switch(&mut self.group.state.lock(), domain)
    }
}

impl<D: Attach> Drop for Loan<D> {
    fn drop(&mut self) {
        let mut state = self.group.state.lock();
        // The loan exists, so this succeeds.
        let _ = state.ownership.end_loan();
        self.group.return_to_default(&mut state);
    }
}

impl<D: Attach> Group<D> {
    /// Lends the group to `driver`, and attaches it to `domain`, which is the driver's own.
    ///
    /// Drivers that use the DMA API with the group, including `driver` itself, cannot use it until
    /// the loan ends.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the group is claimed or lent; the log names the holder. Otherwise those of
    /// [`Attach::prepare`]. The group is then unchanged.
    pub fn lend(self: &Arc<Self>, driver: Label, domain: &Arc<Domain<D>>) -> Result<Loan<D>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut lent = state.ownership;
        if let Err(refusal) = lent.lend(driver) {
            return Err(self.refuse(state, driver, refusal));
        }
        if let Some(default) = state.default.clone() {
            self.prepare_return(state, &default)?;
        }
        if let Err(error) = self.switch(state, domain) {
            state.members.iter_mut().for_each(Member::drop_return);
            return Err(error);
        }
        state.ownership = lent;
        Ok(Loan {
            group: self.clone(),
            driver,
        })
    }
}
