// SPDX-License-Identifier: GPL-2.0

//! The ACPI IORT: units, the stream ids of the devices behind them, and memory that devices use for
//! firmware (Arm DEN 0049, "IO Remapping Table").
//!
//! The table is a graph. Mappings lead from nodes of PCI root complexes and other devices to nodes
//! of units, and from those to ITS groups. A mapping also says how ids of the one node become ids
//! of the other.
//!
//! Firmware tables are hostile input. A table is checked once, when it is found (`check`): what
//! makes no sense in it is left out and reported, and an index of its nodes is made. After that
//! every question is answered by walking over the bytes, without an error path; all walks end and
//! stay inside the table whatever the bytes are. A look-up follows one reference, from a device to
//! a unit, so there are no circles. Nothing is copied and nothing is allocated here: every node
//! borrows from the bytes of the table, and the index stands beside these bytes.

#![forbid(unsafe_code)]

mod array;
mod check;
mod elements;
mod error;
mod index;
mod kind;
mod mapping;
mod memory;
mod node;
mod nodes;
mod streams;
mod table;
mod warning;

pub use self::{
    check::Report,
    elements::Elements,
    error::Error,
    index::Entry,
    kind::Kind,
    memory::Rmr,
    nodes::{Model, RootComplex},
    streams::Stream,
    table::Table,
    warning::{Oddity, Warning},
};
