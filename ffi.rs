// SPDX-License-Identifier: GPL-2.0

//! Thin wrappers over C that more than one layer needs. `unsafe` is allowed here, in the frontends,
//! and in the few files of drivers and page tables that access registers and table memory.

pub(crate) mod cache;
pub(crate) mod compat;
pub(crate) mod linear_map;

#[cfg(all(CONFIG_IOMMU_CORE_PROVIDER, CONFIG_ACPI))]
pub(crate) mod acpi;
#[cfg(any(
    CONFIG_IOMMU_CORE_PROVIDER,
    CONFIG_IOMMU_CORE_NATIVE,
    CONFIG_IOMMU_CORE_ARM_SMMU_V3
))]
pub(crate) mod ats;
#[cfg(any(
    CONFIG_IOMMU_CORE_PROVIDER,
    CONFIG_IOMMU_CORE_NATIVE,
    CONFIG_IOMMU_CORE_ARM_SMMU_V3
))]
pub(crate) mod device;
#[cfg(CONFIG_IOMMU_CORE_INTEL)]
pub(crate) mod dmar;
#[cfg(any(CONFIG_IOMMU_CORE_PROVIDER, CONFIG_IOMMU_CORE_ARM_SMMU_V3))]
pub(crate) mod firmware;
#[cfg(any(
    all(CONFIG_IOMMU_CORE_PROVIDER, CONFIG_X86_64),
    CONFIG_IOMMU_CORE_AMD,
    CONFIG_IOMMU_CORE_INTEL
))]
pub(crate) mod irq_domain;
#[cfg(CONFIG_IOMMU_CORE_HOSTED)]
pub(crate) mod kprobe;
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
pub(crate) mod memory;
#[cfg(all(CONFIG_IOMMU_CORE_PROVIDER, CONFIG_X86_64))]
pub(crate) mod msi;
#[cfg(any(CONFIG_IOMMU_CORE_PROVIDER, CONFIG_IOMMU_CORE_ARM_SMMU_V3))]
mod pasid;
#[cfg(any(
    CONFIG_IOMMU_CORE_PROVIDER,
    CONFIG_IOMMU_CORE_NATIVE,
    CONFIG_IOMMU_CORE_ARM_SMMU_V3
))]
pub(crate) mod pci;
#[cfg(CONFIG_IOMMU_CORE_AMD)]
pub(crate) mod processor;
#[cfg(any(CONFIG_IOMMU_CORE_AMD, CONFIG_IOMMU_CORE_INTEL))]
pub(crate) mod raw_spinlock;
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
pub(crate) mod syscore;
#[cfg(any(
    CONFIG_IOMMU_CORE_PROVIDER,
    CONFIG_IOMMU_CORE_NATIVE,
    CONFIG_IOMMU_CORE_INTEL
))]
pub(crate) mod table;
#[cfg(CONFIG_IOMMU_CORE_AMD)]
pub(crate) mod wide_store;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
pub(crate) mod workqueue;
