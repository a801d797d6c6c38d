// SPDX-License-Identifier: GPL-2.0

//! The ACPI DMAR table: which units exist, which devices are behind each, which memory firmware
//! keeps using (Intel VT-d specification, chapter 8, "BIOS Considerations").
//!
//! Firmware tables are hostile input. A table is checked once, when it is found (`check`): what
//! makes no sense in it is left out and reported, and an index of its units is made. After that
//! every question is answered by walking over the bytes, without an error path; all walks end and
//! stay inside the table whatever the bytes are. Nothing is copied and nothing is allocated here:
//! every record borrows from the bytes of the table, and the index stands beside these bytes.

#![forbid(unsafe_code)]

mod check;
mod error;
mod index;
mod kind;
mod numbers;
mod scopes;
mod structures;
mod table;
mod warning;

pub use self::{
    check::Report,
    error::{Error, Problem, MAX_UNITS},
    index::Entry,
    kind::Kind,
    numbers::Numbers,
    scopes::{DeviceScope, Hop, ScopeKind, Scopes},
    structures::{Andd, Atsr, Drhd, Rhsa, Rmrr, Satc, Structure, Structures},
    table::Table,
    warning::{Devices, Oddity, Warning},
};
