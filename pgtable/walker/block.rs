// SPDX-License-Identifier: GPL-2.0

//! A request for one large page whose tables exist: its entry changes at once.

#![forbid(unsafe_code)]

use core::slice;

use super::{
    top::{from_top, Top},
    PageTable,
};
use crate::pgtable::{
    format::{At, Decoded, Format, Level, Root},
    memory::{Entry, Table, TableMemory},
};

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Returns whether one entry of level 1 or 2 translates `len` bytes, a multiple of the smallest
    /// page size, and one page may do so.
    #[inline(always)]
    pub(super) fn is_block(&self, len: u64) -> bool {
        let lg2 = F::GRANULE_LG2 + F::INDEX_LG2;

        (len == 1 << lg2 || len == 1 << (lg2 + F::INDEX_LG2)) && self.page_sizes.contains(len)
    }

    /// Maps a [block](Self::is_block), if that changes one entry only. If not, changes nothing and
    /// returns false.
    #[inline(never)]
    pub(super) fn map_block(&self, top: Top, iova: u64, paddr: u64, len: u64, attrs: u64) -> bool {
        (iova | paddr) & (len - 1) == 0 && from_top!(self, top, map_at, iova, paddr, len, attrs)
    }

    #[inline(always)]
    fn map_at<L: Level>(&self, table: Table, iova: u64, paddr: u64, len: u64, attrs: u64) -> bool {
        if L::N == 0 {
            return false;
        }
        let entry = &self.entries::<L>(table)[Self::index::<L>(iova)];
        let value = entry.load();

        if L::N <= F::MAX_LEAF_LEVEL && len == Self::size::<L>() {
            if value != 0 || self.leads_to_old_root::<L>(iova) {
                return false;
            }
            entry.store(F::leaf(L::N, paddr, attrs));
            self.flush(slice::from_ref(entry), 0..1);
            return true;
        }
        match self.flushed_table::<L>(value) {
            Some(lower) => self.map_at::<L::Lower>(lower, iova, paddr, len, attrs),
            None => false,
        }
    }

    /// Unmaps a [block](Self::is_block), if it is one page. If not, changes nothing and returns
    /// false.
    #[inline(never)]
    pub(super) fn unmap_block(&self, top: Top, iova: u64, len: u64) -> bool {
        iova & (len - 1) == 0 && from_top!(self, top, unmap_at, iova, len)
    }

    #[inline(always)]
    fn unmap_at<L: Level>(&self, table: Table, iova: u64, len: u64) -> bool {
        if L::N == 0 {
            return false;
        }
        let entry = &self.entries::<L>(table)[Self::index::<L>(iova)];
        let value = entry.load();

        if L::N <= F::MAX_LEAF_LEVEL && len == Self::size::<L>() {
            let is_page =
                matches!(F::decode(L::N, value), Decoded::Leaf(_)) && value & F::RUN_BITS == 0;

            if is_page {
                entry.store(0);
                self.flush(slice::from_ref(entry), 0..1);
            }
            return is_page;
        }
        match self.flushed_table::<L>(value) {
            Some(lower) => self.unmap_at::<L::Lower>(lower, iova, len),
            None => false,
        }
    }

    /// Returns the table that an entry, read as `value`, points to, if the walker of a unit is
    /// known to see the entry.
    #[inline(always)]
    fn flushed_table<L: Level>(&self, value: u64) -> Option<Table> {
        match F::decode(L::N, value) {
            Decoded::Link(lower) if value & self.seen == self.seen => Some(Table::at(lower)),
            _ => None,
        }
    }
}
