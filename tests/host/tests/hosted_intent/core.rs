// SPDX-License-Identifier: GPL-2.0

//! A model of the core's groups (`group.rs`), as far as attaches and ownership go. Who may have the
//! group is decided by the real `ownership.rs`.

use std::hash::{Hash, Hasher};

use iommu_core_host::ownership::{Change, Owner, Ownership, Refusal};

/// A device, by its place in the tables of the models.
pub type Device = usize;

/// What a group is attached to.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Domain {
    Blocked,
    Identity,
    /// C's default domain for the DMA API.
    Paging,
    /// The domain that is made for one device's direct regions.
    Direct(Device),
    /// A user's own.
    Own(u8),
}

/// Why the core, or the frontend before it, fails.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Error {
    /// Injected: no memory.
    Memory,
    Busy,
    Invalid,
}

/// Whether a member is blocked alone.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Suspended {
    No,
    /// Its return is prepared.
    Prepared,
    Cut,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    pub device: Device,
    pub suspended: Suspended,
    /// Its driver uses the DMA API.
    pub driver: bool,
    pub pinned: bool,
}

/// One group of the core's.
#[derive(Clone, Debug)]
pub struct Group {
    pub members: Vec<Member>,
    pub current: Domain,
    pub default: Option<Domain>,
    pub ownership: Ownership,
}

/// Ownership without names.
fn summary(ownership: Ownership) -> (u8, usize, bool) {
    match ownership {
        Ownership::Free => (0, 0, false),
        Ownership::Kernel { users } => (1, users, false),
        Ownership::Lent { users, .. } => (2, users, false),
        Ownership::Claimed {
            claims, attached, ..
        } => (3, claims, attached),
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
            && self.current == other.current
            && self.default == other.default
            && summary(self.ownership) == summary(other.ownership)
    }
}

impl Eq for Group {}

impl Hash for Group {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.members.hash(state);
        self.current.hash(state);
        self.default.hash(state);
        summary(self.ownership).hash(state);
    }
}

fn owner() -> Owner {
    Owner {
        token: 1,
        name: "owner".into(),
    }
}

impl Group {
    pub fn new() -> Self {
        Self {
            members: Vec::new(),
            current: Domain::Blocked,
            default: None,
            ownership: Ownership::Free,
        }
    }

    pub fn member(&self, device: Device) -> Option<&Member> {
        self.members.iter().find(|m| m.device == device)
    }

