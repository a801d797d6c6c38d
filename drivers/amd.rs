// SPDX-License-Identifier: GPL-2.0

//! AMD-Vi: one page table for each domain, found by requester id through the device table.
//!
//! | file | what |
//! |---|---|
//! | `ivrs`, `scope` | the IVRS table, and what it says about a device, pure |
//! | `firmware` | the machine's IVRS table |
//! | `function` | the PCI function of a unit |
//! | `quirks` | units and chipsets that are wrong in a known way, pure |
//! | `capability`, `entries`, `commands`, `events` | hardware records, pure |
//! | `regs`, `mmio` | registers |
//! | `tables` | the device table |
//! | `irte` | entries of interrupt tables, pure |
//! | `remapping`, `interrupt_table` | how a unit remaps interrupts, and its interrupt tables |
//! | `update` | how a device table entry changes, pure |
//! | `queue` | the command buffer |
//! | `event_log` | the event log |
//! | `hardware` | the steps of a unit's life, see `drivers/shell/unit.rs` |
//! | `irq`, `faults` | the interrupt for events |
//! | `unit` | what firmware says of a unit |
//! | `paging` | paging domains; `pgtable::encrypted` if memory is encrypted |
//! | `vi` | the driver: what the core calls |
//! | `show` | debugfs |
//!
//! Section numbers are those of the "AMD I/O Virtualization Technology (IOMMU) Specification",
//! publication 48882, revision 3.08.
//!
//! # Device TLBs
//!
//! Devices may not cache translations: device table entries refuse translation requests, and ATS is
//! never enabled. So an invalidation waits for the unit only.
//!
//! # Interrupts
//!
//! The devices of a group have an interrupt table, which has an entry for each of their interrupts.
//! I/O APICs, timers and devices that had a driver when the unit was taken over are left as they
//! are: their messages pass unchanged.

mod capability;
mod commands;
mod entries;
mod event_log;
mod events;
mod faults;
mod firmware;
mod function;
mod hardware;
mod interrupt_table;
mod irq;
mod irte;
// Tests, fuzz targets and the reader of firmware tables on the build machine use more of it.
#[allow(dead_code, unused_imports)]
mod ivrs;
mod mmio;
mod paging;
mod queue;
mod quirks;
mod regs;
mod remapping;
// Tests, fuzz targets and the reader of firmware tables on the build machine use more of it.
#[allow(dead_code)]
mod scope;
mod show;
mod tables;
mod unit;
mod update;
mod vi;

pub use self::vi::AmdVi;
