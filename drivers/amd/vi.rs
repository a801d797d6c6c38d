// SPDX-License-Identifier: GPL-2.0

//! What the core calls.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{atomic::Full, barrier::smp_mb, Arc, SetOnce},
};

use super::{
    commands::{Pages, MAX_ORDER},
    entries::Translation,
    firmware::Firmware,
    hardware::{Hardware, Kind},
    irq::EventInterrupt,
    ivrs::Usage,
    paging::Paging,
    scope, show,
    unit::AmdViUnit,
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    device::{DeviceInfo, Place},
    driver::{
        Attach, Capability, DeviceView, Geometry, KernelGather, Probed, Scope, Step, Steps, Target,
        Translate, VendorDriver, When,
    },
    drivers::shell::blocks::Cover,
    fault::FaultSink,
    health::Health,
    label::Label,
    log::{log_err, log_info, log_warn},
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        Top,
    },
    requester::RequesterId,
    reserved::{Kind as ReservedKind, Reserved},
};

/// Where interrupt messages go: never translated (2.1.4).
const MESSAGES: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);
/// HyperTransport's own addresses: not memory, unless the unit says that they are (2.1.2).
const HYPERTRANSPORT: (u64, u64) = (0xfd_0000_0000, 0xff_ffff_ffff);

/// The driver.
pub struct AmdVi;

/// The name of a domain in a unit's caches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DomainId(u16);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain id {}", self.0)
    }
}

/// A prepared attach. What an entry is to say is read from the domain when it is written, since a
/// table may grow at any time; so this is only what a commit has to remember.
pub struct Plan {
    /// The domain that the endpoint comes from. All of its ids come from the one that its group was
    /// on, if they were not blocked.
    old: Option<u16>,
    /// What its entries said first; they may have got a later top.
    new: Translation,
}

impl Plan {
    const EMPTY: Self = Self {
        old: None,
        new: Translation::Blocked,
    };
}

/// What entries have to say now for `target`; `None` is to be blocked.
fn translation(target: &Option<Target<'_, AmdVi>>) -> Translation {
    match target {
        None => Translation::Blocked,
        Some(Target::Identity { tag }) => Translation::Identity { domain: tag.0 },
        Some(Target::Paging { paging, tag }) => paging.translation(tag.0),
    }
}

impl Attach for AmdVi {
    const NAME: &'static str = "amd";

    type Unit = AmdViUnit;

    /// Nothing: the ids say it all.
    type Endpoint = ();

    type Paging = Paging;
    type Tag = DomainId;
    type Plan = Plan;

    fn health(unit: &AmdViUnit) -> &Health {
        &unit.health
    }

    fn acquire_tag(unit: &AmdViUnit, _paging: Option<&Paging>) -> Result<DomainId> {
        let hardware = unit.hardware()?;
        let id = hardware.ids.lock().take().ok_or_else(|| {
            log_warn!(
                "{}: all domain ids of the unit are in use; free a domain and try again",
                unit.health.name(),
            );
            ENOSPC
        })?;
        Ok(DomainId(id))
    }

    fn release_tag(unit: &AmdViUnit, tag: DomainId) {
        if let Ok(hardware) = unit.hardware() {
            let was_taken = hardware.ids.lock().give_back(tag.0);
            debug_assert!(was_taken);
        }
    }

    fn prepare(
        unit: &AmdViUnit,
        _endpoint: &(),
        target: Target<'_, Self>,
        _when: When,
    ) -> Result<Plan> {
        unit.health.check()?;
        let hardware = unit.hardware()?;

        match target {
            Target::Paging { paging, .. } if !paging.fits(&hardware.description.space) => {
                Err(EINVAL)
            }
            Target::Paging { .. } | Target::Identity { .. } => Ok(Plan::EMPTY),
        }
    }

    fn plan_blocked(_unit: &AmdViUnit, _endpoint: &()) -> Plan {
        Plan::EMPTY
    }

