// SPDX-License-Identifier: GPL-2.0

//! The tables with which units remap interrupt messages (law 9).

#![forbid(unsafe_code)]

use core::fmt;

use kernel::prelude::*;

use crate::{
    interrupt::{Message, NotRemapped, Target},
    label::Label,
    requester::RequesterId,
};

impl From<Error> for NotRemapped {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_errno())
    }
}

/// The interrupt table of one group behind one unit. It has an entry for each interrupt that the
/// group's devices may raise. A message that names another entry is refused, and reported as a
/// fault of the device.
pub trait InterruptTable: Send + Sync {
    /// Makes the unit remap messages with these requester ids. When it returns, messages that name
    /// no entry are refused.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EIO` if the unit has failed. The ids are as before.
    fn admit(&self, ids: &[RequesterId]) -> Result;

    /// Makes the unit let messages with these requester ids pass unchanged again: undoes
    /// [`admit`](Self::admit). Does nothing if the unit remaps the messages of all devices together
    /// (see [`REMAPS_TOGETHER`](crate::driver::VendorDriver::REMAPS_TOGETHER)).
    ///
    /// Context: may sleep.
    fn dismiss(&self, ids: &[RequesterId]);

    /// Makes the unit refuse all messages with these requester ids, from now on. Cannot fail.
    ///
    /// Context: may sleep.
    fn expel(&self, ids: &[RequesterId]);

    /// Reserves `count` entries in a row for the device called `user`, which sends messages with
    /// `ids`. The first one is at a multiple of `count` rounded up to a power of two. They refuse
    /// until [`point`](Self::point). Returns the first one's index.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the table has no such room and cannot grow (logged, with the devices that have
    /// the entries); `ENOMEM`; `EIO` if the unit has failed.
    fn reserve(&self, user: Label, ids: &[RequesterId], count: u16) -> Result<u16>;

    /// Frees what [`reserve`](Self::reserve) returned `first` for. The entries refuse.
    ///
    /// Context: may sleep.
    fn free(&self, first: u16);

    /// The message that a device has to send for an entry.
    ///
    /// Context: any.
    fn message(&self, index: u16) -> Message;

    /// Makes the messages of an entry go to `target`, or none of them. When it returns the unit
    /// uses nothing of what the entry said before.
    ///
    /// Context: any; interrupts may be off, and raw spin locks held.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the unit cannot reach the destination; `EIO` if it has failed.
    fn point(&self, index: u16, target: Option<Target>) -> Result;

    /// Writes the table's entries for debugfs, one a line.
    fn show(&self, f: &mut dyn fmt::Write) -> fmt::Result;
}
