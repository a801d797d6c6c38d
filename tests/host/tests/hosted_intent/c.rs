// SPDX-License-Identifier: GPL-2.0

//! C's IOMMU layer as a model: `drivers/iommu/iommu.c` of Linux 7.3, function by function, under
//! C's names, with what the driver core does around it. Nothing here knows what we make of a call.
//!
//! All of it is about one group: no device can be isolated from the others. PASIDs and deferred
//! attaches are left out, because no operation that we offer has them.

use iommu_core_host::frontend::{hosted::intent::Target, provider::stage::Seen};

use crate::{
    core::{Device, Domain, Error},
    rules::Broken,
    world::{World, DEVICES},
};

/// The driver of a device.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Driver {
    None,
    /// `dma_configure` was called and the notifier has not been.
    Binding,
    Bound {
        dma_api: bool,
        /// C has counted it: it had a group then.
        counted: bool,
    },
    /// The notifier was told that it is about to be unbound; its `remove` runs.
    Removing {
        dma_api: bool,
        counted: bool,
    },
    /// `dma_cleanup` was called and the notifier has not been.
    Unbinding {
        counted: bool,
    },
}

impl Driver {
    /// For the device's driver, whether it uses the DMA API.
    pub fn uses_dma_api(self) -> Option<bool> {
        match self {
            Self::None => None,
            Self::Binding | Self::Unbinding { .. } => Some(true),
            Self::Bound { dma_api, .. } | Self::Removing { dma_api, .. } => Some(dma_api),
        }
    }

    /// Whether C counts it, and the notifier has told of it.
    pub fn is_counted(self) -> bool {
        matches!(
            self,
            Self::Bound {
                dma_api: true,
                counted: true
            } | Self::Removing {
                dma_api: true,
                counted: true
            }
        )
    }

    /// Whether C has counted it, and the notifier has not yet told that it is gone.
    pub fn is_leaving(self) -> bool {
        matches!(self, Self::Unbinding { counted: true })
    }
}

/// A device on its bus.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct BusDevice {
    pub present: bool,
    pub driver: Driver,
}

/// `struct group_device`, with the little of `struct dev_iommu` that counts.
#[derive(Copy, Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct GroupDevice {
    /// `dev->iommu_group` is set.
    pub known: bool,
    pub blocked: bool,
    pub require_direct: bool,
}

/// C's record of the group and its devices.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Layer {
    pub bus: [BusDevice; DEVICES],
    /// The unit is registered.
    pub registered: bool,
    pub devices: [GroupDevice; DEVICES],
    /// `group->devices`.
    pub list: Vec<Device>,
    pub default: Option<Domain>,
    pub domain: Option<Domain>,
    pub has_blocking: bool,
    pub owner: bool,
    pub owner_cnt: u8,
    pub recovery_cnt: u8,
}

impl Layer {
    pub fn new() -> Self {
        Self {
            bus: [BusDevice {
                present: true,
                driver: Driver::None,
            }; DEVICES],
            registered: false,
            devices: Default::default(),
            list: Vec::new(),
            default: None,
            domain: None,
            has_blocking: false,
            owner: false,
            owner_cnt: 0,
            recovery_cnt: 0,
        }
    }
}

/// What a call into C's layer ends with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Done,
    /// By C's own rules, without asking us.
    Refused,
    /// By us.
    Failed(Error),
}

impl Answer {
    fn of(result: Result<(), Stop>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(Stop::Rule) => Self::Refused,
            Err(Stop::Us(error)) => Self::Failed(error),
        }
    }
}

/// Why one of C's functions ends.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Stop {
    Rule,
    Us(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Us(error)
    }
}

fn target(domain: Domain) -> Target {
    match domain {
        Domain::Blocked => Target::Blocked,
        Domain::Identity | Domain::Paging => Target::Default,
        Domain::Own(_) => Target::Own,
        Domain::Direct(_) => unreachable!("no domain of C's"),
    }
}

impl World {
    // Devices come and go.

