// SPDX-License-Identifier: GPL-2.0

//! What has to hold, at every step and after every event.

use std::collections::BTreeSet;

use iommu_core_host::{
    frontend::{hosted::intent::Holder, provider::stage::HoldReason},
    ownership::Ownership,
};

use crate::{
    c::Driver,
    core::{Device, Domain},
    world::{Failing, Known, World, DEVICES},
};

/// A rule that was broken.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Broken {
    /// The machine and the core disagree about who holds the group.
    MachineDiffers,
    /// A device in mid-reset reaches something.
    ReachesInReset,
    /// A device in mid-reset is taken for one whose reset is over.
    ResumedInReset,
    /// A device reaches what neither C's old nor C's new domain for it is (law 7).
    ReachesOther,
    /// A device that firmware or a held driver uses was blocked, and C has not asked for it.
    CutOff,
    /// A device is not where C believes that it is.
    NotWhereCThinks,
    /// The group is claimed, and C knows of no owner.
    ClaimedForNobody,
    /// C has let an owner have the group, and it is not claimed.
    OwnerWithoutClaim,
    /// The kernel drivers that use the group are miscounted.
    Miscounted,
    /// Something failed, and not all is as it was.
    NotUndone,
    /// C was refused what it relies on, and nothing had failed before.
    CWarns,
    /// C's rules allow it, nothing has failed, and yet it was refused.
    Refused,
    /// A device that cannot be held costs its unit.
    HoldRefused,
    /// A device that C refuses costs its unit.
    UnitRefused,
    /// Devices that cannot be isolated from each other are attached in two groups.
    NotTogether,
    /// The unit was given back, and something is left.
    Left,
    /// Nobody will ever take a device out of its group.
    Lost,
}

impl Broken {
    /// Whether it makes no sense to go on from there.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::ClaimedForNobody | Self::OwnerWithoutClaim | Self::ResumedInReset | Self::Refused
        )
    }
}

/// What is watched during one event.
#[derive(Clone, Default, Debug)]
pub struct Watch {
    /// What was broken on the way.
    pub broken: BTreeSet<Broken>,
    /// Nothing that follows would tell anything about us.
    pub ends: bool,
    /// What C permits each device to reach.
    allowed: [Vec<Domain>; DEVICES],
    /// The device whose reset C ends.
    pub ended: Option<Device>,
    reached: [Option<Domain>; DEVICES],
}

impl World {
    /// What C believes that a device is attached to.
    fn view(&self, device: Device) -> Option<Domain> {
        let known = &self.c.devices[device];
        match self.c.list.contains(&device) {
            true if known.blocked => Some(Domain::Blocked),
            true => Some(self.c.domain.unwrap_or(Domain::Blocked)),
            false => None,
        }
    }

    /// From here on each device may reach what C has it attached to, or what it is held on.
    pub fn watch_views(&mut self) {
        for device in 0..DEVICES {
            let reach = self.reach(device);
            self.watch.reached[device] = Some(reach);
            self.watch.allowed[device] = vec![self.view(device).unwrap_or(reach)];
        }
    }

    /// C is about to attach a device to a domain, or has reason to block it.
    pub fn watch_may_reach(&mut self, device: Device, domain: Domain) {
        self.watch.allowed[device].push(domain);
    }

    /// Looks at what hardware lets each device reach, at any moment.
    pub fn look(&mut self) {
        for device in 0..DEVICES {
            let reach = self.reach(device);
            let last = self.watch.reached[device].replace(reach);
            // Those with one id are one to the unit: one of them reaches what C lets the other
            // reach.
            let mut allowed = self.watch.allowed.iter().enumerate();
            let allowed = allowed.any(|(other, allowed)| {
                (other == device || self.config.shared_id) && allowed.contains(&reach)
            });
            if reach != Domain::Blocked {
                if self.is_in_reset(device) {
                    self.breaks(Broken::ReachesInReset);
                } else if !allowed && !self.is_on_hold(device, reach) {
                    self.breaks(Broken::ReachesOther);
                }
            } else if !allowed && last != Some(Domain::Blocked) && self.must_reach(device) {
                self.breaks(Broken::CutOff);
            }
        }
    }

    /// Whether somebody does DMA with the device and is not asked before it is blocked. Firmware
    /// that needs it only until a driver comes has no say once C knows the device.
    fn must_reach(&self, device: Device) -> bool {
        self.is_held_by_user(device)
            || self.pinned(device)
            || self.is_direct(device) && !self.c.list.contains(&device)
    }

    /// Whether a device is held because its driver uses the DMA API.
    pub fn is_held_by_user(&self, device: Device) -> bool {
        matches!(
            self.held[device],
            Some((HoldReason::DriverWasBound { dma_api: true }, _))
        )
    }

