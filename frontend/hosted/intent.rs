// SPDX-License-Identifier: GPL-2.0

//! What the kernel's C IOMMU layer means by its calls: a guess, as a state machine.
//!
//! The layer calls a provider for one device at a time and gives no reason. The core attaches
//! whole groups and records who owns them. This file finds the reason, and does nothing else:
//! attaches go in, steps come out, and the frontend carries the steps out on real groups. It uses
//! nothing of the kernel's, so that `tests/host/tests/hosted_intent` can drive it with every
//! sequence of calls that a model of the layer makes.
//!
//! The words for devices are those of [`stage`](crate::frontend::provider::stage). A group is
//! *claimed* while only an owner attaches domains to it, and *lent* while somebody does without a
//! claim. A device is *suspended* while it is blocked alone.
//!
//! # A group
//!
//! ```text
//!             blocked: Claim                    own: AttachClaimed
//!   Nobody -----------------> Owner, blocked <--------------------> Owner, attached
//!    | ^ ^                          |            blocked: Detach          |
//!    | | |     default: EndClaim    |                                     |
//!    | | +--------------------------+-------------------------------------+
//!    | |
//!    | |  default: EndLoan
//!    | +-------------------- Driver --+ own: AttachLent
//!    +------------------------^  ^----+
//!                 own: Lend
//! ```
//!
//! # What is certain
//!
//! An attach to any other domain than the blocked one says all: the group is attached to that
//! domain, and the device is not in a reset any more. C skips the devices that are being reset when
//! it attaches a group, and attaches each of them when its reset is over. So a device that C has
//! blocked is resumed by its own next attach, and by no other. The group moves with the first
//! call; suspended devices get there with their own.
//!
//! # What is not
//!
//! C attaches the blocked domain to one device because the device is going to be reset, and to each
//! device of a group because an owner claims the group or detaches its domain. It is the whole
//! group if
//!
//! * C cannot reset the device under its control (the device has no ATS), or
//! * the device is new: C attaches it to what the group is attached to, or
//! * C says of another device that it has blocked that this one is not in a reset: then C is on its
//!   way through the group.
//!
//! Otherwise the device is suspended, and nothing else happens yet. If C is on its way through the
//! group it calls for the next device at once, and that call decides. There is no next device if
//! the group has one device only, or if all others are in a reset. What was meant is then not known
//! until the next attach, or until [`Intent::settle`] is told what C has the group attached to.
//! Until then everything is blocked, which is right for either.
//!
//! While all devices of a group are in a reset C makes no call at all when an owner detaches its
//! domain or leaves. [`Intent::settle`] finds that, too.

#![forbid(unsafe_code)]

use core::ops::DerefMut;

use crate::frontend::provider::stage::{HoldReason, Move, Seen, Stage};

/// Who holds a group, as far as C's calls tell.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Holder {
    /// Nobody: the group is on its default domain, and kernel drivers may use it.
    Nobody,
    /// An owner.
    Owner {
        /// Whether the owner's domain is attached; the group is blocked otherwise.
        attached: bool,
    },
    /// A kernel driver, with a domain of its own and without a claim.
    Driver,
}

/// What C has last asked for a device.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
enum Asked {
    /// Nothing yet. C may not count the device as one of the group's.
    Nothing,
    /// To attach it to a domain that is not the blocked one.
    Attach,
    /// To block it.
    Block,
}

/// One device of a group, from `device_group` until `release_device`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tracked<K> {
    key: K,
    stage: Stage,
    asked: Asked,
    suspended: bool,
    driver_leaves: bool,
}

impl<K> Tracked<K> {
    /// A device that C has asked the group of. `stage` is [`Stage::New`] or [`Stage::HandedOver`],
    /// or [`Stage::Member`] if it was held in this very group.
    pub fn new(key: K, stage: Stage) -> Self {
        Self {
            key,
            stage,
            asked: Asked::Nothing,
            suspended: false,
            driver_leaves: false,
        }
    }

    /// What the frontend knows the device by.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Whether C has blocked the device, and has not attached it to another domain since. It is one
    /// of C's group then.
    pub fn is_blocked(&self) -> bool {
        self.asked == Asked::Block
    }

    /// Notes whether the device's driver is about to be unbound. C stops counting it some time
    /// before the driver core says that it is gone.
    pub fn set_driver_leaves(&mut self, leaves: bool) {
        self.driver_leaves = leaves;
    }
}

