// SPDX-License-Identifier: GPL-2.0

//! C's gather: what has to be invalidated between an unmap and the end of it, kept by C.

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

/// Of the levels where tables were removed: some level or other. The bits are for the driver that
/// fills the gather and the same driver's `iotlb_sync`.
const ABOVE_LEAVES: u8 = 1 << 1;

/// Adds what was unmapped to C's gather, and its tables, as far as they are to be freed.
///
/// # Safety
///
/// `c` is a gather that is the caller's, initialised.
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
    // SAFETY: By the requirements. C frees the tables when their translations are flushed: in
    // `iotlb_sync`, or after `flush_iotlb_all` if it queues them.
    unsafe { tables.splice_onto(&raw mut (*c).freelist) };
}

/// Takes out what C's gather holds. C initialises it anew before it uses it again.
///
/// # Safety
///
/// `c` is a gather that is the caller's, initialised, with nothing in it but what [`add`] and C
/// have put there: C adds no tables.
pub unsafe fn take(c: *mut bindings::iommu_iotlb_gather) -> Gather<KernelMemory> {
    // SAFETY: By the requirements.
    unsafe {
        let (first, last) = ((*c).start as u64, (*c).end as u64);
        Gather::of(
            // In one that is empty the first address is the last there is.
            (first <= last).then_some((Iova::new(first), Iova::new(last))),
            (*c).__bindgen_anon_1.pt.table_levels_bitmap != 0,
            KernelTableList::take_from(&raw mut (*c).freelist),
        )
    }
}
