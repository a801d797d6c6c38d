// SPDX-License-Identifier: GPL-2.0

//! The faults of a group, counted and rate-limited.

#![forbid(unsafe_code)]

use kernel::time::{Instant, Monotonic};

use crate::fault::{Fault, RateLimit, Verdict};

/// The fault count, the last fault and the rate limit of a group.
pub(super) struct GroupFaults {
    pub(super) count: u64,
    pub(super) last: Option<Fault>,
    pub(super) limit: RateLimit,
    /// Start of the clock for `limit`.
    since: Instant<Monotonic>,
}

impl GroupFaults {
    /// No faults yet.
    pub(super) fn new() -> Self {
        Self {
            count: 0,
            last: None,
            limit: RateLimit::default(),
            since: Instant::now(),
        }
    }

    /// Counts `fault`, and returns whether to print it.
    pub(super) fn enter(&mut self, fault: &Fault) -> Verdict {
        self.count += 1;
        self.last = Some(*fault);
        self.limit.check(self.since.elapsed().as_millis() as u64)
    }
}
