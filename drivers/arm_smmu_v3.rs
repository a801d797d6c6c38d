// SPDX-License-Identifier: GPL-2.0

//! The driver for Arm SMMUv3. A domain has one page table, of stage 1 or of stage 2.
//!
//! | file | what |
//! |---|---|
//! | `records/` | identification registers, STEs, CDs, commands and queue records as values, pure |
//! | `iort/` | the parser of ACPI's IORT table, pure |
//! | `unit/` | one SMMU, from takeover to release |
//! | `device_tlb/` | TLBs of devices (ATS) |
//! | `plan` | tags of domains, and prepared attaches |
//! | `paging` | paging domains |
//! | `attach` | attaches: STEs and device TLBs change |
//! | `probe` | devices: their unit, stream ids, reserved regions and TLB |
//! | `show` | debugfs |
//! | `smmu` | what the core calls |
//! | `tests/` | an emulated SMMU for the suites |
//!
//! Section numbers are those of the "Arm System Memory Management Unit Architecture Specification,
//! SMMU architecture version 3" (IHI 0070).
//!
//! # Device TLBs
//!
//! While a device is attached to a paging domain it may have a TLB of its own (ATS), if unit, root
//! complex and kernel support that. Invalidations then reach this TLB as well: see `device_tlb`.
//! The driver refuses page requests (PRI), since it cannot make pages present: see
//! `unit/pri_queue`.

mod attach;
mod device_tlb;
// Tests, fuzz targets and the reader of firmware tables on the build machine use more of it.
#[allow(dead_code, unused_imports)]
mod iort;
mod paging;
mod plan;
mod probe;
mod records;
mod show;
mod smmu;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests {
    pub(super) mod fake_unit;
}
mod unit;

pub use self::smmu::SmmuV3;
