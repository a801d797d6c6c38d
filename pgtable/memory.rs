// SPDX-License-Identifier: GPL-2.0

//! The memory of tables, as the walker uses it.

#![forbid(unsafe_code)]

use crate::addr::PhysAddr;

/// A table, identified by the physical address that entries use for it.
///
/// # Invariants
///
/// The address was returned by [`TableMemory::alloc`], and the table has not been freed.
///
/// The type itself cannot guarantee that the table has not been freed; the walker does. It creates
/// a `Table` from an address only if it finds the address in an entry of a table that it may walk,
/// and it frees a table only when no other call can reach it any more. For this reason only this
/// crate can create a `Table`, and only table memories and the walker do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table(PhysAddr);

impl Table {
    /// The table at `addr`; see the invariants.
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
    /// Creates a value outside of a table that is read and exchanged like an entry.
    fn new(value: u64) -> Self;

    /// Reads the entry once. If the value contains a table's address, the reader also sees the
    /// table's contents as of the write of that address.
    fn load(&self) -> u64;

    /// Writes the entry in a single store.
    fn store(&self, value: u64);

    /// Writes `new` if the entry is `old`, with full ordering; otherwise returns the current value.
    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64>;
}

/// An allocator of tables.
pub trait TableMemory {
    /// Allocation flags.
    type Flags: Copy;

    /// One entry.
    type Entry: Entry;

    /// Tables that wait to be freed.
    type List: TableList;

    /// The flags of an allocation that must not sleep, for tables that are needed where the caller
    /// passes no flags: a large page is split because a part of it is unmapped.
    const ATOMIC: Self::Flags;

    /// Allocates a table of `size` bytes (a power of two), aligned to its size, all entries zero.
    fn alloc(&self, size: usize, flags: Self::Flags) -> Option<Table>;

    /// Frees a table that hardware has never been able to read, or can no longer read.
    fn free(&self, table: Table);

    /// Returns the `count` entries of a table; `count` is never more than the table has.
    fn entries(&self, table: Table, count: usize) -> &[Self::Entry];

    /// Writes changed entries back from the CPU's caches. When it returns, a walker that does not
    /// snoop these caches reads the new values.
    fn flush(&self, entries: &[Self::Entry]);
}

/// Unlinked tables that must not be freed before an invalidation has completed.
///
/// Dropping a list that is not empty must not free its tables, because hardware may still read that
/// memory. It leaks the tables and logs that.
pub trait TableList: Default {
    /// Adds a table that no entry points to any more.
    fn push(&mut self, table: Table);

    /// Adds all tables of `other`, which is empty afterwards.
    fn append(&mut self, other: &mut Self);

    /// Returns whether the list is empty.
    fn is_empty(&self) -> bool;

    /// Frees all tables and leaves the list empty.
    fn free(&mut self);
}
