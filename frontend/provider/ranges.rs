// SPDX-License-Identifier: GPL-2.0

//! Domains that C maps and unmaps in ranges of any length: `struct pt_iommu`.
//!
//! C has one call for a range if it knows the domain as one of its generic page tables. For other
//! domains it makes a call for each run of pages of one size, and finds out the sizes first. The
//! kernel crate has no bindings of C's structure. `ffi/layout.c` checks the layout.

use core::{ffi::c_void, ptr};

use kernel::{
    bindings,
    ffi::{c_int, c_uint},
};

/// `struct pt_iommu`.
#[repr(C)]
pub struct RangeDomain {
    domain: bindings::iommu_domain,
    ops: *const RangeOps,
    // Only C's own page tables use the rest.
    driver_ops: *const c_void,
    node: c_int,
    device: *mut bindings::device,
}

impl RangeDomain {
    /// `domain` with functions for ranges, which C uses instead of those for pages; `None` if it is
    /// to use the latter.
    pub fn new(domain: bindings::iommu_domain, ops: Option<&'static RangeOps>) -> Self {
        let has_ops = cfg!(CONFIG_IOMMU_PT) && ops.is_some();
        Self {
            domain: bindings::iommu_domain {
                is_iommupt: has_ops,
                ..domain
            },
            ops: ops.map_or(ptr::null(), ptr::from_ref),
            driver_ops: ptr::null(),
            node: bindings::NUMA_NO_NODE,
            device: ptr::null_mut(),
        }
    }
}

/// `map_range` of `struct pt_iommu_ops`.
pub type MapRange = unsafe extern "C" fn(
    *mut RangeDomain,
    bindings::dma_addr_t,
    bindings::phys_addr_t,
    bindings::dma_addr_t,
    c_uint,
    bindings::gfp_t,
    *mut usize,
) -> c_int;

/// `unmap_range` of `struct pt_iommu_ops`.
pub type UnmapRange = unsafe extern "C" fn(
    *mut RangeDomain,
    bindings::dma_addr_t,
    bindings::dma_addr_t,
    *mut bindings::iommu_iotlb_gather,
) -> usize;

/// `struct pt_iommu_ops`.
#[repr(C)]
pub struct RangeOps {
    pub map_range: MapRange,
    pub unmap_range: UnmapRange,
    // Only tests of C's page tables and its own drivers call these.
    set_dirty: *const c_void,
    get_info: *const c_void,
    deinit: *const c_void,
}

// SAFETY: A table of functions, which nobody writes to.
unsafe impl Sync for RangeOps {}

impl RangeOps {
    /// A table with these functions.
    pub const fn new(map_range: MapRange, unmap_range: UnmapRange) -> Self {
        Self {
            map_range,
            unmap_range,
            set_dirty: ptr::null(),
            get_info: ptr::null(),
            deinit: ptr::null(),
        }
    }
}
