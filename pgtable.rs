// SPDX-License-Identifier: GPL-2.0

//! IO page tables: one walker, many formats.
//!
//! - [`PageTable`] is one address space's tables. It is generic over the [`Format`] (what an entry
//!   looks like, pure) and the [`TableMemory`] (where tables live), and everything below one call of
//!   it is monomorphised.
//! - [`Gather`] collects what has to be invalidated, and holds on to the tables that were taken out
//!   until that is done.
//!
//! # Who may do what at the same time
//!
//! Every call works on a range of IOVA, and the caller owns that range for the time of the call:
//! ranges of calls that run at the same time do not overlap. Nothing else is asked for, there is no
//! lock. Two things make that work:
//!
//! - Tables that lie above several ranges are installed by compare-and-exchange; who loses frees
//!   its own and goes on with the winner's.
//! - A table is taken out only by a call whose range covers everything that the table translates.
//!   Nobody else can be walking in it, since nobody else owns any of that range.

mod format;
mod gather;
#[cfg(CONFIG_RUST)]
pub mod kernel_memory;
mod memory;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;
pub mod vtd_ss;
mod walker;

use crate::addr::PageSizes;

pub use self::{
    format::{Decoded, DirtyFormat, Format},
    gather::Gather,
    memory::{Entry, Table, TableList, TableMemory},
    walker::{DirtyMode, PageTable},
};

/// The shape of one page table.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the addresses that are translated, in bits: the aperture is `0..1 << iova_bits`.
    pub iova_bits: u8,
    /// Number of table levels, the root's included.
    pub levels: u8,
    /// Page sizes that the unit has; those that the format lacks are ignored.
    pub page_sizes: PageSizes,
    /// Width of the addresses that can be translated to, in bits.
    pub oa_bits: u8,
    /// Whether the unit's walker snoops the CPU's caches. If not, changed entries are flushed.
    pub coherent: bool,
}

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// An argument is misaligned or empty, or asks for what cannot be said in the format
    /// (`EINVAL`).
    Invalid,
    /// An address is outside what the table translates or can translate to (`ERANGE`).
    OutOfRange,
    /// Something is mapped there already (`EADDRINUSE`).
    InUse,
    /// No memory for a table (`ENOMEM`).
    NoMemory,
}

#[cfg(CONFIG_RUST)]
impl From<Error> for kernel::error::Error {
    fn from(error: Error) -> Self {
        use kernel::error::code;

        match error {
            Error::Invalid => code::EINVAL,
            Error::OutOfRange => code::ERANGE,
            Error::InUse => code::EADDRINUSE,
            Error::NoMemory => code::ENOMEM,
        }
    }
}
