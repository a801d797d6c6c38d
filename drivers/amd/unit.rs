// SPDX-License-Identifier: GPL-2.0

//! One unit: what firmware says of it, and what it became when it was taken over.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
};

use super::{firmware::Firmware, hardware::Hardware, irq::EventInterrupt, ivrs::Ivhd};
use crate::{health::Health, requester::RequesterId};

/// A unit as the IVRS table describes it, and what it became when it was taken over.
pub struct AmdViUnit {
    pub(super) firmware: Arc<Firmware>,
    pub(super) base: u64,
    pub(super) segment: u16,
    /// The unit's own PCI function.
    pub(super) function: RequesterId,
    pub(super) health: Arc<Health>,
    /// Stays after a release, for the next takeover, until the unit is dropped.
    pub(super) hardware: SetOnce<Arc<Hardware>>,
    /// Ends before the hardware is stopped.
    pub(super) interrupt: Pin<KBox<Mutex<Option<EventInterrupt>>>>,
}

impl AmdViUnit {
    /// The hardware, once it was taken over.
    #[inline]
    pub(super) fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.hardware.as_ref().ok_or(ENODEV)
    }

    /// What firmware says of the unit.
    pub(super) fn ivhd(&self) -> Result<Ivhd<'_>> {
        let table = self.firmware.table().map_err(|_| EINVAL)?;
        table
            .units()
            .find(|unit| unit.base() == self.base)
            .ok_or(EINVAL)
    }
}
