// SPDX-License-Identifier: GPL-2.0

//! Frontends: the kernel's C API on one side, the core on the other. They translate and decide
//! nothing.
//!
//! | folder | what |
//! |---|---|
//! | `provider` | C's structures of units, devices, groups and domains, made from the core's |
//! | `hosted` | the kernel's IOMMU layer is C's: what it wants is inferred |
//! | `native` | the kernel's IOMMU layer is the core |
//!
//! `hosted` and `native` import from `provider` and not from each other; a kernel has one of them.

#[cfg(CONFIG_IOMMU_CORE_HOSTED)]
pub(crate) mod hosted;
#[cfg(CONFIG_IOMMU_CORE_NATIVE)]
mod native;
mod page;
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
mod provider;
mod reason;

use kernel::{ffi::c_int, prelude::*};

/// What C is told: 0, or the error.
#[inline]
fn answer(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}
