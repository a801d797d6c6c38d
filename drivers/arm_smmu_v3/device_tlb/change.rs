// SPDX-License-Identifier: GPL-2.0

//! The order of the steps of an attach that concern a device's TLB: its switch, the EATS field of
//! its STE, and which invalidations reach it (SMMUv3 IHI 0070, 3.9.1 and 5.2, EATS).
//!
//! Three rules give the order:
//!
//! 1. A device must not ask for translations while its STE forbids that: it may give up, and the
//!    root complex reports errors. So the TLB is off while EATS changes.
//! 2. Invalidations of a domain must reach each device that has translations of it. So the device
//!    is listed for the new domain before its STE points there, and stays listed for the old one
//!    until its TLB is empty.
//! 3. After a device has invalidated its TLB it must not get an old translation again. So the unit
//!    invalidates its own TLB first.

#![forbid(unsafe_code)]

use super::super::records::command::Tag;

/// A step of an attach. The devices of a group take each step together.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// List the device for invalidations of the new domain.
    List,
    /// Disable ATS in the device.
    DisableAts,
    /// Write its STE.
    WriteSte,
    /// Invalidate what the unit has cached of the old domain.
    InvalidateUnit,
    /// Invalidate the device's TLB.
    InvalidateDevice,
    /// Take it off the list for the old domain.
    Unlist,
    /// Enable ATS in the device.
    EnableAts,
}

impl Action {
    /// All of them, in order.
    pub const ORDER: [Self; 7] = [
        Self::List,
        Self::DisableAts,
        Self::WriteSte,
        Self::InvalidateUnit,
        Self::InvalidateDevice,
        Self::Unlist,
        Self::EnableAts,
    ];
}

/// The domains whose translations a device's TLB may hold; `None` if ATS is off.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Before the attach.
    pub before: Option<Tag>,
    /// After it.
    pub after: Option<Tag>,
}

impl Change {
    /// Whether the device takes part in `action`.
    pub fn takes(self, action: Action) -> bool {
        let Self { before, after } = self;
        match action {
            Action::List => after.is_some() && before != after,
            Action::DisableAts => before.is_some() && after.is_none(),
            Action::WriteSte | Action::InvalidateUnit => true,
            // Also before ATS is enabled: the TLB may hold translations from the last time.
            Action::InvalidateDevice => before.is_some() || after.is_some(),
            Action::Unlist => before.is_some() && before != after,
            Action::EnableAts => before.is_none() && after.is_some(),
        }
    }
}
