// SPDX-License-Identifier: GPL-2.0

//! Claims: the proof that one may attach domains of one's own to a group.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::Group;
use crate::{domain::Domain, driver::Attach, ownership::Owner};

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
    /// `owner` was just entered in the group's ownership.
    pub(super) fn new(group: Arc<Group<D>>, owner: Owner) -> Self {
        Self {
            group,
            owner,
            ended: false,
        }
    }

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