    /// Whether the device has a unit: both of our calls make `ENODEV` of every error.
    fn iommu_init_device(&mut self, device: Device) -> Result<bool, Error> {
        if self.probe(device).is_err() {
            return Ok(false);
        }
        // `iommu_device_link()`.
        if let Err(error) = self.allocate() {
            self.release_device(device);
            return Err(error);
        }
        if self.device_group(device).is_err() {
            self.release_device(device);
            return Ok(false);
        }
        self.c.devices[device].known = true;
        Ok(true)
    }

    fn iommu_deinit_device(&mut self, device: Device) {
        if !((self.leaving || !self.accepted) && self.is_direct(device)) {
            self.watch_may_reach(device, Domain::Blocked);
        }
        let old = self.c.domain;
        let _ = self.attach_dev(device, Target::Release, Domain::Blocked, old);
        self.release_device(device);
        if self.c.list.is_empty() {
            self.c.default = None;
            self.c.has_blocking = false;
            self.c.domain = None;
            // The last device's count is put: the group is freed.
            self.c.recovery_cnt = 0;
            self.c.owner = false;
            self.c.owner_cnt = 0;
        }
        self.c.devices[device] = GroupDevice::default();
    }

    /// The first half, up to where the group's mutex is taken.
    fn probe_begins(&mut self, device: Device) -> Result<bool, Error> {
        if self.c.devices[device].known {
            return Ok(false);
        }
        self.iommu_init_device(device)
    }

    fn probe_ends(&mut self, device: Device, at_registration: bool) -> Result<(), Stop> {
        if self.allocate().is_err() {
            // `iommu_group_alloc_device()`.
            self.iommu_deinit_device(device);
            return Err(Error::Memory.into());
        }
        self.c.list.push(device);
        self.watch_may_reach(device, Domain::Blocked);
        if self.c.default.is_some() {
            self.create_direct_mappings(device);
        }
        let result = if let Some(domain) = self.c.domain {
            self.device_set_domain(device, domain, None, false)
        } else if self.c.default.is_none() && !at_registration {
            self.iommu_setup_default_domain(None)
        } else {
            Ok(())
        };
        if result.is_err() {
            self.c.list.retain(|&other| other != device);
            self.iommu_deinit_device(device);
        }
        result
    }

    fn iommu_group_remove_device(&mut self, device: Device) {
        if self.c.list.contains(&device) {
            self.c.list.retain(|&other| other != device);
            self.iommu_deinit_device(device);
        }
    }

    fn create_direct_mappings(&mut self, device: Device) {
        if self.has_pinned_region(device) {
            self.c.devices[device].require_direct = true;
        }
    }

    fn bus_iommu_probe(&mut self, late: Option<(Device, bool)>) -> Result<(), Stop> {
        for device in 0..DEVICES {
            if let Some((_, dma_api)) = late.filter(|(late, _)| *late == device) {
                self.c.bus[device].driver = Driver::Bound {
                    dma_api,
                    counted: false,
                };
            }
            if self.c.bus[device].present {
                if self.probe_begins(device)? {
                    self.probe_ends(device, true)?;
                }
            }
        }
        if !self.c.list.is_empty() && self.c.default.is_none() {
            self.iommu_setup_default_domain(None)?;
        }
        Ok(())
    }

    fn remove_iommu_group(&mut self) {
        for device in 0..DEVICES {
            self.iommu_group_remove_device(device);
        }
    }

    // Attaches.

    fn attach_device(
        &mut self,
        device: Device,
        domain: Domain,
        old: Option<Domain>,
    ) -> Result<(), Stop> {
        Ok(self.attach_dev(device, target(domain), domain, old)?)
    }

    /// `iommu_driver_get_domain_for_dev()`, which a provider may ask during an attach.
    pub fn iommu_driver_get_domain_for_dev(&self, device: Device) -> Option<Domain> {
        assert!(self.c.list.contains(&device), "C warns");
        match self.c.devices[device].blocked {
            true => Some(Domain::Blocked),
            false => self.c.domain,
        }
    }

    /// What C has the group attached to, once no call of C's is under way.
    pub fn iommu_get_domain_for_dev(&self) -> Option<Target> {
        self.c.domain.map(target)
    }

