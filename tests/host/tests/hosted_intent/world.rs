// SPDX-License-Identifier: GPL-2.0

//! The frontend as a model: it does what the machine says, on the core's model. What C does is in
//! `c.rs`, what has to hold is in `rules.rs`.

use iommu_core_host::frontend::{
    hosted::intent::{Facts, Holder, Intent, Step, Target, Tracked, Users},
    provider::stage::{HoldReason, Move, Seen, Stage},
};

use crate::{
    c::{Driver, Layer},
    core::{Device, Domain, Error, Group},
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
    /// A held driver needs identity; found out when the group is made.
    pub held_driver: bool,
}

/// All that is looked at.
#[derive(Clone, Debug)]
pub struct World {
    pub config: Config,
    pub c: Layer,
    /// The unit translates.
    pub active: bool,
    pub leaving: bool,
    pub known: Option<Known>,
    pub held: [Option<(HoldReason, Slot)>; DEVICES],
    /// Where a device that C knows is still attached.
    pub moving: [Option<Slot>; DEVICES],
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
                || self.moving.contains(&Some(slot));
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
        match self.stage_outside(device).see(seen).0 {
            Move::Hold(reason) => self.hold(device, reason),
            _ => Ok(()),
        }
    }

    /// The group of a held driver's device that `device` cannot be isolated from.
    fn neighbour(&self, device: Device) -> Option<Slot> {
        let mut others = (0..DEVICES).filter(|&other| other != device);
        others.find_map(|other| match self.held[other] {
            Some((HoldReason::DriverWasBound { .. }, slot)) => Some(slot),
            _ => None,
        })
    }

    fn hold(&mut self, device: Device, reason: HoldReason) -> Result<(), Error> {
        self.allocate()?;
        let near = match reason {
            HoldReason::DriverWasBound { .. } => self.neighbour(device),
            HoldReason::DirectRegions => None,
        };
        let slot = match near {
            Some(slot) => slot,
            None => {
                self.allocate()?;
                let mut group = Group::new();
                let domain = match reason {
                    HoldReason::DriverWasBound { .. } => Domain::Identity,
                    HoldReason::DirectRegions => Domain::Direct(device),
                };
                group.set_default(domain).unwrap();
                self.enter(group)
            }
        };
        let result = self
            .join(device, slot)
            .and_then(|()| {
                if reason == (HoldReason::DriverWasBound { dma_api: true }) {
                    self.slot(slot).start_dma_api(device)?;
                }
                Ok(())
            })
            .and_then(|()| self.allocate());
        match result {
            Ok(()) => self.held[device] = Some((reason, slot)),
            Err(_) => {
                self.slot(slot).leave(device);
                self.look();
            }
        }
        self.tidy();
        result
    }

    /// `probe_device`. All errors are `ENODEV` for C.
    pub fn probe(&mut self, device: Device) -> Result<(), Error> {
        let driver = self.c.bus[device].driver.uses_dma_api();
        match self.stage_outside(device).see(Seen::Probe { driver }).0 {
            Move::Hold(reason) => {
                if self.active {
                    self.hold(device, reason)?;
                }
                return Err(Error::Invalid);
            }
            Move::HandOver => {
                let (reason, slot) = self.held[device].take().expect("held");
                if reason == (HoldReason::DriverWasBound { dma_api: true }) {
                    self.slot(slot).end_dma_api(device);
                }
                self.moving[device] = Some(slot);
            }
            Move::Offer => self.allocate()?,
            Move::Nothing | Move::Drop => return Err(Error::Invalid),
        }
        let result = match self.active {
            true => self.allocate(),
            false => Err(Error::Invalid),
        };
        if result.is_err() {
            self.moving[device] = None;
            self.tidy();
        }
        result
    }

    /// `device_group`.
    pub fn device_group(&mut self, device: Device) -> Result<(), Error> {
        self.allocate()?;
        if self.known.is_none() {
            let core = match self.neighbour(device) {
                Some(near) => near,
                None => self.enter(Group::new()),
            };
            let held_driver = self.held.iter().flatten().any(|(reason, slot)| {
                *slot == core && *reason == (HoldReason::DriverWasBound { dma_api: true })
            });
            self.known = Some(Known {
                intent: Intent::new(Vec::new()),
                core,
                held_driver,
            });
        }
        let stage = self.stage_inside(device);
        if stage == Stage::Member {
            self.moving[device] = None;
        }
        let known = self.known.as_mut().expect("just made");
        let devices = known.intent.devices_mut();
        devices.push(Tracked::new(device, stage));
        Ok(())
    }

    /// `ProviderGroup::stage_of`.
    fn stage_inside(&self, device: Device) -> Stage {
        let core = self.known.as_ref().expect("a group").core;
        let group = self.slots[core].as_ref().expect("a group");
        match self.moving[device] {
            Some(slot) if slot == core => Stage::Member,
            Some(_) => Stage::HandedOver,
            None if group.member(device).is_some() => Stage::Member,
            None => Stage::New,
        }
    }

    /// `release_device`.
    pub fn release_device(&mut self, device: Device) {
        let Some(at) = self.place(device) else {
            if let Some(slot) = self.moving[device].take() {
                // It never got to a group of C's.
                self.slot(slot).leave(device);
                self.look();
                self.tidy();
            }
            return;
        };
        let seen = Seen::Released {
            unit_leaves: self.leaving,
            direct: self.is_direct(device),
        };
        let core = self.known.as_ref().expect("a group").core;
        match self.stage_inside(device).see(seen).0 {
            Move::Hold(reason) if self.allocate().is_ok() => {
                self.held[device] = Some((reason, core));
            }
            _ => {
                self.slot(core).leave(device);
                self.look();
                if let Some(from) = self.moving[device].take() {
                    self.slot(from).leave(device);
                }
            }
        }
        self.look();
        let known = self.known.as_mut().expect("a group");
        known.intent.devices_mut().remove(at);
        if known.intent.devices().is_empty() {
            let holder = known.intent.holder();
            self.group_left(core, holder);
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
        if !self.slot(core).members.is_empty() && !self.leaving {
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
    ) -> Result<(), Error> {
        let at = self.place(device).expect("C knows the device");
        let facts = Facts {
            users: self.users(device),
            may_be_reset: self.config.ats[device],
            direct: self.is_direct(device),
            unit_leaves: self.leaving,
        };
        // `hosted/attach.rs`: asks the machine, and carries its steps out.
        let mut intent = self.known.as_ref().expect("a group").intent.clone();
        let result = intent.attach(at, target, facts, |step, &about| {
            self.carry_out(step, about, domain)
        });
        self.known.as_mut().expect("a group").intent = intent;
        result
    }

    fn users(&self, device: Device) -> Users {
        let core = self.known.as_ref().expect("a group").core;
        let group = self.slots[core].as_ref().expect("a group");
        let is_user = group.member(device).is_some_and(|m| m.driver);
        match group.ownership.users() {
            _ if group.ownership.is_exclusive() => Users::None,
            0 => Users::None,
            1 if is_user => Users::OnlyThis,
            _ => Users::Others,
        }
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
            Step::Suspend => {
                self.allocate()?;
                if !self.slot(core).set_suspended(device, true) {
                    self.breaks(Broken::MachineDiffers);
                }
            }
            Step::Resume => {
                if self.c.devices[device].blocked {
                    self.breaks(Broken::ResumedInReset);
                }
                if !self.slot(core).set_suspended(device, false) {
                    self.breaks(Broken::MachineDiffers);
                }
            }
            Step::Join => self.join(device, core)?,
            Step::Adopt => {
                let from = self.moving[device].expect("it was held");
                self.allocate()?;
                if self.seat_is_taken(device, from)
                    || (self.pinned(device) && self.slot(core).claimed())
                {
                    return Err(Error::Busy);
                }
                self.moving[device] = None;
                let pinned = self.pinned(device);
                self.slot(from).leave(device);
                self.slot(core).join(device, pinned)?;
                self.tidy();
            }
            Step::Leave => self.slot(core).leave(device),
        }
        self.look();
        Ok(())
    }

    /// The notifier: a driver is bound, and C has let it have the group.
    pub fn driver_binds(&mut self, device: Device) {
        if self.place(device).is_some() {
            // A refusal is logged.
            let core = self.known.as_ref().expect("a group").core;
            let _ = self.slot(core).start_dma_api(device);
        }
    }

    /// The notifier: a driver is gone.
    pub fn driver_unbound(&mut self, device: Device) {
        if self.place(device).is_some() {
            let core = self.known.as_ref().expect("a group").core;
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

    /// The default domain that C chooses for the group.
    pub fn wants_identity(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.held_driver)
    }

    /// What tells worlds apart.
    pub fn key(&self) -> Key {
        (
            self.c.clone(),
            self.active,
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
    Option<Known>,
    [Option<(HoldReason, Slot)>; DEVICES],
    [Option<Slot>; DEVICES],
    [Option<Group>; SLOTS],
);
