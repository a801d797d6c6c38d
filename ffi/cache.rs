// SPDX-License-Identifier: GPL-2.0

//! Writes back the processors' caches, for units that do not snoop them.
//!
//! The kernel exports its own functions for this only on some architectures.

use core::ffi::c_void;

#[cfg(all(CONFIG_X86_64, not(CONFIG_UML)))]
mod arch {
    use core::ffi::c_void;

    use kernel::bindings;

    pub(super) fn write_back(start: *const c_void, length: usize) {
        // SAFETY: This only writes back cache lines, of memory that exists.
        unsafe { bindings::clflush_cache_range(start.cast_mut(), length as u32) }
    }
}

#[cfg(CONFIG_ARM64)]
mod arch {
    use core::{arch::asm, ffi::c_void};

    /// The smallest line of any data cache, in bytes (Arm ARM, D24.2.33).
    fn line() -> usize {
        let ctr: usize;
        // SAFETY: This reads the register that describes the caches.
        unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
        4 << (ctr >> 16 & 0xf)
    }

    pub(super) fn write_back(start: *const c_void, length: usize) {
        let (first, line) = (start as usize, line());
        for address in (first & !(line - 1)..first + length).step_by(line) {
            // Some processors do not clean a line correctly unless they also invalidate it.
            // SAFETY: This only writes back cache lines, of memory that exists.
            unsafe { asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
        }
        // The write-back is complete for all observers before anything that follows.
        // SAFETY: This is a barrier.
        unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
    }
}

#[cfg(CONFIG_UML)]
mod arch {
    use core::ffi::c_void;

    /// Does nothing: User-mode Linux has no unit that could read the memory.
    pub(super) fn write_back(_start: *const c_void, _length: usize) {}
}

/// Writes the cache lines of `length` bytes at `start` back to memory. `start` must point to kernel
/// memory.
#[inline]
pub(crate) fn write_back(start: *const c_void, length: usize) {
    arch::write_back(start, length)
}
