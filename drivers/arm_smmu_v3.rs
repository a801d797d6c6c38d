// SPDX-License-Identifier: GPL-2.0

//! Arm SMMUv3: one page table for each domain, of stage 1 or of stage 2, found by stream id.
//!
//! | file | what |
//! |---|---|
//! | `iort` | what ACPI's IORT table says, pure |
//! | `capability`, `streams`, `entries`, `context`, `command`, `invalidation`, `event`, `page_request`, `queue_index` | hardware records, pure |
//! | `update` | the order in which an entry changes, pure |
//! | `tlb_roster`, `tlb_change` | which devices have TLBs, the order in which one changes, pure |
//! | `firmware` | where units come from |
//! | `regs`, `mmio` | registers |
//! | `tables`, `contexts` | the stream table, context descriptors |
//! | `queue` | commands |
//! | `hardware` | a unit from takeover to release |
//! | `irq`, `event_queue`, `faults`, `requests` | interrupts, events, errors, page requests |
//! | `paging` | paging domains |
//! | `attach`, `device_tlb` | entries and TLBs of devices change |
//! | `smmu` | what the core calls |
//! | `show` | what people can look at |
//!
//! Section numbers are those of the "Arm System Memory Management Unit Architecture Specification,
//! SMMU architecture version 3" (IHI 0070).
//!
//! # Device TLBs
//!
//! A device may have a TLB of its own (ATS) while it is attached to a paging domain, if the unit,
//! its root complex and the kernel let it. Then an invalidation waits for it too: see `device_tlb`.
//! Page requests (PRI) are refused, since nobody could make a page present: see `requests`.

mod attach;
mod bits;
mod capability;
mod command;
mod context;
mod contexts;
mod device_tlb;
mod entries;
mod event;
mod event_queue;
mod faults;
mod firmware;
mod hardware;
mod invalidation;
mod iort;
mod irq;
mod mmio;
mod page_request;
mod paging;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod played;
mod queue;
mod queue_index;
mod regs;
mod requests;
mod show;
mod smmu;
mod streams;
mod tables;
mod tlb_change;
mod tlb_roster;
mod update;

pub use self::smmu::SmmuV3;
