// SPDX-License-Identifier: GPL-2.0

//! A unit's interrupt: events were logged, or there was no room for one.

#![forbid(unsafe_code)]

use kernel::{ffi::c_uint, prelude::*, str::CString, sync::Arc};

use super::{faults, hardware::Hardware};
use crate::{
    drivers::shell::interrupt::{Serve, ThreadedInterrupt, Trigger},
    fault::FaultSink,
};

/// What the interrupt's thread works on.
struct Events {
    sink: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
}

impl Serve for Events {
    fn serve(&self, stopping: impl Fn() -> bool + Copy) {
        faults::report(&self.hardware, &*self.sink, stopping);
    }
}

/// The message that the unit's function sends; it sends none when this is dropped.
struct Message {
    hardware: Arc<Hardware>,
    irq: c_uint,
}

impl Message {
    fn new(hardware: &Arc<Hardware>) -> Result<Self> {
        let function = hardware.function.as_ref().ok_or(ENODEV)?;
        Ok(Self {
            irq: function.enable_interrupt()?,
            hardware: hardware.clone(),
        })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if let Some(function) = &self.hardware.function {
            function.disable_interrupt();
        }
    }
}

/// The interrupt of one unit. It ends when this is dropped: first the thread, then the message.
pub(super) struct EventInterrupt {
    _thread: ThreadedInterrupt<Events>,
    _message: Message,
}

impl EventInterrupt {
    /// Sets the unit's interrupt up. The unit does not send it yet. Faults go to `sink`.
    pub(super) fn new(hardware: &Arc<Hardware>, sink: Arc<dyn FaultSink>) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}-events", hardware.health.name().as_str()))?;
        let message = Message::new(hardware)?;
        let events = Events {
            sink,
            hardware: hardware.clone(),
        };
        Ok(Self {
            _thread: ThreadedInterrupt::request(message.irq, Trigger::Edge, name, events)?,
            _message: message,
        })
    }
}
