// SPDX-License-Identifier: GPL-2.0

//! What the drivers of real units share: all between the kernel and a unit that no vendor's
//! specification defines.
//!
//! | file | what |
//! |---|---|
//! | `unit` | the life of a unit, from takeover to release |
//! | `unit_memory` | memory that leaks as long as a unit may access it |
//! | `registers` | a window of registers: for reading, claimed, or memory in tests |
//! | `queue` | parts of a queue: slots, numbers of batches that are done, giving up |
//! | `wait` | waiting for a unit without blaming it for the processor's absence |
//! | `interrupt` | an interrupt with a thread, and how it ends |
//! | `interrupt_slots` | which entries of an interrupt table are reserved, pure |
//! | `interrupt_users` | the devices that have reserved them |
//! | `fault_pace` | how fast fault records are read |
//! | `sort` | sorting in place |
//! | `tags` | which domain ids, ASIDs or VMIDs of a unit are in use, pure |
//! | `domain_ids` | the domain ids of a unit |
//! | `blocks` | ranges of addresses as few commands, pure |
//! | `invalidation` | an invalidation of the core's as such commands |
//! | `acpi_table` | a checked copy of an ACPI table |
//! | `acpi_structures` | where such a table and its structures start and end, pure |
//! | `bytes` | little-endian values in a firmware table, pure |
//! | `show` | lines of debugfs |
//!
//! No file here names a vendor.

pub(crate) mod acpi_structures;
pub(crate) mod acpi_table;
pub(crate) mod blocks;
pub(crate) mod bytes;
pub(crate) mod domain_ids;
pub(crate) mod fault_pace;
pub(crate) mod interrupt;
#[cfg(any(CONFIG_IOMMU_CORE_AMD, CONFIG_IOMMU_CORE_INTEL))]
pub(crate) mod interrupt_slots;
#[cfg(any(CONFIG_IOMMU_CORE_AMD, CONFIG_IOMMU_CORE_INTEL))]
pub(crate) mod interrupt_users;
pub(crate) mod invalidation;
pub(crate) mod queue;
pub(crate) mod registers;
pub(crate) mod show;
pub(crate) mod sort;
pub(crate) mod tags;
pub(crate) mod unit;
pub(crate) mod unit_memory;
pub(crate) mod wait;
