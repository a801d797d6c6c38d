// SPDX-License-Identifier: GPL-2.0

//! What the kernel crates of the supported series do not have in common, under the names that it
//! has in the newest series.
//!
//! Kbuild says with the cfg `LINUX_BEFORE_<series>` that a kernel is older than that series; each
//! has a module here, which adds what an older kernel lacks. Nothing else in the tree asks for the
//! version. Documentation/kernels.md says how a series is added, and how it is dropped.

// Each configuration uses some of it.
#![allow(dead_code, unused_imports)]

use kernel::{bindings, error::Error, ffi::c_int, ThisModule};

#[cfg(not(LINUX_BEFORE_7_3))]
pub(crate) use kernel::{
    io::{Mmio, MmioRaw, Region},
    sync::{
        barrier::{dma_mb, smp_mb, Write},
        new_spinlock_irq, SpinLockIrq, SpinLockIrqGuard,
    },
};

#[cfg(LINUX_BEFORE_7_3)]
pub(crate) use before_7_3::*;

#[cfg(not(LINUX_BEFORE_7_3))]
pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn::IRQ_HANDLED;
#[cfg(not(LINUX_BEFORE_7_3))]
pub(crate) const IRQ_WAKE_THREAD: bindings::irqreturn_t = bindings::irqreturn::IRQ_WAKE_THREAD;

/// This module, or what stands for it in a kernel that has it built in.
#[cfg(not(LINUX_BEFORE_7_3))]
pub(crate) fn this_module() -> &'static ThisModule {
    &<crate::LocalModule as kernel::ModuleMetadata>::THIS_MODULE
}

/// `EOPNOTSUPP`, for which the kernel crate has a constant from 7.3 on.
pub(crate) fn eopnotsupp() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

#[cfg(LINUX_BEFORE_7_3)]
mod before_7_3 {
    use core::{arch::asm, marker::PhantomData};

    use kernel::{
        bindings,
        ffi::c_void,
        io::{Io, IoCapable, IoKnownSize},
        prelude::*,
        sync::{atomic::Full, barrier},
    };

    pub(crate) use kernel::bindings::{
        irqreturn_IRQ_HANDLED as IRQ_HANDLED, irqreturn_IRQ_WAKE_THREAD as IRQ_WAKE_THREAD,
    };

