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

/// One unit, as the core knows it.
pub struct Unit<D: Attach> {
    released: Atomic<bool>,
    data: D::Unit,
}

impl<D: Attach> Unit<D> {
    /// A unit that nobody has taken over yet.
    pub fn new(data: D::Unit) -> Result<Arc<Self>> {
        let unit = Self {
            released: Atomic::new(false),
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

    /// Whether the unit was given back: there is no hardware to write entries or invalidate for.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }

    /// Declares the unit failed, see [`Health::fail`](crate::health::Health::fail).
    ///
    /// Context: any.
    pub fn fail(&self, reason: fmt::Arguments<'_>) {
        D::health(&self.data).fail(reason);
    }

    /// Whether the unit has failed.
    pub fn has_failed(&self) -> bool {
        D::health(&self.data).has_failed()
    }

    /// `EIO` if the unit has failed.
    pub fn check(&self) -> Result {
        D::health(&self.data).check()
    }
}

impl<D: VendorDriver> Unit<D> {
    /// All units of this kind that the machine has.
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

    /// Takes the unit: every requester id is blocked, and nothing translated yet. The unit's faults
    /// go to `faults` until it is released.
    ///
    /// # Errors
    ///
    /// Those of [`VendorDriver::take_over`]; the unit is then as it was.
    pub fn take_over(&self, faults: Arc<dyn FaultSink>) -> Result {
        D::health(&self.data).renew();
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

    /// Switches the unit off while the machine sleeps, or for the kernel that comes next. Domains
    /// and groups stay as they are, and can be worked with.
    ///
    /// Context: any; does not sleep.
    pub fn suspend(&self) {
        if D::suspend(&self.data).is_err() {
            self.fail(format_args!("it does not stop to translate"));
        }
    }

    /// Undoes [`suspend`](Self::suspend), also if the unit has lost all its registers meanwhile. A
    /// unit that does not come back has failed.
    ///
    /// Context: any; does not sleep.
    pub fn resume(&self) {
        if D::resume(&self.data).is_err() {
            self.fail(format_args!(
                "it did not come back when the machine woke up"
            ));
        }
    }

    /// Tells the unit that devices can be reached again, after [`resume`](Self::resume).
    pub fn buses_are_back(&self) {
        D::buses_are_back(&self.data);
    }

    /// Gives the unit back. Endpoints that are still attached see their domain until translation
    /// ends; they leave their groups afterwards, and hardware is no longer told.
    pub fn release(&self) {
        D::release(&self.data);
        self.released.store(true, Relaxed);
    }
}
