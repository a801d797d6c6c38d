// SPDX-License-Identifier: GPL-2.0

//! Raw spin locks: their holder does not sleep, even with PREEMPT_RT. A lock that is taken while
//! another raw spin lock is held has to be one: the kernel's interrupt layer holds one when it
//! moves an interrupt.

use kernel::{
    bindings, build_error,
    ffi::{c_char, c_ulong},
    sync::lock::{Backend, Guard, Lock},
};

/// The lock; interrupts are off while it is held. Of nested guards the last one taken is dropped
/// first.
pub(crate) type RawSpinLock<T> = Lock<T, RawSpinLockBackend>;

/// The proof that a [`RawSpinLock`] is held.
pub(crate) type RawSpinLockGuard<'a, T> = Guard<'a, T, RawSpinLockBackend>;

/// Makes a [`RawSpinLock`], with a lock class of its own.
macro_rules! new_raw_spinlock {
    ($inner:expr) => {
        $crate::ffi::raw_spinlock::RawSpinLock::new(
            $inner,
            ::kernel::optional_name!(),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_raw_spinlock;

/// The kernel's `raw_spinlock_t`.
pub(crate) struct RawSpinLockBackend;

// SAFETY: The kernel's lock ensures mutual exclusion. `relock` locks in the same way.
unsafe impl Backend for RawSpinLockBackend {
    type State = bindings::raw_spinlock_t;
    /// Whether interrupts were on.
    type GuardState = c_ulong;

    #[inline]
    unsafe fn init(
        ptr: *mut Self::State,
        _name: *const c_char,
        _key: *mut bindings::lock_class_key,
    ) {
        #[cfg(CONFIG_DEBUG_SPINLOCK)]
        // SAFETY: By the requirements.
        unsafe {
            bindings::__raw_spin_lock_init(
                ptr,
                _name,
                _key,
                bindings::lockdep_wait_type_LD_WAIT_SPIN as kernel::ffi::c_short,
            )
        };
        #[cfg(not(CONFIG_DEBUG_SPINLOCK))]
        // SAFETY: By the requirements; the value is that of a lock that nobody holds.
        unsafe {
            ptr.write(pin_init::zeroed())
        };
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> c_ulong {
        // SAFETY: By the requirements.
        unsafe { bindings::_raw_spin_lock_irqsave(ptr) }
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, flags: &c_ulong) {
        // SAFETY: By the requirements.
        unsafe { bindings::_raw_spin_unlock_irqrestore(ptr, *flags) }
    }

    #[inline(always)]
    unsafe fn try_lock(_ptr: *mut Self::State) -> Option<c_ulong> {
        build_error!("not every supported kernel exports a function that tries to take the lock")
    }

    #[inline]
    unsafe fn assert_is_held(_ptr: *mut Self::State) {}
}
