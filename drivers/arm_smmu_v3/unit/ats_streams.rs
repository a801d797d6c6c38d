// SPDX-License-Identifier: GPL-2.0

//! Which devices keep translations of a domain in TLBs of their own.
//!
//! An invalidation of a domain has to reach them all, and finds them by the domain's tag; nobody
//! else is looked at. A device has a seat for the domain that it is attached to, and while it is
//! attached to another one a second seat: until it has forgotten what it knows of the first, both
//! ask it.
//!
//! Pure: the storage comes from outside, so the same code runs in the kernel and in host tests.

#![forbid(unsafe_code)]

use core::{cmp::Ordering, ops::DerefMut};

use super::super::records::command::Tag;

/// Seats that a device can have at a time.
const PER_DEVICE: usize = 2;

/// A device that may have translations of a domain.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The domain.
    pub tag: Tag,
    /// The device's stream id.
    pub stream: u32,
    /// It did not answer once, and its entry refuses what it would do with translations: there is
    /// no use in asking it again.
    pub silent: bool,
}

impl Seat {
    /// What storage is filled with.
    pub const FREE: Self = Self {
        tag: Tag::Stage2 { vmid: 0 },
        stream: 0,
        silent: false,
    };

    fn place(&self, tag: Tag, stream: u32) -> Ordering {
        (self.tag, self.stream).cmp(&(tag, stream))
    }
}

/// The seats of one unit.
///
/// # Invariants
///
/// 1. The first `used` of `seats` are taken, in the order of tag and stream id, none twice.
/// 2. `seats` has room for [`PER_DEVICE`] seats of each of `devices`.
pub struct Roster<S> {
    seats: S,
    used: usize,
    devices: usize,
}

impl<S: DerefMut<Target = [Seat]>> Roster<S> {
    /// No device, and storage for those to come.
    pub fn new(seats: S) -> Self {
        Self {
            seats,
            used: 0,
            devices: 0,
        }
    }

    /// Whether no device has a seat.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Devices that have been promised room.
    pub fn devices(&self) -> usize {
        self.devices
    }

    /// Promises a device room for its seats, so that [`enter`](Self::enter) never fails for it.
    ///
    /// # Errors
    ///
    /// How long the storage has to be for that, see [`grow`](Self::grow).
    pub fn promise(&mut self) -> Result<(), usize> {
        let needed = (self.devices + 1) * PER_DEVICE;
        if needed > self.seats.len() {
            return Err(needed);
        }
        // INVARIANT: There is room.
        self.devices += 1;
        Ok(())
    }

    /// Ends a promise; the device has no seat any more.
    pub fn end_promise(&mut self) {
        self.devices = self.devices.saturating_sub(1);
    }

    /// Moves into other storage, if that is larger. Returns the one that is not needed any more.
    pub fn grow(&mut self, mut storage: S) -> S {
        if storage.len() <= self.seats.len() {
            return storage;
        }
        for (to, from) in storage.iter_mut().zip(self.taken()) {
            *to = *from;
        }
        // INVARIANT: What was taken was copied, and there is more room than before.
        core::mem::replace(&mut self.seats, storage)
    }

    fn taken(&self) -> &[Seat] {
        self.seats.get(..self.used).unwrap_or_default()
    }

    fn find(&self, tag: Tag, stream: u32) -> Result<usize, usize> {
        self.taken()
            .binary_search_by(|seat| seat.place(tag, stream))
    }

    /// Gives a device a seat for `tag`; it may have it already. Returns whether it has one now,
    /// which is true for a device that was promised room.
    #[must_use]
    pub fn enter(&mut self, tag: Tag, stream: u32) -> bool {
        let Err(at) = self.find(tag, stream) else {
            return true;
        };
        if self.used >= self.seats.len() {
            return false;
        }
        // INVARIANT: The new seat comes where the search says that it belongs.
        self.seats.copy_within(at..self.used, at + 1);
        self.seats[at] = Seat {
            tag,
            stream,
            silent: false,
        };
        self.used += 1;
        true
    }

    /// Takes a device's seat for `tag` away, if it has one.
    pub fn leave(&mut self, tag: Tag, stream: u32) {
        if let Ok(at) = self.find(tag, stream) {
            // INVARIANT: The others stay in order.
            self.seats.copy_within(at + 1..self.used, at);
            self.used -= 1;
        }
    }

    /// Takes all seats of a device away.
    pub fn leave_all(&mut self, stream: u32) {
        let mut kept = 0;
        for at in 0..self.used {
            let seat = self.seats[at];
            if seat.stream != stream {
                self.seats[kept] = seat;
                kept += 1;
            }
        }
        // INVARIANT: Those that were kept are in the order that they were in.
        self.used = kept;
    }

    /// The devices that may have translations of `tag`.
    #[inline]
    pub fn of(&self, tag: Tag) -> &[Seat] {
        let taken = self.taken();
        let start = taken.partition_point(|seat| seat.tag < tag);
        let rest = taken.get(start..).unwrap_or_default();
        let count = rest.partition_point(|seat| seat.tag == tag);
        rest.get(..count).unwrap_or_default()
    }

    /// Notes that a device does not answer.
    pub fn silence(&mut self, stream: u32) {
        for seat in self.seats.iter_mut().take(self.used) {
            seat.silent |= seat.stream == stream;
        }
    }

    /// Whether it was noted that the device with this seat does not answer.
    pub fn is_silent(&self, tag: Tag, stream: u32) -> bool {
        self.find(tag, stream)
            .is_ok_and(|at| self.taken()[at].silent)
    }
}
