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
//! *claimed* while only an owner attaches domains to it, and *lent* while a kernel driver does
//! without a claim. A device is *suspended* while it is blocked alone because it is being reset.
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
//!       own, the device's driver is the group's only user: Lend
//!
//!   Nobody -- own, otherwise: Claim, AttachClaimed --> Owner, attached
//!   (The core refuses that claim if kernel drivers use the group.)
//! ```
//!
//! # The guess
//!
//! Blocked is the ambiguous one. C attaches the blocked domain to one device because the device is
//! going to be reset, and to each device of a group because an owner claims the group or detaches
//! its domain. In this order:
//!
//! 1. The group is claimed and blocked: nothing changes.
//! 2. The device can be reset under C's control (it has ATS), is a member, and either kernel
//!    drivers use the group or some device of it would still not be suspended: a reset.
//! 3. The group is claimed: the owner's domain is taken away.
//! 4. A claim.
//!
//! The guess is wrong where C makes the same call for both reasons. In a group of one device a
//! reset is taken for a claim, or for the end of the owner's domain; the call that ends the reset
//! ends that, too. Sequences in which a wrong guess does harm are listed in the host test.

#![forbid(unsafe_code)]

use core::ops::DerefMut;

use crate::frontend::provider::stage::{Move, Seen, Stage};

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
    /// The only kernel driver that uses the group, with a domain of its own.
    Driver,
}

/// One device of a group, from `device_group` until `release_device`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tracked<K> {
    key: K,
    stage: Stage,
    suspended: bool,
}

impl<K> Tracked<K> {
    /// A device that C has asked the group of. `stage` is [`Stage::New`] or [`Stage::HandedOver`],
    /// or [`Stage::Member`] if it was held in this very group.
    pub fn new(key: K, stage: Stage) -> Self {
        Self {
            key,
            stage,
            suspended: false,
        }
    }

    /// What the frontend knows the device by.
    pub fn key(&self) -> &K {
        &self.key
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

/// The kernel drivers that use a group, held devices' among them.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Users {
    /// None.
    None,
    /// The driver of the device that C attaches, and no other.
    OnlyThis,
    /// Any others.
    Others,
}

/// What the frontend knows of a device that C attaches, and C does not say.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Facts {
    /// Who uses the group, by the core's record.
    pub users: Users,
    /// Whether C blocks the device while it is reset: it has ATS.
    pub may_be_reset: bool,
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
    /// The driver that the group is lent to attaches another domain.
    AttachLent,
    /// The group's only user attaches a domain of its own.
    Lend,
    /// Somebody attaches a domain who has not claimed the group before.
    ClaimAndAttach,
    /// The device is about to be reset.
    Reset,
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
    /// Lends the group to the device's driver, and attaches the domain.
    Lend,
    /// Attaches the domain under the loan.
    AttachLent,
    /// Ends the loan: the group goes to its default domain. Cannot fail.
    EndLoan,
    /// Blocks the device alone.
    Suspend,
    /// Lets the device go to where its group is. Cannot fail.
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
    /// The steps of another meaning take the place of the rest.
    Instead(Meaning),
}

/// At most so many steps of one meaning, `ResumeAll` counted once.
const STEPS: usize = 4;

/// A part of a meaning.
#[derive(Copy, Clone)]
enum Part {
    One(Step),
    /// [`Step::Resume`] for each suspended device: the whole group is blocked now.
    ResumeAll,
}