    /// See `update` for how an entry changes.
    ///
    /// The unit has forgotten the old entries before it forgets what it has translated with them.
    /// The other way round it could translate once more, and keep that.
    fn commit(unit: &AmdViUnit, steps: &mut impl Steps<Self>) {
        let Ok(hardware) = unit.hardware() else {
            return;
        };
        let tables = &hardware.tables;
        let mut batch = hardware.batch();
        steps.for_each(|step| {
            let plan = step.plan;
            plan.old = None;
            plan.new = translation(&step.target);
            for &id in step.ids {
                if let Some(old) = tables.change_to(id, || translation(&step.target)) {
                    batch.entry(id);
                    plan.old = plan.old.or(old.domain());
                }
            }
        });
        let mut last = None;
        steps.for_each(|Step { plan, .. }| {
            if let Some(domain) = plan.old {
                if last.is_none() {
                    batch.fence();
                }
                if last.replace(domain) != Some(domain) {
                    batch.pages(domain, hardware.space(), Pages::All, false);
                }
            }
        });
        if let Err(failure) = batch.run() {
            hardware.fail(failure);
        }

        // Who lets a table grow changes its top, then the entries; here the top is read after the
        // entries were written. So one of the two sees what the other did. If it was this one:
        // others may rely on the new top already, or be about to write it and not have told the
        // unit yet.
        smp_mb(Full);
        steps.for_each(|Step { plan, target, .. }| {
            let has_grown = plan.new != translation(&target);
            if let (true, Some(Target::Paging { paging, tag })) = (has_grown, target) {
                // A unit that fails says so.
                let _ = Self::tell_top(unit, tag, paging);
            }
        });
        // The same with who declares the unit failed: that comes first, and the entries are blocked
        // then.
        if unit.health.has_failed() {
            steps.for_each(|Step { ids, .. }| {
                for &id in ids {
                    tables.change(id, Translation::Blocked);
                }
            });
        }
    }

    fn needs_map_sync(unit: &AmdViUnit) -> bool {
        unit.hardware()
            .is_ok_and(|hardware| hardware.description.capability.caches_not_present)
    }

    fn capable(unit: &AmdViUnit, _endpoint: &(), capability: Capability) -> bool {
        let Ok(hardware) = unit.hardware() else {
            return false;
        };
        let description = &hardware.description;
        match capability {
            // Accesses of PCI devices are coherent unless the device asks otherwise.
            Capability::CoherentDma | Capability::DeferredFlush => true,
            Capability::EnforcedCoherency => description.space.kind == Kind::Host,
            Capability::PreBootProtection => unit
                .firmware
                .table()
                .is_ok_and(|table| table.info().preboot_protection()),
            Capability::NoExec => description.space.no_execute,
        }
    }
}

impl Translate for AmdVi {
    type Memory = KernelMemory;

    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Paging> {
        let hardware = device.unit().hardware()?;

        Paging::new(hardware.description.space, hardware.node)
    }

    fn geometry(paging: &Paging) -> Geometry {
        paging.geometry()
    }

    #[inline]
    fn map(
        paging: &Paging,
        iova: Iova,
        phys: PhysAddr,
        len: u64,
        prot: Prot,
        flags: Gfp,
        gather: &mut KernelGather,
    ) -> (u64, Result) {
        paging.map(iova, phys, len, prot, flags, gather)
    }

    #[inline]
    fn new_top(paging: &Paging) -> Option<Top> {
        paging.new_top()
    }

    fn tell_top(unit: &AmdViUnit, _tag: DomainId, paging: &Paging) -> Result {
        let hardware = unit.hardware()?;
        // Who attaches writes an entry and then reads the top. Here it is the other way round.
        smp_mb(Full);
        let mut batch = hardware.batch();
        hardware
            .tables
            .follow(|root| paging.top_over(root), |id| batch.entry(id));
        batch.run().map_err(|failure| {
            hardware.fail(failure);
            EIO
        })
    }