    fn device_set_domain(
        &mut self,
        device: Device,
        new: Domain,
        old: Option<Domain>,
        must_succeed: bool,
    ) -> Result<(), Stop> {
        if self.c.devices[device].require_direct && new == Domain::Blocked {
            return Err(Stop::Rule);
        }
        self.watch_may_reach(device, new);
        let result = self.attach_device(device, new, old);
        if result.is_err() && must_succeed && self.c.has_blocking && new != Domain::Blocked {
            self.watch_may_reach(device, Domain::Blocked);
            let _ = self.attach_device(device, Domain::Blocked, old);
        }
        result
    }

    fn group_set_domain(&mut self, new: Domain, must_succeed: bool) -> Result<(), Stop> {
        if self.c.domain == Some(new) {
            return Ok(());
        }
        if self.c.recovery_cnt > 0 && !must_succeed {
            return Err(Stop::Rule);
        }
        let list = self.c.list.clone();
        for &device in &list {
            // The core moves the whole group with the first call.
            if !self.c.devices[device].blocked {
                self.watch_may_reach(device, new);
            }
        }
        let mut result = Ok(());
        for (at, &device) in list.iter().enumerate() {
            if self.c.devices[device].blocked {
                continue;
            }
            let attached = self.device_set_domain(device, new, self.c.domain, must_succeed);
            if attached.is_ok() {
                continue;
            }
            result = attached;
            if must_succeed {
                continue;
            }
            if let Some(old) = self.c.domain {
                for &before in &list[..at] {
                    let back = self.device_set_domain(before, old, Some(new), true);
                    if back.is_err() && !self.has_failed() {
                        self.breaks(Broken::CWarns);
                    }
                }
            }
            return result;
        }
        self.c.domain = Some(new);
        result
    }

    fn group_set_domain_nofail(&mut self, new: Domain) {
        if self.group_set_domain(new, true).is_err() && !self.has_failed() {
            self.breaks(Broken::CWarns);
        }
    }

    fn group_set_core_domain(&mut self) {
        match (self.c.owner, self.c.default) {
            (true, _) => self.group_set_domain_nofail(Domain::Blocked),
            (false, Some(default)) => self.group_set_domain_nofail(default),
            (false, None) => unreachable!("attached without a default domain"),
        }
    }

    /// `target` is what sysfs asks for.
    fn iommu_setup_default_domain(&mut self, target: Option<Domain>) -> Result<(), Stop> {
        let untrusted = self.c.list.iter().any(|&d| self.config.untrusted[d]);
        let ours = self.wants_identity().then_some(Domain::Identity);
        let wanted = match (untrusted, ours, target) {
            (true, Some(_), _) => return Err(Stop::Rule),
            (true, None, Some(Domain::Identity)) => return Err(Stop::Rule),
            (_, Some(ours), Some(target)) if ours != target => return Err(Stop::Rule),
            (_, ours, target) => target.or(ours).unwrap_or(Domain::Paging),
        };
        let old = self.c.default;
        if old == Some(wanted) {
            return Ok(());
        }
        if wanted == Domain::Paging {
            self.allocate()?;
        }
        for device in self.c.list.clone() {
            self.create_direct_mappings(device);
        }
        self.c.default = Some(wanted);
        match self.c.domain {
            // C warns of any failure.
            None => self.group_set_domain(wanted, true),
            Some(_) => self.group_set_domain(wanted, false).inspect_err(|_| {
                if old.is_some() {
                    self.c.default = old;
                }
            }),
        }
    }

    // Ownership.

    fn take_dma_ownership(&mut self) -> Result<(), Stop> {
        if self.c.domain.is_some() && self.c.domain != self.c.default {
            return Err(Stop::Rule);
        }
        self.c.has_blocking = true;
        self.group_set_domain(Domain::Blocked, false)?;
        self.c.owner = true;
        self.c.owner_cnt += 1;
        Ok(())
    }

    /// `iommu_device_claim_dma_owner()`, always by the same owner; the first is
    /// `iommu_group_claim_dma_owner()` as well.
    pub fn claim(&mut self) -> Answer {
        Answer::of(match (self.c.owner_cnt, self.c.owner) {
            (0, _) => self.take_dma_ownership(),
            (_, true) => {
                self.c.owner_cnt += 1;
                Ok(())
            }
            (_, false) => Err(Stop::Rule),
        })
    }

