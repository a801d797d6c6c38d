// SPDX-License-Identifier: GPL-2.0

//! What is wrong today: for each rule, with each event that can break it, the shortest way there.
//!
//! What mends one of them takes its line out. Another cause may break the same rule with the same
//! event, in a longer way: then the walk says so, and that way takes the line's place.
//!
//! What nothing observable can tell apart comes first. These lines stay, and
//! Documentation/design.md says what is done.
//!
//! "Register, driver comes to A" is a registration during which a driver is bound to A after we
//! have looked at all devices and before C does. "Without memory" is an event in which an
//! allocation fails. A managing driver does not use the DMA API.

use crate::rules::Broken::{self, *};

/// A rule, the event that breaks it, and how to get there.
pub type Line = (Broken, &'static str, &'static str);

#[rustfmt::skip]
pub const TODAY: &[Line] = &[
    // C calls a provider in the same way for a claim and for a reset where the group has one
    // device. So the device is blocked, which serves both, though a held driver that C does not
    // count uses the group. If it was a claim, the owner's first attach is refused (law 5).
    (OwnerWithoutClaim, "Claim", "A has ATS; Register, driver comes to B, Claim"),
    // A device is blocked although its return could not be prepared, because its owner's domain may
    // be gone. If it was a reset, C has no way to hear that the return fails as well.
    (NotWhereCThinks, "ResetDone", "A has ATS; Register, Claim, Attach(0), ResetPrepare(A) without memory, ResetDone(A) without memory"),
    // As the first line: the owner has the group in C, and the device is put into it without.
    (OwnerWithoutClaim, "Rescan", "A has ATS; Register, driver comes to B without memory, StoreType(Identity), Claim, Rescan"),
    // C lets no driver fail the first attach of a group, and believes that the device is there. It
    // is blocked: its driver is gone.
    (NotWhereCThinks, "Rescan", "Register, managing driver comes to A, UnbindBegins(A), Remove(B), Rescan without memory"),
];
