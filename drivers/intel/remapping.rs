// SPDX-License-Identifier: GPL-2.0

//! Whether a unit remaps interrupt messages, and the table with which it does (VT-d 5.1).
//!
//! IRE makes the unit remap the messages of all devices behind it. A message in the processors' own
//! format (compatibility format) then passes if CFI is set, whoever sends it, so that a device can
//! raise any interrupt. With CFI clear no message passes that names no entry. So a unit remaps
//! either no messages, or those of all devices behind it, and none of these may rely on messages in
//! the other format: not an I/O APIC, not a timer, not a device whose driver was bound before.
//!
//! # Order of a change
//!
//! Whose messages an entry takes is in its upper half, which changes only while the entry refuses.
//! Where they go is in its lower half, which changes in a single store. The driver then invalidates
//! the entry and waits. Until then the unit uses either the old entry or the new one: no message is
//! lost, and the caller keeps both destinations ready until it returns.
//!
//! # Locks
//!
//! `users` is a mutex. The kernel's interrupt layer lets no two callers change where one entry
//! leads at the same time, so that needs no lock. `state` is a leaf.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex, SetOnce},
};

use super::irte::{self, Source};
use crate::{
    addr::PhysAddr,
    drivers::shell::{
        interrupt_users::InterruptUsers,
        unit_memory::{Exposed, Off, Pages},
    },
    ffi::compat::{new_spinlock_irq, SpinLockIrq},
    interrupt::{NotRemapped, Target},
    pgtable::{kernel_memory::KernelEntry, Entry},
};

/// A table has as many entries as messages can name: a handle has 16 bits.
pub(super) const ENTRIES: u32 = 1 << 16;
/// Words of an entry.
const WORDS: usize = 2;

/// The interrupt table of a unit.
#[pin_data]
pub(super) struct EntryTable {
    pages: Exposed<Pages>,
    /// Whether destinations have 32 bits.
    x2apic: bool,
    /// Whether the unit's reads snoop the processors' caches.
    coherent: bool,
    #[pin]
    pub(super) users: Mutex<InterruptUsers>,
}

impl EntryTable {
    fn new(node: i32, x2apic: bool, coherent: bool) -> Result<Arc<Self>> {
        let bytes = ENTRIES as usize * WORDS * size_of::<u64>();
        let pages = Exposed::new("an interrupt table", Pages::new(node, bytes)?);
        if !coherent {
            pages.flush(pages.words());
        }
        Arc::pin_init(
            pin_init!(Self {
                pages,
                x2apic,
                coherent,
                users <- new_mutex!(InterruptUsers::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Where the table is.
    pub(super) fn address(&self) -> PhysAddr {
        self.pages.addr()
    }

    /// Whether the unit has to read destinations of 32 bits.
    pub(super) fn is_x2apic(&self) -> bool {
        self.x2apic
    }

    /// The caller is about to tell the unit of the table.
    pub(super) fn hand_over(&self) {
        self.pages.hand_over();
    }

    fn words(&self, index: u16) -> &[KernelEntry] {
        let start = usize::from(index) * WORDS;
        &self.pages.words()[start..start + WORDS]
    }

    fn store(&self, index: u16, word: usize, value: u64) {
        let words = self.words(index);
        words[word].store(value);
        if !self.coherent {
            self.pages.flush(words);
        }
    }

    /// Sets whose messages an entry takes, which refuses.
    pub(super) fn set_source(&self, index: u16, source: Option<Source>) {
        self.store(index, 1, source.map_or(0, Source::upper));
    }

    /// Whose messages an entry takes.
    pub(super) fn source(&self, index: u16) -> Option<Source> {
        Source::decode(self.words(index)[1].load())
    }

    /// Sets where an entry sends messages. The caller invalidates it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it cannot send them there.
    pub(super) fn point(&self, index: u16, target: Option<Target>) -> Result {
        if target.is_some_and(|to| !irte::reaches(to.destination, self.x2apic)) {
            return Err(EINVAL);
        }
        self.store(index, 0, irte::lower(target, self.x2apic));
        Ok(())
    }

    /// Where an entry sends messages.
    pub(super) fn target(&self, index: u16) -> Option<Target> {
        irte::decode_lower(self.words(index)[0].load(), self.x2apic)
    }
}

/// Whether a unit remaps messages.
#[pin_data]
pub(super) struct Remapping {
    table: SetOnce<Arc<EntryTable>>,
    #[pin]
    state: SpinLockIrq<Result<(), NotRemapped>>,
}

impl Remapping {
    /// The unit remaps no messages.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            table: SetOnce::new(),
            state <- new_spinlock_irq!(Err(NotRemapped::ByUnit(
                "not all devices behind the unit are known yet"
            ))),
        })
    }

    /// Notes whether the unit remaps messages, or why it does not.
    pub(super) fn set(&self, state: Result<(), NotRemapped>) {
        *self.state.lock() = state;
    }

    /// Whether the unit remaps messages.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub(super) fn state(&self) -> Result<(), NotRemapped> {
        *self.state.lock()
    }

    /// The table, if the unit has one.
    pub(super) fn table(&self) -> Option<&Arc<EntryTable>> {
        self.table.as_ref()
    }

    /// The table, if the unit has to remap messages.
    pub(super) fn wanted(&self) -> Option<&Arc<EntryTable>> {
        self.table().filter(|_| self.state().is_ok())
    }

    /// The table, which is allocated if there is none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn make_table(
        &self,
        node: i32,
        x2apic: bool,
        coherent: bool,
    ) -> Result<&Arc<EntryTable>> {
        if self.table().is_none() {
            self.table
                .populate(EntryTable::new(node, x2apic, coherent)?);
        }
        self.table().ok_or(ENOMEM)
    }

    /// The unit, which is off, does not read the table any more.
    pub(super) fn take_back(&self, off: &Off) {
        if let Some(table) = self.table() {
            table.pages.take_back(off);
        }
    }
}
