// SPDX-License-Identifier: GPL-2.0

//! What the processors say of themselves.

use core::arch::x86_64::__cpuid;

/// CPUID, function 1, ECX.
fn features() -> u32 {
    // A processor of 64 bits has CPUID, with function 1.
    #[allow(unused_unsafe)]
    // SAFETY: As said above.
    unsafe { __cpuid(1) }.ecx
}

/// Whether they have CMPXCHG16B.
pub(crate) fn has_cmpxchg16b() -> bool {
    features() & 1 << 13 != 0
}

/// Whether a hypervisor runs the kernel. If so, a hypervisor may also play the units.
pub(crate) fn is_virtual_machine() -> bool {
    // Reserved for hypervisors; 0 on a processor.
    features() & 1 << 31 != 0
}
