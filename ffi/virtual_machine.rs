// SPDX-License-Identifier: GPL-2.0

//! Whether a hypervisor runs the kernel.

use core::arch::x86_64::__cpuid;

/// Whether the processor says that a hypervisor runs the kernel. If so, a hypervisor may also play
/// the units.
pub(crate) fn is_virtual_machine() -> bool {
    /// CPUID, function 1, ECX: reserved for hypervisors; 0 on a processor.
    const HYPERVISOR: u32 = 1 << 31;
    // A processor of 64 bits has CPUID, with function 1.
    #[allow(unused_unsafe)]
    // SAFETY: As said above.
    let ecx = unsafe { __cpuid(1) }.ecx;
    ecx & HYPERVISOR != 0
}
