// SPDX-License-Identifier: GPL-2.0

//! Interrupt tables (2.2.5), in memory: one for the device ids of a group. Device table entries
//! lead to it.
//!
//! # Order of a change
//!
//! The unit caches entries of interrupt tables by device id. To change one, the driver writes it in
//! a single store, invalidates the table of each id that has it, and waits. Until then the unit
//! uses either the old entry or the new one, as a whole: no message is lost, and the caller keeps
//! both destinations ready until it returns.
//!
//! A table that is full is replaced by one of twice the size with the same entries. Then the device
//! table entries change, each in a single store, and are invalidated.
//!
//! # Locks
//!
//! `reservations`, a mutex, is taken before `memory`, a raw spin lock, since the kernel's interrupt
//! layer moves interrupts with a raw spin lock held. The command buffer's lock nests inside.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::{fmt, mem};

use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex},
};

use super::{
    entries::Interrupts,
    hardware::Hardware,
    irte::{self, Format},
    queue::Batch,
    remapping::Remapping,
};
use crate::{
    count::Count,
    drivers::shell::{
        interrupt_users::InterruptUsers,
        unit::UnitHardware,
        unit_memory::{Exposed, Pages},
    },
    ffi::raw_spinlock::{new_raw_spinlock, RawSpinLock},
    interrupt::{Message, Target},
    label::Label,
    pgtable::{encrypted, kernel_memory::KernelEntry, Entry},
    remapping::InterruptTable,
    requester::RequesterId,
};

/// A table is this many bytes at least.
const PAGE: usize = 4096;

/// What messages call a table.
const WHAT: &str = "an interrupt table";

/// What changes with interrupts off.
struct Memory {
    pages: Exposed<Pages>,
    length_lg2: u8,
    /// The ids whose device table entries lead here.
    ids: KVec<RequesterId>,
}

/// The interrupt table of a group.
#[pin_data]
pub(super) struct GroupTable {
    hardware: Arc<Hardware>,
    remapping: Remapping,
    #[pin]
    reservations: Mutex<InterruptUsers>,
    #[pin]
    memory: RawSpinLock<Memory>,
}

impl GroupTable {
    /// An empty table, to which no device table entry leads.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(hardware: &Arc<Hardware>, remapping: Remapping) -> Result<Arc<Self>> {
        let fits = (PAGE / remapping.format().bytes()).ilog2() as u8;
        let memory = Memory {
            pages: Exposed::new(WHAT, Pages::new(hardware.node, PAGE)?),
            length_lg2: fits.min(remapping.max_lg2()),
            ids: KVec::new(),
        };
        Arc::pin_init(
            pin_init!(Self {
                hardware: hardware.clone(),
                remapping,
                reservations <- new_mutex!(InterruptUsers::new()),
                memory <- new_raw_spinlock!(memory),
            }),
            GFP_KERNEL,
        )
    }

    /// Replaces the table by a larger one.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if it is as large as it can be; `ENOMEM`; `EIO` if the unit has failed, which may
    /// then read the old one for ever.
    fn grow(&self) -> Result {
        let length_lg2 = self.memory.lock().length_lg2 + 1;
        if length_lg2 > self.remapping.max_lg2() {
            return Err(ENOSPC);
        }
        let bytes = self.remapping.format().bytes() << length_lg2;
        let larger = Exposed::new(WHAT, Pages::new(self.hardware.node, bytes)?);

        let mut memory = self.memory.lock();
        for (to, from) in larger.words().iter().zip(memory.pages.words()) {
            to.store(from.load());
        }
        if memory.pages.is_in_use() {
            larger.hand_over();
        }
        let smaller = mem::replace(&mut memory.pages, larger);
        memory.length_lg2 = length_lg2;
        let batch = self.direct(&memory, &memory.ids);
        let submitted = batch.submit();
        drop(memory);
        let done = submitted.and_then(|submitted| submitted.wait());
        self.hardware.answered(done)?;
        smaller.unlink();
        Ok(())
    }

    /// Makes the device table entries of `ids` lead to the table. The batch invalidates what they
    /// were before.
    fn direct(&self, memory: &Memory, ids: &[RequesterId]) -> Batch<'_> {
        let mut batch = self.hardware.batch();
        for &id in ids {
            let interrupts = Interrupts::Remapped {
                table: encrypted::seen(memory.pages.addr()).raw(),
                length_lg2: memory.length_lg2,
            };
            self.hardware.tables.set_interrupts(id, interrupts);
            batch.entry(id);
            batch.interrupt_table(id);
        }
        batch
    }

    /// Makes the device table entries of those of `ids` that lead to the table say `interrupts`
    /// instead.
    fn part_with(&self, ids: &[RequesterId], interrupts: Interrupts) {
        let _order = self.reservations.lock();
        let mut memory = self.memory.lock();
        let mut batch = self.hardware.batch();
        for &id in ids.iter().filter(|id| memory.ids.contains(id)) {
            self.hardware.tables.set_interrupts(id, interrupts);
            batch.entry(id);
            batch.interrupt_table(id);
        }
        let submitted = batch.submit();
        memory.ids.retain(|id| !ids.contains(id));
        drop(memory);
        let done = submitted.and_then(|submitted| submitted.wait());
        let done = self.hardware.answered(done);

        let memory = self.memory.lock();
        if memory.ids.is_empty() && (done.is_ok() || !self.hardware.tables.is_in_use()) {
            memory.pages.unlink();
        }
    }

    /// Writes an entry.
    fn write(&self, memory: &Memory, index: u16, target: Option<Target>) {
        let words = memory.pages.words();
        let index = usize::from(index);
        match self.remapping.wide() {
            Some(wide) => {
                let pair = words
                    .get(2 * index..)
                    .and_then(<[KernelEntry]>::first_chunk);
                if let Some(pair) = pair {
                    KernelEntry::store_pair(pair, wide, irte::long(target));
                }
            }
            None => {
                let Some(word) = words.get(index / 2) else {
                    return;
                };
                let shift = index % 2 * 32;
                let new = u64::from(irte::short(target)) << shift;
                // The other half does not change meanwhile.
                word.store(word.load() & !(0xffff_ffff << shift) | new);
            }
        }
    }

    /// Where an entry sends messages.
    fn target(&self, memory: &Memory, index: u16) -> Option<Target> {
        let words = memory.pages.words();
        let index = usize::from(index);
        match self.remapping.format() {
            Format::Long { .. } => irte::decode_long([
                words.get(2 * index)?.load(),
                words.get(2 * index + 1)?.load(),
            ]),
            Format::Short => {
                irte::decode_short((words.get(index / 2)?.load() >> (index % 2 * 32)) as u32)
            }
        }
    }
}