    fn top_is_told(paging: &Paging, top: Top) {
        paging.top_is_told(top);
    }

    #[inline]
    fn unmap(paging: &Paging, iova: Iova, len: u64, gather: &mut KernelGather) -> u64 {
        paging.unmap(iova, len, gather)
    }

    #[inline]
    fn iova_to_phys(paging: &Paging, iova: Iova) -> Option<PhysAddr> {
        paging.iova_to_phys(iova)
    }

    fn mapped(unit: &AmdViUnit, tag: DomainId, first: Iova, last: Iova) -> Result {
        // Tables may have been added on the way, and what was not present is cached at any level.
        let tables = true;
        Self::invalidate(
            unit,
            tag,
            Scope::Range {
                first,
                last,
                tables,
            },
        )
    }

    fn invalidate(unit: &AmdViUnit, tag: DomainId, scope: Scope) -> Result {
        let hardware = unit.hardware()?;
        let space = hardware.space();
        let (cover, leaves_only) = match scope {
            Scope::All => (Cover::Domain, false),
            Scope::Range {
                first,
                last,
                tables,
            } => (
                Cover::new(first.raw(), last.raw(), Some(MAX_ORDER)),
                !tables,
            ),
        };

        let mut batch = hardware.batch();
        match cover.blocks() {
            [] => batch.pages(tag.0, space, Pages::All, false),
            blocks => {
                for &block in blocks {
                    batch.pages(tag.0, space, Pages::Block(block), leaves_only);
                }
            }
        }
        batch.run().map_err(|failure| {
            hardware.fail(failure);
            EIO
        })
    }
}

impl VendorDriver for AmdVi {
    fn discover() -> Result<KVec<AmdViUnit>> {
        let firmware = Firmware::find()?;
        let mut units = KVec::new();
        let table = firmware.table().map_err(|_| EINVAL)?;

        for (number, unit) in table.units().enumerate() {
            let name = Label::new(format_args!("ivhd{number}"));
            let unit = AmdViUnit {
                firmware: firmware.clone(),
                base: unit.base(),
                segment: unit.segment(),
                function: RequesterId::new(u32::from(unit.device())),
                health: Arc::new(Health::new(name), GFP_KERNEL)?,
                hardware: SetOnce::new(),
                interrupt: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
            };
            units.push(unit, GFP_KERNEL)?;
        }
        if units.is_empty() {
            log_info!("amd: the IVRS table lists no unit");
            return Err(ENODEV);
        }
        Ok(units)
    }

    fn take_over(unit: &AmdViUnit, faults: Arc<dyn FaultSink>) -> Result {
        let name = unit.health.name();
        let hardware = match unit.hardware.as_ref() {
            Some(hardware) => hardware.clone(),
            None => {
                let info = unit.firmware.table().map_err(|_| EINVAL)?.info();
                let hardware = Hardware::new(&unit.health, unit.ivhd()?, info)?;
                unit.hardware.populate(hardware.clone());
                hardware
            }
        };

        hardware.start()?;
        match EventInterrupt::new(&hardware, faults) {
            Ok(interrupt) => *unit.interrupt.lock() = Some(interrupt),
            Err(error) => {
                log_err!(
                    "{}: no interrupt for faults ({}), so the unit is not used",
                    name,
                    error.to_errno(),
                );
                hardware.stop();
                return Err(error);
            }
        }

        let description = &hardware.description;
        log_info!(
            "{}: AMD-Vi unit at {:#x}, {} tables, up to {} levels, {} address bits, {} domain ids{}",
            name,
            unit.base,
            match description.space.kind {
                Kind::Host => "v1",
                Kind::Guest => "v2",
            },
            description.space.levels,
            description.space.bits,
            hardware.ids.lock().capacity(),
            if description.capability.caches_not_present {
                ", caches absent entries"
            } else {
                ""
            },
        );
        Ok(())
    }

    fn enable(unit: &AmdViUnit) -> Result {
        unit.hardware()?.enable()
    }

