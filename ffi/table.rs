// SPDX-License-Identifier: GPL-2.0

//! Tables that C reads, in `static`s.

/// A table that C reads: functions, names, pointers to other tables.
///
/// # Invariants
///
/// Nobody writes to the table, and what its pointers lead to may be used by any task.
#[repr(transparent)]
pub(crate) struct Table<T>(T);

// SAFETY: By the invariant, any task may read the table and follow its pointers at any time.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    /// A table.
    ///
    /// # Safety
    ///
    /// Neither C nor anybody else writes to the table. Its pointers lead to functions, to C strings
    /// and to other tables, all of which may be used by any task as long as the table is there.
    pub(crate) const unsafe fn new(table: T) -> Self {
        // INVARIANT: By the requirements.
        Self(table)
    }

    /// The table itself.
    pub(crate) const fn get(&'static self) -> &'static T {
        &self.0
    }
}
