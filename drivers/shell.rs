// SPDX-License-Identifier: GPL-2.0

//! What the drivers of real units share: everything between the kernel and a unit that no vendor's
//! specification defines.
//!
//! | file | what |
//! |---|---|
//! | `acpi_table` | a checked copy of an ACPI table |
//! | `registers` | a window of registers: looked at, claimed, or played by memory |
//!
//! No file here names a vendor.

pub(crate) mod acpi_table;
pub(crate) mod registers;
