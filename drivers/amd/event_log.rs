// SPDX-License-Identifier: GPL-2.0

//! The event log in memory (2.5).

#![forbid(unsafe_code)]

use kernel::{io::Io, prelude::*};

use super::{
    mmio::Registers,
    regs::{EVENT_HEAD, EVENT_TAIL},
};
use crate::drivers::shell::{
    queue::Slots,
    unit_memory::{Exposed, Off},
};

/// Events in the log, as a power of 2.
const SLOTS_LG2: u32 = 9;
const SLOTS: usize = 1 << SLOTS_LG2;
/// Bytes of an event.
const EVENT_BYTES: usize = 16;

/// The event log. Only the thread of the unit's interrupt reads it.
pub(super) struct EventLog(Exposed<Slots<2>>);

/// The slot of an event.
#[derive(Copy, Clone)]
pub(super) struct Slot(usize);

impl EventLog {
    /// An empty log that no unit uses.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(node: i32) -> Result<Self> {
        Ok(Self(Exposed::new("an event log", Slots::new(node, SLOTS)?)))
    }

    /// Empties the log, and tells the unit, which logs nothing now, where it is.
    pub(super) fn hand_over(&self, registers: &Registers) {
        self.0.hand_over();
        for index in 0..SLOTS {
            self.0.write(index, [0; 2]);
        }
        registers.set_events(self.0.addr(), SLOTS_LG2);
        registers.io().write_reg(EVENT_HEAD::from(0));
        registers.io().write_reg(EVENT_TAIL::from(0));
    }

    /// The unit, which is off, does not write to the log any more.
    pub(super) fn take_back(&self, off: &Off) {
        self.0.take_back(off);
    }

    /// The slot of the next event, if the log has one.
    pub(super) fn next(&self, registers: &Registers) -> Option<Slot> {
        let io = registers.io();
        let head = u32::from(io.read(EVENT_HEAD)) as usize / EVENT_BYTES % SLOTS;
        let tail = u32::from(io.read(EVENT_TAIL)) as usize / EVENT_BYTES % SLOTS;
        (head != tail).then_some(Slot(head))
    }

    /// The event in a slot. The unit writes its lower half last, so this reads the lower half
    /// first.
    pub(super) fn read(&self, Slot(index): Slot) -> [u64; 2] {
        self.0.read(index)
    }

    /// Logs an event in place of the unit.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn put(&self, registers: &Registers, event: [u64; 2]) {
        let io = registers.io();
        let tail = u32::from(io.read(EVENT_TAIL)) as usize / EVENT_BYTES % SLOTS;
        self.0.write(tail, event);
        let next = (tail + 1) % SLOTS * EVENT_BYTES;
        io.write_reg(EVENT_TAIL::from(next as u32));
    }

    /// Clears a slot and gives it back to the unit. A cleared slot shows when its next event has
    /// arrived: some units move the tail before they write the event (an erratum).
    pub(super) fn done(&self, registers: &Registers, Slot(index): Slot) {
        self.0.write(index, [0; 2]);
        let next = (index + 1) % SLOTS * EVENT_BYTES;
        // The kernel orders the write of a register after earlier writes to memory.
        registers.io().write_reg(EVENT_HEAD::from(next as u32));
    }
}
