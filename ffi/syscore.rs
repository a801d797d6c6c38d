// SPDX-License-Identifier: GPL-2.0

//! Being told when the machine sleeps, wakes and ends: after all devices, or before them.

use core::{mem::offset_of, ptr};

use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
    types::Opaque,
};

/// `struct syscore_ops`, whose header the kernel crate's bindings leave out.
#[repr(C)]
struct Ops {
    suspend: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    resume: Option<unsafe extern "C" fn(*mut c_void)>,
    shutdown: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// `struct syscore`, of the same header.
#[repr(C)]
struct Raw {
    node: bindings::list_head,
    ops: *const Ops,
    data: *mut c_void,
}

// As ffi/layout.c finds it in the kernel's headers.
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

/// What sleeps with the machine.
pub(crate) trait Sleeper: Send + Sync + 'static {
    /// The machine goes to sleep; all devices do so already.
    ///
    /// Context: interrupts off, one processor.
    fn suspend(&self);

    /// The machine wakes up; no device does yet. Also after a [`suspend`](Self::suspend) that
    /// was followed by no sleep.
    ///
    /// Context: interrupts off, one processor.
    fn resume(&self);

    /// The machine is restarted, halted, or handed over to another kernel. Drivers have stopped
    /// their devices.
    ///
    /// Context: may sleep, but the lock of the list of sleepers is held. Other processors and tasks
    /// still run.
    fn shutdown(&self);
}

/// A registered sleeper. Dropping it removes it.
pub(crate) struct Syscore<S: Sleeper> {
    raw: Opaque<Raw>,
    sleeper: S,
}

// SAFETY: C's part is for C to look after; the sleeper can be shared.
unsafe impl<S: Sleeper> Send for Syscore<S> {}
// SAFETY: As above.
unsafe impl<S: Sleeper> Sync for Syscore<S> {}

impl<S: Sleeper> Syscore<S> {
    const OPS: &'static Ops = &Ops {
        suspend: Some(Self::suspend),
        resume: Some(Self::resume),
        shutdown: Some(Self::shutdown),
    };

    /// Registers `sleeper`: it is suspended before, and resumed after, all that came earlier, the
    /// kernel's clock among it.
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
        // SAFETY: Nobody else knows of the object yet. It stays where it is until it is
        // unregistered, and its data is the object itself.
        unsafe {
            (*syscore.raw.get()).data = data;
            register_syscore(syscore.raw.get().cast());
        }
        Ok(syscore)
    }

    extern "C" fn suspend(data: *mut c_void) -> c_int {
        // SAFETY: The kernel calls with the data that was registered.
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

impl<S: Sleeper> Drop for Syscore<S> {
    fn drop(&mut self) {
        // SAFETY: It is registered: only `new` makes one.
        unsafe { unregister_syscore(self.raw.get().cast()) }
    }
}
