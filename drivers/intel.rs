// SPDX-License-Identifier: GPL-2.0

//! Intel VT-d in legacy mode: one second-stage page table for each domain, found by requester id.
//!
//! | file | what |
//! |---|---|
//! | `dmar`, `scope` | what firmware says, pure |
//! | `capability`, `entries`, `invalidation`, `fault_record` | hardware records, pure |
//! | `firmware` | where the DMAR table comes from |
//! | `regs`, `mmio` | registers |
//! | `tables` | root and context tables |
//! | `queue` | invalidations |
//! | `removal` | entries that are taken out |
//! | `hardware` | a unit from takeover to release |
//! | `irq`, `faults` | the fault interrupt |
//! | `unit` | what firmware says of a unit, its hardware and its interrupt |
//! | `paging` | paging domains |
//! | `vtd` | what the core calls |
//! | `show` | what people can look at |
//!
//! Section numbers are those of the "Intel Virtualization Technology for Directed I/O Architecture
//! Specification", revision 4.1. In revisions before 4.0 the register descriptions are in chapter
//! 10 instead of 11, with the same numbers below that.
//!
//! # Device TLBs
//!
//! Devices are not allowed to cache translations: context entries refuse their requests, and ATS is
//! never enabled. Invalidations then have nobody to wait for but the unit.

mod capability;
mod dmar;
mod entries;
mod fault_record;
mod faults;
mod firmware;
mod hardware;
mod invalidation;
mod irq;
mod mmio;
mod paging;
mod queue;
mod regs;
mod removal;
mod scope;
mod show;
mod tables;
mod unit;
mod vtd;

pub use self::vtd::Vtd;
