// SPDX-License-Identifier: GPL-2.0

//! IO page tables: one walker, many formats.
//!
//! - [`PageTable`] is one address space's tables. It is generic over the [`Format`] (what an entry
//!   looks like, pure) and the [`TableMemory`] (where tables live), and everything below one call
//!   of it is monomorphised.
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
//!
//! # Pages of which a part is unmapped
//!
//! A page is one leaf, or a run of leaves that hardware may take as one (the contiguous sizes of
//! AMD, the contiguous hint of Arm). It can belong to several owners: each of a part of it. So who
//! unmaps a part may not touch what the rest translates to, not even for a moment: the page is
//! first split into smaller ones that say the same, and then the part is unmapped.
//!
//! - A large leaf becomes a table of leaves in one exchange.
//! - A run becomes single leaves entry by entry, each in one exchange that fails if the entry is
//!   not of the run any more. In between some entries are of the run and some are not; each is
//!   right for the addresses that it is found by, and a copy of the run in a cache is right for
//!   all. Only when no entry is of the run any more is a part of it unmapped, and the whole run is
//!   invalidated: so no copy of it can be made after that. Two calls may be at it at once. An entry
//!   that is of the run no more says so until none is, and who wants to unmap it before that goes
//!   through the run, too.
//! - What hardware recorded in one entry of a run holds for all of it, and is carried over to all.
//!
//! Whoever walks meanwhile finds the same translation in two sizes. Hardware of x86 allows that. On
//! Arm the architecture wants the old entry gone from the caches before the new one is written
//! (break-before-make), unless the unit can do without. That would take the rest of the page away
//! from its owner for a while, so with [`Config::split`] unset a page is not split at all:
//! unmapping stops before it, and nothing changes.
//!
//! An invalidation that does not cover a large page may leave a cached copy of it (VT-d, the
//! address mask of IVA_REG; of AMD-Vi no better is known). So once a page of some size has been
//! split, every later call has what it changed invalidated in blocks of that size: it cannot know
//! whether who has split the page has come to that. On Arm a part is enough
//! ([`Format::PARTS_ARE_INVALIDATED`]).
//!
//! # Tables that grow
//!
//! A table of a format that [grows](Format::GROWS) starts with few levels. A call that maps beyond
//! them makes new upper tables, the old root in the first entry of the lowest of them, and
//! exchanges root and number of levels, which are one value, by compare-and-exchange. Who has read
//! the old value goes on walking from the old root, and is right: it reaches what it always did.
//!
//! Units walk from the old root, too, until the driver tells them of the new one: see
//! [`PageTable::top_is_news`]. So a root, once it was one, stays for the table's life, even if
//! everything that it translates is unmapped.

pub mod amd_v1;
pub mod armv8;
mod config;
pub mod encrypted;
mod error;
mod format;
mod gather;
#[cfg(CONFIG_RUST)]
pub mod kernel_memory;
mod memory;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;
pub mod vtd_ss;
mod walker;
pub mod x86_64;

pub use self::{
    config::Config,
    error::Error,
    format::{Decoded, DirtyFormat, Format},
    gather::Gather,
    memory::{Entry, Table, TableList, TableMemory},
    walker::{dirty::DirtyMode, top::Top, PageTable},
};
