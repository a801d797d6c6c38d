// SPDX-License-Identifier: GPL-2.0

//! What users of a group have told it to remember with an attach, by PASID.
//!
//! A page fault has to find the handle of the domain that it happened in, and is handled by threads
//! that cannot wait for the group's mutex. So the table has a lock of its own, and entries are
//! there only while the attach is complete: an entry is reserved before the attach, and filled
//! after it.

use core::{cell::UnsafeCell, ptr};

use kernel::{
    bindings,
    prelude::*,
    sync::lock::{spinlock::SpinLockBackend, Lock},
    types::Opaque,
};

/// An attach with a PASID; 0 is the one without.
struct Entry {
    pasid: bindings::ioasid_t,
    /// What is attached; null while it is not complete.
    domain: *mut bindings::iommu_domain,
    /// The user's handle; null if it has none.
    handle: *mut bindings::iommu_attach_handle,
}

/// The attaches of a group with their handles.
///
/// # Invariants
///
/// `entries` is touched with `lock` held, and has a PASID at most once.
pub(super) struct Handles {
    lock: Opaque<bindings::spinlock_t>,
    entries: UnsafeCell<KVec<Entry>>,
}

impl Handles {
    /// A table with nothing in it. [`init`](Self::init) follows, where it is to stay.
    pub(super) const fn new() -> Self {
        Self {
            lock: Opaque::zeroed(),
            entries: UnsafeCell::new(KVec::new()),
        }
    }

    /// Makes the table usable.
    ///
    /// # Safety
    ///
    /// The table is where it stays, and nobody uses it yet.
    pub(super) unsafe fn init(&self) {
        // SAFETY: By the requirements.
        unsafe { bindings::iommu_core_init_spinlock(self.lock.get()) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut KVec<Entry>) -> T) -> T {
        // SAFETY: The lock is initialised.
        let lock: &Lock<(), SpinLockBackend> = unsafe { Lock::from_raw(self.lock.get()) };
        let _guard = lock.lock();
        // SAFETY: The lock is held, and `f` has no way to this function.
        f(unsafe { &mut *self.entries.get() })
    }

    /// Reserves an entry for an attach with `pasid` that is going to be made.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one, `ENOMEM`.
    pub(super) fn reserve(&self, pasid: bindings::ioasid_t) -> Result {
        let mut room = KVec::new();
        loop {
            let reserved = self.with(|entries| {
                if entries.iter().any(|entry| entry.pasid == pasid) {
                    return Some(Err(EBUSY));
                }
                if room.capacity() <= entries.len() && entries.capacity() == entries.len() {
                    return None;
                }
                if entries.capacity() == entries.len() {
                    core::mem::swap(entries, &mut room);
                    while let Some(entry) = room.pop() {
                        // There is room for all of them and one more.
                        let _ = entries.push_within_capacity(entry);
                    }
                }
                let _ = entries.push_within_capacity(Entry {
                    pasid,
                    domain: ptr::null_mut(),
                    handle: ptr::null_mut(),
                });
                Some(Ok(()))
            });
            match reserved {
                Some(result) => return result,
                None => {
                    let wanted = self.with(|entries| entries.len()) + 4;
                    room = KVec::with_capacity(wanted, GFP_KERNEL)?;
                }
            }
        }
    }

    /// The attach is made: fills the entry, which is there. From now on its handle is found.
    pub(super) fn fill(
        &self,
        pasid: bindings::ioasid_t,
        domain: *mut bindings::iommu_domain,
        handle: *mut bindings::iommu_attach_handle,
    ) {
        if !handle.is_null() {
            // SAFETY: The user's handle is valid while its attach is there.
            unsafe { (*handle).domain = domain };
        }
        self.with(|entries| {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.pasid == pasid) {
                entry.domain = domain;
                entry.handle = handle;
            }
        });
    }

    /// Removes the entry for `pasid`, if there is one.
    pub(super) fn remove(&self, pasid: bindings::ioasid_t) {
        self.with(|entries| entries.retain(|entry| entry.pasid != pasid));
    }

    /// The domain and the handle that are attached with `pasid`.
    pub(super) fn find(
        &self,
        pasid: bindings::ioasid_t,
    ) -> Option<(
        *mut bindings::iommu_domain,
        *mut bindings::iommu_attach_handle,
    )> {
        self.with(|entries| {
            let entry = entries.iter().find(|entry| entry.pasid == pasid)?;
            (!entry.domain.is_null()).then_some((entry.domain, entry.handle))
        })
    }

    /// Whether nothing is attached or about to be.
    pub(super) fn is_empty(&self) -> bool {
        self.with(|entries| entries.is_empty())
    }
}
