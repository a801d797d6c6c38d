// SPDX-License-Identifier: GPL-2.0

//! DMA ownership of one group: which drivers or owner may do DMA with it (law 5).
//!
//! A pure state machine without domains or hardware. [`Group`](crate::group::Group) keeps one under
//! its lock and performs the attaches that a transition requires.
//!
//! ```text
//!               start_use                  claim(owner)
//!   Kernel{n+1} <-----> Kernel{n} ... Free <----------> Claimed{owner, claims, attached}
//!               end_use                     release
//!
//!                 lend(to)
//!   Kernel{users} <------> Lent{users, to}        and likewise Free, if there are no users
//!                 end_loan
//! ```
//!
//! * Drivers that use the DMA API share the group: `Kernel{n}` counts them.
//! * A claim excludes all of these drivers and every other owner. The same owner may claim again,
//!   for example an owner of several devices of one group. The group is free when the owner has
//!   released every claim.
//! * While a domain of the owner is attached, the last claim cannot end.
//! * A kernel driver may attach its own domain without a claim: the group is then lent to the
//!   driver, which excludes the same users as a claim does. Drivers that use the DMA API stay
//!   counted during a loan.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use crate::label::Label;

/// Who makes a claim.
///
/// `token` identifies the owner (for C users it is the address that they pass); `name` appears in
/// messages.
#[derive(Copy, Clone, Debug)]
pub struct Owner {
    /// Identifies the owner.
    pub token: usize,
    /// The owner's name in messages.
    pub name: Label,
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.token == other.token
    }
}

/// Why a request was refused, and who holds the group.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Refusal {
    /// Kernel drivers do DMA with the group through the DMA API.
    InUseByKernel {
        /// How many drivers.
        users: usize,
    },
    /// An owner has claimed the group.
    Claimed {
        /// By whom.
        by: Owner,
    },
    /// The claim cannot end: a domain of its owner is still attached.
    StillAttached {
        /// Whose domain.
        owner: Owner,
    },
    /// A driver has attached its own domain.
    Lent {
        /// Which driver.
        to: Label,
    },
    /// There is nothing to release.
    NotHeld,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUseByKernel { users: 1 } => write!(f, "a kernel driver uses it"),
            Self::InUseByKernel { users } => write!(f, "{users} kernel drivers use it"),
            Self::Claimed { by } => write!(f, "it is held by {}", by.name),
            Self::StillAttached { owner } => {
                write!(f, "a domain of {} is still attached", owner.name)
            }
            Self::Lent { to } => write!(f, "{to} has a domain of its own attached"),
            Self::NotHeld => write!(f, "nobody holds it"),
        }
    }
}

/// The ownership state of one group.
///
/// # Invariants
///
/// 1. `Kernel { users }` has `users > 0`.
/// 2. `Claimed { claims, .. }` has `claims > 0`.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Ownership {
    /// No driver or owner does DMA with the group; it is attached to its default domain.
    Free,
    /// Kernel drivers share the default domain.
    Kernel {
        /// How many drivers.
        users: usize,
    },
    /// A driver has attached its own domain.
    Lent {
        /// How many drivers use the DMA API again once the loan has ended.
        users: usize,
        /// Which driver.
        to: Label,
    },
    /// One owner holds the group.
    Claimed {
        /// Who.
        owner: Owner,
        /// How many claims the owner has.
        claims: usize,
        /// Whether a domain of the owner is attached.
        attached: bool,
    },
}

/// What a claim or a release changed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The number of claims changed; the group stays as it is.
    None,
    /// The group was free and is claimed now: it must leave the default domain.
    Taken,
    /// The last claim ended: the group must return to its default domain.
    Freed,
}

impl Ownership {
    /// A driver starts to use the DMA API.
    pub fn start_use(&mut self) -> Result<(), Refusal> {
        match *self {
            Self::Free => *self = Self::Kernel { users: 1 },
            Self::Kernel { users } => *self = Self::Kernel { users: users + 1 },
            Self::Lent { to, .. } => return Err(Refusal::Lent { to }),
            Self::Claimed { owner, .. } => return Err(Refusal::Claimed { by: owner }),
        }
        Ok(())
    }