    /// This module, or what stands for it in a kernel that has it built in.
    pub(crate) fn this_module() -> &'static ThisModule {
        &crate::THIS_MODULE
    }

    // --- registers ---

    /// `SIZE` bytes or more, in words of 32 bits.
    #[derive(Copy, Clone)]
    pub(crate) struct Region<const SIZE: usize>;

    /// The address and the size of registers.
    ///
    /// # Invariants
    ///
    /// For `MmioRaw<Region<SIZE>>`: `bytes` is `SIZE` or more. Address and size are multiples of 4.
    pub(crate) struct MmioRaw<R> {
        addr: usize,
        bytes: usize,
        _region: PhantomData<R>,
    }

    impl<R> Copy for MmioRaw<R> {}
    impl<R> Clone for MmioRaw<R> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<const SIZE: usize> MmioRaw<Region<SIZE>> {
        /// `bytes` bytes of registers at `addr`.
        ///
        /// # Errors
        ///
        /// `EINVAL` if that is less than `SIZE`, or not in words of 32 bits.
        pub(crate) fn new_region(addr: usize, bytes: usize) -> Result<Self> {
            if bytes < SIZE || bytes % 4 != 0 || addr % 4 != 0 {
                return Err(EINVAL);
            }
            // INVARIANT: Just checked.
            Ok(Self {
                addr,
                bytes,
                _region: PhantomData,
            })
        }

        pub(crate) fn size(&self) -> usize {
            self.bytes
        }
    }

    /// Mapped registers.
    ///
    /// # Invariants
    ///
    /// The registers are mapped for the lifetime `'a`.
    #[derive(Copy, Clone)]
    pub(crate) struct Mmio<'a, R> {
        raw: MmioRaw<R>,
        _mapping: PhantomData<&'a ()>,
    }

    impl<const SIZE: usize> Mmio<'_, Region<SIZE>> {
        /// # Safety
        ///
        /// The registers are mapped for the lifetime of the value.
        pub(crate) unsafe fn from_raw(raw: MmioRaw<Region<SIZE>>) -> Self {
            // INVARIANT: By the function's contract.
            Self {
                raw,
                _mapping: PhantomData,
            }
        }
    }

    impl<const SIZE: usize> Io for Mmio<'_, Region<SIZE>> {
        #[inline(always)]
        fn addr(&self) -> usize {
            self.raw.addr
        }

        #[inline(always)]
        fn maxsize(&self) -> usize {
            self.raw.bytes
        }
    }

    impl<const SIZE: usize> IoKnownSize for Mmio<'_, Region<SIZE>> {
        const MIN_SIZE: usize = SIZE;
    }

    macro_rules! io_capable {
        ($($type:ty: $read:ident, $write:ident;)*) => {$(
            impl<const SIZE: usize> IoCapable<$type> for Mmio<'_, Region<SIZE>> {
                #[inline(always)]
                unsafe fn io_read(&self, address: usize) -> $type {
                    // SAFETY: By the trait's contract the address is within the registers, which
                    // are mapped by the invariant.
                    unsafe { bindings::$read(address as *const c_void) }
                }

                #[inline(always)]
                unsafe fn io_write(&self, value: $type, address: usize) {
                    // SAFETY: As for reads.
                    unsafe { bindings::$write(value, address as *mut c_void) }
                }
            }
        )*};
    }

    io_capable! {
        u32: readl, writel;
        u64: readq, writeq;
    }

    // --- barriers ---

    /// A barrier between writes.
    pub(crate) struct Write;

    /// A barrier between all accesses that other processors see.
    #[inline(always)]
    pub(crate) fn smp_mb(_: Full) {
        barrier::smp_mb();
    }

    /// A kind of barrier between accesses that devices see.
    pub(crate) trait Barrier {
        /// The barrier.
        fn run();
    }

    /// A barrier between accesses that devices see.
    #[inline(always)]
    pub(crate) fn dma_mb<B: Barrier>(_: B) {
        B::run();
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    compile_error!("the kernel crate has no dma_mb(), and this file none for the architecture");

    // The instructions are those of <asm/barrier.h>. An asm block that may access memory also keeps
    // the compiler from reordering accesses.

    impl Barrier for Write {
        #[inline(always)]
        fn run() {
            // SAFETY: Nothing but a barrier. x86 does not reorder writes to memory (dma_wmb() is
            // `barrier()`).
            #[cfg(target_arch = "x86_64")]
            unsafe {
                asm!("", options(nostack, preserves_flags))
            };
            // SAFETY: Nothing but a barrier.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                asm!("dmb oshst", options(nostack, preserves_flags))
            };
        }
    }

    impl Barrier for Full {
        #[inline(always)]
        fn run() {
            // SAFETY: Nothing but a barrier.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                asm!("mfence", options(nostack, preserves_flags))
            };
            // SAFETY: Nothing but a barrier.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                asm!("dmb osh", options(nostack, preserves_flags))
            };
        }
    }

    // --- locks ---

    /// A lock that is held with interrupts off.
    ///
    /// Unlike that of 7.3, it does not count who has interrupts off: each guard puts back what was
    /// before it. So guards that exist at the same time end in the reverse order, which Rust sees
    /// to unless one is dropped by hand.
    ///
    /// With PREEMPT_RT a `spinlock_t` sleeps, so nothing is done to interrupts, neither here nor in
    /// 7.3.
    #[cfg(not(CONFIG_PREEMPT_RT))]
    pub(crate) type SpinLockIrq<T> = kernel::sync::lock::Lock<T, irq_off::Backend>;
    #[cfg(CONFIG_PREEMPT_RT)]
    pub(crate) use kernel::sync::SpinLock as SpinLockIrq;

    #[cfg(not(CONFIG_PREEMPT_RT))]
    pub(crate) type SpinLockIrqGuard<'a, T> = kernel::sync::lock::Guard<'a, T, irq_off::Backend>;
    #[cfg(CONFIG_PREEMPT_RT)]
    pub(crate) use kernel::sync::SpinLockGuard as SpinLockIrqGuard;

    macro_rules! new_spinlock_irq {
        ($inner:expr $(, $name:literal)? $(,)?) => {
            $crate::ffi::compat::SpinLockIrq::new(
                $inner,
                ::kernel::optional_name!($($name)?),
                ::kernel::static_lock_class!(),
            )
        };
    }
    pub(crate) use new_spinlock_irq;

    #[cfg(not(CONFIG_PREEMPT_RT))]
    pub(crate) mod irq_off {
        use kernel::{
            bindings, build_error,
            ffi::{c_char, c_ulong},
            sync::lock::{spinlock::SpinLockBackend, Backend as _},
        };

        /// The lock is a `spinlock_t`; between lock and unlock interrupts are off.
        pub(crate) struct Backend;

        /// The `raw_spinlock_t` in a `spinlock_t`, at its beginning (ffi/layout.c).
        fn raw(lock: *mut bindings::spinlock_t) -> *mut bindings::raw_spinlock_t {
            lock.cast()
        }

        // SAFETY: The kernel's `spinlock_t` lets one owner in. `relock` is the trait's, which locks
        // as `lock` does.
        unsafe impl kernel::sync::lock::Backend for Backend {
            type State = bindings::spinlock_t;
            /// Whether interrupts were on before.
            type GuardState = c_ulong;

            #[inline]
            unsafe fn init(
                lock: *mut Self::State,
                name: *const c_char,
                key: *mut bindings::lock_class_key,
            ) {
                // SAFETY: The same contract.
                unsafe { SpinLockBackend::init(lock, name, key) }
            }

            #[inline]
            unsafe fn lock(lock: *mut Self::State) -> c_ulong {
                // SAFETY: By the function's contract the lock is initialised.
                unsafe { bindings::_raw_spin_lock_irqsave(raw(lock)) }
            }

            #[inline]
            unsafe fn unlock(lock: *mut Self::State, flags: &c_ulong) {
                // SAFETY: By the function's contract the caller has the lock, and the flags are
                // from `lock`.
                unsafe { bindings::_raw_spin_unlock_irqrestore(raw(lock), *flags) }
            }

            #[inline(always)]
            unsafe fn try_lock(_lock: *mut Self::State) -> Option<c_ulong> {
                build_error!(
                    "7.2 exports no function that tries to take a lock with interrupts off"
                )
            }

            #[inline]
            unsafe fn assert_is_held(lock: *mut Self::State) {
                // SAFETY: The same contract.
                unsafe { SpinLockBackend::assert_is_held(lock) }
            }
        }
    }
}