impl InterruptTable for GroupTable {
    fn admit(&self, ids: &[RequesterId]) -> Result {
        // Ids change with this lock held only.
        let _order = self.reservations.lock();
        let known = self.memory.lock().ids.len();
        let mut more = KVec::with_capacity(known + ids.len(), GFP_KERNEL)?;
        let mut memory = self.memory.lock();
        for &id in Iterator::chain(memory.ids.iter(), ids) {
            if !more.contains(&id) {
                // There is room for all of them.
                let _ = more.push_within_capacity(id);
            }
        }
        let before = mem::replace(&mut memory.ids, more);
        memory.pages.hand_over();
        let submitted = self.direct(&memory, ids).submit();
        drop(memory);
        drop(before);
        let done = submitted.and_then(|submitted| submitted.wait());
        self.hardware.answered(done)
    }

    fn dismiss(&self, ids: &[RequesterId]) {
        self.part_with(ids, Interrupts::Pass);
    }

    fn expel(&self, ids: &[RequesterId]) {
        self.part_with(ids, Interrupts::Refused);
    }

    fn reserve(&self, user: Label, _ids: &[RequesterId], count: u16) -> Result<u16> {
        let mut reservations = self.reservations.lock();
        loop {
            let length = 1 << self.memory.lock().length_lg2;
            if let Some(first) = reservations.reserve(user, count, length)? {
                return Ok(first);
            }
            self.grow().inspect_err(|error| {
                if *error == ENOSPC {
                    reservations.say_full(user, count, length, "its group's table");
                }
            })?;
        }
    }

    fn free(&self, first: u16) {
        let mut reservations = self.reservations.lock();
        let Some(freed) = reservations.free(first) else {
            return;
        };
        for index in freed.entries() {
            let is_clear = self.target(&self.memory.lock(), index).is_none();
            if !is_clear {
                // On a unit that has failed nothing can be done about it.
                let _ = self.point(index, None);
            }
        }
    }

    fn message(&self, index: u16) -> Message {
        /// Where devices write messages to.
        const ADDRESS: u32 = 0xfee0_0000;
        /// For units with more than 512 interrupts for each id: the data is an index of 11 bits.
        const MANY: u32 = 1 << 2;
        Message {
            address: ADDRESS | if self.remapping.many() { MANY } else { 0 },
            data: index.into(),
        }
    }

    fn point(&self, index: u16, target: Option<Target>) -> Result {
        if target.is_some_and(|to| !self.remapping.format().reaches(to.destination)) {
            return Err(EINVAL);
        }
        let memory = self.memory.lock();
        self.write(&memory, index, target);
        let mut batch = self.hardware.batch();
        memory.ids.iter().for_each(|&id| batch.interrupt_table(id));
        let submitted = batch.submit();
        drop(memory);
        let done = submitted.and_then(|submitted| submitted.wait());
        self.hardware.answered(done)
    }

    fn show(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let reservations = self.reservations.lock();
        let (length_lg2, ids) = {
            let memory = self.memory.lock();
            (memory.length_lg2, memory.ids.len())
        };
        writeln!(
            f,
            "interrupt table for {}: {} of {} entries are taken",
            Count::new(ids, "id"),
            reservations.taken(),
            1u32 << length_lg2,
        )?;
        for reservation in reservations.iter() {
            for index in reservation.entries() {
                let target = self.target(&self.memory.lock(), index);
                write!(f, "  {index:4} {} ", reservation.user)?;
                match target {
                    Some(target) => writeln!(f, "{target}")?,
                    None => writeln!(f, "refused")?,
                }
            }
        }
        Ok(())
    }
}
