// SPDX-License-Identifier: GPL-2.0

//! What is wrong today: for each rule, with each event that can break it, the shortest way there.
//!
//! What mends one of them takes its line out. Another cause may break the same rule with the same
//! event, in a longer way: then the walk says so, and that way takes the line's place.
//!
//! "Register, driver comes to A" is a registration during which a driver is bound to A after we
//! have looked at all devices and before C does. "Without memory" is an event in which an
//! allocation fails. A managing driver does not use the DMA API.

use crate::rules::Broken::{self, *};

/// A rule, the event that breaks it, and how to get there.
pub type Line = (Broken, &'static str, &'static str);

#[rustfmt::skip]
pub const TODAY: &[Line] = &[
    // A reset is ended by somebody else. Issue 13, A6: the neighbour's user closes.
    (ResumedInReset, "Detach", "A has ATS; Register, Claim, Attach(0), ResetPrepare(A), Detach"),
    // As A6. C makes no call for A: the group's claim ends while the group is blocked.
    (ReachesInReset, "Release", "A has ATS; Register, Claim, ResetPrepare(A), Release"),
    (NotWhereCThinks, "Release", "A has ATS; Register, Claim, ResetPrepare(A), Release"),
    // As A6: two resets at a time are taken for a claim, and the end of the first one for its end.
    (ResumedInReset, "ResetPrepare", "A has ATS; B has ATS; Register, ResetPrepare(A), ResetPrepare(B)"),
    (ReachesInReset, "ResetDone", "A has ATS; B has ATS; Register, ResetPrepare(A), ResetPrepare(B), ResetDone(A)"),
    (NotWhereCThinks, "ResetDone", "A has ATS; B has ATS; Register, ResetPrepare(A), ResetPrepare(B), ResetDone(A)"),
    // As A6: one device's reset is taken for a claim, and a neighbour that comes for its end.
    (ReachesInReset, "AddEnds", "A has ATS; Register, Remove(B), ResetPrepare(A), AddBegins(B), AddEnds(B)"),
    (NotWhereCThinks, "AddEnds", "A has ATS; Register, Remove(B), ResetPrepare(A), AddBegins(B), AddEnds(B)"),
    (ReachesInReset, "Rescan", "A has ATS; Register, managing driver comes to B, ResetPrepare(A), UnbindBegins(B), Rescan"),
    (NotWhereCThinks, "Rescan", "A has ATS; Register, managing driver comes to B, ResetPrepare(A), UnbindBegins(B), Rescan"),
    // As A6: a device that leaves in mid-reset is resumed before it is blocked.
    (ResumedInReset, "Unregister", "A has ATS; Register, ResetPrepare(A), Unregister"),
    (ReachesInReset, "Unregister", "A has ATS; Register, ResetPrepare(A), Unregister"),

    // C makes the same call for a reset and for a claim where the group has one device. The record
    // says that it is claimed, or that its owner has no domain, until the reset is over.
    (ClaimedForNobody, "ResetPrepare", "A has ATS; Register, managing driver comes to B, ResetPrepare(A)"),
    (OwnerWithoutClaim, "ResetPrepare", "A has ATS; Register, managing driver comes to B, Claim, Attach(0), ResetPrepare(A)"),
    // And the claim is refused where firmware uses the device, with it the reset.
    (Refused, "ResetPrepare", "A has ATS; firmware uses A; firmware uses B at first; Register, managing driver comes to B, ResetPrepare(A)"),
    // C makes no call where all devices are in mid-reset. The record follows at the reset's end.
    (ClaimedForNobody, "Release", "A has ATS; Register, managing driver comes to B, Claim, ResetPrepare(A), Release"),
    (ClaimedForNobody, "Detach", "A has ATS; Register, Attach(0), ResetPrepare(A), Remove(B), Detach"),
    (OwnerWithoutClaim, "Detach", "A has ATS; Register, Claim, Attach(0), ResetPrepare(A), Remove(B), Detach"),

    // A claim is taken for resets: a held driver, or one that is being unbound, counts as a user
    // with us and not with C. C lets the owner have the group, and its first attach is refused.
    (OwnerWithoutClaim, "Claim", "A has ATS; Register, driver comes to B, Claim"),
    // It is resumed when it is removed, and reaches the default domain for a moment (law 7).
    (ReachesOther, "Remove", "A has ATS; Register, driver comes to B, Claim, Remove(A)"),
    // The devices are taken for resumed when one more comes.
    (ResumedInReset, "Rescan", "A has ATS; Register, driver comes to B, UnbindBegins(B), UnbindEnds(B), Claim, ResetPrepare(A), Rescan"),
    // The owner's domain is taken for the leaving driver's, and cannot be taken away.
    (NotWhereCThinks, "Detach", "A has ATS; Register, managing driver comes to B, BindBegins(A), BindEnds(A), UnbindBegins(A), Claim, Attach(0), Detach without memory"),
    (CWarns, "Detach", "A has ATS; Register without memory, BindBegins(A), BindEnds(A), UnbindBegins(A), Claim, Attach(0), Rescan, Detach"),
    (Refused, "AddEnds", "A has ATS; Register, BindBegins(A), BindEnds(A), Remove(B), AddBegins(B), UnbindBegins(A), Claim, AddEnds(B)"),
    (Refused, "Rescan", "A has ATS; Register, managing driver comes to B, BindBegins(A), BindEnds(A), UnbindBegins(B), UnbindBegins(A), Claim, Rescan"),
    // A device that C has asked the group of and not yet put into it counts as one that is not
    // suspended, so that a claim of its neighbour is taken for a reset.
    (ResumedInReset, "AddEnds", "A has ATS; Register, Remove(B), AddBegins(B), Claim, ResetPrepare(A), AddEnds(B)"),
    // Without ATS it is refused, until the notifier has told of the end of the unbind.
    (Refused, "Claim", "Register, BindBegins(A), BindEnds(A), UnbindBegins(A), Claim"),
    (Refused, "StoreType", "Register, BindBegins(A), BindEnds(A), UnbindBegins(A), StoreType(Identity)"),
    // The only user of a group is not found if it drives any device but C's first.
    (Refused, "Attach", "Register, BindBegins(B), BindEnds(B), Attach(0)"),

    // A driver that comes while a domain is attached without a claim is not counted, nor later.
    (Miscounted, "BindEnds", "Register, BindBegins(A), BindEnds(A), BindBegins(B), Attach(0), BindEnds(B)"),
    (Miscounted, "Detach", "Register, BindBegins(A), Attach(0), BindEnds(A), Detach"),
    (Miscounted, "StoreType", "Register, BindBegins(A), Attach(0), BindEnds(A), UnbindBegins(A), StoreType(Identity)"),
    (Miscounted, "ResetDone", "A has ATS; Register, managing driver comes to B, BindBegins(A), Attach(0), BindEnds(A), ResetPrepare(A), Detach, ResetDone(A)"),
    (Miscounted, "AddEnds", "A has ATS; Register, BindBegins(A), Remove(B), Attach(0), BindEnds(A), AddBegins(B), ResetPrepare(A), Detach, AddEnds(B)"),
    (Miscounted, "Rescan", "A has ATS; Register, managing driver comes to B, BindBegins(A), Attach(0), BindEnds(A), ResetPrepare(A), UnbindBegins(B), Detach, Rescan"),

    // A reset that cannot be prepared blocks a claimed group, to block at all.
    (NotWhereCThinks, "ResetPrepare", "A has ATS; Register, Attach(0), ResetPrepare(A) without memory"),
];
