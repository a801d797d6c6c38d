// SPDX-License-Identifier: GPL-2.0

//! What must be invalidated before memory may be used again.

#![forbid(unsafe_code)]

use super::memory::{Table, TableList, TableMemory};
use crate::addr::Iova;

/// The range to invalidate, and the tables to free afterwards.
///
/// A gather may collect any number of calls on one page table. Then the caller:
///
/// 1. invalidates [`range`](Gather::range) on every unit and device TLB that may have cached it,
///    including cached intermediate entries if [`tables_changed`](Gather::tables_changed);
/// 2. when that has completed, calls [`done`](Gather::done), which frees the tables. Alternatively
///    it takes the tables with [`take_tables`](Gather::take_tables), and frees them when it knows
///    that the invalidation has completed.
///
/// Dropping a gather with tables in it leaks them: memory that hardware may still read is never
/// reused.
pub struct Gather<M: TableMemory> {
    /// First and last byte.
    range: Option<(u64, u64)>,
    tables_changed: bool,
    tables: M::List,
    /// Pages that were split.
    splits: u32,
}

impl<M: TableMemory> Gather<M> {
    /// Creates an empty gather.
    #[inline]
    pub fn new() -> Self {
        Self {
            range: None,
            tables_changed: false,
            tables: M::List::default(),
            splits: 0,
        }
    }

    /// Creates a gather from parts that a caller stored in another form: the first and the last
    /// address, whether entries that point to tables were changed, and the tables.
    #[inline]
    pub fn from_parts(range: Option<(Iova, Iova)>, tables_changed: bool, tables: M::List) -> Self {
        Self {
            range: range.map(|(first, last)| (first.raw(), last.raw())),
            tables_changed,
            tables,
            splits: 0,
        }
    }

    /// Returns whether there is nothing to invalidate or free.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.range.is_none() && self.tables.is_empty()
    }

    /// Returns the first and the last address to invalidate: one range that covers everything
    /// gathered.
    #[inline]
    pub fn range(&self) -> Option<(Iova, Iova)> {
        self.range
            .map(|(first, last)| (Iova::new(first), Iova::new(last)))
    }

    /// Returns whether entries that point to tables were changed, so that cached intermediate
    /// entries must be invalidated together with the leaves (VT-d: the invalidation hint must be
    /// 0).
    #[inline]
    pub fn tables_changed(&self) -> bool {
        self.tables_changed
    }

    /// Adds `len` bytes at `iova`, which must not extend past the end of the 64-bit space. Adds
    /// nothing if `len` is 0.
    #[inline]
    pub fn add_range(&mut self, iova: Iova, len: u64) {
        let Some(last) = iova.last(len) else { return };
        self.add_through(iova.raw(), last.raw());
    }

    /// Adds `first..=last`.
    #[inline]
    pub(super) fn add_through(&mut self, first: u64, last: u64) {
        self.range = Some(match self.range {
            None => (first, last),
            Some((start, end)) => (start.min(first), end.max(last)),
        });
    }

    /// Records that entries above the leaves of `len` bytes at `iova` have changed.
    #[inline]
    pub(super) fn add_table_change(&mut self, iova: Iova, len: u64) {
        self.tables_changed = true;
        self.add_range(iova, len);
    }

    /// Records that a page is about to be split.
    #[inline]
    pub(super) fn add_split(&mut self) {
        self.splits += 1;
    }

    /// Returns whether a call has split a page.
    #[inline]
    pub fn has_splits(&self) -> bool {
        self.splits > 0
    }

    /// Returns how many pages were split, and forgets it. When what was gathered is invalidated the
    /// caller passes the number to
    /// [`splits_are_invalidated`](super::PageTable::splits_are_invalidated). Until then each call
    /// on the page table invalidates more than it changes.
    pub fn take_splits(&mut self) -> u32 {
        core::mem::take(&mut self.splits)
    }

    /// Adds a table that no entry points to any more.
    #[inline]
    pub(super) fn add_table(&mut self, table: Table) {
        self.tables_changed = true;
        self.tables.push(table);
    }

    /// The caller states that the invalidation of the range has completed on every unit and device
    /// TLB. Frees the tables and empties the gather.
    #[inline]
    pub fn done(&mut self) {
        if !self.tables.is_empty() {
            self.tables.free();
        }
        self.range = None;
        self.tables_changed = false;
    }

    /// Returns whether there are tables.
    #[inline]
    pub fn has_tables(&self) -> bool {
        !self.tables.is_empty()
    }

    /// Takes the tables out; the range stays. The caller must not free them before an invalidation
    /// of the range, including cached intermediate entries, has completed.
    #[inline]
    pub fn take_tables(&mut self) -> M::List {
        core::mem::take(&mut self.tables)
    }
}

impl<M: TableMemory> Default for Gather<M> {
    fn default() -> Self {
        Self::new()
    }
}
