// SPDX-License-Identifier: GPL-2.0

//! Leads from C's calls to the instance of a vendor driver.

use core::ptr;

use kernel::sync::{
    atomic::{Acquire, Atomic, Full, Release},
    Arc, ArcBorrow,
};

use super::{instance::Instance, served::Served};

/// A vendor driver that C can call.
///
/// C passes `probe_device` only the device, which nobody knows yet. The called function is one of
/// the vendor driver's, so each vendor driver has a static slot for its [`Instance`].
pub trait Callable: Served {
    /// The slot.
    fn slot() -> &'static Slot<Self>;
}

/// Where C's calls find the instance of a vendor driver.
///
/// # Invariants
///
/// The pointer is null or comes from an [`Arc`] that the slot has a count of.
pub struct Slot<D: Served>(Atomic<*const Instance<D>>);

// SAFETY: An instance may be shared between tasks, and the pointer is changed atomically.
unsafe impl<D: Served> Sync for Slot<D> {}

impl<D: Served> Slot<D> {
    /// A slot with nothing in it.
    pub const fn new() -> Self {
        Self(Atomic::new(ptr::null()))
    }

    /// Fills the slot: C's calls find the instance from now on.
    pub fn fill(&self, instance: &Arc<Instance<D>>) {
        // INVARIANT: The count goes with the pointer.
        self.0.store(Arc::into_raw(instance.clone()), Release);
    }

    /// Empties the slot. No unit is registered any more, so C does not call.
    pub fn clear(&self) {
        let raw = self.0.xchg(ptr::null(), Full);
        if !raw.is_null() {
            // SAFETY: By the invariant; nobody uses the slot's count, as there is nobody to call.
            drop(unsafe { Arc::from_raw(raw) });
        }
    }

    /// The instance. The caller is called by C because a unit is registered.
    pub fn get(&self) -> Option<Arc<Instance<D>>> {
        let raw = self.0.load(Acquire);
        if raw.is_null() {
            return None;
        }
        // SAFETY: By the invariant; the slot is emptied only when C does not call any more.
        Some(unsafe { ArcBorrow::from_raw(raw) }.into())
    }
}
