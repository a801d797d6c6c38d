// SPDX-License-Identifier: GPL-2.0

//! Waiting for a unit, which answers within microseconds or not at all.
//!
//! A processor that waits may be away for long at any point: it handles an interrupt, or a
//! hypervisor runs another guest. So the clock is read *before* each look. If the time was over by
//! then and the look finds no answer, the unit has not answered in time. In the other order, a
//! processor that was away between a look and the clock would blame a unit that has answered
//! meanwhile.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{
    prelude::*,
    processor::cpu_relax,
    time::{Delta, Instant, Monotonic},
};

/// Calls `done` up to `times` times, until it returns true, and returns whether it did. For before
/// a [`Wait`]: to read the clock takes longer than most units take to answer.
#[inline]
pub(crate) fn soon(times: usize, mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..times {
        if done() {
            return true;
        }
        cpu_relax();
    }
    false
}

/// A wait that has begun.
#[derive(Copy, Clone)]
pub(crate) struct Wait {
    start: Instant<Monotonic>,
    limit: Delta,
}

/// A look that found no answer, with the time that the [`Wait`] had taken before the look.
#[derive(Copy, Clone)]
pub(crate) struct InVain {
    waited: Delta,
    limit: Delta,
}

impl Wait {
    /// Begins to wait, for `limit` at most.
    #[inline]
    pub(crate) fn begin(limit: Delta) -> Self {
        Self {
            start: Instant::now(),
            limit,
        }
    }

    /// Reads the clock, then calls `done` up to `times` times, until it returns true.
    ///
    /// # Errors
    ///
    /// If `done` never returned true: the time that the wait had taken before the first call.
    #[inline]
    pub(crate) fn look(
        &self,
        times: usize,
        done: impl FnMut() -> bool,
    ) -> core::result::Result<(), InVain> {
        let in_vain = InVain {
            waited: self.start.elapsed(),
            limit: self.limit,
        };
        match soon(times, done) {
            true => Ok(()),
            false => Err(in_vain),
        }
    }

    /// Waits on until `done` returns true.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if it does not within the limit.
    pub(crate) fn until(&self, mut done: impl FnMut() -> bool) -> Result {
        while let Err(in_vain) = self.look(1, &mut done) {
            if in_vain.is_late() {
                return Err(ETIMEDOUT);
            }
        }
        Ok(())
    }
}

impl InVain {
    /// Whether the limit was over before the look, so that no answer has come in time.
    #[inline]
    pub(crate) fn is_late(self) -> bool {
        self.has_lasted(self.limit)
    }

    /// Whether the wait had taken `time` or more before the look.
    #[inline]
    pub(crate) fn has_lasted(self, time: Delta) -> bool {
        self.waited >= time
    }
}

/// Waits until `done` returns true.
///
/// # Errors
///
/// `ETIMEDOUT` if it does not within `limit`.
pub(crate) fn wait_until(limit: Delta, done: impl FnMut() -> bool) -> Result {
    Wait::begin(limit).until(done)
}
