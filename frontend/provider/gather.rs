// SPDX-License-Identifier: GPL-2.0

//! C's gather (`struct iommu_iotlb_gather`): what an unmap leaves to be invalidated. C keeps it
//! from the unmap to `iotlb_sync`.

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{bindings, ffi::c_ulong};

use crate::{
    addr::Iova,
    pgtable::{
        kernel_memory::{KernelMemory, KernelTableList},
        Gather,
    },
};

/// Says in C's bitmap of levels that tables were removed. Which level is not told: only this file
/// writes and reads the bitmap.
const ABOVE_LEAVES: u8 = 1 << 1;

/// Adds the unmapped range to C's gather, and the tables to be freed.
///
/// # Safety
///
/// `c` is an initialised gather, and nobody else uses it.
#[inline]
pub unsafe fn add(
    c: *mut bindings::iommu_iotlb_gather,
    gather: &Gather<KernelMemory>,
    mut tables: KernelTableList,
) {
    if let Some((first, last)) = gather.range() {
        // SAFETY: By the requirements.
        unsafe {
            (*c).start = (*c).start.min(first.raw() as c_ulong);
            (*c).end = (*c).end.max(last.raw() as c_ulong);
            if gather.tables_changed() {
                (*c).__bindgen_anon_1.pt.table_levels_bitmap |= ABOVE_LEAVES;
            }
        }
    }
    // SAFETY: By the requirements. C frees the tables when their translations are flushed, in
    // `iotlb_sync`.
    unsafe { tables.splice_onto(&raw mut (*c).freelist) };
}

/// Takes everything out of C's gather. C initialises the gather again before its next use.
///
/// # Safety
///
/// `c` is an initialised gather, and nobody else uses it. Its tables are from [`add`]; C adds
/// ranges only.
pub unsafe fn take(c: *mut bindings::iommu_iotlb_gather) -> Gather<KernelMemory> {
    // SAFETY: By the requirements.
    unsafe {
        let (first, last) = ((*c).start as u64, (*c).end as u64);
        Gather::from_parts(
            // An empty gather begins after its end.
            (first <= last).then_some((Iova::new(first), Iova::new(last))),
            (*c).__bindgen_anon_1.pt.table_levels_bitmap != 0,
            KernelTableList::take_from(&raw mut (*c).freelist),
        )
    }
}
