// SPDX-License-Identifier: GPL-2.0

//! Intel VT-d: one page table for each domain, found by requester id.
//!
//! A unit that has scalable mode is driven in scalable mode, any other in legacy mode.
//!
//! | file | what |
//! |---|---|
//! | `dmar`, `scope` | the DMAR table, and what it says about a device, pure |
//! | `firmware` | the machine's DMAR table |
//! | `capability`, `entries`, `invalidation`, `fault_record` | hardware records, pure |
//! | `pasid` | entries of scalable mode, pure |
//! | `change` | how an entry changes while the unit reads it, pure |
//! | `quirks` | machines that are wrong in a known way, pure |
//! | `machine` | what is wrong with this machine |
//! | `regs`, `mmio` | registers |
//! | `tables` | root, context and PASID tables |
//! | `tag` | how the caches identify a domain |
//! | `queue` | the invalidation queue |
//! | `removal` | removal of context entries |
//! | `hardware` | the steps of a unit's life, see `drivers/shell/unit.rs` |
//! | `irte` | entries of the interrupt table, and the messages that name them, pure |
//! | `remapping` | whether a unit remaps interrupts, and its table |
//! | `interrupt_table` | what a group has of that table |
//! | `irq`, `faults` | the fault interrupt |
//! | `unit` | what firmware says of a unit |
//! | `paging` | paging domains |
//! | `vtd` | the driver: what the core calls |
//! | `show` | debugfs |
//!
//! Section numbers are those of the "Intel Virtualization Technology for Directed I/O Architecture
//! Specification", revision 4.1. In revisions before 4.0 the register descriptions are in chapter
//! 10 instead of 11, with the same numbers below that.
//!
//! # Device TLBs
//!
//! Devices may not cache translations: context entries refuse translation requests, and ATS is
//! never enabled. So an invalidation waits for the unit only.
//!
//! # Interrupts
//!
//! In a kernel that has the core as its IOMMU layer, the kernel's own code remaps the interrupts
//! of all units. A module can have a unit remap interrupts only if nothing behind it relies on
//! messages that are not remapped; see `remapping`.

mod capability;
mod change;
// Tests, fuzz targets and the reader of firmware tables on the build machine use more of it.
#[allow(dead_code, unused_imports)]
mod dmar;
mod entries;
mod fault_record;
mod faults;
mod firmware;
mod hardware;
mod interrupt_table;
mod invalidation;
mod irq;
mod irte;
mod machine;
mod mmio;
mod paging;
mod pasid;
mod queue;
mod quirks;
mod regs;
mod remapping;
mod removal;
mod scope;
mod show;
mod tables;
mod tag;
mod unit;
mod vtd;

pub use self::vtd::Vtd;
