// SPDX-License-Identifier: GPL-2.0

//! Calls a handler whenever a kernel function is called (Documentation/trace/kprobes.rst).

use core::{mem::offset_of, ptr};

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_char, c_int, c_uint, c_ulong, c_void},
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    types::Opaque,
};

/// `struct kprobe`, whose header the kernel crate's bindings do not include. The part after
/// `pre_handler` depends on the architecture and belongs to the kernel; `rest` is larger than any
/// architecture needs.
#[repr(C)]
struct Raw {
    hash: [*mut c_void; 2],
    list: [*mut c_void; 2],
    missed: c_ulong,
    addr: *mut c_void,
    symbol_name: *const c_char,
    offset: c_uint,
    pre_handler: Option<unsafe extern "C" fn(*mut Raw, *mut bindings::pt_regs) -> c_int>,
    rest: [usize; 32],
}

// As ffi/layout.c checks against the kernel's headers.
const _: () = {
    const WORD: usize = size_of::<usize>();
    assert!(offset_of!(Raw, symbol_name) == 6 * WORD);
    assert!(offset_of!(Raw, offset) == 7 * WORD);
    assert!(offset_of!(Raw, pre_handler) == 8 * WORD);
    assert!(size_of::<Raw>() == 41 * WORD);
};

#[cfg(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64)))]
extern "C" {
    fn register_kprobe(probe: *mut c_void) -> c_int;
    fn unregister_kprobe(probe: *mut c_void);
}

/// Replaces the kernel's function if the kernel has no kprobes, or if `first_argument` does not
/// support the architecture.
///
/// # Safety
///
/// None; the kernel's function requires a probe that does not move.
#[cfg(not(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64))))]
unsafe fn register_kprobe(_probe: *mut c_void) -> c_int {
    -(bindings::EOPNOTSUPP as c_int)
}

/// As above; is never called.
///
/// # Safety
///
/// None; the kernel's function requires a registered probe.
#[cfg(not(all(CONFIG_KPROBES, any(CONFIG_X86_64, CONFIG_ARM64))))]
unsafe fn unregister_kprobe(_probe: *mut c_void) {}

/// A handler for calls of one kernel function.
pub(crate) trait Handler: Sync + Send + 'static {
    /// The name of the function.
    const FUNCTION: &'static CStr;

    /// The function was called with `first` as its first argument.
    ///
    /// Context: that of the function's caller, with preemption disabled.
    fn called(&self, first: *mut c_void);
}

/// A probe of a function. Dropping it removes the probe.
///
/// `raw` is first, so that a pointer to `raw` is also a pointer to the whole structure.
#[repr(C)]
pub(crate) struct Probe<H: Handler> {
    raw: Opaque<Raw>,
    handler: H,
    is_registered: Atomic<bool>,
}

// SAFETY: C manages `raw`; the handler can be shared.
unsafe impl<H: Handler> Send for Probe<H> {}
// SAFETY: As above.
unsafe impl<H: Handler> Sync for Probe<H> {}

impl<H: Handler> Probe<H> {
    /// Calls `handler` whenever the function is called.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel has no such function, `EOPNOTSUPP` if the kernel was built without
    /// kprobes or the architecture is not supported, and those of the kernel.
    pub(crate) fn new(handler: H) -> Result<Pin<KBox<Self>>> {
        let probe = KBox::pin(
            Self {
                raw: Opaque::new(Raw {
                    hash: [ptr::null_mut(); 2],
                    list: [ptr::null_mut(); 2],
                    missed: 0,
                    addr: ptr::null_mut(),
                    symbol_name: H::FUNCTION.as_char_ptr(),
                    offset: 0,
                    pre_handler: Some(Self::called),
                    rest: [0; 32],
                }),
                handler,
                is_registered: Atomic::new(false),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The probe does not move until it is unregistered.
        to_result(unsafe { register_kprobe(probe.raw.get().cast()) })?;
        probe.is_registered.store(true, Relaxed);
        Ok(probe)
    }

    extern "C" fn called(raw: *mut Raw, registers: *mut bindings::pt_regs) -> c_int {
        // SAFETY: The kernel passes the probe that was registered, and the registers of the call.
        let (probe, first) = unsafe { (&*raw.cast::<Self>(), first_argument(registers)) };
        probe.handler.called(first);
        0
    }
}

/// The first argument of a function that has just been called.
///
/// # Safety
///
/// `registers` are those at the function's entry.
unsafe fn first_argument(registers: *mut bindings::pt_regs) -> *mut c_void {
    #[cfg(CONFIG_X86_64)]
    // SAFETY: By the requirements.
    return unsafe { (*registers).di as *mut c_void };
    #[cfg(CONFIG_ARM64)]
    // SAFETY: By the requirements; both variants of the union begin with the general registers.
    return unsafe { (*registers).__bindgen_anon_1.user_regs.regs[0] as *mut c_void };
    #[cfg(not(any(CONFIG_X86_64, CONFIG_ARM64)))]
    {
        let _ = registers;
        ptr::null_mut()
    }
}

impl<H: Handler> Drop for Probe<H> {
    fn drop(&mut self) {
        if self.is_registered.load(Relaxed) {
            // SAFETY: The probe is registered. When the call returns, no processor runs its
            // handler.
            unsafe { unregister_kprobe(self.raw.get().cast()) }
        }
    }
}