/// What C attaches a device to.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// A domain for the DMA API, or identity.
    Default,
    /// Any other paging domain.
    Own,
    /// The blocked domain.
    Blocked,
    /// The domain for devices that leave.
    Release,
}

/// What the frontend knows of a device that C attaches, and C does not say.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Facts {
    /// Whether the driver of a held device uses the group. C does not know of it.
    pub held_user: bool,
    /// Whether C blocks the device while it is reset: it has ATS.
    pub may_be_reset: bool,
    /// Whether C attaches the device because it is new, to what the group is attached to.
    pub is_new: bool,
    /// Whether C says of another device that it has blocked that this one is not in a reset.
    pub is_passing: bool,
    /// Whether the domain is not the group's default domain yet. C changes that only while no
    /// driver that it counts uses the group.
    pub new_default: bool,
    /// Whether firmware does DMA with the device.
    pub direct: bool,
    /// Whether the device's unit is being given back.
    pub unit_leaves: bool,
}

/// What C means, as far as can be told.
#[derive(Copy, Clone)]
enum Meaning {
    /// The group goes to its default domain or stays there. A claim or a loan ends.
    GoHome,
    /// The owner attaches a domain.
    AttachClaimed,
    /// Whoever the group is lent to attaches another domain.
    AttachLent,
    /// Somebody attaches a domain without a claim.
    Lend,
    /// The owner attaches a domain; that it has claimed the group was not known.
    ClaimAndAttach,
    /// The device is about to be reset, or C is on its way through the group.
    Suspend,
    /// The owner's domain is taken away.
    Detach,
    /// The group is claimed.
    Claim,
    /// The group is claimed and blocked already.
    StayBlocked,
    /// The device leaves and is blocked.
    Leave,
    /// The device leaves, and firmware goes on to use it while its unit is given back.
    StayAttached,
}

/// What the frontend is to do. "The domain" is the one that C attaches.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Makes the domain the group's default domain, which attaches it if nobody holds the group.
    SetDefault,
    /// Claims the group, which blocks it.
    Claim,
    /// Attaches the domain under the claim.
    AttachClaimed,
    /// Blocks the group, which stays claimed.
    Detach,
    /// Blocks the group and ends the claim: the group goes to its default domain.
    EndClaim,
    /// As `EndClaim`, whatever is left of the claim. Cannot fail.
    DropClaim,
    /// Lends the group, and attaches the domain.
    Lend,
    /// Attaches the domain under the loan.
    AttachLent,
    /// Ends the loan: the group goes to its default domain. Cannot fail.
    EndLoan,
    /// Ends the use of the group by the device's driver, which is being unbound. Cannot fail.
    EndUse,
    /// Blocks the device alone, and prepares its return. Cannot fail if the group is blocked.
    Suspend,
    /// Blocks the device alone. Cannot fail.
    Cut,
    /// Lets the device go to where its group is. Fails only after `Cut`.
    Resume,
    /// Makes the device a member.
    Join,
    /// Makes the device a member, from the group that it was held in.
    Adopt,
    /// Takes the device out of the group, if it is a member, and blocks it. Cannot fail.
    Leave,
}

/// What follows a step that failed.
enum Recovery {
    /// The attach fails.
    Fail,
    /// The attach fails, after one more step.
    Undo(Step),
    /// Another step takes its place.
    Instead(Step),
}

/// At most so many parts of one meaning.
const PARTS: usize = 5;

/// A part of a meaning.
#[derive(Copy, Clone)]
enum Part {
    One(Step),
    /// [`Step::EndUse`] for each device whose driver is being unbound: C does not count it any
    /// more.
    EndUses,
}

/// What C means by the calls for one of its groups.
///
/// # Invariants
///
/// 1. Only members are suspended.
/// 2. While the holder is `Owner { attached: false }`, each member that C may reset and has blocked
///    is suspended: C makes no call for a reset that begins then, and the group may leave the
///    blocked domain before it ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Intent<S> {
    holder: Holder,
    devices: S,
}

impl<K, S: DerefMut<Target = [Tracked<K>]>> Intent<S> {
    /// A group of C's that is on its way to its first default domain.
    pub fn new(devices: S) -> Self {
        Self {
            holder: Holder::Nobody,
            devices,
        }
    }

    /// Who holds the group.
    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// The devices that C knows in the group.
    pub fn devices(&self) -> &S {
        &self.devices
    }

    /// As [`devices`](Self::devices): the frontend adds a device when C asks for its group, and
    /// removes the device when C releases it.
    pub fn devices_mut(&mut self) -> &mut S {
        &mut self.devices
    }