    pub fn iommu_device_release_dma_owner(&mut self) -> Answer {
        if self.c.owner_cnt > 1 {
            self.c.owner_cnt -= 1;
        } else if let Some(default) = self.c.default {
            self.c.owner_cnt = 0;
            self.c.owner = false;
            self.group_set_domain_nofail(default);
        }
        Answer::Done
    }

    /// For an owner, or for whoever has no need to be one.
    pub fn iommu_attach_group(&mut self, own: u8) -> Answer {
        let is_core = match self.c.domain {
            Some(Domain::Own(_)) => false,
            Some(_) | None => true,
        };
        Answer::of(match is_core {
            true => self.group_set_domain(Domain::Own(own), false),
            false => Err(Stop::Rule),
        })
    }

    pub fn iommu_replace_group_handle(&mut self, own: u8) -> Answer {
        Answer::of(self.group_set_domain(Domain::Own(own), false))
    }

    pub fn iommu_detach_group(&mut self) -> Answer {
        self.group_set_core_domain();
        Answer::Done
    }

    pub fn iommu_group_store_type(&mut self, wanted: Domain) -> Answer {
        Answer::of(match self.c.owner_cnt {
            0 => self.iommu_setup_default_domain(Some(wanted)),
            _ => Err(Stop::Rule),
        })
    }

    // Resets.

    pub fn pci_dev_reset_iommu_prepare(&mut self, device: Device) -> Answer {
        self.c.has_blocking = true;
        self.watch_may_reach(device, Domain::Blocked);
        if self.c.domain != Some(Domain::Blocked) {
            if let Err(stop) = self.attach_device(device, Domain::Blocked, self.c.domain) {
                return Answer::of(Err(stop));
            }
        }
        self.c.devices[device].blocked = true;
        self.c.recovery_cnt += 1;
        Answer::Done
    }

    pub fn pci_dev_reset_iommu_done(&mut self, device: Device) -> Answer {
        // From here on C means it to reach the group's domain.
        self.watch.ended = Some(device);
        match self.c.domain {
            Some(domain) if domain != Domain::Blocked => {
                self.watch_may_reach(device, domain);
                let result = self.attach_device(device, domain, Some(Domain::Blocked));
                if result.is_err() && !self.has_failed() {
                    self.breaks(Broken::CWarns);
                }
            }
            _ => {}
        }
        self.c.devices[device].blocked = false;
        self.c.recovery_cnt -= 1;
        Answer::Done
    }

    // Drivers: `really_probe()`, `__device_release_driver()`, `pci_dma_configure()`.

    fn iommu_device_use_default_domain(&mut self, device: Device) -> Result<bool, Stop> {
        if !self.c.devices[device].known {
            return Ok(false);
        }
        if self.c.default.is_none() {
            return Err(Stop::Rule);
        }
        if self.c.owner_cnt > 0 && (self.c.domain != self.c.default || self.c.owner) {
            return Err(Stop::Rule);
        }
        self.c.owner_cnt += 1;
        Ok(true)
    }

    /// Up to where the notifier is called.
    pub fn bind_begins(&mut self, device: Device) -> Answer {
        Answer::of(self.iommu_device_use_default_domain(device).map(|counted| {
            self.c.bus[device].driver = match counted {
                true => Driver::Binding,
                // Nobody waits for the notifier.
                false => Driver::Bound {
                    dma_api: true,
                    counted: false,
                },
            };
        }))
    }

    pub fn bind_ends(&mut self, device: Device) -> Answer {
        self.c.bus[device].driver = Driver::Bound {
            dma_api: true,
            counted: true,
        };
        self.driver_binds(device);
        Answer::Done
    }

    /// A driver that manages DMA by itself, which C does not notice.
    pub fn bind_managing(&mut self, device: Device) -> Answer {
        self.c.bus[device].driver = Driver::Bound {
            dma_api: false,
            counted: false,
        };
        Answer::Done
    }

