// SPDX-License-Identifier: GPL-2.0

//! Violations: events that no driver may cause; and failures that a suite injects.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::log::log_err;

static VIOLATIONS: Atomic<u64> = Atomic::new(0);

/// Reports an event that no driver may cause.
pub(super) fn violation(what: fmt::Arguments<'_>) {
    VIOLATIONS.fetch_add(1, Relaxed);
    log_err!("mock: {what}");
}

/// The number of violations so far.
pub fn violations() -> u64 {
    VIOLATIONS.load(Relaxed)
}

/// Makes one call fail.
pub struct Countdown(Atomic<i64>);

impl Countdown {
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Makes the `n`-th call from now on fail; 1 is the next call, 0 means none.
    pub fn arm(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    /// Whether no failure is pending.
    pub fn is_done(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    pub(super) fn is_due(&self) -> bool {
        let left = self.0.load(Relaxed);
        if left > 0 {
            self.0.store(left - 1, Relaxed);
        }
        left == 1
    }
}

/// Counts existing plans.
pub struct Plans(pub(super) Atomic<i64>);

impl Plans {
    pub(super) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The number of plans.
    pub fn count(&self) -> i64 {
        self.0.load(Relaxed)
    }
}
