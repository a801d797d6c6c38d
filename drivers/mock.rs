// SPDX-License-Identifier: GPL-2.0

//! A vendor driver without hardware, for the suites.
//!
//! | file | what |
//! |---|---|
//! | `hardware` | a unit in software |
//! | `memory` | page tables whose every page is counted |
//! | `driver` | the driver of that unit |
//! | `at_once` | a driver that cannot prepare |
//! | `checks` | violations, and failures that a suite asks for |
//! | `machine` | several units, and what a frontend makes for them |
//!
//! The driver does what a driver should, so that what goes wrong is the core's. What no driver may
//! ever see (a walk through a freed table, a tag given back while it is in use, ...) is a
//! violation: it is logged and counted, and [`Machine::finish`](machine::Machine::finish) wants none.

#![forbid(unsafe_code)]

pub mod at_once;
mod checks;
mod driver;
mod hardware;
pub mod machine;
mod memory;

pub use self::{
    checks::{violations, Countdown},
    driver::{Mock, Paging},
    hardware::{Counts, Dma, Entry, Hardware, Options},
    memory::{live as live_tables, MockMemory, FAIL_TABLE},
};