    /// What C means when it attaches the device at `at` to `target`.
    fn meaning(&self, at: usize, target: Target, facts: Facts) -> Meaning {
        match target {
            Target::Default => Meaning::GoHome,
            Target::Own => match self.holder {
                Holder::Owner { .. } => Meaning::AttachClaimed,
                Holder::Driver => Meaning::AttachLent,
                // C attaches no such domain while a device is in a reset.
                Holder::Nobody if self.is_blocked() => Meaning::ClaimAndAttach,
                // The core refuses.
                Holder::Nobody if facts.held_user => Meaning::ClaimAndAttach,
                Holder::Nobody => Meaning::Lend,
            },
            Target::Blocked => match self.holder {
                Holder::Owner { attached: false } => Meaning::StayBlocked,
                Holder::Owner { attached: true } if self.is_for_all(at, facts) => Meaning::Detach,
                Holder::Nobody if self.is_for_all(at, facts) => Meaning::Claim,
                _ => Meaning::Suspend,
            },
            Target::Release => {
                // The release itself follows, and asks the same.
                let seen = Seen::Released {
                    unit_leaves: facts.unit_leaves,
                    direct: facts.direct,
                };
                match self.devices[at].stage.see(seen).0 {
                    Move::Hold(_) => Meaning::StayAttached,
                    _ => Meaning::Leave,
                }
            }
        }
    }

    /// Whether C blocks the whole group if it blocks the device at `at`.
    fn is_for_all(&self, at: usize, facts: Facts) -> bool {
        // A reset before the first attach of the group looks like an addition to it.
        let mut others = self.devices.iter().enumerate().filter(|(i, _)| *i != at);
        let is_addition = facts.is_new && others.any(|(_, d)| d.asked != Asked::Nothing);
        !facts.may_be_reset || facts.is_passing || is_addition
    }

    /// Whether C has blocked all devices of its group, as far as is known. What is known of the
    /// holder is uncertain then: see [`settle`](Self::settle).
    pub fn is_blocked(&self) -> bool {
        let mut known = self.devices.iter().filter(|d| d.asked != Asked::Nothing);
        known.next().is_some_and(Tracked::is_blocked) && known.all(Tracked::is_blocked)
    }

    /// The steps of a meaning, in order, given where things are now.
    fn parts(&self, at: usize, meaning: Meaning, facts: Facts) -> [Option<Part>; PARTS] {
        let device = &self.devices[at];
        let one = |step| Some(Part::One(step));
        let resume = device.suspended.then_some(Part::One(Step::Resume));
        let suspend = !device.suspended && facts.may_be_reset;
        let suspend = suspend.then_some(Part::One(Step::Suspend));
        let arrive = match device.stage {
            Stage::Member => None,
            Stage::HandedOver(_) => one(Step::Adopt),
            Stage::Outside | Stage::Held(_) | Stage::New => one(Step::Join),
        };
        let end = match self.holder {
            Holder::Nobody => None,
            Holder::Owner { .. } => one(Step::EndClaim),
            Holder::Driver => one(Step::EndLoan),
        };
        let end_uses = Some(Part::EndUses);
        match meaning {
            Meaning::GoHome => [
                end_uses.filter(|_| facts.new_default),
                one(Step::SetDefault),
                end,
                arrive,
                resume,
            ],
            Meaning::AttachClaimed => [one(Step::AttachClaimed), arrive, resume, None, None],
            Meaning::AttachLent => [one(Step::AttachLent), arrive, resume, None, None],
            Meaning::Lend => [one(Step::Lend), arrive, resume, None, None],
            Meaning::ClaimAndAttach => [
                end_uses.filter(|_| self.is_blocked()),
                one(Step::Claim),
                one(Step::AttachClaimed),
                arrive,
                resume,
            ],
            Meaning::Suspend => match device.stage {
                Stage::Member if device.suspended => [None; PARTS],
                Stage::Member => [one(Step::Suspend), None, None, None, None],
                // It is blocked.
                Stage::Outside | Stage::Held(_) | Stage::New => [None; PARTS],
                Stage::HandedOver(_) => [arrive, one(Step::Suspend), None, None, None],
            },
            Meaning::Detach => [one(Step::Detach), arrive, suspend, None, None],
            Meaning::Claim => [end_uses, one(Step::Claim), arrive, suspend, None],
            Meaning::StayBlocked => [arrive, suspend, None, None, None],
            Meaning::Leave => [one(Step::Leave), None, None, None, None],
            Meaning::StayAttached => [None; PARTS],
        }
    }

