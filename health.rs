// SPDX-License-Identifier: GPL-2.0

//! The health of a unit: whether it still responds.
//!
//! A vendor driver keeps one for each unit and declares failures in it. The core checks it before
//! it relies on the unit.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

use crate::{label::Label, log::log_err};

/// A unit's name, and whether the unit has failed.
pub struct Health {
    name: Label,
    failed: Atomic<bool>,
}

impl Health {
    /// The health of a unit called `name` that has not failed.
    pub fn new(name: Label) -> Self {
        Self {
            name,
            failed: Atomic::new(false),
        }
    }

    /// The unit's name in messages and sysfs.
    pub fn name(&self) -> Label {
        self.name
    }

    /// Declares the unit failed for `reason`, and logs this once. From now on every request that
    /// needs the unit fails with `EIO`. Only a release and a new takeover end this state.
    ///
    /// Context: any.
    pub fn fail(&self, reason: fmt::Arguments<'_>) {
        if !self.failed.xchg(true, Relaxed) {
            log_err!(
                "{}: the unit has failed: {}; its domains can no longer be attached or invalidated: \
                 unbind the drivers of its devices and reset the machine",
                self.name,
                reason,
            );
        }
    }

    /// Whether the unit has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// `EIO` if the unit has failed.
    pub fn check(&self) -> Result {
        if self.has_failed() {
            return Err(EIO);
        }
        Ok(())
    }

    /// Clears a failure, because the core is about to take the unit over again.
    pub fn clear_failure(&self) {
        self.failed.store(false, Relaxed);
    }
}
