// SPDX-License-Identifier: GPL-2.0

//! The queues that the unit fills: events, and page requests (IHI 0070 7.2 and 8).

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::atomic::Full};

use super::super::records::{
    capability::Capability, event::EVENT_WORDS, page_request::PAGE_REQUEST_WORDS, queue_index::Ring,
};
use crate::{
    drivers::shell::{
        queue::Slots,
        unit_memory::{Exposed, Off},
    },
    ffi::compat::dma_mb,
};

/// Bytes of a queue, if the unit allows so many. A device that is blocked in the middle of a page
/// may cause an event for each word of it, and what does not fit is lost.
const MAX_BYTES: usize = 64 << 10;

/// The event queue.
pub(super) type EventQueue = OutputQueue<EVENT_WORDS>;
/// The PRI queue.
pub(super) type PriQueue = OutputQueue<PAGE_REQUEST_WORDS>;

/// A queue of records of `WORDS` 64-bit words.
pub(super) struct OutputQueue<const WORDS: usize> {
    slots: Exposed<Slots<WORDS>>,
    ring: Ring,
    /// Whether the unit's writes snoop the CPUs' caches.
    coherent: bool,
    consumer: u32,
}

impl EventQueue {
    /// An event queue that no unit knows of.
    pub(super) fn events(node: i32, capability: &Capability) -> Result<Self> {
        Self::new(
            "an event queue",
            node,
            capability.coherent,
            capability.queues.events,
        )
    }
}

impl PriQueue {
    /// A PRI queue that no unit knows of; `None` if the unit has none.
    pub(super) fn page_requests(node: i32, capability: &Capability) -> Result<Option<Self>> {
        capability
            .queues
            .page_requests
            .map(|shift| Self::new("a PRI queue", node, capability.coherent, shift))
            .transpose()
    }
}

impl<const WORDS: usize> OutputQueue<WORDS> {
    /// A queue of 2^`shift` records, or of as many as there is room for.
    fn new(what: &'static str, node: i32, coherent: bool, shift: u8) -> Result<Self> {
        let ring = Ring::new(shift.min((MAX_BYTES / 8 / WORDS).ilog2() as u8));
        let slots = Slots::new(node, ring.entries() as usize)?;
        if !coherent {
            slots.flush_all();
        }
        Ok(Self {
            slots: Exposed::new(what, slots),
            ring,
            coherent,
            consumer: 0,
        })
    }

    /// The value of the queue's base register.
    pub(super) fn base(&self) -> u64 {
        self.ring.base(self.slots.addr().raw())
    }

    /// A unit is about to be told of the queue, and that it is empty.
    pub(super) fn hand_over(&mut self) {
        self.slots.hand_over();
        self.consumer = 0;
    }

    /// The unit, which is off, does not write to the queue any more.
    pub(super) fn take_back(&self, off: &Off) {
        self.slots.take_back(off);
    }

    /// Takes the next record, given the unit's producer index; `None` if there is none. The unit
    /// uses the record's slot again once it was told the new [`consumer`](Self::consumer) index.
    pub(super) fn take(&mut self, producer: u32) -> Option<[u64; WORDS]> {
        if self.ring.is_empty(producer, self.consumer) {
            return None;
        }
        let index = self.ring.entry(self.consumer);
        if !self.coherent {
            // Only the unit writes here, so this drops what the caches hold.
            self.slots.flush(index);
        }
        self.consumer = self.ring.advance(self.consumer, 1);
        Some(self.slots.read(index))
    }

    /// The consumer index for the unit, which overwrites the slots before it once it knows the
    /// index.
    pub(super) fn consumer(&self) -> u32 {
        // The processor must have read the records before the unit can see the index. The barrier
        // in the write of a register orders it after earlier writes only.
        dma_mb(Full);
        self.consumer
    }

    /// Whether records were lost since the last call; if so, the consumer index acknowledges that
    /// now.
    pub(super) fn take_overflow(&mut self, producer: u32) -> bool {
        let lost = self.ring.overflowed(producer, self.consumer);
        if lost {
            self.consumer = self.ring.acknowledge(producer, self.consumer);
        }
        lost
    }
}
