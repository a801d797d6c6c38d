// SPDX-License-Identifier: GPL-2.0

//! What a group has of the interrupt table of its unit. How entries change is in
//! [`remapping`](super::remapping).
//!
//! `firsts` is taken before the unit's `users`.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex},
};

use super::{
    hardware::Hardware,
    invalidation::{Descriptor, InterruptScope},
    irte::{self, Source},
    remapping::{EntryTable, ENTRIES},
};
use crate::{
    drivers::shell::unit::UnitHardware,
    interrupt::{Message, Target},
    label::Label,
    remapping::InterruptTable,
    requester::RequesterId,
};

/// The entries of a group in the unit's table.
#[pin_data]
pub(super) struct GroupTable {
    hardware: Arc<Hardware>,
    table: Arc<EntryTable>,
    /// The first entries of the group's reservations.
    #[pin]
    firsts: Mutex<KVec<u16>>,
}

impl GroupTable {
    /// No entry of `table`, the table of the unit.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(hardware: &Arc<Hardware>, table: &Arc<EntryTable>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                hardware: hardware.clone(),
                table: table.clone(),
                firsts <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Has the unit forget what it has cached of `scope`.
    fn forget(&self, scope: InterruptScope) -> Result {
        let descriptor = Descriptor::interrupt_entries(scope);
        self.hardware.answered(self.hardware.execute(&[descriptor]))
    }

    /// Makes entries refuse. On a unit that has failed nothing can be done about those that it has
    /// cached.
    fn clear(&self, entries: impl Iterator<Item = u16>) {
        for index in entries.filter(|&index| self.table.target(index).is_some()) {
            let _ = self.point(index, None);
        }
    }
}

impl InterruptTable for GroupTable {
    /// The unit refuses messages that name no entry since before the group had a table.
    fn admit(&self, _ids: &[RequesterId]) -> Result {
        Ok(())
    }

    fn dismiss(&self, _ids: &[RequesterId]) {}

    fn expel(&self, ids: &[RequesterId]) {
        let firsts = self.firsts.lock();
        let users = self.table.users.lock();
        let of_group = users.iter().filter(|r| firsts.contains(&r.first));
        self.clear(of_group.flat_map(|r| r.entries()).filter(|&index| {
            let source = self.table.source(index);
            source.is_some_and(|source| ids.iter().any(|&id| source.takes(id)))
        }));
    }

    fn reserve(&self, user: Label, ids: &[RequesterId], count: u16) -> Result<u16> {
        let source = Source::of(ids).ok_or(EINVAL)?;
        let mut firsts = self.firsts.lock();
        firsts.reserve(1, GFP_KERNEL)?;
        let mut users = self.table.users.lock();
        let Some(first) = users.reserve(user, count, ENTRIES)? else {
            users.say_full(user, count, ENTRIES, "the unit's table");
            return Err(ENOSPC);
        };
        // `reserve` above made room.
        let _ = firsts.push_within_capacity(first);
        let reserved = users.iter().find(|r| r.first == first);
        for index in reserved.into_iter().flat_map(|r| r.entries()) {
            self.table.set_source(index, Some(source));
        }
        Ok(first)
    }

    fn free(&self, first: u16) {
        let mut firsts = self.firsts.lock();
        let mut users = self.table.users.lock();
        let Some(freed) = users.free(first) else {
            return;
        };
        firsts.retain(|other| *other != first);
        self.clear(freed.entries());
        for index in freed.entries() {
            self.table.set_source(index, None);
        }
    }

    fn message(&self, index: u16) -> Message {
        irte::message(index)
    }

    fn point(&self, index: u16, target: Option<Target>) -> Result {
        self.table.point(index, target)?;
        self.forget(InterruptScope::Entry { index })
    }

    fn show(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let firsts = self.firsts.lock();
        let users = self.table.users.lock();
        writeln!(
            f,
            "interrupt table of the unit: {} of {ENTRIES} entries are taken; those of this group:",
            users.taken(),
        )?;
        for reservation in users.iter().filter(|r| firsts.contains(&r.first)) {
            for index in reservation.entries() {
                write!(f, "  {index:4} {} ", reservation.user)?;
                match self.table.target(index) {
                    Some(target) => write!(f, "{target}")?,
                    None => write!(f, "refused")?,
                }
                match self.table.source(index) {
                    Some(Source::Id(id)) => writeln!(f, ", for messages of {id}")?,
                    Some(Source::Bus(bus)) => writeln!(f, ", for messages of bus {bus:02x}")?,
                    None => writeln!(f)?,
                }
            }
        }
        Ok(())
    }
}
