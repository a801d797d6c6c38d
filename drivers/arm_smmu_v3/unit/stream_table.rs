// SPDX-License-Identifier: GPL-2.0

//! A unit's stream table in memory.
//!
//! A stream that is blocked has an entry that is not valid, or none: what its device tries is
//! terminated and recorded. An entry with Config "abort" would terminate it too, but in silence.
//!
//! An entry changes in the steps that [`Update`] plans, each of single 64-bit writes, with a
//! CMD_CFGI_STE and a CMD_SYNC after each: see there.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        barrier::{dma_mb, Write},
    },
};

use super::super::records::{
    capability::Capability,
    ste::{DeviceTlb, StreamEntry, Words},
    stream_table_layout::{Layout, Level1, Place, ENTRY_BYTES, LEVEL2_BYTES, LEVEL2_ENTRIES},
    update::{Step, Update},
};
use crate::{
    addr::PhysAddr,
    log::log_err,
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    requester::RequesterId,
};

/// 64-bit words of an entry.
const WORDS: usize = ENTRY_BYTES / 8;
/// No table is smaller than a page.
const MIN_BYTES: usize = 4096;

/// The stream table, or the first-level table and those that it points to.
///
/// # Invariants
///
/// 1. `top` is a table of `memory`, and so is every table that a level 1 descriptor points to.
/// 2. A level 1 descriptor that points to a table never changes while the value is there.
pub struct Tables {
    memory: KernelMemory,
    layout: Layout,
    top: Table,
    /// Whether the unit's reads snoop the CPUs' caches.
    coherent: bool,
    /// Whether the unit may read the tables. They are not freed then.
    in_use: Atomic<bool>,
}

