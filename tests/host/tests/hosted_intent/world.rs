// SPDX-License-Identifier: GPL-2.0

//! The frontend as a model: it does what the machine says, on the core's model. What C does is in
//! `c.rs`, what has to hold is in `rules.rs`.

use iommu_core_host::frontend::{
    hosted::intent::{Facts, Holder, Intent, Step, Target, Tracked},
    provider::stage::{HoldReason, Move, Seen, Stage},
};

use crate::{
    c::{Driver, Layer},
    core::{Device, Domain, Error, Group, Suspended},
    rules::{Broken, Watch},
};

/// How many devices there are. None of them can be isolated from the others.
pub const DEVICES: usize = 2;

/// Room for the group of C's devices and one for each held device.
const SLOTS: usize = DEVICES + 2;

/// What firmware does with a device.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Direct {
    No,
    /// Until a driver comes.
    Relaxable,
    Always,
}

/// The devices, as they were built.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// C blocks the device while it is reset.
    pub ats: [bool; DEVICES],
    pub direct: [Direct; DEVICES],
    pub untrusted: [bool; DEVICES],
    /// Both have one id to their unit.
    pub shared_id: bool,
}

impl Config {
    pub const PLAIN: Self = Self {
        ats: [false; DEVICES],
        direct: [Direct::No; DEVICES],
        untrusted: [false; DEVICES],
        shared_id: false,
    };
}

/// Which operation that may fail does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failing {
    /// None.
    Never,
    /// Only this one, counted from the start of the event.
    Once(usize),
    /// This one and all that follow.
    From(usize),
}

/// One of the core's groups: the group of C's devices, or that of a device which is held.
pub type Slot = usize;

/// What the frontend has for C's group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Known {
    pub intent: Intent<Vec<Tracked<Device>>>,
    pub core: Slot,
}

/// All that is looked at.
#[derive(Clone, Debug)]
pub struct World {
    pub config: Config,
    pub c: Layer,
    /// The unit translates.
    pub active: bool,
    /// C has accepted the unit.
    pub accepted: bool,
    pub leaving: bool,
    pub known: Option<Known>,
    pub held: [Option<(HoldReason, Slot)>; DEVICES],
    /// Where a device is still attached that C knows and has not attached yet.
    pub moving: [Option<(HoldReason, Slot)>; DEVICES],
    /// The frontend has lost a member of the core's: nobody will ever take it out.
    pub lost: bool,
    pub slots: [Option<Group>; SLOTS],
    failing: Failing,
    tried: usize,
    pub watch: Watch,
}

