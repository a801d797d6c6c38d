// SPDX-License-Identifier: GPL-2.0

//! In which order a device's TLB, its stream table entry and who is told of invalidations change in
//! an attach (SMMUv3 IHI 0070, 3.9.1 and 5.2, EATS).
//!
//! Three things must never be:
//!
//! - a device that asks for translations which its entry refuses: it may give up, and the root
//!   complex reports errors. So the TLB is off whenever EATS changes;
//! - a device with a translation of a domain whose invalidations do not reach it. So it has its
//!   seat before it can get one, and keeps it until it has forgotten all;
//! - a device that asks for a translation after it was told to forget, and gets one that the unit
//!   was to forget as well. So the unit forgets first.

#![forbid(unsafe_code)]

use super::super::records::command::Tag;

/// A part of an attach; all devices of a group take it together.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Give the device a seat for the new domain.
    Enter,
    /// Turn its TLB off.
    TurnOff,
    /// Write its entry, with all that the unit needs to see it.
    WriteEntry,
    /// Have the unit forget what it knows of the old domain.
    ForgetInUnit,
    /// Have the device forget everything.
    ForgetInDevice,
    /// Take its seat for the old domain away.
    Leave,
    /// Turn its TLB on.
    TurnOn,
}

impl Action {
    /// All of them, in order.
    pub const ORDER: [Self; 7] = [
        Self::Enter,
        Self::TurnOff,
        Self::WriteEntry,
        Self::ForgetInUnit,
        Self::ForgetInDevice,
        Self::Leave,
        Self::TurnOn,
    ];
}

/// What becomes of one device's TLB: of which domain it may have translations, if it is on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Until now.
    pub before: Option<Tag>,
    /// From now on.
    pub after: Option<Tag>,
}

impl Change {
    /// Whether the device takes part in `action`.
    pub fn takes(self, action: Action) -> bool {
        let Self { before, after } = self;
        match action {
            Action::Enter => after.is_some() && before != after,
            Action::TurnOff => before.is_some() && after.is_none(),
            Action::WriteEntry | Action::ForgetInUnit => true,
            // Also before it is turned on: nobody knows what it has kept since it was on the last
            // time.
            Action::ForgetInDevice => before.is_some() || after.is_some(),
            Action::Leave => before.is_some() && before != after,
            Action::TurnOn => before.is_none() && after.is_some(),
        }
    }
}
