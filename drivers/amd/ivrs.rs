// SPDX-License-Identifier: GPL-2.0

//! The ACPI IVRS table: which units exist, which devices are behind each, which memory firmware
//! keeps using (AMD-Vi 5.2, "I/O Virtualization Reporting Structure").
//!
//! Firmware tables are hostile input. A table is checked once, when it is found (`check`): what
//! makes no sense in it is left out and reported, and an index of its units is made. After that
//! every question is answered by walking over the bytes, without an error path; all walks end and
//! stay inside the table whatever the bytes are. Nothing is copied and nothing is allocated here:
//! every block borrows from the bytes of the table, and the index stands beside these bytes.
//!
//! A unit may be described several times, by blocks of different kinds. The later kinds say more
//! about the same unit, and software uses the one that says most: [`Table::units`].

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
