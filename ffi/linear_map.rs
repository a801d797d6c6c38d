// SPDX-License-Identifier: GPL-2.0

//! The kernel's linear map: the virtual address and the `struct page` of physical memory.
//!
//! The kernel does these conversions in C macros. The variables that the macros use are exported,
//! so this file repeats the macros for each architecture.

use kernel::bindings;

/// Size of a kernel page, as a power of 2.
const PAGE_SHIFT: usize = bindings::PAGE_SHIFT as usize;

#[cfg(all(CONFIG_X86_64, not(CONFIG_UML)))]
mod layout {
    use kernel::bindings;

    /// Returns the virtual address of physical address 0.
    #[inline(always)]
    pub(super) fn base() -> usize {
        // SAFETY: Written during boot only, long before any user of this module.
        unsafe { bindings::page_offset_base }
    }

    /// Returns the `struct page` of page frame 0.
    #[inline(always)]
    pub(super) fn page_base() -> *mut bindings::page {
        // SAFETY: Written during boot only, long before any user of this module.
        unsafe { bindings::vmemmap_base as *mut bindings::page }
    }
}

#[cfg(CONFIG_ARM64)]
mod layout {
    use kernel::bindings;

    /// The number of virtual address bits that the kernel's memory layout is made for.
    const VA_BITS: u32 = bindings::CONFIG_ARM64_VA_BITS;

    /// The number of virtual address bits that any processor has, if it has fewer than the layout
    /// is made for.
    const VA_BITS_MIN: u32 = match VA_BITS {
        ..=48 => VA_BITS,
        _ if cfg!(CONFIG_ARM64_16K_PAGES) => 47,
        _ => 48,
    };

    /// The linear map is the lower half of the kernel's address range.
    const START: usize = 0_usize.wrapping_sub(1 << VA_BITS);
    const END: usize = 0_usize.wrapping_sub(1 << (VA_BITS_MIN - 1));

    /// One `struct page` for each page that the linear map can hold, ending 1 GiB below the end of
    /// the address range.
    const PAGES: usize = ((END - START) >> super::PAGE_SHIFT) * size_of::<bindings::page>();
    const PAGES_START: usize = 0_usize.wrapping_sub(1 << 30).wrapping_sub(PAGES);

    /// Returns the physical address of the start of the linear map.
    #[inline(always)]
    fn memory_start() -> usize {
        // SAFETY: Written during boot only, long before any user of this module.
        unsafe { bindings::memstart_addr as usize }
    }

    /// Returns the virtual address of physical address 0.
    #[inline(always)]
    pub(super) fn base() -> usize {
        START.wrapping_sub(memory_start())
    }

    /// Returns the `struct page` of page frame 0.
    #[inline(always)]
    pub(super) fn page_base() -> *mut bindings::page {
        // The address is signed: it may be negative if the processor has fewer bits than the layout
        // is made for.
        let frame = memory_start() as isize >> super::PAGE_SHIFT;
        (PAGES_START as *mut bindings::page).wrapping_offset(-frame)
    }
}

#[cfg(CONFIG_UML)]
mod layout {
    use core::ffi::c_void;

    use kernel::bindings;

    extern "C" {
        static uml_physmem: usize;
        // Points to `struct page`, whose layout in C and in the Rust bindings may differ.
        static mem_map: *mut c_void;
    }

    /// Returns the virtual address of physical address 0.
    #[inline(always)]
    pub(super) fn base() -> usize {
        // SAFETY: Written during boot only, long before any user of this module.
        unsafe { uml_physmem }
    }

    /// Returns the `struct page` of page frame 0.
    #[inline(always)]
    pub(super) fn page_base() -> *mut bindings::page {
        // SAFETY: Written during boot only, long before any user of this module.
        unsafe { mem_map.cast() }
    }
}

/// Returns the virtual address of physical address `phys`.
///
/// The result may be accessed only if kernel memory is at `phys`.
#[inline(always)]
pub(crate) fn phys_to_virt<T>(phys: u64) -> *mut T {
    layout::base().wrapping_add(phys as usize) as *mut T
}

/// Returns the physical address that a pointer into the linear map points to.
#[inline(always)]
pub(crate) fn virt_to_phys<T>(virt: *const T) -> u64 {
    (virt as usize).wrapping_sub(layout::base()) as u64
}

/// Returns the `struct page` of the page at physical address `phys`.
///
/// The result may be accessed only if kernel memory is at `phys`.
#[inline(always)]
pub(crate) fn phys_to_page(phys: u64) -> *mut bindings::page {
    layout::page_base().wrapping_add((phys >> PAGE_SHIFT) as usize)
}
