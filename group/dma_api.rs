// SPDX-License-Identifier: GPL-2.0

//! Drivers that use the DMA API with a group's devices.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{member::Member, state::Group};
use crate::{
    driver::Attach,
    endpoint::Endpoint,
    label::Label,
    ownership::{Ownership, Refusal},
};

impl<D: Attach> Group<D> {
    /// A driver of `endpoint`'s device starts to use the DMA API.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the group is claimed or lent.
    pub fn start_dma_api(&self, endpoint: &Endpoint<D>, driver: Label) -> Result {
        self.use_with(endpoint, driver, Ownership::start_use)
    }

    /// As [`start_dma_api`](Self::start_dma_api), for a driver that the kernel has admitted. It is
    /// counted even if the group is lent.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn count_dma_api(&self, endpoint: &Endpoint<D>, driver: Label) -> Result {
        self.use_with(endpoint, driver, Ownership::count_use)
    }

    fn use_with(
        &self,
        endpoint: &Endpoint<D>,
        driver: Label,
        start: impl FnOnce(&mut Ownership) -> Result<(), Refusal>,
    ) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) else {
            return Err(ENODEV);
        };
        if member.driver().is_some() {
            return Ok(());
        }
        match start(&mut state.ownership) {
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
            if matches!(state.ownership, Ownership::Free) {
                self.end_pasids_of_drivers(state);
            }
        }
    }

    /// Which drivers use the DMA API with the group, for messages. `None` if no driver does.
    pub fn used_by(&self) -> Option<Label> {
        let state = self.state.lock();
        matches!(state.ownership, Ownership::Kernel { .. }).then(|| self.holder(&state))
    }

    /// The driver that uses the DMA API with the group, if there is exactly one.
    pub fn only_user(&self) -> Option<Label> {
        let state = self.state.lock();
        match state.ownership {
            Ownership::Kernel { users: 1 } => state.members.iter().find_map(Member::driver),
            _ => None,
        }
    }
}
