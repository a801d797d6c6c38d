// SPDX-License-Identifier: GPL-2.0

//! One unit: what firmware says of it, and what it became when it was taken over.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
};

use super::{firmware::Firmware, hardware::Hardware, irq::FaultInterrupt};
use crate::health::Health;

/// A unit as the DMAR table describes it, and what it became when it was taken over.
pub struct VtdUnit {
    pub(super) firmware: Arc<Firmware>,
    pub(super) base: u64,
    pub(super) segment: u16,
    pub(super) include_all: bool,
    pub(super) node: i32,
    pub(super) health: Arc<Health>,
    /// Stays after a release, for the next takeover, until the unit is dropped.
    pub(super) hardware: SetOnce<Arc<Hardware>>,
    /// Ends before the hardware is stopped.
    pub(super) interrupt: Pin<KBox<Mutex<Option<FaultInterrupt>>>>,
}

impl VtdUnit {
    /// The hardware, once it was taken over.
    #[inline]
    pub(super) fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.hardware.as_ref().ok_or(ENODEV)
    }
}
