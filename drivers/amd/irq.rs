// SPDX-License-Identifier: GPL-2.0

//! A unit's interrupt: events were logged, or there was no room for one.

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    str::{CStrExt, CString},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{faults, hardware::Hardware};
use crate::fault::FaultSink;

/// What the interrupt's functions work on.
struct Line {
    faults: Arc<dyn FaultSink>,
    hardware: Arc<Hardware>,
    name: CString,
    /// Set before the interrupt ends, so that its thread does as well.
    stopping: Atomic<bool>,
}

/// The interrupt of one unit. It ends when this is dropped.
///
/// # Invariants
///
/// `irq` is the interrupt of the unit's function, requested with what `line` points to as its
/// cookie.
pub(super) struct EventInterrupt {
    line: Arc<Line>,
    irq: c_uint,
}

impl EventInterrupt {
    /// Sets the unit's interrupt up. The unit does not send it yet. Faults go to `faults`.
    pub(super) fn new(hardware: &Arc<Hardware>, faults: Arc<dyn FaultSink>) -> Result<Self> {
        let line = Arc::new(
            Line {
                faults,
                hardware: hardware.clone(),
                name: CString::try_from_fmt(fmt!("{}-events", hardware.health.name().as_str()))?,
                stopping: Atomic::new(false),
            },
            GFP_KERNEL,
        )?;
        let function = hardware.function.as_ref().ok_or(ENODEV)?;
        let irq = function.enable_interrupt()?;
        // SAFETY: The functions take the cookie for a `Line`, which it is until the interrupt is
        // freed; and so is the name.
        to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(wake_thread),
                Some(report_events),
                0,
                line.name.as_char_ptr(),
                Arc::as_ptr(&line).cast::<c_void>().cast_mut(),
            )
        })
        .inspect_err(|_| function.disable_interrupt())?;
        // INVARIANT: Just requested.
        Ok(Self { line, irq })
    }
}

impl Drop for EventInterrupt {
    fn drop(&mut self) {
        self.line.stopping.store(true, Relaxed);
        // SAFETY: By the invariants. After the call neither handler nor thread run any more.
        unsafe {
            bindings::free_irq(
                self.irq,
                Arc::as_ptr(&self.line).cast::<c_void>().cast_mut(),
            );
        }
        if let Some(function) = &self.line.hardware.function {
            function.disable_interrupt();
        }
    }
}

/// The handler: everything is done in the thread, because reporting may sleep.
///
/// The message is an edge, so nothing has to be masked meanwhile.
extern "C" fn wake_thread(_irq: c_int, _cookie: *mut c_void) -> bindings::irqreturn_t {
    bindings::irqreturn::IRQ_WAKE_THREAD
}

/// The thread.
extern "C" fn report_events(_irq: c_int, cookie: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The interrupt was requested with a `Line` as its cookie, which lives until it is
    // freed.
    let line = unsafe { &*cookie.cast::<Line>() };
    faults::report(&line.hardware, &*line.faults, || {
        line.stopping.load(Relaxed)
    });
    bindings::irqreturn::IRQ_HANDLED
}
