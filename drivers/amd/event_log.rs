// SPDX-License-Identifier: GPL-2.0

//! The event log in memory (2.5).

#![forbid(unsafe_code)]

use kernel::{
    io::Io,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

use super::{
    mmio::Registers,
    regs::{EVENT_HEAD, EVENT_TAIL},
};
use crate::{
    log::log_err,
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
};

/// Events in the log, as a power of 2.
const SLOTS_LG2: u32 = 9;
const SLOTS: usize = 1 << SLOTS_LG2;
/// Bytes of an event.
const EVENT_BYTES: usize = 16;

/// The event log. Only the thread of the unit's interrupt reads it.
pub(super) struct EventLog {
    memory: KernelMemory,
    buffer: Table,
    /// Whether the unit may write to the log. It is not freed then.
    in_use: Atomic<bool>,
}

/// The place of an event.
#[derive(Copy, Clone)]
pub(super) struct Place(usize);

impl EventLog {
    /// An empty log that no unit knows of.
    pub(super) fn new(node: i32) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let buffer = memory
            .alloc(SLOTS * EVENT_BYTES, Gfp::KERNEL)
            .ok_or(ENOMEM)?;
        Ok(Self {
            memory,
            buffer,
            in_use: Atomic::new(false),
        })
    }

    /// Tells the unit, which logs nothing now, where the log is. What was in it is forgotten.
    pub(super) fn hand_over(&self, registers: &Registers) {
        self.in_use.store(true, Relaxed);
        for word in self.memory.entries(self.buffer, SLOTS * 2) {
            word.store(0);
        }
        registers.set_events(self.buffer.addr(), SLOTS_LG2);
        registers.io().write_reg(EVENT_HEAD::from(0));
        registers.io().write_reg(EVENT_TAIL::from(0));
    }

    /// The unit does not write to the log any more.
    pub(super) fn take_back(&self) {
        self.in_use.store(false, Relaxed);
    }

    /// Where the next event is, if there is one.
    pub(super) fn next(&self, registers: &Registers) -> Option<Place> {
        let io = registers.io();
        let head = u32::from(io.read(EVENT_HEAD)) as usize / EVENT_BYTES % SLOTS;
        let tail = u32::from(io.read(EVENT_TAIL)) as usize / EVENT_BYTES % SLOTS;
        (head != tail).then_some(Place(head))
    }

    fn words(&self, Place(index): Place) -> &[KernelEntry] {
        let words = self.memory.entries(self.buffer, SLOTS * 2);
        &words[index * 2..index * 2 + 2]
    }

    /// The event at `place`.
    pub(super) fn read(&self, place: Place) -> [u64; 2] {
        let words = self.words(place);
        // What is written last is in the lower half.
        let low = words[0].load();
        [low, words[1].load()]
    }

    /// Plays the unit: logs an event.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn put(&self, registers: &Registers, event: [u64; 2]) {
        let io = registers.io();
        let tail = u32::from(io.read(EVENT_TAIL)) as usize / EVENT_BYTES % SLOTS;
        for (word, value) in self.words(Place(tail)).iter().zip(event) {
            word.store(value);
        }
        let next = (tail + 1) % SLOTS * EVENT_BYTES;
        io.write_reg(EVENT_TAIL::from(next as u32));
    }

    /// Gives the place of the event back to the unit, cleared: an event that the unit says is there
    /// may arrive later (an erratum of some).
    pub(super) fn done(&self, registers: &Registers, place: Place) {
        for word in self.words(place) {
            word.store(0);
        }
        let next = (place.0 + 1) % SLOTS * EVENT_BYTES;
        // The write of a register is ordered after the writes to memory before it.
        registers.io().write_reg(EVENT_HEAD::from(next as u32));
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        if self.in_use.load(Relaxed) {
            log_err!("an event log is leaked: a unit may still write to it");
            return;
        }
        self.memory.free(self.buffer);
    }
}