    fn member_mut(&mut self, device: Device) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.device == device)
    }

    /// What hardware lets a device reach, if it is a member.
    pub fn reach(&self, device: Device) -> Option<Domain> {
        self.member(device).map(|m| match m.suspended {
            Suspended::No => self.current,
            Suspended::Prepared | Suspended::Cut => Domain::Blocked,
        })
    }

    pub fn claimed(&self) -> bool {
        matches!(self.ownership, Ownership::Claimed { .. })
    }

    pub fn join(&mut self, device: Device, pinned: bool) -> Result<(), Error> {
        assert!(self.member(device).is_none(), "joins twice");
        if pinned && self.claimed() {
            return Err(Error::Invalid);
        }
        self.members.push(Member {
            device,
            suspended: Suspended::No,
            driver: false,
            pinned,
        });
        self.members.sort_by_key(|m| m.device);
        Ok(())
    }

    /// All members of another group become members; they are still in that one.
    pub fn adopt(&mut self, from: &Self) -> Result<(), Error> {
        let users = from.members.iter().filter(|m| m.driver).count();
        let any_suspended = from.members.iter().any(|m| m.suspended != Suspended::No);
        if from.ownership.is_exclusive() || any_suspended {
            return Err(Error::Busy);
        }
        if users > 0 && (self.current != from.current || self.ownership.is_exclusive()) {
            return Err(Error::Busy);
        }
        if self.claimed() && from.members.iter().any(|m| m.pinned) {
            return Err(Error::Invalid);
        }
        for _ in 0..users {
            self.ownership.start_use().unwrap();
        }
        self.members.extend(from.members.iter().cloned());
        self.members.sort_by_key(|m| m.device);
        Ok(())
    }

    pub fn leave(&mut self, device: Device) {
        if self.member(device).is_some_and(|m| m.driver) {
            let _ = self.ownership.end_use();
        }
        self.members.retain(|m| m.device != device);
    }

    /// Whether `set_default` has nothing to prepare.
    pub fn stays_on(&self, domain: Domain) -> bool {
        match self.ownership.is_exclusive() {
            true => self.default == Some(domain),
            false => self.current == domain,
        }
    }

    pub fn set_default(&mut self, domain: Domain) -> Result<(), Error> {
        if !self.stays_on(domain) {
            if self.ownership.users() > 0 {
                return Err(Error::Busy);
            }
            if !self.ownership.is_exclusive() {
                self.go_to(domain);
            }
        }
        self.default = Some(domain);
        Ok(())
    }

    pub fn claim(&mut self) -> Result<(), Error> {
        let change = self.ownership.may_claim(owner()).map_err(|_| Error::Busy)?;
        if change == Change::Taken {
            if self.members.iter().any(|m| m.pinned) {
                return Err(Error::Invalid);
            }
            self.go_to(Domain::Blocked);
        }
        self.ownership.claim(owner()).unwrap();
        Ok(())
    }

    pub fn attach_claimed(&mut self, domain: Domain) {
        self.go_to(domain);
        self.ownership.set_attached(owner(), true).unwrap();
    }

    pub fn detach_claimed(&mut self) {
        self.go_to(Domain::Blocked);
        self.ownership.set_attached(owner(), false).unwrap();
    }

    pub fn end_claim(&mut self) {
        self.detach_claimed();
        assert_eq!(self.ownership.release(owner()), Ok(Change::Freed));
        self.go_home();
    }

    pub fn lend(&mut self, domain: Domain) -> Result<(), Error> {
        self.ownership
            .lend("driver".into())
            .map_err(|_| Error::Busy)?;
        self.go_to(domain);
        Ok(())
    }

    pub fn attach_lent(&mut self, domain: Domain) {
        self.go_to(domain);
    }

    pub fn end_loan(&mut self) {
        self.ownership.end_loan().unwrap();
        self.go_home();
    }

    fn go_home(&mut self) {
        self.go_to(self.default.unwrap_or(Domain::Blocked));
    }

    /// Blocks a member alone, or ends that. Says whether it is one.
    pub fn set_suspended(&mut self, device: Device, now: Suspended) -> bool {
        let member = self.member_mut(device);
        member.map(|member| member.suspended = now).is_some()
    }

    pub fn is_cut(&self, device: Device) -> bool {
        self.member(device)
            .is_some_and(|m| m.suspended == Suspended::Cut)
    }

    /// The whole group goes to a domain; the return of suspended members is prepared with it.
    fn go_to(&mut self, domain: Domain) {
        if self.current != domain {
            self.current = domain;
            for member in &mut self.members {
                if member.suspended == Suspended::Cut {
                    member.suspended = Suspended::Prepared;
                }
            }
        }
    }

    pub fn start_dma_api(&mut self, device: Device) -> Result<(), Error> {
        self.use_with(device, Ownership::start_use)
    }

    /// As `start_dma_api`, for a driver that C has admitted.
    pub fn count_dma_api(&mut self, device: Device) -> Result<(), Error> {
        self.use_with(device, Ownership::count_use)
    }

    fn use_with(
        &mut self,
        device: Device,
        start: impl FnOnce(&mut Ownership) -> Result<(), Refusal>,
    ) -> Result<(), Error> {
        let mut ownership = self.ownership;
        let Some(member) = self.member_mut(device) else {
            return Err(Error::Invalid);
        };
        if !member.driver {
            start(&mut ownership).map_err(|_| Error::Busy)?;
            member.driver = true;
            self.ownership = ownership;
        }
        Ok(())
    }

    pub fn end_dma_api(&mut self, device: Device) {
        let Some(member) = self.member_mut(device) else {
            return;
        };
        if core::mem::take(&mut member.driver) {
            let _ = self.ownership.end_use();
        }
    }
}
