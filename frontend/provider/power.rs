// SPDX-License-Identifier: GPL-2.0

//! Units sleep and wake with the machine, and are switched off for the next kernel.
//!
//! The platform driver of units has no suspend callbacks: C would call them while other devices
//! still do DMA. Instead each vendor driver is on C's list of syscore operations. C suspends these
//! last and resumes them first, on one processor with interrupts off.
//!
//! The callbacks take no lock of the frontend: the list of units never changes, and an atomic says
//! whether a unit is in use. No unit is bound or unbound meanwhile: tasks are frozen before a
//! sleep, and no driver is bound any more when the machine shuts down.

use kernel::{prelude::*, sync::Arc};

use super::{instance::Instance, served::Served};
use crate::ffi::syscore::{Syscore, SyscoreHandler};

/// The units of one vendor driver.
pub struct Units<D: Served>(Arc<Instance<D>>);

/// Lets the units of a vendor driver sleep with the machine, until it is dropped.
pub type Power<D> = Pin<KBox<Syscore<Units<D>>>>;

impl<D: Served> Units<D> {
    /// Lets the units of `instance` sleep with the machine from now on.
    pub fn follow(instance: &Arc<Instance<D>>) -> Result<Power<D>> {
        Syscore::new(Self(instance.clone()))
    }
}

impl<D: Served> SyscoreHandler for Units<D> {
    fn suspend(&self) {
        for unit in self.0.units.iter().filter(|unit| unit.is_active()) {
            unit.core().suspend();
        }
    }

    fn resume(&self) {
        let active = self.0.units.iter().filter(|unit| unit.is_active());
        D::prepare_all(active.map(|unit| unit.core().data()));
        for unit in self.0.units.iter().filter(|unit| unit.is_active()) {
            unit.core().resume();
        }
    }

    fn shutdown(&self) {
        for unit in self.0.units.iter().filter(|unit| unit.is_active()) {
            unit.shut_down(&self.0);
        }
    }
}
