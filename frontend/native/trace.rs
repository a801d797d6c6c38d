// SPDX-License-Identifier: GPL-2.0

//! The trace points of `<trace/events/iommu.h>`, and the check of pages that are freed while
//! mapped.
//!
//! Neither costs anything while it is off: the trace points are static branches, and the check is
//! there only if the kernel was configured with it.

use kernel::{
    bindings,
    ffi::{c_int, c_ulong},
};

kernel::declare_trace! {
    /// A device became a member of a group.
    ///
    /// # Safety
    ///
    /// `dev` is valid.
    pub(super) unsafe fn add_device_to_group(group_id: c_int, dev: *mut bindings::device);

    /// A device is no longer a member of a group.
    ///
    /// # Safety
    ///
    /// `dev` is valid.
    pub(super) unsafe fn remove_device_from_group(group_id: c_int, dev: *mut bindings::device);

    /// A device was attached to a domain.
    ///
    /// # Safety
    ///
    /// `dev` is valid.
    pub(super) unsafe fn attach_device_to_domain(dev: *mut bindings::device);

    /// Something was mapped.
    ///
    /// # Safety
    ///
    /// Always safe.
    pub(super) unsafe fn map(iova: c_ulong, paddr: bindings::phys_addr_t, size: usize);

    /// Something was unmapped.
    ///
    /// # Safety
    ///
    /// Always safe.
    pub(super) unsafe fn unmap(iova: c_ulong, size: usize, unmapped_size: usize);

    /// A device was refused an access.
    ///
    /// # Safety
    ///
    /// `dev` is valid.
    pub(super) unsafe fn io_page_fault(dev: *mut bindings::device, iova: c_ulong, flags: c_int);
}

/// Notes that the pages at `phys` are mapped.
///
/// # Safety
///
/// `domain` is valid.
#[inline(always)]
pub(super) unsafe fn check_map(
    domain: *mut bindings::iommu_domain,
    phys: bindings::phys_addr_t,
    size: usize,
) {
    if cfg!(CONFIG_IOMMU_DEBUG_PAGEALLOC) {
        // SAFETY: By the requirements.
        unsafe { bindings::iommu_core_debug_map(domain, phys, size) }
    }
}

/// Notes that pages are about to be unmapped.
///
/// # Safety
///
/// `domain` is valid, and still maps the range as far as it did.
#[inline(always)]
pub(super) unsafe fn check_unmap_begins(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
) {
    if cfg!(CONFIG_IOMMU_DEBUG_PAGEALLOC) {
        // SAFETY: By the requirements.
        unsafe { bindings::iommu_core_debug_unmap_begin(domain, iova, size) }
    }
}

/// Ends [`check_unmap_begins`]: `unmapped` bytes are no longer mapped.
///
/// # Safety
///
/// `domain` is valid, and the range is that of the beginning.
#[inline(always)]
pub(super) unsafe fn check_unmap_ends(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
    unmapped: usize,
) {
    if cfg!(CONFIG_IOMMU_DEBUG_PAGEALLOC) {
        // SAFETY: By the requirements.
        unsafe { bindings::iommu_core_debug_unmap_end(domain, iova, size, unmapped) }
    }
}
