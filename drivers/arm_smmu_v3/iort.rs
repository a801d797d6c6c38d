// SPDX-License-Identifier: GPL-2.0

//! The ACPI IORT: units, the stream ids of the devices behind them, and memory that devices use for
//! firmware (Arm DEN 0049, "IO Remapping Table").
//!
//! The table is a graph. Mappings lead from nodes of PCI root complexes and other devices to nodes
//! of units, and from those to ITS groups. A mapping also says how ids of the one node become ids
//! of the other.
//!
//! Firmware tables are hostile input. [`Table::parse`] checks every length, offset and reference
//! once, so that walks of the table need no error path. A reference only leads to a kind of node
//! that is nearer to the ITS groups, so there are no circles. Nothing is copied or allocated: nodes
//! borrow the bytes of the table.

#![forbid(unsafe_code)]

mod error;
mod kind;
mod mapping;
mod memory;
mod node;
mod nodes;
mod streams;
mod table;

pub use self::{
    error::Error,
    memory::Rmr,
    nodes::{Model, RootComplex},
    streams::Stream,
    table::Table,
};
#[cfg(test)]
pub use self::{
    error::{Problem, Warning, MAX_MAPPINGS, MAX_NODES},
    kind::Kind,
};