    /// As [`start_use`](Self::start_use), for a driver that the kernel has admitted. It is counted
    /// even if the group is lent: it uses the DMA API when the loan has ended.
    // The native frontend admits drivers itself.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn count_use(&mut self) -> Result<(), Refusal> {
        match self {
            Self::Lent { users, .. } => {
                *users += 1;
                Ok(())
            }
            _ => self.start_use(),
        }
    }

    /// A driver stops using the DMA API.
    pub fn end_use(&mut self) -> Result<(), Refusal> {
        match self {
            Self::Kernel { users: 1 } => *self = Self::Free,
            Self::Kernel { users } => *users -= 1,
            Self::Lent { users, .. } if *users > 0 => *users -= 1,
            Self::Free | Self::Lent { .. } | Self::Claimed { .. } => return Err(Refusal::NotHeld),
        }
        Ok(())
    }

    /// The driver `to` attaches its own domain.
    pub fn lend(&mut self, to: Label) -> Result<(), Refusal> {
        match *self {
            Self::Free | Self::Kernel { .. } => {
                *self = Self::Lent {
                    users: self.users(),
                    to,
                }
            }
            Self::Lent { to, .. } => return Err(Refusal::Lent { to }),
            Self::Claimed { owner, .. } => return Err(Refusal::Claimed { by: owner }),
        }
        Ok(())
    }

    /// The driver's own domain is detached.
    pub fn end_loan(&mut self) -> Result<(), Refusal> {
        match *self {
            Self::Lent { users: 0, .. } => *self = Self::Free,
            Self::Lent { users, .. } => *self = Self::Kernel { users },
            Self::Free | Self::Kernel { .. } | Self::Claimed { .. } => {
                return Err(Refusal::NotHeld)
            }
        }
        Ok(())
    }

    /// Whether [`claim`](Self::claim) by `owner` would succeed, and what it would change.
    pub fn may_claim(&self, owner: Owner) -> Result<Change, Refusal> {
        match *self {
            Self::Free => Ok(Change::Taken),
            Self::Kernel { users } => Err(Refusal::InUseByKernel { users }),
            Self::Lent { to, .. } => Err(Refusal::Lent { to }),
            Self::Claimed { owner: holder, .. } if holder == owner => Ok(Change::None),
            Self::Claimed { owner: holder, .. } => Err(Refusal::Claimed { by: holder }),
        }
    }

    /// `owner` claims the group.
    pub fn claim(&mut self, owner: Owner) -> Result<Change, Refusal> {
        let change = self.may_claim(owner)?;
        match self {
            Self::Claimed { claims, .. } => *claims += 1,
            _ => {
                *self = Self::Claimed {
                    owner,
                    claims: 1,
                    attached: false,
                }
            }
        }
        Ok(change)
    }

    /// One claim of `owner` ends.
    pub fn release(&mut self, owner: Owner) -> Result<Change, Refusal> {
        match self {
            Self::Claimed { owner: holder, .. } if *holder != owner => {
                Err(Refusal::Claimed { by: *holder })
            }
            Self::Claimed { claims, .. } if *claims > 1 => {
                *claims -= 1;
                Ok(Change::None)
            }
            Self::Claimed { attached: true, .. } => Err(Refusal::StillAttached { owner }),
            Self::Claimed { .. } => {
                *self = Self::Free;
                Ok(Change::Freed)
            }
            Self::Free | Self::Kernel { .. } | Self::Lent { .. } => Err(Refusal::NotHeld),
        }
    }

    /// Records whether a domain of `owner` is attached.
    pub fn set_attached(&mut self, owner: Owner, now: bool) -> Result<(), Refusal> {
        match self {
            Self::Claimed {
                owner: holder,
                attached,
                ..
            } if *holder == owner => {
                *attached = now;
                Ok(())
            }
            Self::Claimed { owner: holder, .. } => Err(Refusal::Claimed { by: *holder }),
            Self::Kernel { users } => Err(Refusal::InUseByKernel { users: *users }),
            Self::Lent { to, .. } => Err(Refusal::Lent { to: *to }),
            Self::Free => Err(Refusal::NotHeld),
        }
    }

    /// How many drivers use the DMA API now or once a loan has ended.
    pub fn users(&self) -> usize {
        match self {
            Self::Kernel { users } | Self::Lent { users, .. } => *users,
            Self::Free | Self::Claimed { .. } => 0,
        }
    }

    /// Whether one owner or driver has exclusive use of the group, so that the group is not on its
    /// default domain.
    pub fn is_exclusive(&self) -> bool {
        matches!(self, Self::Lent { .. } | Self::Claimed { .. })
    }

    /// The owner, when the group is claimed.
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Self::Claimed { owner, .. } => Some(*owner),
            _ => None,
        }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => write!(f, "nobody"),
            Self::Kernel { users: 1 } => write!(f, "kernel (1 driver)"),
            Self::Kernel { users } => write!(f, "kernel ({users} drivers)"),
            Self::Lent { to, .. } => write!(f, "{to} (a domain of its own)"),
            Self::Claimed {
                owner,
                attached: true,
                ..
            } => write!(f, "{}", owner.name),
            Self::Claimed { owner, .. } => write!(f, "{} (no domain attached)", owner.name),
        }
    }
}