    /// What follows when `step` fails for the device at `at`, and with it nothing has changed.
    fn recovery(&self, at: usize, meaning: Meaning, step: Step, facts: Facts) -> Recovery {
        // Its driver is gone, and it is still where that driver was held: on identity.
        let needs_nothing = match self.devices[at].stage {
            Stage::HandedOver(HoldReason::DriverWasBound { .. }) => !facts.direct,
            _ => false,
        };
        match (meaning, step) {
            // It may be the owner's domain that is taken away. C counts on that.
            (Meaning::Suspend, Step::Suspend) if matches!(self.holder, Holder::Owner { .. }) => {
                Recovery::Instead(Step::Cut)
            }
            // The group is where it was before.
            (Meaning::ClaimAndAttach, Step::AttachClaimed) => Recovery::Undo(Step::DropClaim),
            // C may go on as if the attach were done: it lets no driver fail the first one.
            _ if needs_nothing => Recovery::Undo(Step::Leave),
            _ => Recovery::Fail,
        }
    }

    /// Notes that a step has been carried out for the device at `at`.
    fn done(&mut self, at: usize, step: Step) {
        let device = &mut self.devices[at];
        match step {
            Step::Claim | Step::Detach => self.holder = Holder::Owner { attached: false },
            Step::AttachClaimed => self.holder = Holder::Owner { attached: true },
            Step::EndClaim | Step::DropClaim | Step::EndLoan => self.holder = Holder::Nobody,
            Step::Lend => self.holder = Holder::Driver,
            Step::Suspend | Step::Cut => device.suspended = true,
            Step::Resume => device.suspended = false,
            Step::Join | Step::Adopt => device.stage = Stage::Member,
            Step::Leave if matches!(device.stage, Stage::Member | Stage::HandedOver(_)) => {
                device.stage = Stage::New;
                device.suspended = false;
            }
            Step::Leave | Step::SetDefault | Step::AttachLent | Step::EndUse => {}
        }
    }

    /// C attaches the device at `at` to `target`. `carry_out` is called for each step, with the
    /// device that the step is about; when it fails it has changed nothing.
    ///
    /// # Errors
    ///
    /// That of the step that failed and could not be replaced; C is to be told.
    pub fn attach<E>(
        &mut self,
        at: usize,
        target: Target,
        facts: Facts,
        mut carry_out: impl FnMut(Step, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        let meaning = self.meaning(at, target, facts);
        let asked = match target {
            Target::Blocked => Asked::Block,
            _ => Asked::Attach,
        };
        for part in self.parts(at, meaning, facts).into_iter().flatten() {
            let step = match part {
                Part::One(step) => step,
                Part::EndUses => {
                    self.end_uses(&mut carry_out)?;
                    continue;
                }
            };
            let Err(error) = carry_out(step, &self.devices[at].key) else {
                self.done(at, step);
                continue;
            };
            let (other, result) = match self.recovery(at, meaning, step, facts) {
                Recovery::Fail => return Err(error),
                Recovery::Undo(other) => (other, Err(error)),
                Recovery::Instead(other) => (other, Ok(())),
            };
            carry_out(other, &self.devices[at].key)?;
            self.done(at, other);
            result?;
        }
        self.devices[at].asked = asked;
        Ok(())
    }

    /// C has the group attached to `now`, and no call of C's is under way. Carries out what C has
    /// not said, or has not said clearly.
    ///
    /// # Errors
    ///
    /// That of the step that failed. Nothing has changed then.
    pub fn settle<E>(
        &mut self,
        now: Target,
        mut carry_out: impl FnMut(Step, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = match (self.holder, now) {
            (Holder::Nobody, Target::Blocked) => Step::Claim,
            (Holder::Owner { attached: true }, Target::Blocked) => Step::Detach,
            (Holder::Owner { .. }, Target::Default) => Step::EndClaim,
            (Holder::Driver, Target::Default) => Step::EndLoan,
            _ => return Ok(()),
        };
        if !self.is_blocked() {
            return Ok(());
        }
        if step == Step::Claim {
            self.end_uses(&mut carry_out)?;
        }
        carry_out(step, &self.devices[0].key)?;
        self.done(0, step);
        Ok(())
    }

    fn end_uses<E>(
        &mut self,
        carry_out: &mut impl FnMut(Step, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut leaving = self.devices.iter().filter(|d| d.driver_leaves);
        leaving.try_for_each(|device| carry_out(Step::EndUse, &device.key))
    }
}
