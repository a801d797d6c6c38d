// SPDX-License-Identifier: GPL-2.0

//! Where tables live, as the walker sees it.

#![forbid(unsafe_code)]

use crate::addr::PhysAddr;

/// A table, by the physical address that entries point to it with.
///
/// # Invariants
///
/// The address was returned by [`TableMemory::alloc`], and the table has not been freed.
///
/// The type cannot hold the second half on its own. The walker does: it makes a `Table` of an
/// address only when it finds that in an entry of a table that it may walk, and it frees a table
/// only when nobody can come by it any more. That is why only this crate can make one, and nothing
/// but table memories and the walker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table(PhysAddr);

impl Table {
    /// Names the table at `addr`, see the invariants.
    #[inline]
    pub(crate) const fn at(addr: PhysAddr) -> Self {
        Self(addr)
    }

    /// Returns the table's physical address.
    #[inline]
    pub const fn addr(self) -> PhysAddr {
        self.0
    }
}

/// One entry of a table. Hardware and other CPUs may access it at any time.
pub trait Entry {
    /// Makes one that is not in a table, for what has to be read and exchanged like an entry.
    fn new(value: u64) -> Self;

    /// Reads the entry once. Whoever finds a table's address in it also finds the table's contents
    /// as they were when the address was written.
    fn load(&self) -> u64;

    /// Writes the entry, in one piece.
    fn store(&self, value: u64);

    /// Writes `new` if the entry is `old`, fully ordered; else returns what it is instead.
    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64>;
}

/// The memory that tables are made of.
pub trait TableMemory {
    /// Says how an allocation may go about it.
    type Flags: Copy;

    /// One entry.
    type Entry: Entry;

    /// Tables that wait to be freed.
    type List: TableList;

    /// Flags of an allocation that cannot wait, for tables that are needed where no caller passes
    /// flags: to split a large page when a part of it is unmapped.
    const ATOMIC: Self::Flags;

    /// Allocates a table of `size` bytes (a power of two), aligned to its size, all entries zero.
    fn alloc(&self, size: usize, flags: Self::Flags) -> Option<Table>;

    /// Frees a table that hardware has never seen, or no longer can see.
    fn free(&self, table: Table);

    /// Returns the `count` entries of a table; `count` is never more than the table has.
    fn entries(&self, table: Table, count: usize) -> &[Self::Entry];

    /// Writes changed entries back from the CPU's caches, and returns when a walker that does not
    /// snoop them reads the new values.
    fn flush(&self, entries: &[Self::Entry]);
}

/// Tables that were taken out and must not be freed before an invalidation is complete.
///
/// Dropping a list that is not empty must not free its tables: that would hand memory to others
/// that hardware may still read. It leaks them, and says so.
pub trait TableList: Default {
    /// Adds a table, which nothing points to any more.
    fn push(&mut self, table: Table);

    /// Says whether there is none.
    fn is_empty(&self) -> bool;

    /// Frees all tables and leaves the list empty.
    fn free(&mut self);
}
