// SPDX-License-Identifier: GPL-2.0

//! The ACPI IVRS table: which units exist, which devices are behind each, which memory firmware
//! keeps using (AMD-Vi 5.2, "I/O Virtualization Reporting Structure").
//!
//! Firmware tables are hostile input. [`Table::parse`] checks every length and offset once; what
//! it accepts can then be walked any number of times without an error path. Nothing is copied and
//! nothing is allocated: every block borrows from the bytes of the table.
//!
//! A unit may be described several times, by blocks of different kinds. The later kinds say more
//! about the same unit, and software uses the one that says most: [`Table::units`].

#![forbid(unsafe_code)]

mod blocks;
mod device_entries;
mod error;
mod hardware;
mod info;
mod kind;
mod memory;
mod oddities;
mod table;

pub use self::{
    blocks::{Block, Blocks},
    device_entries::{
        DeviceEntries, DeviceEntry, Devices, Named, Settings, Special, UniqueId, Variety,
    },
    error::{Error, Problem, Warning, MAX_LEN, MAX_UNITS},
    hardware::{Flags, Ivhd, WINDOW},
    info::Info,
    kind::Kind,
    memory::{Ivmd, Usage},
    table::Table,
};
