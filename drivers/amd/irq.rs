// SPDX-License-Identifier: GPL-2.0

//! A unit's interrupt. The unit raises it when it has logged an event, or had no room for one.

#![forbid(unsafe_code)]

use kernel::{ffi::c_uint, prelude::*, str::CString, sync::Arc};

use super::{faults, hardware::Hardware};
use crate::{
    drivers::shell::interrupt::{Serve, ThreadedInterrupt, Trigger},
    fault::FaultSink,
};

/// What the interrupt's thread needs.
struct Events {
    sink: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
}

impl Serve for Events {
    fn serve(&self, stopping: impl Fn() -> bool + Copy) {
        faults::report(&self.hardware, &*self.sink, stopping);
    }
}

/// The MSI of the unit's PCI function. The function sends none after this is dropped.
struct Msi {
    hardware: Arc<Hardware>,
    irq: c_uint,
}

impl Msi {
    fn new(hardware: &Arc<Hardware>) -> Result<Self> {
        let function = hardware.function.as_ref().ok_or(ENODEV)?;
        Ok(Self {
            irq: function.enable_interrupt()?,
            hardware: hardware.clone(),
        })
    }
}

impl Drop for Msi {
    fn drop(&mut self) {
        if let Some(function) = &self.hardware.function {
            function.disable_interrupt();
        }
    }
}

/// The interrupt of one unit. It ends when the value is dropped.
pub struct EventInterrupt {
    // Dropped in this order.
    _thread: ThreadedInterrupt<Events>,
    _msi: Msi,
}

impl EventInterrupt {
    /// Sets the unit's interrupt up. The unit does not raise it before it is enabled. Faults go to
    /// `sink`.
    ///
    /// # Errors
    ///
    /// Those of the kernel's PCI and interrupt layers.
    pub(super) fn new(hardware: &Arc<Hardware>, sink: Arc<dyn FaultSink>) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}-events", hardware.health.name().as_str()))?;
        let msi = Msi::new(hardware)?;
        let events = Events {
            sink,
            hardware: hardware.clone(),
        };
        Ok(Self {
            _thread: ThreadedInterrupt::request(msi.irq, Trigger::Edge, name, events)?,
            _msi: msi,
        })
    }
}
