// SPDX-License-Identifier: GPL-2.0

//! Arm SMMUv3: one page table for each domain, of stage 1 or of stage 2, found by stream id.
//!
//! | file | what |
//! |---|---|
//! | `iort` | what ACPI's IORT table says, pure |
//! | `capability`, `streams`, `entries`, `context`, `command`, `invalidation`, `event`, `page_request`, `queue_index` | hardware records, pure |
//! | `update` | the order in which an entry changes, pure |
//! | `firmware` | where units come from |
//! | `regs`, `mmio` | registers |
//! | `tables`, `contexts` | the stream table, context descriptors |
//! | `queue` | commands |
//! | `hardware` | a unit from takeover to release |
//! | `irq`, `event_queue`, `faults`, `requests` | interrupts, events, errors, page requests |
//! | `paging` | paging domains |
//! | `smmu` | what the core calls |
//! | `show` | what people can look at |
//!
//! Section numbers are those of the "Arm System Memory Management Unit Architecture Specification,
//! SMMU architecture version 3" (IHI 0070).
//!
//! # Device TLBs
//!
//! Devices are not allowed to cache translations: stream table entries refuse their requests, and ATS
//! is never enabled. Invalidations then have nobody to wait for but the unit. Page requests (PRI) are
//! refused, since nobody could make a page present: see `requests`.

mod bits;
mod capability;
mod command;
mod context;
mod contexts;
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
mod queue;
mod queue_index;
mod regs;
mod requests;
mod show;
mod smmu;
mod streams;
mod tables;
mod update;

pub use self::smmu::SmmuV3;
