// SPDX-License-Identifier: GPL-2.0

//! The queues that the unit fills: events, and page requests (IHI 0070 7.2 and 8).

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::super::records::{
    capability::Capability, event::EVENT_BYTES, page_request::PAGE_REQUEST_BYTES, queue_index::Ring,
};
use crate::{
    log::log_err,
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        Entry, Table, TableMemory,
    },
};

/// Bytes of a queue, if the unit allows so many. A device that is blocked in the middle of a page
/// may cause an event for each word of it, and what does not fit is lost.
const MAX_BYTES: usize = 64 << 10;

/// A queue of records.
pub(super) struct Records {
    memory: KernelMemory,
    table: Table,
    ring: Ring,
    /// 64-bit words of a record.
    words: usize,
    coherent: bool,
    consumer: u32,
    /// Whether the unit may write to the queue. It is not freed then.
    in_use: bool,
}

impl Records {
    /// The event queue, which no unit knows of.
    pub(super) fn events(node: i32, capability: &Capability) -> Result<Self> {
        Self::new(node, capability, capability.queues.events, EVENT_BYTES)
    }

    /// The PRI queue, which no unit knows of; `None` if the unit has none.
    pub(super) fn page_requests(node: i32, capability: &Capability) -> Result<Option<Self>> {
        capability
            .queues
            .page_requests
            .map(|shift| Self::new(node, capability, shift, PAGE_REQUEST_BYTES))
            .transpose()
    }

    fn new(node: i32, capability: &Capability, shift: u8, record: usize) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let table = memory.alloc(MAX_BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        let this = Self {
            memory,
            table,
            ring: Ring::new(shift.min((MAX_BYTES / record).ilog2() as u8)),
            words: record / 8,
            coherent: capability.coherent,
            consumer: 0,
            in_use: false,
        };
        if !this.coherent {
            memory.flush(memory.entries(table, MAX_BYTES / 8));
        }
        Ok(this)
    }

    /// The value of the queue's base register.
    pub(super) fn base(&self) -> u64 {
        self.ring.base(self.table.addr().raw())
    }

    /// Says whether the unit may write to the queue from now on, which then is empty.
    pub(super) fn set_in_use(&mut self, in_use: bool) {
        self.in_use = in_use;
        self.consumer = 0;
    }

    /// Takes the next record, given the unit's producer index; `None` if there is none. The new
    /// consumer index has to be written for the unit to use its place again.
    pub(super) fn take<const N: usize>(&mut self, producer: u32) -> Option<[u64; N]> {
        if N != self.words || self.ring.is_empty(producer, self.consumer) {
            return None;
        }
        let all = self
            .memory
            .entries(self.table, self.ring.entries() as usize * N);
        let at = self.ring.entry(self.consumer) * N;
        let record = all.get(at..at + N)?;
        if !self.coherent {
            // Nobody writes here but the unit, so this only drops what the caches have.
            self.memory.flush(record);
        }
        let mut words = [0; N];
        for (word, from) in words.iter_mut().zip(record) {
            *word = from.load();
        }
        self.consumer = self.ring.advance(self.consumer, 1);
        Some(words)
    }

    /// The consumer index for the unit.
    pub(super) fn consumer(&self) -> u32 {
        self.consumer
    }

    /// Whether records were lost since the last time; the consumer index answers that then.
    pub(super) fn take_overflow(&mut self, producer: u32) -> bool {
        let lost = self.ring.overflowed(producer, self.consumer);
        if lost {
            self.consumer = self.ring.acknowledge(producer, self.consumer);
        }
        lost
    }

    /// Begins anew: the unit was told that the queue is empty.
    pub(super) fn rewind(&mut self) {
        self.consumer = 0;
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if self.in_use {
            log_err!("a queue of events is leaked: a unit may still write to it");
            return;
        }
        self.memory.free(self.table);
    }
}
