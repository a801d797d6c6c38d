// SPDX-License-Identifier: GPL-2.0

//! The ACPI IVRS table: which units exist, which devices are behind each, which memory firmware
//! keeps using (AMD-Vi 5.2, "I/O Virtualization Reporting Structure").
//!
//! Firmware tables are hostile input. `check` reads a table once, when the driver has found it. It
//! leaves out and reports what makes no sense, and makes an index of the units. Later look-ups walk
//! over the bytes and cannot fail. For any bytes, a walk ends and stays inside the table. This code
//! copies and allocates nothing: every block borrows from the bytes of the table.
//!
//! A table may describe a unit by several blocks of different kinds. A newer kind has more fields.
//! The driver uses the block of the newest kind: [`Table::units`].

#![forbid(unsafe_code)]

mod blocks;
mod check;
mod device_entries;
mod error;
mod hardware;
mod index;
mod info;
mod kind;
mod memory;
mod raw;
mod table;
mod warning;

pub use self::{
    blocks::{Block, Blocks},
    check::Report,
    device_entries::{
        DeviceEntries, DeviceEntry, Devices, Named, Settings, Special, UniqueId, Variety,
    },
    error::{Error, Problem, MAX_LEN, MAX_UNITS},
    hardware::{Flags, Ivhd, WINDOW},
    index::Entry,
    info::Info,
    kind::Kind,
    memory::{Ivmd, Usage},
    table::{Table, Unit},
    warning::{Oddity, Warning},
};
