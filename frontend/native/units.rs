// SPDX-License-Identifier: GPL-2.0

//! The list of units that drivers have registered.
//!
//! C links them, for whoever looks for the unit that a node of the firmware's stands for, at any
//! time.

use core::{mem::offset_of, ptr::NonNull};

use kernel::{
    bindings,
    prelude::*,
    sync::lock::{spinlock::SpinLockBackend, Lock},
};

/// The list's lock. Units on the list are valid, and the links between them whole, while it is
/// held.
fn lock() -> &'static Lock<(), SpinLockBackend> {
    // SAFETY: C has initialised it before any code ran.
    unsafe { Lock::from_raw(&raw mut bindings::iommu_core_units_lock) }
}

/// A unit as it was found: what it is after that is the caller's to know.
#[derive(Copy, Clone)]
pub(super) struct Found {
    pub(super) ops: &'static bindings::iommu_ops,
    /// Whether all devices that are there were probed for it.
    pub(super) ready: bool,
}

/// The first unit that `node` stands for. Null is the node of units that firmware has no node for.
pub(super) fn find(node: *const bindings::fwnode_handle) -> Option<Found> {
    let _guard = lock().lock();
    let head = &raw mut bindings::iommu_core_units;
    // SAFETY: With the lock held the list is whole, and all but its head are a part of units, which
    // are valid. A unit's table of functions is as long as one of its devices can be asked about.
    unsafe {
        let mut at = (*head).next;
        while at != head {
            let unit: *mut bindings::iommu_device =
                at.byte_sub(offset_of!(bindings::iommu_device, list)).cast();
            if (*unit).fwnode.cast_const() == node {
                return Some(Found {
                    ops: NonNull::new((*unit).ops.cast_mut())?.as_ref(),
                    ready: (&raw const (*unit).ready).read_volatile(),
                });
            }
            at = (*at).next;
        }
    }
    None
}

/// The functions of the driver of the units that `fwnode` stands for; null if there is none.
#[export]
pub unsafe extern "C" fn iommu_ops_from_fwnode(
    fwnode: *const bindings::fwnode_handle,
) -> *const bindings::iommu_ops {
    find(fwnode).map_or(core::ptr::null(), |unit| unit.ops)
}

/// Puts a unit on the list.
///
/// # Safety
///
/// `raw` is valid until [`remove`], and on no list.
pub(super) unsafe fn add(raw: *mut bindings::iommu_device) {
    let _guard = lock().lock();
    // SAFETY: By the requirements; with the lock held the list is whole.
    unsafe { bindings::list_add_tail(&raw mut (*raw).list, &raw mut bindings::iommu_core_units) };
}

/// Undoes [`add`].
///
/// # Safety
///
/// The unit is on the list.
pub(super) unsafe fn remove(raw: *mut bindings::iommu_device) {
    let _guard = lock().lock();
    // SAFETY: By the requirements; with the lock held the list is whole.
    unsafe {
        let links = &raw mut (*raw).list;
        (*(*links).prev).next = (*links).next;
        (*(*links).next).prev = (*links).prev;
    }
}