    /// Whether a device is held, and reaches what it is held for, or is on its way from there. A
    /// driver that does not use the DMA API goes wherever its group goes, and so does a device that
    /// firmware uses, once C has others of its group: its regions are mapped for these, too. When
    /// these have left it stays on the default domain that they had.
    fn is_on_hold(&self, device: Device, reach: Domain) -> bool {
        let driver = self.driver(device).uses_dma_api();
        let core = self.known.as_ref().map(|known| known.core);
        // Those with one id are one to the unit.
        let is_other = self.config.shared_id;
        match self.held[device] {
            Some((HoldReason::DriverWasBound { dma_api: false }, _)) => true,
            Some((HoldReason::DriverWasBound { dma_api: true }, _)) => reach == Domain::Identity,
            Some((HoldReason::DirectRegions, slot)) => match reach {
                Domain::Direct(of) => of == device || is_other,
                // It has got a driver, or the other one has.
                Domain::Identity => is_other || driver.is_some() || core == Some(slot),
                _ => {
                    let group = self.slots[slot].as_ref();
                    core == Some(slot) || group.is_some_and(|group| group.default == Some(reach))
                }
            },
            None if self.moving[device].is_some() => true,
            // It is about to be held.
            None if !self.c.devices[device].known => {
                matches!(reach, Domain::Identity | Domain::Direct(_)) || driver == Some(false)
            }
            None => false,
        }
    }

    /// What does not hold between two events.
    pub fn settled(&self) -> BTreeSet<Broken> {
        let mut broken = BTreeSet::new();
        if self.loses_a_member() {
            broken.insert(Broken::Lost);
        }
        let is_elsewhere = |device: Device| {
            self.view(device).is_some_and(|view| view != self.reach(device))
                // Until the first attach it is where it was held.
                && (self.c.domain.is_some() || self.moving[device].is_none())
        };
        if (0..DEVICES).any(is_elsewhere) {
            broken.insert(Broken::NotWhereCThinks);
        }
        // Who reads the record has what is not certain looked up.
        let mut read = self.clone();
        read.begin(Failing::Never);
        let _ = read.settle();
        broken.extend(read.watch.broken.iter().copied());
        if let Some(known) = &read.known {
            broken.extend(read.ownership(known));
        }
        // A device whose regions are mapped by its own domain has yet to join the others.
        let groups = self.slots.iter().flatten().filter(|group| {
            !group.members.is_empty() && !matches!(group.current, Domain::Direct(_))
        });
        if groups.count() > 1 {
            broken.insert(Broken::NotTogether);
        }
        let is_left = self.known.is_some()
            || self.held.iter().any(Option::is_some)
            || self.moving.iter().any(Option::is_some)
            || self.slots.iter().any(Option::is_some);
        if !self.c.registered && is_left {
            broken.insert(Broken::Left);
        }
        broken
    }

    fn loses_a_member(&self) -> bool {
        let core = self.known.as_ref().map(|known| known.core);
        let is_lost = |slot: usize, device: Device| {
            let held = self.held[device].is_some_and(|(_, at)| at == slot);
            let known = self.c.devices[device].known && core == Some(slot);
            !held && !known && self.moving[device].is_none_or(|(_, at)| at != slot)
        };
        let mut members = self.slots.iter().enumerate().flat_map(|(slot, group)| {
            let members = group.iter().flat_map(|group| &group.members);
            members.map(move |member| (slot, member.device))
        });
        self.lost || members.any(|(slot, device)| is_lost(slot, device))
    }

    /// Compares what C, the machine and the core say of the group's owner and users.
    fn ownership(&self, known: &Known) -> Vec<Broken> {
        let mut broken = Vec::new();
        let holder = known.intent.holder();
        let group = self.slots[known.core].as_ref().expect("a group");
        match (holder, group.ownership) {
            (Holder::Nobody, Ownership::Free | Ownership::Kernel { .. })
            | (Holder::Driver, Ownership::Lent { .. }) => {}
            (Holder::Owner { attached: a }, Ownership::Claimed { attached: b, .. }) if a == b => {}
            _ => broken.push(Broken::MachineDiffers),
        }
        let attached = matches!(self.c.domain, Some(Domain::Own(_)));
        match (self.c.owner, attached, holder) {
            (true, attached, Holder::Owner { attached: ours }) if attached == ours => {}
            (true, ..) => broken.push(Broken::OwnerWithoutClaim),
            // C has no owner for a domain that was attached without a claim.
            (false, true, Holder::Owner { attached: true } | Holder::Driver) => {}
            (false, false, Holder::Nobody) => {}
            (false, ..) => broken.push(Broken::ClaimedForNobody),
        }
        let held = (0..DEVICES).filter(|&device| {
            self.held[device] == Some((HoldReason::DriverWasBound { dma_api: true }, known.core))
        });
        let drivers = |is: fn(Driver) -> bool| {
            let known = self.c.list.iter();
            known.filter(|d| is(self.c.bus[**d].driver)).count()
        };
        let least = held.count() + drivers(Driver::is_counted);
        // Nobody can tell when exactly C has stopped counting.
        let most = least + drivers(Driver::is_leaving);
        let users = group.ownership.users();
        let is_right = (least..=most).contains(&users);
        if !is_right && !matches!(holder, Holder::Owner { .. }) {
            broken.push(Broken::Miscounted);
        }
        broken
    }
}
