// SPDX-License-Identifier: GPL-2.0

//! A unit's root and context tables in memory.
//!
//! # Changing a context entry
//!
//! An entry has 128 bits and is written in two halves. The present bit is in the lower half, so the
//! order keeps the unit from using an upper half that is not written yet:
//!
//! - not present to present: upper half, then lower half;
//! - present to not present: lower half, then upper half.
//!
//! Present to present goes through not present, with a *completed* invalidation in between. Without
//! it, the unit may have read the lower half of the old entry and then read the upper half of the
//! new one. It would cache the old domain's page table under the new domain's id, and a third
//! device in the new domain could reach memory that its own domain does not map (law 7). Once the
//! invalidation has completed, no walk through the old entry is under way either (VT-d 6.2.2.1,
//! 6.5.2.8, 9.3).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::entries::{ContextEntry, RootEntry, ENTRIES};
use crate::{
    addr::PhysAddr,
    ffi::compat::{dma_mb, Write},
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    requester::RequesterId,
};

/// Bytes of a root or context table.
const BYTES: usize = 4096;
/// 64-bit words of an entry.
const WORDS: usize = 2;

/// The root table and the context tables that it points to.
///
/// # Invariants
///
/// 1. `root` is a table of `memory`, and so is every context table that a root entry points to.
/// 2. A root entry that is present does not change as long as the value lives.
pub(super) struct Tables {
    memory: KernelMemory,
    root: Table,
    /// Whether the unit's walks snoop the CPUs' caches.
    coherent: bool,
}

impl Tables {
    /// An empty root table: everything is blocked.
    pub(super) fn new(node: i32, coherent: bool) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let root = memory.alloc(BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        let this = Self {
            memory,
            root,
            coherent,
        };
        this.flush(this.words(root));
        Ok(this)
    }

    /// Where the root table is.
    pub(super) fn root(&self) -> PhysAddr {
        self.root.addr()
    }

    fn words(&self, table: Table) -> &[KernelEntry] {
        self.memory.entries(table, ENTRIES * WORDS)
    }

    fn flush(&self, words: &[KernelEntry]) {
        if !self.coherent {
            self.memory.flush(words);
        }
    }

    /// The two halves of entry `index` of `table`, lower first.
    fn entry(&self, table: Table, index: u8) -> &[KernelEntry] {
        let start = usize::from(index) * WORDS;
        &self.words(table)[start..start + WORDS]
    }

    fn context_table(&self, bus: u8) -> Option<Table> {
        let [low, _] = self.entry(self.root, bus) else {
            return None;
        };
        let entry = RootEntry::decode([low.load(), 0]);
        entry.context_table.map(|at| Table::at(PhysAddr::new(at)))
    }

    /// Allocates the context table of `bus` unless it has one, so that writing its entries cannot
    /// fail. The new context entries block, as the root entry did.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn add_bus(&self, bus: u8) -> Result {
        if self.context_table(bus).is_some() {
            return Ok(());
        }
        let table = self.memory.alloc(BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        self.flush(self.words(table));
        dma_mb(Write);

        let root = self.entry(self.root, bus);
        let entry = RootEntry {
            context_table: Some(table.addr().raw()),
        };
        // INVARIANT: The exchange succeeds only if the entry is not present. If another thread was
        // first, this one frees its table.
        let done = root[0].compare_exchange(RootEntry::EMPTY[0], entry.encode()[0]);
        if done.is_err() {
            self.memory.free(table);
        }
        // Also if another thread was first: it may not have flushed yet.
        self.flush(root);
        Ok(())
    }

    /// The context entry of `id`; blocked if its bus has no table.
    pub(super) fn read(&self, id: RequesterId) -> [u64; 2] {
        let Some(table) = self.context_table(id.bus()) else {
            return ContextEntry::BLOCKED;
        };
        let entry = self.entry(table, id.devfn());
        [entry[0].load(), entry[1].load()]
    }

    /// Blocks `id`. An invalidation has to follow.
    pub(super) fn clear(&self, id: RequesterId) {
        let Some(table) = self.context_table(id.bus()) else {
            return;
        };
        let entry = self.entry(table, id.devfn());
        entry[0].store(ContextEntry::BLOCKED[0]);
        dma_mb(Write);
        entry[1].store(ContextEntry::BLOCKED[1]);
        self.flush(entry);
    }

    /// Writes the entry of `id`. The entry blocks now, and the invalidation for that has completed.
    pub(super) fn write(&self, id: RequesterId, words: [u64; 2]) {
        let Some(table) = self.context_table(id.bus()) else {
            return;
        };
        let entry = self.entry(table, id.devfn());
        entry[1].store(words[1]);
        dma_mb(Write);
        entry[0].store(words[0]);
        self.flush(entry);
    }

    /// Blocks every id of every bus. An invalidation has to follow.
    pub(super) fn clear_all(&self) {
        for bus in 0..=u8::MAX {
            if let Some(table) = self.context_table(bus) {
                for word in self.words(table) {
                    word.store(0);
                }
                self.flush(self.words(table));
            }
        }
    }

    /// How many buses have a context table.
    pub(super) fn buses(&self) -> usize {
        (0..=u8::MAX)
            .filter(|bus| self.context_table(*bus).is_some())
            .count()
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        for bus in 0..=u8::MAX {
            if let Some(table) = self.context_table(bus) {
                self.memory.free(table);
            }
        }
        self.memory.free(self.root);
    }
}
