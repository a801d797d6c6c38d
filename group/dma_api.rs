// SPDX-License-Identifier: GPL-2.0

//! Drivers that use the DMA API with a group's devices.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::state::Group;
use crate::{driver::Attach, endpoint::Endpoint, label::Label, ownership::Ownership};

impl<D: Attach> Group<D> {
    /// A driver of `endpoint`'s device starts to use the DMA API.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the group is claimed or lent.
    pub fn start_dma_api(&self, endpoint: &Endpoint<D>, driver: Label) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) else {
            return Err(ENODEV);
        };
        if member.driver().is_some() {
            return Ok(());
        }
        match state.ownership.start_use() {
            Ok(()) => {
                member.set_driver(Some(driver));
                Ok(())
            }
            Err(refusal) => {
                let what = Label::new(format_args!("driver {driver} of {}", endpoint.name()));
                Err(self.refuse(state, what, refusal))
            }
        }
    }

    /// A driver of `endpoint`'s device no longer uses the DMA API.
    pub fn end_dma_api(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) else {
            return;
        };
        if member.driver().is_some() {
            member.set_driver(None);
            // The check above guarantees that there is a use to end.
            let _ = state.ownership.end_use();
        }
    }

    /// Which drivers use the DMA API with the group, for messages. `None` if no driver does.
    pub fn used_by(&self) -> Option<Label> {
        let state = self.state.lock();
        matches!(state.ownership, Ownership::Kernel { .. }).then(|| self.holder(&state))
    }

    /// The driver of `endpoint`'s device, if it is the only driver that uses the DMA API with the
    /// group.
    pub fn only_user(&self, endpoint: &Endpoint<D>) -> Option<Label> {
        let state = self.state.lock();
        let member = state.members.iter().find(|m| m.is(endpoint))?;
        match state.ownership {
            Ownership::Kernel { users: 1 } => member.driver(),
            _ => None,
        }
    }
}
