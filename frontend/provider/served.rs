// SPDX-License-Identifier: GPL-2.0

//! Vendor drivers as this folder needs them.

use kernel::prelude::*;

use crate::{driver::VendorDriver, pgtable::kernel_memory::KernelMemory};

/// A vendor driver whose page tables are in the kernel's memory, and what the kernel's IOMMU layer
/// keeps beside the objects made here for it.
///
/// Either frontend implements it for all such drivers.
pub trait Served: VendorDriver<Memory = KernelMemory> {
    /// What is kept with each group.
    type GroupData: Send + Sync;

    /// What is kept once for the driver.
    type LayerData: Send + Sync;

    /// The data of a new group.
    fn group_data() -> impl PinInit<Self::GroupData>;

    /// The data of a driver that has found units.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn layer_data() -> Result<Self::LayerData>;
}