    fn release(unit: &AmdViUnit) {
        // The interrupt's thread ends when this is dropped.
        let interrupt = unit.interrupt.lock().take();
        drop(interrupt);
        if let Ok(hardware) = unit.hardware() {
            hardware.stop();
        }
    }

    fn suspend(unit: &AmdViUnit) -> Result {
        unit.hardware()?.suspend()
    }

    fn resume(unit: &AmdViUnit) -> Result {
        unit.hardware()?.resume()
    }

    /// An emulated unit that was reset has let everything pass since, and finds a device by its id
    /// only if the bridges above it have their bus numbers.
    fn buses_are_back(unit: &AmdViUnit) {
        if let Ok(hardware) = unit.hardware() {
            if let Err(failure) = hardware.invalidate_entries() {
                hardware.fail(failure);
            }
        }
    }

    fn probe<'a>(
        mut units: impl Iterator<Item = &'a AmdViUnit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a AmdViUnit, Probed<Self>)> {
        let firmware = &units.clone().next().ok_or(ENODEV)?.firmware;
        let table = firmware.table().map_err(|_| EINVAL)?;
        let mut ids = device.ids;
        let (segment, own) = match &device.place {
            Place::Pci { segment, id, .. } => (*segment, id.raw() as u16),
            Place::Acpi(name) => {
                let (ivhd, named) = scope::named_for(table, &name.hid, &name.uid).ok_or(ENODEV)?;
                ids.push(RequesterId::new(u32::from(named.device)), GFP_KERNEL)?;
                (ivhd.segment(), named.device)
            }
            Place::Behind { .. } => return Err(ENODEV),
        };
        let ivhd = scope::unit_for(table, segment, own).ok_or(ENODEV)?;
        let unit = units.find(|unit| unit.base == ivhd.base()).ok_or(ENODEV)?;
        let hardware = unit.hardware()?;

        let mut aliases = KVec::new();
        for id in &ids {
            if let Some(alias) = scope::alias_of(ivhd, id.raw() as u16) {
                aliases.push(RequesterId::new(u32::from(alias)), GFP_KERNEL)?;
            }
        }
        for alias in aliases {
            if !ids.contains(&alias) {
                ids.push(alias, GFP_KERNEL)?;
            }
        }
        // The unit refuses requests of others by itself.
        ids.retain(|id| hardware.tables.covers(*id));
        // Also if nothing has changed: an emulated unit lets a device that was added to the machine
        // pass until it is told of the entry, which blocks.
        let mut batch = hardware.batch();
        ids.iter().for_each(|&id| batch.entry(id));
        if let Err(failure) = batch.run() {
            // Units that are not in use have nothing to be told.
            hardware.fail(failure);
        }

        let mut reserved = KVec::new();
        let mut add = |(first, last): (u64, u64), prot, kind| {
            reserved.push(
                Reserved {
                    first: Iova::new(first),
                    last: Iova::new(last),
                    prot,
                    kind,
                },
                GFP_KERNEL,
            )
        };
        for region in scope::regions_for(table, segment, own) {
            let prot = match region.usage() {
                Usage::Unity { read, write } => match (read, write) {
                    (true, true) => Prot::READ | Prot::WRITE,
                    (true, false) => Prot::READ,
                    (false, true) => Prot::WRITE,
                    (false, false) => continue,
                },
                Usage::None => continue,
            };
            add((region.base(), region.limit()), prot, ReservedKind::Direct)?;
        }
        add(MESSAGES, Prot::WRITE, ReservedKind::Msi)?;
        if !hardware.description.features.ht_range_ignored {
            add(
                HYPERTRANSPORT,
                Prot::READ | Prot::WRITE,
                ReservedKind::Reserved,
            )?;
        }
        let probed = Probed {
            ids,
            data: (),
            reserved,
        };
        Ok((unit, probed))
    }

    fn show_unit(unit: &AmdViUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::unit(unit, f)
    }
}
