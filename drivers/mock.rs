// SPDX-License-Identifier: GPL-2.0

//! A vendor driver without hardware, for the KUnit suites.
//!
//! | file | what |
//! |---|---|
//! | `hardware` | a unit in software |
//! | `memory` | page-table pages, each of which is counted |
//! | `interrupts` | what the unit does with interrupt messages |
//! | `driver` | the driver of that unit |
//! | `at_once` | a driver that cannot prepare an attach |
//! | `checks` | violations, and failures that a suite requests |
//! | `machine` | several units, and the objects that a frontend would create for them |
//!
//! The driver itself behaves correctly, so a violation is an error of the core. A violation is an
//! event that no driver may ever see, such as a walk through a freed page-table page, or the
//! release of a tag that is in use. Violations are logged and counted, and
//! [`Machine::finish`](machine::Machine::finish) requires that there are none.

#![forbid(unsafe_code)]

pub mod at_once;
mod checks;
mod driver;
mod hardware;
mod interrupts;
pub mod machine;
mod memory;

pub use self::{
    driver::Mock,
    hardware::{Dma, Entry, Hardware, Options, PASIDS},
    interrupts::MessageEntry,
    memory::{live as live_tables, FAIL_TABLE},
};
