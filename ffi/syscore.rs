// SPDX-License-Identifier: GPL-2.0

//! Calls a handler when the machine suspends, resumes or shuts down: after all devices on suspend
//! and shutdown, before them on resume.

use core::{mem::offset_of, ptr};

use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
    types::Opaque,
};

/// `struct syscore_ops`, whose header the kernel crate's bindings do not include.
#[repr(C)]
struct Ops {
    suspend: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    resume: Option<unsafe extern "C" fn(*mut c_void)>,
    shutdown: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// `struct syscore`, from the same header.
#[repr(C)]
struct Raw {
    node: bindings::list_head,
    ops: *const Ops,
    data: *mut c_void,
}

// As ffi/layout.c checks against the kernel's headers.
const _: () = {
    const WORD: usize = size_of::<usize>();
    assert!(offset_of!(Ops, suspend) == 0);
    assert!(offset_of!(Ops, resume) == WORD);
    assert!(offset_of!(Ops, shutdown) == 2 * WORD);
    assert!(size_of::<Ops>() == 3 * WORD);
    assert!(offset_of!(Raw, node) == 0);
    assert!(offset_of!(Raw, ops) == 2 * WORD);
    assert!(offset_of!(Raw, data) == 3 * WORD);
    assert!(size_of::<Raw>() == 4 * WORD);
};

extern "C" {
    fn register_syscore(syscore: *mut c_void);
    fn unregister_syscore(syscore: *mut c_void);
}

/// A handler for suspend, resume and shutdown.
pub(crate) trait SyscoreHandler: Send + Sync + 'static {
    /// The machine suspends; all devices are suspended already.
    ///
    /// Context: interrupts off, one processor.
    fn suspend(&self);

    /// The machine resumes; no device is resumed yet. The kernel also calls this after a
    /// [`suspend`](Self::suspend) if the machine then did not sleep.
    ///
    /// Context: interrupts off, one processor.
    fn resume(&self);

    /// The machine restarts, halts, or starts another kernel. Drivers have stopped their devices.
    ///
    /// Context: may sleep, but the kernel holds the lock of its list of syscore operations. Other
    /// processors and tasks still run.
    fn shutdown(&self);
}

/// A registered handler. Dropping it removes the registration.
pub(crate) struct Syscore<S: SyscoreHandler> {
    raw: Opaque<Raw>,
    sleeper: S,
}

// SAFETY: C manages `raw`; the handler can be shared.
unsafe impl<S: SyscoreHandler> Send for Syscore<S> {}
// SAFETY: As above.
unsafe impl<S: SyscoreHandler> Sync for Syscore<S> {}

impl<S: SyscoreHandler> Syscore<S> {
    const OPS: &'static Ops = &Ops {
        suspend: Some(Self::suspend),
        resume: Some(Self::resume),
        shutdown: Some(Self::shutdown),
    };

    /// Registers `sleeper`. The kernel suspends it before, and resumes it after, all handlers that
    /// were registered earlier, including the kernel's clock.
    pub(crate) fn new(sleeper: S) -> Result<Pin<KBox<Self>>> {
        let syscore = KBox::pin(
            Self {
                raw: Opaque::new(Raw {
                    node: pin_init::zeroed(),
                    ops: Self::OPS,
                    data: ptr::null_mut(),
                }),
                sleeper,
            },
            GFP_KERNEL,
        )?;
        let data = ptr::from_ref(&*syscore).cast::<c_void>().cast_mut();
        // SAFETY: No other code knows the object yet. It does not move until it is unregistered,
        // and its data pointer is the object itself.
        unsafe {
            (*syscore.raw.get()).data = data;
            register_syscore(syscore.raw.get().cast());
        }
        Ok(syscore)
    }

    extern "C" fn suspend(data: *mut c_void) -> c_int {
        // SAFETY: The kernel passes the data that was registered.
        unsafe { &*data.cast::<Self>() }.sleeper.suspend();
        0
    }

    extern "C" fn resume(data: *mut c_void) {
        // SAFETY: As above.
        unsafe { &*data.cast::<Self>() }.sleeper.resume();
    }

    extern "C" fn shutdown(data: *mut c_void) {
        // SAFETY: As above.
        unsafe { &*data.cast::<Self>() }.sleeper.shutdown();
    }
}

impl<S: SyscoreHandler> Drop for Syscore<S> {
    fn drop(&mut self) {
        // SAFETY: It is registered: only `new` creates one.
        unsafe { unregister_syscore(self.raw.get().cast()) }
    }
}
