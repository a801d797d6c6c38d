// SPDX-License-Identifier: GPL-2.0

//! The ACPI DMAR table: which units exist, which devices are behind each, which memory firmware
//! keeps using (Intel VT-d specification, chapter 8, "BIOS Considerations").
//!
//! Firmware tables are hostile input. `check` reads a table once, when the driver has found it. It
//! leaves out and reports what makes no sense, and makes an index of the units. Later look-ups walk
//! over the bytes and cannot fail. For any bytes, a walk ends and stays inside the table. This code
//! copies and allocates nothing: every record borrows from the bytes of the table.

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
