// SPDX-License-Identifier: GPL-2.0

//! Units sleep and wake with the machine, and are left off for the kernel that comes next.
//!
//! The platform devices of units have no such callbacks: theirs would come before those of devices
//! that still do DMA. So each vendor driver is on the list of what is suspended last and resumed
//! first, with interrupts off on one processor. No lock of the frontend's is taken there: the list
//! of units never changes, and whether one is in use is an atomic. A unit does not come or go
//! meanwhile, because tasks are frozen before a sleep, and no driver is bound any more before the
//! machine ends.

use kernel::{prelude::*, sync::Arc};

use super::{instance::Instance, served::Served};
use crate::ffi::syscore::{Sleeper, Syscore};

/// The units of one vendor driver.
pub struct Units<D: Served>(Arc<Instance<D>>);

/// Lets the units of a vendor driver sleep with the machine, until it is dropped.
pub type Power<D> = Pin<KBox<Syscore<Units<D>>>>;

impl<D: Served> Units<D> {
    /// From now on the units of `instance` sleep with the machine.
    pub fn follow(instance: &Arc<Instance<D>>) -> Result<Power<D>> {
        Syscore::new(Self(instance.clone()))
    }
}

impl<D: Served> Sleeper for Units<D> {
    fn suspend(&self) {
        for unit in self.0.units.iter().filter(|unit| unit.is_active()) {
            unit.core().suspend();
        }
    }

    fn resume(&self) {
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
