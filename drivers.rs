// SPDX-License-Identifier: GPL-2.0

//! Vendor drivers.

#[cfg(CONFIG_IOMMU_CORE_AMD)]
pub(crate) mod amd;
#[cfg(CONFIG_IOMMU_CORE_ARM_SMMU_V3)]
pub(crate) mod arm_smmu_v3;
#[cfg(CONFIG_IOMMU_CORE_INTEL)]
pub(crate) mod intel;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
pub(crate) mod mock;
pub(crate) mod shell;
