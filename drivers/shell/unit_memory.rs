// SPDX-License-Identifier: GPL-2.0

//! Memory that a unit accesses by itself: tables, queues, logs.
//!
//! Memory must not be freed as long as a unit may access it: the unit would read or write what the
//! memory's next owner keeps there (laws 7 and 8). A unit that hangs may access it at any later
//! time, so the memory leaks.

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::{mem::ManuallyDrop, ops::Deref};

use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

use crate::{
    addr::PhysAddr,
    log::log_err,
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Table, TableMemory,
    },
};

/// Physically contiguous memory of 64-bit words, which is freed when the value is dropped, unless
/// it is [kept](Self::keep). Memory that a unit is told of belongs into an [`Exposed`].
///
/// # Invariants
///
/// `table` is a table of `memory` with room for `count` words.
pub(crate) struct Pages {
    memory: KernelMemory,
    table: Table,
    count: usize,
    kept: Atomic<bool>,
}

impl Pages {
    /// `bytes` of zeros, preferably on memory node `node` (negative: any). Their alignment is their
    /// size, rounded up to a power of 2, and at least 4096.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(node: i32, bytes: usize) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let table = memory
            .alloc(bytes.next_power_of_two(), Gfp::KERNEL)
            .ok_or(ENOMEM)?;
        // INVARIANT: `memory` has allocated the table, with this size.
        Ok(Self {
            memory,
            table,
            count: bytes / size_of::<u64>(),
            kept: Atomic::new(false),
        })
    }

    /// The memory's address.
    #[inline]
    pub(crate) fn addr(&self) -> PhysAddr {
        self.table.addr()
    }

    /// The words.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[KernelEntry] {
        self.memory.entries(self.table, self.count)
    }

    /// The memory stays allocated after the value is dropped. The unit, which is off, is one that a
    /// hypervisor plays and that reads the memory even then.
    // Only AMD-Vi has such a unit.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_AMD), allow(dead_code))]
    pub(crate) fn keep(&self, _off: &Off) {
        self.kept.store(true, Relaxed);
    }

    /// Writes `words` back from the processors' caches and invalidates them there, for a unit whose
    /// accesses do not snoop the caches.
    #[inline]
    pub(crate) fn flush(&self, words: &[KernelEntry]) {
        self.memory.flush(words);
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if !self.kept.load(Relaxed) {
            self.memory.free(self.table);
        }
    }
}

/// The proof that a unit is off: it neither translates nor accesses memory.
///
/// Only code that has just read that in the unit's registers makes one, with
/// [`observed`](Self::observed).
pub struct Off(());

impl Off {
    /// The unit's registers say that it is off.
    pub(crate) const fn observed() -> Self {
        Self(())
    }
}

/// Memory that a unit may access from [`hand_over`](Self::hand_over) to
/// [`take_back`](Self::take_back).
///
/// If the value is dropped in between, `T` leaks, and a message says so.
pub(crate) struct Exposed<T> {
    value: ManuallyDrop<T>,
    what: &'static str,
    in_use: Atomic<bool>,
}

impl<T> Exposed<T> {
    /// Holds `value`, which no unit was told of. `what` names it in messages, with its article.
    pub(crate) const fn new(what: &'static str, value: T) -> Self {
        Self {
            value: ManuallyDrop::new(value),
            what,
            in_use: Atomic::new(false),
        }
    }

    /// The caller is about to tell the unit of the memory.
    pub(crate) fn hand_over(&self) {
        self.in_use.store(true, Relaxed);
    }

    /// The unit, which is off, does not access the memory any more.
    pub(crate) fn take_back(&self, _off: &Off) {
        self.in_use.store(false, Relaxed);
    }

    /// No entry of the unit's tables leads to the memory any more, and the unit has completed the
    /// invalidation of those that did.
    // Memory that only registers lead to is the unit's until it is off.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_AMD), allow(dead_code))]
    pub(crate) fn unlink(&self) {
        self.in_use.store(false, Relaxed);
    }

    /// Whether a unit may access the memory.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Relaxed)
    }
}

impl<T> Deref for Exposed<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Exposed<T> {
    fn drop(&mut self) {
        if self.is_in_use() {
            log_err!("{} is leaked: a unit may still access it", self.what);
            return;
        }
        // SAFETY: The value is dropped nowhere else, and not used any more.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}