    /// Up to where the notifier is called for the first time.
    pub fn removes(&mut self, device: Device) -> Answer {
        let Driver::Bound { dma_api, counted } = self.c.bus[device].driver else {
            return Answer::Refused;
        };
        self.driver_leaves(device);
        self.c.bus[device].driver = Driver::Removing { dma_api, counted };
        Answer::Done
    }

    /// Up to where the notifier is called for the second time.
    pub fn unbind_begins(&mut self, device: Device) -> Answer {
        self.removes(device);
        let Driver::Removing { dma_api, counted } = self.c.bus[device].driver else {
            return Answer::Refused;
        };
        if dma_api && self.c.devices[device].known {
            self.c.owner_cnt -= 1;
        }
        self.c.bus[device].driver = match dma_api {
            true => Driver::Unbinding { counted },
            false => Driver::None,
        };
        Answer::Done
    }

    pub fn unbind_ends(&mut self, device: Device) -> Answer {
        self.c.bus[device].driver = Driver::None;
        self.driver_unbound(device);
        Answer::Done
    }

    // Buses and units.

    /// `BUS_NOTIFY_ADD_DEVICE`, up to where the group's mutex is taken.
    pub fn add_begins(&mut self, device: Device) -> Answer {
        self.c.bus[device].present = true;
        if self.c.registered {
            let _ = self.probe_begins(device);
        }
        Answer::Done
    }

    pub fn add_ends(&mut self, device: Device) -> Answer {
        Answer::of(self.probe_ends(device, false))
    }

    /// `BUS_NOTIFY_REMOVED_DEVICE`; the driver is gone.
    pub fn remove(&mut self, device: Device) -> Answer {
        self.watch_may_reach(device, Domain::Blocked);
        self.c.bus[device].present = false;
        self.ends_hold(device, Seen::Removed);
        self.iommu_group_remove_device(device);
        Answer::Done
    }

    /// `ProviderUnit::bind()` around `iommu_device_register()`. The driver `late` is bound to its
    /// device after we have looked at all devices and before C does.
    pub fn register(&mut self, late: Option<(Device, bool)>) -> Answer {
        let held = (0..DEVICES).try_for_each(|device| match self.c.bus[device].present {
            true => self.unit_taken(device),
            false => Ok(()),
        });
        if let Err(error) = held {
            self.give_up();
            return Answer::Failed(error);
        }
        self.active = true;
        self.c.registered = true;
        let result = self.bus_iommu_probe(late);
        if result.is_err() {
            self.remove_iommu_group();
            self.c.registered = false;
            self.give_up();
        } else {
            self.accepted = true;
        }
        Answer::of(result)
    }

    /// Another unit is registered: C looks at all devices again.
    pub fn rescan(&mut self) -> Answer {
        Answer::of(self.bus_iommu_probe(None))
    }

    /// `ProviderUnit::release()` around `iommu_device_unregister()`. The device `late` is added
    /// after C has released all devices, and before it forgets the unit.
    pub fn unregister(&mut self, late: Option<Device>) -> Answer {
        self.leaving = true;
        // We wait for those that C is about to attach.
        for device in 0..DEVICES {
            if self.c.devices[device].known && !self.c.list.contains(&device) {
                let _ = self.probe_ends(device, false);
            }
        }
        for device in 0..DEVICES {
            if self.c.list.contains(&device) && self.driver(device) != Driver::None {
                self.unbind_begins(device);
                self.unbind_ends(device);
            }
        }
        self.remove_iommu_group();
        if let Some(device) = late {
            self.c.bus[device].present = true;
            if let Ok(true) = self.probe_begins(device) {
                let _ = self.probe_ends(device, false);
            }
        }
        self.c.registered = false;
        self.give_up();
        self.accepted = false;
        self.leaving = false;
        Answer::Done
    }

    /// `ProviderUnit::give_up()`. The unit does not translate any more, so nothing is cut off.
    fn give_up(&mut self) {
        self.active = false;
        for device in 0..DEVICES {
            self.watch_may_reach(device, Domain::Blocked);
            self.ends_hold(device, Seen::UnitGivenBack);
        }
    }
}
