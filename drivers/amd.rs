// SPDX-License-Identifier: GPL-2.0

//! AMD-Vi: one page table for each domain, found by requester id through the device table.
//!
//! | file | what |
//! |---|---|
//! | `ivrs`, `scope` | what firmware says, pure |
//! | `capability`, `entries`, `commands`, `events` | hardware records, pure |
//! | `update` | how a device table entry changes, pure |
//! | `firmware` | where the IVRS table comes from |
//! | `function` | the PCI function that a unit is |
//! | `regs`, `mmio` | registers |
//! | `tables` | the device table |
//! | `queue` | commands |
//! | `event_log` | events |
//! | `hardware` | a unit from takeover to release |
//! | `irq`, `faults` | the interrupt for events |
//! | `paging` | paging domains; `pgtable::encrypted` if memory is encrypted |
//! | `vi` | what the core calls |
//! | `show` | what people can look at |
//!
//! Section numbers are those of the "AMD I/O Virtualization Technology (IOMMU) Specification",
//! publication 48882, revision 3.08.
//!
//! # Device TLBs
//!
//! Devices are not allowed to cache translations: device table entries refuse their requests, and
//! ATS is never enabled. Invalidations then have nobody to wait for but the unit.
//!
//! # Interrupts
//!
//! Interrupts of devices pass as they are: entries of the device table have no interrupt table.

mod capability;
mod commands;
mod entries;
mod event_log;
mod events;
mod faults;
mod firmware;
mod function;
mod hardware;
mod irq;
mod ivrs;
mod mmio;
mod paging;
mod queue;
mod regs;
mod scope;
mod show;
mod tables;
mod unit;
mod update;
mod vi;

pub use self::vi::AmdVi;
