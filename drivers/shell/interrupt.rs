// SPDX-License-Identifier: GPL-2.0

//! A unit's interrupt with a thread, which does the work because reporting a fault may sleep.
//!
//! A device that faults all the time keeps the thread busy for ever. So the thread is told when the
//! interrupt is about to end, and returns.

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

use crate::ffi::compat::{IRQ_HANDLED, IRQ_WAKE_THREAD};

/// What the thread of an interrupt does.
pub(crate) trait Serve: Send + Sync + 'static {
    /// Handles all that the unit reports, until nothing is left or `stopping` returns true.
    ///
    /// Context: may sleep.
    fn serve(&self, stopping: impl Fn() -> bool + Copy);
}

/// How an interrupt is triggered.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// By an edge. The interrupt need not be masked while the thread runs.
    Edge,
    /// By an edge or a level. A level stays until the thread has done its work, so the interrupt is
    /// masked until then.
    Any,
}

/// The cookie of an interrupt, for its handler and its thread.
struct Line<W> {
    work: W,
    name: CString,
    /// Set before the interrupt ends.
    stopping: Atomic<bool>,
}

/// A requested interrupt. When the value is dropped, the thread ends, and neither thread nor
/// handler runs any more. The interrupt's source must free the interrupt only after that.
///
/// # Invariants
///
/// `irq` is requested with the [`Line`] that `line` points to as its cookie.
pub(crate) struct ThreadedInterrupt<W: Serve> {
    line: Arc<Line<W>>,
    irq: c_uint,
}

impl<W: Serve> ThreadedInterrupt<W> {
    /// Requests interrupt `irq`, called `name` in /proc/interrupts, for `work`.
    ///
    /// # Errors
    ///
    /// Those of `request_threaded_irq()`; `ENOMEM`.
    pub(crate) fn request(irq: c_uint, trigger: Trigger, name: CString, work: W) -> Result<Self> {
        let line = Line {
            work,
            name,
            stopping: Atomic::new(false),
        };
        let line = Arc::new(line, GFP_KERNEL)?;
        let (handler, flags): (bindings::irq_handler_t, _) = match trigger {
            Trigger::Edge => (Some(wake_thread), 0),
            // The kernel's own handler does the same.
            Trigger::Any => (None, bindings::IRQF_ONESHOT as usize),
        };
        // SAFETY: The functions expect a `Line<W>` as the cookie. It and the name in it live until
        // the interrupt is freed.
        to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                handler,
                Some(run_thread::<W>),
                flags,
                line.name.as_char_ptr(),
                Arc::as_ptr(&line).cast::<c_void>().cast_mut(),
            )
        })?;
        // INVARIANT: Just requested.
        Ok(Self { line, irq })
    }
}

impl<W: Serve> Drop for ThreadedInterrupt<W> {
    fn drop(&mut self) {
        self.line.stopping.store(true, Relaxed);
        let cookie = Arc::as_ptr(&self.line).cast::<c_void>().cast_mut();
        // SAFETY: By the invariant the interrupt is requested with this cookie. The call returns
        // when neither handler nor thread runs any more.
        unsafe { bindings::free_irq(self.irq, cookie) };
    }
}

/// The handler.
extern "C" fn wake_thread(_irq: c_int, _cookie: *mut c_void) -> bindings::irqreturn_t {
    IRQ_WAKE_THREAD
}

/// The thread.
extern "C" fn run_thread<W: Serve>(_irq: c_int, cookie: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The interrupt was requested with a `Line<W>` as its cookie, which lives until the
    // interrupt is freed.
    let line = unsafe { &*cookie.cast::<Line<W>>() };
    line.work.serve(|| line.stopping.load(Relaxed));
    IRQ_HANDLED
}
