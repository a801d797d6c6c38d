// SPDX-License-Identifier: GPL-2.0

//! Frontends: the kernel's C API on one side, the core on the other. They translate and decide
//! nothing.

#[cfg(CONFIG_IOMMU_CORE_HOSTED)]
pub(crate) mod hosted;
#[cfg(CONFIG_IOMMU_CORE_NATIVE)]
mod native;
mod page;
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
mod provider;
mod reason;
mod table;

use kernel::{ffi::c_int, prelude::*};

/// What C is told: 0, or the error.
#[inline]
fn answer(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}
