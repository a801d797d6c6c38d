// SPDX-License-Identifier: GPL-2.0

//! Groups: C's `struct iommu_group` with the core's group beside it.

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::served::Served;
use crate::group::Group;

/// A group that C knows.
#[pin_data]
pub struct ProviderGroup<D: Served> {
    /// C's group. C keeps it while it has devices, and this structure has the same life.
    c: usize,
    core: Arc<Group<D>>,
    /// How many devices C knows in the group. Changes under the lock of the table of groups.
    devices: Atomic<usize>,
    #[pin]
    data: D::GroupData,
}

/// A count of C's group.
pub struct Kept(*mut bindings::iommu_group);

impl Kept {
    /// Counts C's group once more.
    ///
    /// # Safety
    ///
    /// The group is valid.
    pub unsafe fn new(c: *mut bindings::iommu_group) -> Self {
        // SAFETY: By the requirements.
        unsafe { bindings::iommu_group_ref_get(c) };
        Self(c)
    }

    /// C's group.
    pub fn as_c(&self) -> *mut bindings::iommu_group {
        self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: The group was counted by `new`.
        unsafe { bindings::iommu_group_put(self.0) };
    }
}

impl<D: Served> ProviderGroup<D> {
    /// The group for its first device.
    pub fn new(c: *mut bindings::iommu_group, core: Arc<Group<D>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                c: c as usize,
                core,
                devices: Atomic::new(1),
                data <- D::group_data(),
            }),
            GFP_KERNEL,
        )
    }

    /// The pointer that C knows the group by.
    pub fn as_c(&self) -> *mut bindings::iommu_group {
        self.c as *mut _
    }

    /// The core's group.
    pub fn core(&self) -> &Arc<Group<D>> {
        &self.core
    }

    /// Counts one more device. The lock of the table of groups is held.
    pub fn add_device(&self) {
        self.devices.add(1, Relaxed);
    }

    /// Counts one less, and says whether it was the last. The lock of the table of groups is held.
    pub fn remove_device(&self) -> bool {
        let left = self.devices.load(Relaxed).saturating_sub(1);
        self.devices.store(left, Relaxed);
        left == 0
    }

    /// What the kernel's IOMMU layer keeps with the group.
    // The native frontend keeps nothing.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn data(&self) -> &D::GroupData {
        &self.data
    }
}