/// What C means by the calls for one of its groups.
///
/// # Invariants
///
/// 1. Only members are suspended.
/// 2. No device is suspended while the holder is `Owner { attached: false }`: the group is blocked.
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
            Target::Own => match (self.holder, facts.users) {
                (Holder::Owner { .. }, _) => Meaning::AttachClaimed,
                (Holder::Driver, _) => Meaning::AttachLent,
                (Holder::Nobody, Users::OnlyThis) => Meaning::Lend,
                // The core refuses where others use the group.
                (Holder::Nobody, Users::None | Users::Others) => Meaning::ClaimAndAttach,
            },
            Target::Blocked => match self.holder {
                Holder::Owner { attached: false } => Meaning::StayBlocked,
                _ if self.is_reset(at, facts) => Meaning::Reset,
                Holder::Owner { attached: true } => Meaning::Detach,
                Holder::Nobody | Holder::Driver => Meaning::Claim,
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

    /// Whether C blocks the device at `at` to reset it, and not the whole group.
    fn is_reset(&self, at: usize, facts: Facts) -> bool {
        if !facts.may_be_reset || self.devices[at].stage != Stage::Member {
            return false;
        }
        // C claims no group that kernel drivers use.
        let in_use = facts.users != Users::None || self.holder == Holder::Driver;
        let all_others = || {
            let mut others = self.devices.iter().enumerate().filter(|(i, _)| *i != at);
            others.all(|(_, other)| other.suspended)
        };
        in_use || !all_others()
    }

    /// The steps of a meaning, in order, given where things are now.
    fn parts(&self, at: usize, meaning: Meaning) -> [Option<Part>; STEPS] {
        let device = &self.devices[at];
        let one = |step| Some(Part::One(step));
        let resume = device.suspended.then_some(Part::One(Step::Resume));
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
        match meaning {
            Meaning::GoHome => [one(Step::SetDefault), end, arrive, resume],
            Meaning::AttachClaimed => [one(Step::AttachClaimed), arrive, resume, None],
            Meaning::AttachLent => [one(Step::AttachLent), arrive, resume, None],
            Meaning::Lend => [one(Step::Lend), arrive, resume, None],
            Meaning::ClaimAndAttach => [one(Step::Claim), one(Step::AttachClaimed), arrive, resume],
            Meaning::Reset if device.suspended => [None; STEPS],
            Meaning::Reset => [one(Step::Suspend), None, None, None],
            Meaning::Detach => [one(Step::Detach), Some(Part::ResumeAll), arrive, None],
            Meaning::Claim => [one(Step::Claim), Some(Part::ResumeAll), arrive, None],
            Meaning::StayBlocked => [Some(Part::ResumeAll), arrive, None, None],
            Meaning::Leave => [resume, one(Step::Leave), None, None],
            Meaning::StayAttached => [resume, None, None, None],
        }
    }

    /// What follows when `step` fails, and with it nothing has changed.
    fn recovery(&self, meaning: Meaning, step: Step) -> Recovery {
        match (meaning, step) {
            // To block an owner's whole group needs nothing, and C counts on it.
            (Meaning::Reset, Step::Suspend) if matches!(self.holder, Holder::Owner { .. }) => {
                Recovery::Instead(Meaning::Detach)
            }
            // The group is where it was before, on its default domain.
            (Meaning::ClaimAndAttach, Step::AttachClaimed) => Recovery::Undo(Step::DropClaim),
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
            Step::Suspend => device.suspended = true,
            Step::Resume => device.suspended = false,
            Step::Join | Step::Adopt => device.stage = Stage::Member,
            Step::Leave if device.stage == Stage::Member => {
                device.stage = Stage::New;
                device.suspended = false;
            }
            Step::Leave | Step::SetDefault | Step::AttachLent => {}
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
        let mut meaning = self.meaning(at, target, facts);
        'again: loop {
            for part in self.parts(at, meaning).into_iter().flatten() {
                let step = match part {
                    Part::One(step) => step,
                    Part::ResumeAll => {
                        self.resume_all(&mut carry_out)?;
                        continue;
                    }
                };
                let Err(error) = carry_out(step, &self.devices[at].key) else {
                    self.done(at, step);
                    continue;
                };
                match self.recovery(meaning, step) {
                    Recovery::Fail => return Err(error),
                    Recovery::Undo(step) => {
                        carry_out(step, &self.devices[at].key)?;
                        self.done(at, step);
                        return Err(error);
                    }
                    Recovery::Instead(other) => {
                        meaning = other;
                        continue 'again;
                    }
                }
            }
            return Ok(());
        }
    }

    fn resume_all<E>(
        &mut self,
        carry_out: &mut impl FnMut(Step, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        for at in 0..self.devices.len() {
            if self.devices[at].suspended {
                carry_out(Step::Resume, &self.devices[at].key)?;
                self.done(at, Step::Resume);
            }
        }
        Ok(())
    }
}
