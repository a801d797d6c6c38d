// SPDX-License-Identifier: GPL-2.0

//! What no driver may let happen, and failures that a suite asks for.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::sync::atomic::{Atomic, Relaxed};

use crate::log::log_err;

static VIOLATIONS: Atomic<u64> = Atomic::new(0);

/// Something happened that no driver may let happen.
pub(super) fn violation(what: fmt::Arguments<'_>) {
    VIOLATIONS.fetch_add(1, Relaxed);
    log_err!("mock: {what}");
}

/// How often that was.
pub fn violations() -> u64 {
    VIOLATIONS.load(Relaxed)
}

/// Lets one call fail.
pub struct Countdown(Atomic<i64>);

impl Countdown {
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The `n`-th call from now on fails, 1 is the next. 0: none.
    pub fn arm(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    /// Whether no failure is still to come.
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

/// Plans that exist.
pub struct Plans(pub(super) Atomic<i64>);

impl Plans {
    pub(super) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// How many.
    pub fn count(&self) -> i64 {
        self.0.load(Relaxed)
    }
}
