// SPDX-License-Identifier: GPL-2.0

//! What the drivers of real units share: everything between the kernel and a unit that no vendor's
//! specification defines.
//!
//! | file | what |
//! |---|---|
//! | `acpi_table` | a checked copy of an ACPI table |
//! | `blocks` | ranges of addresses as few commands, pure |
//! | `bytes` | little-endian values in a firmware table, pure |
//! | `registers` | a window of registers: looked at, claimed, or played by memory |
//! | `tags` | which domain ids, ASIDs or VMIDs of a unit are in use, pure |
//! | `unit_memory` | memory that leaks as long as a unit may access it |
//! | `queue` | parts of a queue: slots, numbers of batches that are done, giving up |
//! | `interrupt` | an interrupt with a thread, and how it ends |
//! | `wait` | waiting for a unit without blaming it for the processor's absence |
//!
//! No file here names a vendor.

#[cfg(CONFIG_ACPI)]
pub(crate) mod acpi_table;
pub(crate) mod blocks;
pub(crate) mod bytes;
pub(crate) mod interrupt;
pub(crate) mod queue;
pub(crate) mod registers;
pub(crate) mod tags;
pub(crate) mod unit_memory;
pub(crate) mod wait;
