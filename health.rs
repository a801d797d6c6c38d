// SPDX-License-Identifier: GPL-2.0

//! The health of a unit: whether it still answers.
//!
//! A vendor driver keeps one for each unit and declares the failure; the core asks for it before it
//! relies on the unit.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

use crate::{label::Label, log::log_err};

/// What messages call a unit, and whether it has failed.
pub struct Health {
    name: Label,
    failed: Atomic<bool>,
}

impl Health {
    /// A unit called `name`, which has not failed.
    pub fn new(name: Label) -> Self {
        Self {
            name,
            failed: Atomic::new(false),
        }
    }

    /// What messages and sysfs call the unit.
    pub fn name(&self) -> Label {
        self.name
    }

    /// Declares the unit failed, for `reason`, and logs that once. From now on every request that
    /// needs the unit gets `EIO`. Only a release and a new takeover end this.
    ///
    /// Context: any.
    pub fn fail(&self, reason: fmt::Arguments<'_>) {
        if !self.failed.xchg(true, Relaxed) {
            log_err!(
                "{}: the unit has failed: {}; no domain can be attached or invalidated there any \
                 more, unbind the drivers of its devices and reset the machine",
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

    /// Forgets a failure, because the unit is about to be taken over again.
    pub fn renew(&self) {
        self.failed.store(false, Relaxed);
    }
}
