// SPDX-License-Identifier: GPL-2.0

//! The version. `modinfo`, sysfs and debugfs show it, and the tools read it from this file.

#![forbid(unsafe_code)]

/// The version of iommu_core.
pub(crate) const VERSION: &str = "0.1.0";
