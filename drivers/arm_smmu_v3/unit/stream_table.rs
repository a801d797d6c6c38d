// SPDX-License-Identifier: GPL-2.0

//! A unit's stream table in memory.
//!
//! A blocked stream has an STE that is not valid, or none. So the unit terminates what the device
//! tries, and records an event. With Config "abort" there would be no event.
//!
//! An STE changes in the steps that [`Update`] plans: each is some 64-bit writes, a CMD_CFGI_STE
//! and a CMD_SYNC.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::super::records::{
    capability::Capability,
    ste::{DeviceTlb, Ste, Words},
    stream_table_layout::{Layout, Level1, Place, LEVEL2_BYTES, LEVEL2_STES, STE_BYTES},
    update::{self, Step},
};
use crate::{
    addr::PhysAddr,
    ffi::compat::{dma_mb, Write},
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    requester::RequesterId,
};

/// 64-bit words of an STE.
const WORDS: usize = STE_BYTES / 8;
/// No table is smaller than a page.
const MIN_BYTES: usize = 4096;

/// A linear stream table, or a first-level table and the second-level tables that it points to.
///
/// # Invariants
///
/// 1. `top` is a table of `memory`, and so is every table that a level 1 descriptor points to.
/// 2. A level 1 descriptor that points to a table does not change until this is dropped.
pub struct StreamTable {
    memory: KernelMemory,
    layout: Layout,
    top: Table,
    /// Whether the unit's reads snoop the CPUs' caches.
    coherent: bool,
}

impl StreamTable {
    /// A table that blocks every stream.
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

    /// The words of the STE of `id`; `None` if there is none.
    fn ste(&self, id: RequesterId) -> Option<&[KernelEntry]> {
        let (table, index, count) = match self.layout.place(id.raw())? {
            Place::Linear { index } => (self.top, index, 1 << self.layout.bits()),
            Place::TwoLevel { level1, level2 } => {
                let table = self.level2(self.descriptors().get(level1)?)?;
                (table, level2, LEVEL2_STES)
            }
        };
        let words = self.memory.entries(table, count * WORDS);
        words.get(index * WORDS..(index + 1) * WORDS)
    }

    /// Makes sure that `id` has an STE, so that later writes cannot fail. A new second-level table
    /// blocks the streams that the level 1 descriptor has blocked before.
    ///
    /// # Errors
    ///
    /// `ERANGE` if the unit has no such stream id; `ENOMEM`.
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
        // INVARIANT: This succeeds once, for a descriptor that points to no table. A caller that
        // comes second frees its table.
        if descriptor[0]
            .compare_exchange(Level1 { table: None }.encode(), new.encode())
            .is_err()
        {
            self.memory.free(table);
        }
        // The caller that comes second flushes as well: the first may not have done so yet.
        self.flush(descriptor);
        Ok(())
    }

    /// The STE of `id`; one that blocks if there is none.
    pub fn read(&self, id: RequesterId) -> Words {
        let mut words = Ste::Invalid.encode();
        if let Some(ste) = self.ste(id) {
            for (word, from) in words.iter_mut().zip(ste) {
                *word = from.load();
            }
        }
        words
    }

    /// Writes the words of a step. The caller sends a CMD_CFGI_STE and a CMD_SYNC before the next
    /// step.
    pub fn write(&self, id: RequesterId, step: &Step) {
        let Some(ste) = self.ste(id) else {
            return;
        };
        for (index, value) in step.writes() {
            ste[index].store(value);
        }
        self.flush(ste);
    }

    /// Forbids the device of `id` to use ATS (EATS), with one write. The caller sends a
    /// CMD_CFGI_STE and a CMD_SYNC.
    pub fn forbid_device_tlb(&self, id: RequesterId) {
        let old = self.read(id);
        for step in update::steps(&old, &DeviceTlb::forbid(&old)) {
            self.write(id, &step);
        }
    }

    /// Blocks `id` with one write. The caller invalidates what the unit caches of it.
    pub fn clear(&self, id: RequesterId) {
        if let Some(ste) = self.ste(id) {
            // The word with the valid bit. The unit ignores the others then.
            ste[0].store(Ste::Invalid.encode()[0]);
            self.flush(ste);
        }
    }

    fn for_each_table(&self, mut f: impl FnMut(Table, usize)) {
        match self.layout.place(0) {
            Some(Place::Linear { .. }) => f(self.top, 1 << self.layout.bits()),
            _ => {
                for descriptor in self.descriptors() {
                    if let Some(table) = self.level2(descriptor) {
                        f(table, LEVEL2_STES);
                    }
                }
            }
        }
    }

    /// Blocks every stream. The caller invalidates everything.
    pub(super) fn clear_all(&self) {
        self.for_each_table(|table, count| {
            let words = self.memory.entries(table, count * WORDS);
            for ste in words.chunks(WORDS) {
                ste[0].store(Ste::Invalid.encode()[0]);
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
}

impl Drop for StreamTable {
    fn drop(&mut self) {
        for descriptor in self.descriptors() {
            if let Some(table) = self.level2(descriptor) {
                self.memory.free(table);
            }
        }
        self.memory.free(self.top);
    }
}