impl World {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            c: Layer::new(),
            active: false,
            accepted: false,
            leaving: false,
            known: None,
            held: Default::default(),
            moving: Default::default(),
            lost: false,
            slots: Default::default(),
            failing: Failing::Never,
            tried: 0,
            watch: Watch::default(),
        }
    }

    /// Prepares for one event.
    pub fn begin(&mut self, failing: Failing) {
        self.failing = failing;
        self.tried = 0;
        self.watch = Watch::default();
        self.watch_views();
    }

    /// How many operations of the event could have failed.
    pub fn tried(&self) -> usize {
        self.tried
    }

    /// Whether a failure was injected.
    pub fn has_failed(&self) -> bool {
        match self.failing {
            Failing::Never => false,
            Failing::Once(at) | Failing::From(at) => self.tried > at,
        }
    }

    /// Something is allocated or prepared.
    pub fn allocate(&mut self) -> Result<(), Error> {
        let now = self.tried;
        self.tried += 1;
        match self.failing {
            Failing::Once(at) if now == at => Err(Error::Memory),
            Failing::From(at) if now >= at => Err(Error::Memory),
            _ => Ok(()),
        }
    }

    pub fn slot(&mut self, slot: Slot) -> &mut Group {
        self.slots[slot].as_mut().expect("a group")
    }

    fn enter(&mut self, group: Group) -> Slot {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.expect("room for all groups");
        self.slots[slot] = Some(group);
        slot
    }

    /// A group that nobody refers to is gone.
    fn tidy(&mut self) {
        for slot in 0..self.slots.len() {
            let used = self.known.as_ref().is_some_and(|known| known.core == slot)
                || self.held.iter().flatten().any(|(_, at)| *at == slot)
                || self.moving.iter().flatten().any(|(_, at)| *at == slot);
            if !used {
                if let Some(group) = self.slots[slot].take() {
                    self.lost |= !group.members.is_empty();
                }
            }
        }
    }

    pub fn pinned(&self, device: Device) -> bool {
        self.config.direct[device] == Direct::Always
    }

    pub fn is_direct(&self, device: Device) -> bool {
        self.config.direct[device] != Direct::No
    }

    /// What hardware lets a device reach.
    pub fn reach(&self, device: Device) -> Domain {
        let mut found = self.slots.iter().flatten().filter_map(|g| g.reach(device));
        let reach = found.next().unwrap_or(Domain::Blocked);
        assert!(found.next().is_none(), "a device is in two groups");
        reach
    }

    /// Whether an id of the device's is another group's.
    fn seat_is_taken(&self, device: Device, slot: Slot) -> bool {
        self.config.shared_id
            && self.slots.iter().enumerate().any(|(at, group)| {
                at != slot
                    && group
                        .as_ref()
                        .is_some_and(|g| g.members.iter().any(|m| m.device != device))
            })
    }

    fn join(&mut self, device: Device, slot: Slot) -> Result<(), Error> {
        self.allocate()?;
        if self.seat_is_taken(device, slot) {
            return Err(Error::Busy);
        }
        let pinned = self.pinned(device);
        self.slot(slot).join(device, pinned)?;
        self.look();
        Ok(())
    }

    /// `Group::adopt`: all members move from one group to another.
    fn adopt(&mut self, to: Slot, from: Slot) -> Result<(), Error> {
        if to == from {
            return Ok(());
        }
        self.allocate()?;
        let moving = self.slot(from).clone();
        self.slot(to).adopt(&moving)?;
        self.slot(from).members.clear();
        let places = self.held.iter_mut().chain(&mut self.moving);
        for (_, slot) in places.flatten() {
            if *slot == from {
                *slot = to;
            }
        }
        self.look();
        self.tidy();
        Ok(())
    }

    fn set_default(&mut self, slot: Slot, domain: Domain) -> Result<(), Error> {
        if !self.slot(slot).stays_on(domain) {
            self.allocate()?;
        }
        self.slot(slot).set_default(domain)?;
        self.look();
        Ok(())
    }

    // What follows is what the files of `frontend/hosted` do.

    fn stage_outside(&self, device: Device) -> Stage {
        self.held[device].map_or(Stage::Outside, |(reason, _)| Stage::Held(reason))
    }

    /// `hold::hold_all`, for one device.
    pub fn unit_taken(&mut self, device: Device) -> Result<(), Error> {
        let seen = Seen::UnitTaken {
            driver: self.c.bus[device].driver.uses_dma_api(),
            direct: self.is_direct(device),
        };
        let result = match self.stage_outside(device).see(seen).0 {
            Move::Hold(reason) => self.hold(device, reason),
            _ => Ok(()),
        };
        match result {
            // It stays blocked, and costs nobody else anything.
            Err(Error::Busy | Error::Invalid) => Ok(()),
            result => result,
        }
    }

    /// The groups of held drivers' devices that `device` cannot be isolated from.
    fn near_drivers(&self, device: Device) -> Vec<Slot> {
        let others = (0..DEVICES).filter(|&other| other != device);
        let near = others.filter_map(|other| match self.held[other] {
            Some((HoldReason::DriverWasBound { .. }, slot)) => Some(slot),
            _ => None,
        });
        near.collect()
    }

    /// The groups of held devices with an id of the device's.
    fn with_same_id(&self, device: Device) -> Vec<Slot> {
        let alike = (0..DEVICES).filter(|&other| other == device || self.config.shared_id);
        alike
            .filter_map(|other| Some(self.held[other]?.1))
            .collect()
    }

    fn hold(&mut self, device: Device, reason: HoldReason) -> Result<(), Error> {
        self.allocate()?;
        let result = match reason {
            HoldReason::DriverWasBound { dma_api } => self.hold_on_identity(device, dma_api),
            HoldReason::DirectRegions => self.hold_on_direct_regions(device),
        };
        self.tidy();
        result
    }

    fn hold_on_identity(&mut self, device: Device, dma_api: bool) -> Result<(), Error> {
        let slot = self.identity_group(device)?;
        let is_member = self.slot(slot).member(device).is_some();
        if dma_api && !is_member {
            let group = self.slot(slot);
            if group.current != Domain::Identity || group.ownership.is_exclusive() {
                return Err(Error::Busy);
            }
        }
        if !is_member {
            self.join(device, slot)?;
        }
        if dma_api {
            self.slot(slot).start_dma_api(device)?;
        }
        if !is_member && self.allocate().is_err() {
            self.slot(slot).leave(device);
            self.look();
            return Err(Error::Memory);
        }
        self.held[device] = Some((HoldReason::DriverWasBound { dma_api }, slot));
        Ok(())
    }

    fn identity_group(&mut self, device: Device) -> Result<Slot, Error> {
        let dma_api = self.c.bus[device].driver.uses_dma_api() == Some(true);
        let drivers = self.near_drivers(device);
        let alike = self.with_same_id(device);
        let known = self.known.as_ref().map(|known| known.core);
        let slot = match known.or(drivers.first().or(alike.first()).copied()) {
            Some(slot) => slot,
            None => {
                self.allocate()?;
                self.enter(Group::new())
            }
        };
        let inside: Vec<_> = match &self.known {
            Some(known) => known.intent.devices().iter().map(|d| *d.key()).collect(),
            None => Vec::new(),
        };
        let is_settled = inside
            .iter()
            .any(|&d| self.stage_inside(d) == Stage::Member);
        let untrusted = inside.iter().any(|&d| self.config.untrusted[d]);
        let group = self.slot(slot);
        let is_held = group.ownership.is_exclusive();
        let elsewhere = is_settled && group.current != Domain::Identity;
        if known.is_some() && (is_held || dma_api && (untrusted || elsewhere)) {
            return Err(Error::Busy);
        }
        if !is_settled {
            self.set_default(slot, Domain::Identity)?;
        }
        for other in drivers.into_iter().chain(alike) {
            if self.slots[other].is_some() {
                self.adopt(slot, other)?;
            }
        }
        Ok(slot)
    }

    fn hold_on_direct_regions(&mut self, device: Device) -> Result<(), Error> {
        // Of two devices one at most is held already.
        let slot = match self.with_same_id(device).first() {
            Some(&slot) => slot,
            None => {
                self.allocate()?;
                let mut group = Group::new();
                group.set_default(Domain::Direct(device)).unwrap();
                self.enter(group)
            }
        };
        self.join(device, slot)?;
        if self.allocate().is_err() {
            self.slot(slot).leave(device);
            self.look();
            return Err(Error::Memory);
        }
        self.held[device] = Some((HoldReason::DirectRegions, slot));
        Ok(())
    }

    /// `probe_device`. All errors are `ENODEV` for C.
    pub fn probe(&mut self, device: Device) -> Result<(), Error> {
        let driver = self.c.bus[device].driver.uses_dma_api();
        let found = self.stage_outside(device).see(Seen::Probe { driver }).0;
        match found {
            Move::Hold(reason) => {
                if self.active && !self.leaving {
                    self.hold(device, reason)?;
                }
                return Err(Error::Invalid);
            }
            Move::HandOver | Move::Offer => self.allocate()?,
            Move::Nothing | Move::Drop => return Err(Error::Invalid),
        }
        if !self.active || self.leaving {
            return Err(Error::Invalid);
        }
        let near = self.near_drivers(device);
        if self.config.untrusted[device] && near.iter().any(|&slot| self.relies_on(slot)) {
            return Err(Error::Invalid);
        }
        self.allocate()?;
        if found == Move::HandOver {
            let (reason, slot) = self.held[device].take().expect("held");
            if reason == (HoldReason::DriverWasBound { dma_api: true }) {
                self.slot(slot).end_dma_api(device);
            }
            self.moving[device] = Some((reason, slot));
        }
        Ok(())
    }

    /// `device_group`. All errors are `ENODEV` for C.
    pub fn device_group(&mut self, device: Device) -> Result<(), Error> {
        self.allocate()?;
        let near = self.near_drivers(device);
        let own = self.moving[device].map(|(_, slot)| slot);
        let alike = own.or(self.with_same_id(device).first().copied());
        let core = match (&self.known, near.first().copied().or(alike)) {
            (Some(known), _) => known.core,
            (None, Some(held)) => held,
            (None, None) => self.enter(Group::new()),
        };
        for other in near {
            if other != core {
                if self.slot(core).default.is_none() {
                    self.set_default(core, Domain::Identity)?;
                }
                self.adopt(core, other)?;
            }
        }
        if self.known.is_none() {
            self.known = Some(Known {
                intent: Intent::new(Vec::new()),
                core,
            });
        }
        let stage = self.stage_inside(device);
        let known = self.known.as_mut().expect("just made");
        let devices = known.intent.devices_mut();
        devices.push(Tracked::new(device, stage));
        Ok(())
    }

    /// `ProviderDevice::stage`.
    fn stage_inside(&self, device: Device) -> Stage {
        let core = self.known.as_ref().map(|known| known.core);
        let group = core.and_then(|core| self.slots[core].as_ref());
        match self.moving[device] {
            Some((reason, _)) => Stage::HandedOver(reason),
            None if group.is_some_and(|group| group.member(device).is_some()) => Stage::Member,
            None => Stage::New,
        }
    }

    /// Whether firmware uses a device that is still there.
    fn firmware_uses(&self, device: Device) -> bool {
        self.is_direct(device) && self.c.bus[device].present
    }

    /// `ProviderUnit::may_be_lost`.
    fn may_be_lost(&self) -> bool {
        self.leaving || !self.accepted
    }

    /// `release_device`.
    pub fn release_device(&mut self, device: Device) {
        let seen = Seen::Released {
            unit_leaves: self.may_be_lost(),
            direct: self.firmware_uses(device),
        };
        let stage = self.stage_inside(device);
        let core = self.known.as_ref().map(|known| known.core);
        let slot = self.moving[device].map(|(_, slot)| slot).or(core);
        match stage.see(seen).0 {
            Move::Hold(reason) => self.held[device] = slot.map(|slot| (reason, slot)),
            _ => {
                if let Some(slot) = slot {
                    self.slot(slot).leave(device);
                }
            }
        }
        self.moving[device] = None;
        self.look();
        if let (Some(at), Some(core)) = (self.place(device), core) {
            let known = self.known.as_mut().expect("a group");
            known.intent.devices_mut().remove(at);
            if known.intent.devices().is_empty() {
                let holder = known.intent.holder();
                self.group_left(core, holder);
            }
        }
        self.tidy();
    }

    /// The last device that C knew has left.
    fn group_left(&mut self, core: Slot, holder: Holder) {
        match holder {
            Holder::Owner { .. } => self.slot(core).end_claim(),
            Holder::Driver => self.slot(core).end_loan(),
            Holder::Nobody => {}
        }
        self.look();
        let mut held = self.held.iter().flatten();
        let has_driver =
            held.any(|&(reason, slot)| slot == core && reason != HoldReason::DirectRegions);
        if has_driver && !self.leaving {
            let _ = self.slot(core).set_default(Domain::Identity);
            self.look();
        }
        self.known = None;
    }

    fn place(&self, device: Device) -> Option<usize> {
        let known = self.known.as_ref()?;
        known
            .intent
            .devices()
            .iter()
            .position(|d| *d.key() == device)
    }

    /// `attach_dev`.
    pub fn attach_dev(
        &mut self,
        device: Device,
        target: Target,
        domain: Domain,
        old: Option<Domain>,
    ) -> Result<(), Error> {
        let at = self.place(device).expect("C knows the device");
        let facts = Facts {
            held_user: self.has_held_user(),
            may_be_reset: self.config.ats[device],
            is_new: old.is_none(),
            is_passing: self.is_passing(device),
            new_default: self.is_new_default(domain),
            direct: self.firmware_uses(device),
            unit_leaves: self.may_be_lost(),
        };
        // `hosted/attach.rs`: asks the machine, and carries its steps out.
        let mut intent = self.known.as_ref().expect("a group").intent.clone();
        let result = intent.attach(at, target, facts, |step, &about| {
            self.carry_out(step, about, domain)
        });
        self.known.as_mut().expect("a group").intent = intent;
        result
    }

    /// `HeldDevices::has_driver`.
    fn has_held_user(&self) -> bool {
        let core = self.known.as_ref().expect("a group").core;
        (0..DEVICES)
            .any(|d| self.held[d] == Some((HoldReason::DriverWasBound { dma_api: true }, core)))
    }

    /// Whether C has blocked another device, and not because of a reset.
    fn is_passing(&self, device: Device) -> bool {
        let known = self.known.as_ref().expect("a group");
        let mut others = known.intent.devices().iter();
        others.any(|other| {
            *other.key() != device
                && other.is_blocked()
                && self.iommu_driver_get_domain_for_dev(*other.key()) != Some(Domain::Blocked)
        })
    }

    /// `Group::is_new_default`.
    fn is_new_default(&self, domain: Domain) -> bool {
        let core = self.known.as_ref().expect("a group").core;
        let group = self.slots[core].as_ref().expect("a group");
        group.default != Some(domain)
    }

    /// What is not certain is looked up (`hosted/settle.rs`).
    pub fn settle(&mut self) -> Result<(), Error> {
        let (Some(known), Some(now)) = (&self.known, self.iommu_get_domain_for_dev()) else {
            return Ok(());
        };
        let mut intent = known.intent.clone();
        let result = intent.settle(now, |step, &about| {
            self.carry_out(step, about, Domain::Blocked)
        });
        self.known.as_mut().expect("a group").intent = intent;
        result
    }

    fn carry_out(&mut self, step: Step, device: Device, domain: Domain) -> Result<(), Error> {
        let core = self.known.as_ref().expect("a group").core;
        match step {
            Step::SetDefault => {
                if !self.slot(core).stays_on(domain) {
                    self.allocate()?;
                }
                self.slot(core).set_default(domain)?;
            }
            Step::Claim => {
                self.allocate()?;
                self.slot(core).claim()?;
            }
            Step::AttachClaimed => {
                if self.slot(core).current != domain {
                    self.allocate()?;
                }
                self.slot(core).attach_claimed(domain);
            }
            Step::Detach => self.slot(core).detach_claimed(),
            Step::EndClaim | Step::DropClaim => self.slot(core).end_claim(),
            Step::Lend => {
                self.allocate()?;
                self.slot(core).lend(domain)?;
            }
            Step::AttachLent => {
                if self.slot(core).current != domain {
                    self.allocate()?;
                }
                self.slot(core).attach_lent(domain);
            }
            Step::EndLoan => self.slot(core).end_loan(),
            Step::EndUse => self.slot(core).end_dma_api(device),
            Step::Suspend => {
                if self.slot(core).current != Domain::Blocked {
                    self.allocate()?;
                }
                self.suspend(core, device, Suspended::Prepared);
            }
            Step::Cut => self.suspend(core, device, Suspended::Cut),
            Step::Resume => {
                if self.is_in_reset(device) {
                    self.breaks(Broken::ResumedInReset);
                }
                if self.slot(core).is_cut(device) {
                    self.allocate()?;
                }
                self.suspend(core, device, Suspended::No);
            }
            Step::Join | Step::Adopt => self.join_group(device)?,
            Step::Leave => {
                let held = self.moving[device].take();
                self.slot(held.map_or(core, |(_, slot)| slot)).leave(device);
            }
        }
        self.look();
        Ok(())
    }

    /// `ProviderGroup::join`.
    fn join_group(&mut self, device: Device) -> Result<(), Error> {
        let core = self.known.as_ref().expect("a group").core;
        let shared = self.config.shared_id;
        let others = self.slots.iter().enumerate().filter(|(slot, group)| {
            let mut members = group.iter().flat_map(|group| &group.members);
            *slot != core && members.any(|m| m.device == device || shared)
        });
        for other in others.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.adopt(core, other)?;
        }
        if self.slot(core).member(device).is_none() {
            self.join(device, core)?;
        }
        self.moving[device] = None;
        self.tidy();
        Ok(())
    }

    fn suspend(&mut self, core: Slot, device: Device, now: Suspended) {
        if !self.slot(core).set_suspended(device, now) {
            self.breaks(Broken::MachineDiffers);
        }
    }

    /// Whether a device is in a reset. While C ends one it says that it is.
    pub fn is_in_reset(&self, device: Device) -> bool {
        self.c.devices[device].blocked && self.watch.ended != Some(device)
    }

    fn set_driver_leaves(&mut self, device: Device, leaves: bool) -> Option<Slot> {
        let at = self.place(device)?;
        let known = self.known.as_mut()?;
        known.intent.devices_mut()[at].set_driver_leaves(leaves);
        Some(known.core)
    }

    /// The notifier: a driver is bound, and C has let it have the group.
    pub fn driver_binds(&mut self, device: Device) {
        if let Some(core) = self.set_driver_leaves(device, false) {
            // Refusals are logged.
            let _ = self.settle();
            let _ = self.slot(core).count_dma_api(device);
        }
    }

    /// The notifier: a driver is about to be unbound.
    pub fn driver_leaves(&mut self, device: Device) {
        self.set_driver_leaves(device, true);
    }

    /// The notifier: a driver is gone.
    pub fn driver_unbound(&mut self, device: Device) {
        if let Some(core) = self.set_driver_leaves(device, false) {
            self.slot(core).end_dma_api(device);
        }
    }

    /// The notifier, and `HeldDevices::drop_all`: the hold of a device ends.
    pub fn ends_hold(&mut self, device: Device, seen: Seen) {
        if self.stage_outside(device).see(seen).0 == Move::Drop {
            let (_, slot) = self.held[device].take().expect("held");
            self.slot(slot).leave(device);
            self.look();
            self.tidy();
        }
    }

    /// Whether a held driver relies on a group being on identity.
    fn relies_on(&self, slot: Slot) -> bool {
        self.held
            .contains(&Some((HoldReason::DriverWasBound { dma_api: true }, slot)))
    }

    /// The default domain that C chooses for the group.
    pub fn wants_identity(&self) -> bool {
        let core = self.known.as_ref().map(|known| known.core);
        core.is_some_and(|core| self.relies_on(core))
    }

    /// Whether C is told of a region that must always be mapped for the device: its own, or that of
    /// a held one in the same group or with the same id.
    pub fn has_pinned_region(&self, device: Device) -> bool {
        let core = self.known.as_ref().map(|known| known.core);
        let beside = |other: Device| {
            self.held[other].is_some_and(|(_, slot)| self.config.shared_id || core == Some(slot))
        };
        self.pinned(device) || (0..DEVICES).any(|other| self.pinned(other) && beside(other))
    }

    /// What tells worlds apart.
    pub fn key(&self) -> Key {
        (
            self.c.clone(),
            self.active,
            self.accepted,
            self.known.clone(),
            self.held,
            self.moving,
            self.slots.clone(),
        )
    }

    /// Notes what was broken.
    pub fn breaks(&mut self, broken: Broken) {
        self.watch.broken.insert(broken);
    }

    pub fn driver(&self, device: Device) -> Driver {
        self.c.bus[device].driver
    }
}

/// What tells worlds apart.
pub type Key = (
    Layer,
    bool,
    bool,
    Option<Known>,
    [Option<(HoldReason, Slot)>; DEVICES],
    [Option<(HoldReason, Slot)>; DEVICES],
    [Option<Group>; SLOTS],
);
