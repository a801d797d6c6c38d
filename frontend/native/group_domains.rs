// SPDX-License-Identifier: GPL-2.0

//! The domains that a group has, for whoever has no more of the group than C's pointer.

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// The domains of a group. Each is null as long as there is none.
///
/// They are changed with the group's mutex held, and read at any time.
pub(super) struct GroupDomains {
    /// The one for the DMA API. Changed with the shape held as well.
    default: Atomic<*mut bindings::iommu_domain>,
    /// The one that the group is attached to now.
    current: Atomic<*mut bindings::iommu_domain>,
    /// The one that blocks, once somebody had to be blocked.
    blocking: Atomic<*mut bindings::iommu_domain>,
}

impl GroupDomains {
    /// No domains.
    pub(super) const fn new() -> Self {
        Self {
            default: Atomic::new(core::ptr::null_mut()),
            current: Atomic::new(core::ptr::null_mut()),
            blocking: Atomic::new(core::ptr::null_mut()),
        }
    }

    /// The domains of a group of C's.
    ///
    /// # Safety
    ///
    /// `raw` is a group, and kept for `'a`.
    #[inline]
    pub(super) unsafe fn of<'a>(raw: *mut bindings::iommu_group) -> &'a Self {
        // SAFETY: By the requirements. Each group is an `IommuGroup`, of which the domains are the
        // first part.
        unsafe { &*raw.cast::<Self>() }
    }

    /// The domain for the DMA API.
    #[inline]
    pub(super) fn default_domain(&self) -> *mut bindings::iommu_domain {
        self.default.load(Relaxed)
    }

    /// Notes the domain for the DMA API.
    pub(super) fn set_default_domain(&self, domain: *mut bindings::iommu_domain) {
        self.default.store(domain, Relaxed);
    }

    /// The domain that the group is attached to.
    pub(super) fn current(&self) -> *mut bindings::iommu_domain {
        self.current.load(Relaxed)
    }

    /// Notes what the group is attached to.
    pub(super) fn set_current(&self, domain: *mut bindings::iommu_domain) {
        self.current.store(domain, Relaxed);
    }

    /// The domain that blocks.
    pub(super) fn blocking(&self) -> *mut bindings::iommu_domain {
        self.blocking.load(Relaxed)
    }

    /// Notes the domain that blocks.
    pub(super) fn set_blocking(&self, domain: *mut bindings::iommu_domain) {
        self.blocking.store(domain, Relaxed);
    }
}

/// The domain for the DMA API; null if there is none yet.
#[export]
pub unsafe extern "C" fn iommu_group_default_domain(
    group: *mut bindings::iommu_group,
) -> *mut bindings::iommu_domain {
    // SAFETY: The caller's promise.
    unsafe { GroupDomains::of(group) }.default_domain()
}

/// The domain for the DMA API of a device that uses it.
///
/// Context: any; each mapping begins with it.
#[export]
pub unsafe extern "C" fn iommu_get_dma_domain(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_domain {
    // SAFETY: The caller's promise: the device is in a group that has one.
    unsafe { GroupDomains::of((*dev).iommu_group) }.default_domain()
}
