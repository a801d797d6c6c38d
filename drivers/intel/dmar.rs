// SPDX-License-Identifier: GPL-2.0

//! The ACPI DMAR table: which units exist, which devices are behind each, which memory firmware
//! keeps using (Intel VT-d specification, chapter 8, "BIOS Considerations").
//!
//! Firmware tables are hostile input. [`Table::parse`] checks every length and offset once; what
//! it accepts can then be walked any number of times without an error path. Nothing is copied and
//! nothing is allocated: every record borrows from the bytes of the table.

#![forbid(unsafe_code)]

mod error;
mod kind;
mod scopes;
mod structures;
mod table;

pub use self::{
    error::{Error, Problem, Warning, MAX_UNITS},
    kind::Kind,
    scopes::{DeviceScope, Hop, ScopeKind, Scopes},
    structures::{Andd, Atsr, Drhd, Rhsa, Rmrr, Satc, Structure, Structures},
    table::Table,
};
