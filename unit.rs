// SPDX-License-Identifier: GPL-2.0

//! Units: IOMMU hardware instances.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use crate::{
    driver::{Attach, VendorDriver},
    fault::FaultSink,
    label::Label,
};

/// The core's record of one unit.
pub struct Unit<D: Attach> {
    released: Atomic<bool>,
    /// Whether the unit stopped when it was released.
    stopped: Atomic<bool>,
    data: D::Unit,
}

impl<D: Attach> Unit<D> {
    /// Creates the record of a unit that the driver has not taken over yet.
    pub fn new(data: D::Unit) -> Result<Arc<Self>> {
        let unit = Self {
            released: Atomic::new(false),
            stopped: Atomic::new(false),
            data,
        };
        Ok(Arc::new(unit, GFP_KERNEL)?)
    }

    /// What messages and sysfs call the unit.
    pub fn name(&self) -> Label {
        D::health(&self.data).name()
    }

    /// The vendor driver's part.
    pub fn data(&self) -> &D::Unit {
        &self.data
    }

    /// Whether the unit was released: the core must not write entries any more.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }

    /// Whether the unit was released and has stopped: it uses no table, so nothing has to be
    /// invalidated.
    pub(crate) fn has_stopped(&self) -> bool {
        self.is_released() && self.stopped.load(Relaxed)
    }

    /// Whether the unit was released and did not stop: it goes on with its entries.
    fn runs_on(&self) -> bool {
        self.is_released() && !self.stopped.load(Relaxed)
    }

    /// Declares the unit failed, see [`Health::fail`](crate::health::Health::fail).
    ///
    /// Context: any.
    pub fn fail(&self, reason: fmt::Arguments<'_>) {
        D::health(&self.data).fail(reason);
    }

    /// Whether the unit has failed.
    pub fn has_failed(&self) -> bool {
        D::health(&self.data).has_failed() || self.runs_on()
    }

    /// `EIO` if the unit has failed.
    pub fn check(&self) -> Result {
        match self.has_failed() {
            true => Err(EIO),
            false => Ok(()),
        }
    }
}

impl<D: VendorDriver> Unit<D> {
    /// Discovers all units of this kind.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::discover`].
    pub fn discover() -> Result<KVec<Arc<Self>>> {
        let found = D::discover()?;
        let mut units = KVec::with_capacity(found.len(), GFP_KERNEL)?;
        for data in found {
            units.push(Self::new(data)?, GFP_KERNEL)?;
        }
        Ok(units)
    }

    /// Takes the unit over: it blocks every requester id and translates nothing yet. The driver
    /// reports the unit's faults to `faults` until the unit is released.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::take_over`]; the unit is then unchanged.
    pub fn take_over(&self, faults: Arc<dyn FaultSink>) -> Result {
        D::health(&self.data).clear_failure();
        D::take_over(&self.data, faults)?;
        self.released.store(false, Relaxed);
        Ok(())
    }

    /// Starts translation.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::enable`].
    pub fn enable(&self) -> Result {
        D::enable(&self.data)
    }

    /// Disables the unit while the machine sleeps, or before another kernel starts. Domains and
    /// groups stay as they are and can still be changed.
    ///
    /// Context: any; does not sleep.
    pub fn suspend(&self) {
        if D::suspend(&self.data).is_err() {
            self.fail(format_args!("it did not disable translation"));
        }
    }

    /// Undoes [`suspend`](Self::suspend), even if the unit has lost all registers in between. A
    /// unit that does not respond is declared failed.
    ///
    /// Context: any; does not sleep.
    pub fn resume(&self) {
        if D::resume(&self.data).is_err() {
            self.fail(format_args!("it did not respond on resume"));
        }
    }

    /// Tells the driver, after [`resume`](Self::resume), that devices can be reached again.
    pub fn buses_resumed(&self) {
        D::buses_resumed(&self.data);
    }

    /// Releases the unit. Endpoints that are still attached reach their domain until translation
    /// ends. When they leave their groups afterwards, the core no longer writes entries or
    /// invalidates.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::release`]: the unit has not stopped. It is declared failed until it
    /// is taken over again. Endpoints that are still attached reach their domain as before, and the
    /// page tables of these domains are never freed.
    pub fn release(&self) -> Result {
        let result = D::release(&self.data);
        if result.is_err() {
            self.fail(format_args!("it did not stop when it was released"));
        }
        self.stopped.store(result.is_ok(), Relaxed);
        self.released.store(true, Relaxed);
        result
    }
}
