// SPDX-License-Identifier: GPL-2.0

//! Where interrupt messages go that are translated.

use kernel::{bindings, ffi::c_int, prelude::*};

use super::group::IommuGroup;

/// Sees to it that a device's messages to `msi_addr` get there, by mapping it where whoever has the
/// device wants it.
#[export]
pub unsafe extern "C" fn iommu_dma_prepare_msi(
    desc: *mut bindings::msi_desc,
    msi_addr: bindings::phys_addr_t,
) -> c_int {
    // SAFETY: The caller's promise: the descriptor is that of a device.
    let group = unsafe { (*(*desc).dev).iommu_group };
    if group.is_null() {
        return 0;
    }
    // SAFETY: The device keeps its group.
    let group = unsafe { IommuGroup::from_c(group) };
    // The domain stays attached until the mapping is there.
    let _locked = group.lock();
    let domain = group.current();
    // SAFETY: With the mutex held the group's domain is valid.
    unsafe {
        if domain.is_null() || (*domain).type_ == bindings::IOMMU_DOMAIN_IDENTITY {
            return 0;
        }
        bindings::iommu_core_map_msi(domain, desc, msi_addr)
    }
}
