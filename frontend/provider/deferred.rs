// SPDX-License-Identifier: GPL-2.0

//! Tables that wait for C's flush queue (lazy mode).
//!
//! C could keep these tables in its queue. It would free them although the flush has failed, and it
//! would free those of a domain that it frees without a flush, while a device that firmware does
//! DMA with stays attached to that domain. Both break law 8.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::prelude::*;

use crate::{
    ffi::compat::{new_spinlock_irq, SpinLockIrq},
    pgtable::TableList,
};

/// The tables of one domain.
#[pin_data]
pub struct Deferred<L: TableList> {
    #[pin]
    tables: SpinLockIrq<L>,
}

impl<L: TableList + Unpin> Deferred<L> {
    /// No table.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            tables <- new_spinlock_irq!(L::default()),
        })
    }

    /// Keeps tables until the next [`flush`](Self::flush).
    ///
    /// Context: any; does not sleep.
    #[inline]
    pub fn add(&self, mut tables: L) {
        if !tables.is_empty() {
            self.tables.lock().append(&mut tables);
        }
    }

    /// Frees the tables that wait, after `invalidate` has invalidated everything. If it fails a
    /// unit may read them for ever, so they are never freed.
    ///
    /// Context: any; does not sleep.
    pub fn flush(&self, invalidate: impl FnOnce() -> Result) {
        // A table that comes from now on may have been unlinked too late for this invalidation.
        let mut tables = core::mem::take(&mut *self.tables.lock());
        match invalidate() {
            Ok(()) => tables.free(),
            Err(_) => core::mem::forget(tables),
        }
    }
}
