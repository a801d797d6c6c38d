// SPDX-License-Identifier: GPL-2.0

//! What a unit in software does with interrupt messages, for each requester id.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_spinlock, Arc, SpinLock,
    },
};

use super::checks::Countdown;
use crate::{
    interrupt::{Message, Target},
    label::Label,
    remapping::InterruptTable,
    requester::RequesterId,
};

/// The number of requester ids of a unit.
pub const IDS: usize = 64;

/// What the unit does with messages of one id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MessageEntry {
    /// They pass unchanged.
    Pass,
    /// It refuses them.
    Refused,
    /// They go through the table with this number.
    Table(u64),
}

/// The entries of all ids.
#[pin_data]
pub struct MessageEntries {
    #[pin]
    entries: SpinLock<[MessageEntry; IDS]>,
    tables: Atomic<u64>,
    /// Makes the n-th [`admit`](InterruptTable::admit) fail.
    pub fail_admit: Countdown,
}

impl MessageEntries {
    /// All messages pass.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                entries <- new_spinlock!([MessageEntry::Pass; IDS]),
                tables: Atomic::new(0),
                fail_admit: Countdown::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// What the unit does with messages of `id`.
    pub fn get(&self, id: u32) -> MessageEntry {
        self.entries.lock()[id as usize]
    }

    /// A new table of the unit.
    pub(super) fn table(self: &Arc<Self>) -> Result<Arc<dyn InterruptTable>> {
        let table = MockTable {
            number: self.tables.fetch_add(1, Relaxed),
            unit: self.clone(),
        };
        Ok(Arc::new(table, GFP_KERNEL)?)
    }

    /// Messages with `ids` that are refused pass.
    pub(super) fn pass_refused(&self, ids: &[RequesterId]) {
        let mut entries = self.entries.lock();
        for id in ids {
            let entry = &mut entries[id.raw() as usize];
            if *entry == MessageEntry::Refused {
                *entry = MessageEntry::Pass;
            }
        }
    }

    fn set(&self, ids: &[RequesterId], entry: MessageEntry) {
        let mut entries = self.entries.lock();
        for id in ids {
            entries[id.raw() as usize] = entry;
        }
    }
}

/// A table without entries: only which ids lead to it matters to the core.
struct MockTable {
    number: u64,
    unit: Arc<MessageEntries>,
}

impl InterruptTable for MockTable {
    fn admit(&self, ids: &[RequesterId]) -> Result {
        if self.unit.fail_admit.is_due() {
            return Err(ENOMEM);
        }
        self.unit.set(ids, MessageEntry::Table(self.number));
        Ok(())
    }

    fn dismiss(&self, ids: &[RequesterId]) {
        self.unit.set(ids, MessageEntry::Pass);
    }

    fn expel(&self, ids: &[RequesterId]) {
        self.unit.set(ids, MessageEntry::Refused);
    }

    fn reserve(&self, _user: Label, _ids: &[RequesterId], _count: u16) -> Result<u16> {
        Err(ENOSPC)
    }

    fn free(&self, _first: u16) {}

    fn message(&self, index: u16) -> Message {
        Message {
            address: 0,
            data: index.into(),
        }
    }

    fn point(&self, _index: u16, _target: Option<Target>) -> Result {
        Err(EINVAL)
    }

    fn show(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(f, "table {}", self.number)
    }
}
