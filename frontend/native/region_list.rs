// SPDX-License-Identifier: GPL-2.0

//! Address ranges with a meaning of their own, as C lists them for a device.

use core::{mem, ptr};

use kernel::{bindings, ffi::c_int, prelude::*};

use super::{merge::Region, record};

/// A list of C's, during a call.
///
/// # Invariants
///
/// The head is initialised, all other entries are part of regions, and nobody else changes the
/// list.
pub(super) struct RegionList(*mut bindings::list_head);

impl RegionList {
    /// The list of a call from C.
    ///
    /// # Safety
    ///
    /// `head` is that of a list of regions, and nobody else changes the list meanwhile.
    pub(super) unsafe fn of(head: *mut bindings::list_head) -> Self {
        // INVARIANT: By the requirements.
        Self(head)
    }

    /// Calls `f` with the list of a device's regions.
    ///
    /// # Safety
    ///
    /// `dev` is valid, and has a unit.
    pub(super) unsafe fn with_regions_of<T>(
        dev: *mut bindings::device,
        f: impl FnOnce(&Self) -> T,
    ) -> T {
        let mut head = bindings::list_head::default();
        // INVARIANT: The head is initialised right away.
        let list = Self(&raw mut head);
        // SAFETY: By the requirements; the list is initialised, and not used after it was given
        // back.
        unsafe {
            (*list.0).next = list.0;
            (*list.0).prev = list.0;
            iommu_get_resv_regions(dev, list.0);
            let value = f(&list);
            iommu_put_resv_regions(dev, list.0);
            value
        }
    }

    /// Calls `f` with each region; `f` may free it.
    pub(super) fn for_each(&self, mut f: impl FnMut(*mut bindings::iommu_resv_region)) {
        // SAFETY: By the invariant.
        unsafe {
            let mut at = (*self.0).next;
            while at != self.0 {
                let next = (*at).next;
                f(
                    at.byte_sub(mem::offset_of!(bindings::iommu_resv_region, list))
                        .cast(),
                );
                at = next;
            }
        }
    }

    /// Adds the regions to a vector.
    pub(super) fn append_to(&self, regions: &mut KVec<Region>) -> Result {
        let mut result = Ok(());
        self.for_each(|region| {
            // SAFETY: By the invariant.
            let region = unsafe {
                Region {
                    first: (*region).start,
                    last: (*region)
                        .start
                        .wrapping_add((*region).length as u64)
                        .wrapping_sub(1),
                    prot: (*region).prot,
                    kind: (*region).type_,
                }
            };
            if result.is_ok() {
                result = regions.push(region, GFP_KERNEL);
            }
        });
        Ok(result?)
    }

    /// Makes a region the last one.
    ///
    /// # Safety
    ///
    /// `region` is valid, initialised and on no list.
    pub(super) unsafe fn push(&self, region: *mut bindings::iommu_resv_region) {
        // SAFETY: By the invariant, and by the requirements.
        unsafe {
            let new = &raw mut (*region).list;
            let last = (*self.0).prev;
            (*new).next = self.0;
            (*new).prev = last;
            (*last).next = new;
            (*self.0).prev = new;
        }
    }
}

/// Allocates a region that is on no list. `kfree()` frees it.
#[export]
pub unsafe extern "C" fn iommu_alloc_resv_region(
    start: bindings::phys_addr_t,
    length: usize,
    prot: c_int,
    type_: bindings::iommu_resv_type,
    gfp: bindings::gfp_t,
) -> *mut bindings::iommu_resv_region {
    // SAFETY: A new allocation; zeroes are a valid region but for its links, which are set here.
    unsafe {
        let region: *mut bindings::iommu_resv_region = bindings::krealloc_node_align_noprof(
            ptr::null(),
            mem::size_of::<bindings::iommu_resv_region>(),
            mem::align_of::<bindings::iommu_resv_region>(),
            gfp | bindings::__GFP_ZERO,
            bindings::NUMA_NO_NODE,
        )
        .cast();
        if !region.is_null() {
            let links = &raw mut (*region).list;
            (*links).next = links;
            (*links).prev = links;
            (*region).start = start;
            (*region).length = length;
            (*region).prot = prot;
            (*region).type_ = type_;
        }
        region
    }
}

/// Adds the device's regions to a list.
#[export]
pub unsafe extern "C" fn iommu_get_resv_regions(
    dev: *mut bindings::device,
    list: *mut bindings::list_head,
) {
    // SAFETY: The caller's promise.
    unsafe {
        if let Some(get) = record::ops(dev).and_then(|ops| ops.get_resv_regions) {
            get(dev, list);
        }
    }
}

/// Frees the regions of a list that [`iommu_get_resv_regions`] has filled. The list is not usable
/// afterwards.
#[export]
pub unsafe extern "C" fn iommu_put_resv_regions(
    dev: *mut bindings::device,
    list: *mut bindings::list_head,
) {
    // INVARIANT: The caller's promise.
    RegionList(list).for_each(|region| {
        // SAFETY: The caller's promise: nobody looks at the regions any more.
        unsafe {
            match (*region).free {
                Some(free) => free(dev, region),
                None => bindings::kfree(region.cast()),
            }
        }
    });
}
