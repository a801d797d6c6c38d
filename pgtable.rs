// SPDX-License-Identifier: GPL-2.0

//! IO page tables: one walker, many formats.
//!
//! - [`PageTable`] is the page table of one address space. It is generic over the [`Format`] (the
//!   layout of an entry, pure) and the [`TableMemory`] (the allocator of its tables). Everything
//!   below a call of it is monomorphised.
//! - [`Gather`] collects what must be invalidated, and keeps the tables that were unlinked until
//!   that invalidation has completed.
//!
//! # Concurrency
//!
//! Every call works on a range of IOVA, and the caller owns that range during the call: ranges of
//! concurrent calls do not overlap. There is no lock. Two rules make this safe:
//!
//! - A table that several ranges share is installed by compare-and-exchange. The call that loses
//!   the race frees its own table and uses the winner's.
//! - A table is unlinked only by a call whose range covers everything that the table translates. No
//!   other call can be walking in that table, because no other caller owns a part of that range.
//!
//! # Unmapping a part of a page
//!
//! A page is one leaf, or a run of leaves that hardware may cache as one (AMD's page sizes between
//! the levels, Arm's contiguous hint). Different callers may own different parts of one page. A
//! call that unmaps a part must not change the translation of the rest, not even temporarily. It
//! first splits the page into smaller pages with the same translation, and then unmaps its part.
//!
//! - A large leaf is replaced by a table of leaves, in one exchange.
//! - A run is split into single leaves entry by entry, each in one exchange that fails if the entry
//!   no longer belongs to the run. Meanwhile some entries belong to the run and some do not. Each
//!   entry is correct for the addresses that lead to it, and a cached copy of the run is correct
//!   for all of them. A part is unmapped only when no entry belongs to the run any more, and then
//!   the whole run is invalidated: no copy of the run can be cached after that. Two calls may split
//!   one run concurrently. An entry already split off stays marked until the whole run is done; a
//!   call that wants to unmap a marked entry first finishes the run.
//! - What hardware recorded in one entry of a run (dirty) holds for the whole run, and is copied to
//!   all entries.
//!
//! A walk during a split may find the same translation in two page sizes. x86 hardware allows this.
//! The Arm architecture requires that the old entry is invalidated before the new one is written
//! (break-before-make), unless the unit supports changing the block size (BBML 2).
//! Break-before-make would make the rest of the page inaccessible for a time. So if
//! [`Config::split`] is false, a page is never split: an unmap stops before it, and nothing
//! changes.
//!
//! An invalidation that covers only a part of a large page may leave a cached copy of the page
//! (VT-d: the address mask of IVA_REG; for AMD-Vi nothing better is known). While the split of a
//! page of some size is pending, every call therefore invalidates its changes in blocks of that
//! size: it cannot know whether the call that split the page has invalidated it yet. The split is
//! pending until that call has (`splits`). On Arm, invalidating a part is sufficient
//! ([`Format::PARTS_ARE_INVALIDATED`]).
//!
//! # Page tables that grow
//!
//! The page table of a format that [grows](Format::GROWS) starts with few levels. A call that maps
//! an address beyond them:
//!
//! 1. allocates new upper tables, with the old root in entry 0 of the lowest of them;
//! 2. replaces the root and the number of levels, which are one value, by compare-and-exchange.
//!
//! A concurrent call that has read the old value continues to walk from the old root. That is
//! correct: the old root still translates what it always did.
//!
//! Units also walk from the old root until the driver makes them use the new one: see
//! [`PageTable::has_new_top`]. A table that was ever a root therefore stays until the page table is
//! freed, even if everything that it translates is unmapped.

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
mod splits;
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
