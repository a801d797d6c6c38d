// SPDX-License-Identifier: GPL-2.0

//! The devices that use an interrupt table, with the entries that each has reserved.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::interrupt_slots::{fit, Reservation};
use crate::{label::Label, log::log_warn};

/// The reservations in one table, in the order of their entries.
pub(crate) struct InterruptUsers(KVec<Reservation>);

impl InterruptUsers {
    /// No reservation.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Reserves `count` of the first `length` entries for `user`, in a row, and returns the first
    /// one; `None` if there is no such room. See
    /// [`InterruptTable::reserve`](crate::remapping::InterruptTable::reserve).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn reserve(&mut self, user: Label, count: u16, length: u32) -> Result<Option<u16>> {
        self.0.reserve(1, GFP_KERNEL)?;
        let Some((first, place)) = fit(&self.0, count, 0..length) else {
            return Ok(None);
        };
        let reservation = Reservation { first, count, user };
        // `reserve` above made room.
        let _ = self.0.insert_within_capacity(place, reservation);
        Ok(Some(first))
    }

    /// Ends the reservation that begins with the entry `first`.
    pub(crate) fn free(&mut self, first: u16) -> Option<Reservation> {
        let place = self.0.iter().position(|r| r.first == first)?;
        self.0.remove(place).ok()
    }

    /// The reservations.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.0.iter()
    }

    /// How many entries are reserved.
    pub(crate) fn taken(&self) -> u32 {
        self.0.iter().map(|r| u32::from(r.count)).sum()
    }

    /// Logs that there was no room for `count` more interrupts of `user` among `length` entries of
    /// `what`, and who has them.
    pub(crate) fn say_full(&self, user: Label, count: u16, length: u32, what: &str) {
        log_warn!(
            "{}: no room for {} more interrupts: {} of {} entries of {} are taken",
            user,
            count,
            self.taken(),
            length,
            what,
        );
        for (at, reservation) in self.0.iter().enumerate() {
            let is_same = |other: &&Reservation| other.user == reservation.user;
            if self.0[..at].iter().any(|other| is_same(&other)) {
                continue;
            }
            let of_user = self.0.iter().filter(is_same);
            log_warn!(
                "{}: {} has {} of them",
                user,
                reservation.user,
                of_user.map(|r| u32::from(r.count)).sum::<u32>(),
            );
        }
    }
}
