// SPDX-License-Identifier: GPL-2.0

//! How fast the thread of an interrupt reads fault records.
//!
//! A device that faults all the time costs a part of one processor's time, not all of it. Records
//! that find no room meanwhile are lost, and the losses counted.

#![forbid(unsafe_code)]

use kernel::{
    sync::atomic::{Atomic, Relaxed},
    time::{delay::fsleep, Delta},
};

use crate::{label::Label, log::log_warn};

/// Counts records, and sleeps after each burst of them.
pub(crate) struct Pace {
    burst: usize,
}

impl Pace {
    /// Records that are read without a pause.
    const BURST: usize = 256;
    const PAUSE: Delta = Delta::from_millis(10);

    pub(crate) const fn new() -> Self {
        Self { burst: 0 }
    }

    /// A record was read.
    pub(crate) fn count(&mut self) {
        self.burst += 1;
    }

    /// Whether it is time for a pause.
    pub(crate) fn is_due(&self) -> bool {
        self.burst >= Self::BURST
    }

    /// Makes a pause if it is time for one.
    ///
    /// Context: may sleep.
    pub(crate) fn pause_if_due(&mut self) {
        if self.is_due() {
            self.burst = 0;
            fsleep(Self::PAUSE);
        }
    }
}

/// Counts in `losses` that the unit called `name` had no room for a record. `what` names the
/// records in the message, which is logged once.
pub(crate) fn count_loss(losses: &Atomic<u64>, name: Label, what: &str) {
    if losses.fetch_add(1, Relaxed) == 0 {
        log_warn!(
            "{}: {} come faster than they are read, some are lost (said once; debugfs counts)",
            name,
            what,
        );
    }
}
