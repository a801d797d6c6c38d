// SPDX-License-Identifier: GPL-2.0

//! Stores of 128 bits at once.

use core::{arch::asm, ptr};

use super::processor::has_cmpxchg16b;

/// The proof that the processors have CMPXCHG16B.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct WideStore(());

impl WideStore {
    /// The proof, if they have it.
    pub(crate) fn new() -> Option<Self> {
        has_cmpxchg16b().then_some(Self(()))
    }

    /// Stores `new`, the lower half first, in one access.
    ///
    /// # Safety
    ///
    /// `at` is valid, aligned to 16 bytes, and all accesses to it are atomic.
    pub(crate) unsafe fn store(self, at: *mut u64, new: [u64; 2]) {
        // SAFETY: By the requirements.
        let (mut low, mut high) =
            unsafe { (ptr::read_volatile(at), ptr::read_volatile(at.add(1))) };
        loop {
            let stored: u8;
            // SAFETY: By the requirements, and by the type the processor has the instruction. RBX,
            // which no operand may name, is as before afterwards.
            unsafe {
                asm!(
                    "xchg rbx, rsi",
                    "lock cmpxchg16b [rdi]",
                    "sete r8b",
                    "mov rbx, rsi",
                    in("rdi") at,
                    inout("rsi") new[0] => _,
                    in("rcx") new[1],
                    inout("rax") low,
                    inout("rdx") high,
                    out("r8b") stored,
                    options(nostack),
                );
            }
            if stored != 0 {
                return;
            }
        }
    }
}
