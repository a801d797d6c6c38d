// SPDX-License-Identifier: GPL-2.0

//! Arm SMMUv3: one page table for each domain, of stage 1 or of stage 2, found by stream id.
//!
//! | file | what |
//! |---|---|
//! | `records/` | registers, table entries, commands and queue records as plain values, pure |
//! | `iort/` | what ACPI's IORT table says, pure |
//! | `unit/` | one SMMU, from takeover to release |
//! | `device_tlb/` | TLBs of devices (ATS) |
//! | `plan` | tags of domains, and prepared attaches |
//! | `paging` | paging domains |
//! | `attach` | attaches: STEs and device TLBs change |
//! | `probe` | devices: their unit, stream ids, reserved regions and TLB |
//! | `show` | debugfs |
//! | `smmu` | what the core calls |
//! | `tests/` | an SMMU in software, for the suites |
//!
//! Section numbers are those of the "Arm System Memory Management Unit Architecture Specification,
//! SMMU architecture version 3" (IHI 0070).
//!
//! # Device TLBs
//!
//! A device may have a TLB of its own (ATS) while it is attached to a paging domain, if the unit,
//! its root complex and the kernel let it. Then an invalidation waits for it too: see `device_tlb`.
//! Page requests (PRI) are refused, since nobody could make a page present: see `unit/pri_queue`.

mod attach;
mod device_tlb;
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
