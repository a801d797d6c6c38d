// SPDX-License-Identifier: GPL-2.0

//! Address ranges with a meaning of their own, of all of a group's devices.

use kernel::{bindings, ffi::c_int, prelude::*};

use super::{
    group::IommuGroup,
    merge::{merge, Region},
    record,
    region_list::{iommu_alloc_resv_region, RegionList},
};
use crate::frontend::answer;

/// Adds the regions of all of the group's devices to a list, in order and each address once for a
/// kind. The caller frees them with `kfree()`.
#[export]
pub unsafe extern "C" fn iommu_get_group_resv_regions(
    group: *mut bindings::iommu_group,
    head: *mut bindings::list_head,
) -> c_int {
    // SAFETY: The caller's promise.
    let group = unsafe { IommuGroup::from_c(group) };
    // SAFETY: The caller's promise.
    answer(list_regions(group, &unsafe { RegionList::of(head) }))
}

fn list_regions(group: &IommuGroup, list: &RegionList) -> Result {
    let mut regions = regions_of(group)?;
    let count = merge(&mut regions);
    for region in &regions[..count] {
        // SAFETY: Any region can be described. It is new, and on no list.
        unsafe {
            let new = iommu_alloc_resv_region(
                region.first,
                region.last.wrapping_sub(region.first).wrapping_add(1) as usize,
                region.prot,
                region.kind,
                bindings::GFP_KERNEL,
            );
            if new.is_null() {
                return Err(ENOMEM);
            }
            list.push(new);
        }
    }
    Ok(())
}

/// The regions of the group's devices, in no order.
pub(super) fn regions_of(group: &IommuGroup) -> Result<KVec<Region>> {
    let mut regions = KVec::new();
    let locked = group.lock();
    for member in locked.members.iter() {
        let dev = member.as_raw();
        // SAFETY: A member is valid, and a device with a unit has a record.
        if unsafe { record::ops(dev) }.is_none() {
            // Devices without a unit are in groups of their own.
            break;
        }
        // SAFETY: As above.
        unsafe { RegionList::with_regions_of(dev, |list| list.append_to(&mut regions)) }?;
    }
    Ok(regions)
}