impl Tables {
    /// An empty table: everything is blocked.
    pub(super) fn new(node: i32, capability: &Capability) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let layout = Layout::new(capability.stream_table, capability.stream_bits);
        let bytes = layout.bytes().max(MIN_BYTES);
        let top = memory.alloc(bytes, Gfp::KERNEL).ok_or(ENOMEM)?;
        let this = Self {
            memory,
            layout,
            top,
            coherent: capability.coherent,
            in_use: Atomic::new(false),
        };
        this.flush(this.memory.entries(top, bytes / 8));
        Ok(this)
    }

    /// The value of SMMU_STRTAB_BASE.
    pub(super) fn base(&self) -> u64 {
        Layout::base(self.top.addr().raw())
    }

    /// How the table is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    fn flush(&self, words: &[KernelEntry]) {
        if !self.coherent {
            self.memory.flush(words);
        }
    }

    /// The level 1 descriptors; none in a linear table.
    fn descriptors(&self) -> &[KernelEntry] {
        match self.layout.place(0) {
            Some(Place::TwoLevel { .. }) => self.memory.entries(self.top, self.layout.bytes() / 8),
            _ => &[],
        }
    }

    fn level2(&self, descriptor: &KernelEntry) -> Option<Table> {
        let descriptor = Level1::decode(descriptor.load());
        descriptor.table.map(|at| Table::at(PhysAddr::new(at)))
    }

    /// The words of the entry of `id`; `None` if there is none.
    fn entry(&self, id: RequesterId) -> Option<&[KernelEntry]> {
        let (table, index, count) = match self.layout.place(id.raw())? {
            Place::Linear { index } => (self.top, index, 1 << self.layout.bits()),
            Place::TwoLevel { level1, level2 } => {
                let table = self.level2(self.descriptors().get(level1)?)?;
                (table, level2, LEVEL2_ENTRIES)
            }
        };
        let words = self.memory.entries(table, count * WORDS);
        words.get(index * WORDS..(index + 1) * WORDS)
    }

    /// Makes sure that `id` has an entry, so that writing it cannot fail. What was blocked by the
    /// level 1 descriptor is blocked by the entries then.
    ///
    /// # Errors
    ///
    /// `ERANGE` if the unit has no such stream, `ENOMEM`.
    pub fn add(&self, id: RequesterId) -> Result {
        let Place::TwoLevel { level1, .. } = self.layout.place(id.raw()).ok_or(ERANGE)? else {
            return Ok(());
        };
        let descriptor = self.descriptors().get(level1..=level1).ok_or(ERANGE)?;
        if self.level2(&descriptor[0]).is_some() {
            return Ok(());
        }
        let table = self.memory.alloc(LEVEL2_BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        self.flush(self.memory.entries(table, LEVEL2_BYTES / 8));
        dma_mb(Write);

        let new = Level1 {
            table: Some(table.addr().raw()),
        };
        // INVARIANT: From no table to one, and only once: who comes second frees its own.
        if descriptor[0]
            .compare_exchange(Level1 { table: None }.encode(), new.encode())
            .is_err()
        {
            self.memory.free(table);
        }
        // Also by who came second: the first may not have got so far.
        self.flush(descriptor);
        Ok(())
    }

    /// The entry of `id`; one that blocks if it has none.
    pub fn read(&self, id: RequesterId) -> Words {
        let mut words = StreamEntry::Invalid.encode();
        if let Some(entry) = self.entry(id) {
            for (word, from) in words.iter_mut().zip(entry) {
                *word = from.load();
            }
        }
        words
    }

    /// Writes the words of a step. A CMD_CFGI_STE and a CMD_SYNC have to follow before the next.
    pub fn write(&self, id: RequesterId, step: &Step) {
        let Some(entry) = self.entry(id) else {
            return;
        };
        for (index, value) in step.writes() {
            entry[index].store(value);
        }
        self.flush(entry);
    }

    /// Refuses what the device of `id` would do with translations of its own, with one write. A
    /// CMD_CFGI_STE and a CMD_SYNC have to follow.
    pub fn forbid_device_tlb(&self, id: RequesterId) {
        let old = self.read(id);
        for step in Update::of_stream(&old, &DeviceTlb::forbid(&old)).steps() {
            self.write(id, step);
        }
    }

    /// Blocks `id` with one write. An invalidation has to follow.
    pub fn clear(&self, id: RequesterId) {
        if let Some(entry) = self.entry(id) {
            // The word with the valid bit; the others are not looked at any more.
            entry[0].store(StreamEntry::Invalid.encode()[0]);
            self.flush(entry);
        }
    }

    fn for_each_table(&self, mut f: impl FnMut(Table, usize)) {
        match self.layout.place(0) {
            Some(Place::Linear { .. }) => f(self.top, 1 << self.layout.bits()),
            _ => {
                for descriptor in self.descriptors() {
                    if let Some(table) = self.level2(descriptor) {
                        f(table, LEVEL2_ENTRIES);
                    }
                }
            }
        }
    }

    /// Blocks every stream. An invalidation has to follow.
    pub(super) fn clear_all(&self) {
        self.for_each_table(|table, count| {
            let words = self.memory.entries(table, count * WORDS);
            for entry in words.chunks(WORDS) {
                entry[0].store(StreamEntry::Invalid.encode()[0]);
            }
            self.flush(words);
        });
    }

    /// How many second-level tables there are.
    pub fn level2_tables(&self) -> usize {
        self.descriptors()
            .iter()
            .filter(|descriptor| self.level2(descriptor).is_some())
            .count()
    }

    /// Says whether the unit may read the tables from now on.
    pub(super) fn set_in_use(&self, in_use: bool) {
        self.in_use.store(in_use, Relaxed);
    }

    /// Whether the unit may read the tables.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use.load(Relaxed)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        if self.is_in_use() {
            log_err!("a stream table is leaked: a unit may still read it");
            return;
        }
        for descriptor in self.descriptors() {
            if let Some(table) = self.level2(descriptor) {
                self.memory.free(table);
            }
        }
        self.memory.free(self.top);
    }
}
