// SPDX-License-Identifier: GPL-2.0

//! What to invalidate before memory may be used again.

#![forbid(unsafe_code)]

use super::memory::{Table, TableList, TableMemory};
use crate::addr::Iova;

/// The range to invalidate, and the tables to free after that.
///
/// A gather may take in any number of calls on one page table. Then, in this order:
///
/// 1. invalidate [`range`](Gather::range) on every unit and device TLB that may hold it; with the
///    cached intermediate entries if [`tables_changed`](Gather::tables_changed);
/// 2. when that is complete, call [`done`](Gather::done), which frees the tables. Or hand the
///    tables with [`take_tables`](Gather::take_tables) to whoever sees the invalidation complete.
///
/// A gather that is dropped with tables in it leaks them: memory that hardware may still read is
/// never reused.
pub struct Gather<M: TableMemory> {
    /// First and last byte.
    range: Option<(u64, u64)>,
    tables_changed: bool,
    tables: M::List,
}

impl<M: TableMemory> Gather<M> {
    /// Returns a gather with nothing in it.
    #[inline]
    pub fn new() -> Self {
        Self {
            range: None,
            tables_changed: false,
            tables: M::List::default(),
        }
    }

    /// Returns a gather with what is left of others, for whoever kept it in another form: the first
    /// and the last address, whether entries that point to tables were changed, and the tables.
    #[inline]
    pub fn of(range: Option<(Iova, Iova)>, tables_changed: bool, tables: M::List) -> Self {
        Self {
            range: range.map(|(first, last)| (first.raw(), last.raw())),
            tables_changed,
            tables,
        }
    }

    /// Says whether there is nothing to do.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.range.is_none() && self.tables.is_empty()
    }

    /// Returns the first and the last address to invalidate: one range that covers all that was
    /// gathered.
    #[inline]
    pub fn range(&self) -> Option<(Iova, Iova)> {
        self.range
            .map(|(first, last)| (Iova::new(first), Iova::new(last)))
    }

    /// Says whether entries that point to tables were changed, so that cached intermediate entries
    /// have to be invalidated with the leaves (VT-d: the invalidation hint must be 0).
    #[inline]
    pub fn tables_changed(&self) -> bool {
        self.tables_changed
    }

    /// Adds `len` bytes at `iova`, not past the end of the 64-bit space. Nothing for a `len` of 0.
    #[inline]
    pub fn add_range(&mut self, iova: Iova, len: u64) {
        let Some(last) = iova.last(len) else { return };
        self.add_through(iova.raw(), last.raw());
    }

    /// Adds what is from the first to the last address.
    #[inline]
    pub(super) fn add_through(&mut self, first: u64, last: u64) {
        self.range = Some(match self.range {
            None => (first, last),
            Some((start, end)) => (start.min(first), end.max(last)),
        });
    }

    /// Notes that what `len` bytes at `iova` are translated by has changed above the leaves.
    #[inline]
    pub(super) fn add_table_change(&mut self, iova: Iova, len: u64) {
        self.tables_changed = true;
        self.add_range(iova, len);
    }

    /// Adds a table that nothing points to any more.
    #[inline]
    pub(super) fn add_table(&mut self, table: Table) {
        self.tables_changed = true;
        self.tables.push(table);
    }

    /// Says that the invalidation of the range is complete on every unit and device TLB, and frees
    /// the tables. The gather is empty afterwards.
    #[inline]
    pub fn done(&mut self) {
        if !self.tables.is_empty() {
            self.tables.free();
        }
        self.range = None;
        self.tables_changed = false;
    }

    /// Takes the tables out; the range stays. The caller must not free them before an invalidation
    /// of the range, cached intermediate entries included, is complete.
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
