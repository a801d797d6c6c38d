// SPDX-License-Identifier: GPL-2.0

//! What the core calls.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{
    prelude::*,
    sync::{atomic::Full, barrier::smp_mb, Arc, SetOnce},
};

use super::{
    commands::{Pages, MAX_ORDER},
    entries::Translation,
    firmware::Firmware,
    hardware::{Hardware, Kind},
    irq::EventInterrupt,
    ivrs::{Ivhd, Usage},
    paging::Paging,
    queue::Failure,
    scope, show,
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    driver::{
        Attach, Capability, Geometry, KernelGather, Probed, Scope, Target, Translate, VendorDriver,
        When,
    },
    drivers::blocks::Cover,
    endpoint::{DeviceInfo, DeviceView, Endpoint, Place},
    group::Steps,
    label::Label,
    log::{log_err, log_info, log_warn},
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        Top,
    },
    requester::RequesterId,
    reserved::{Kind as ReservedKind, Reserved},
    unit::Unit,
};

/// Where interrupt messages go: never translated (2.1.4).
const MESSAGES: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);
/// HyperTransport's own addresses: not memory, unless the unit says that they are (2.1.2).
const HYPERTRANSPORT: (u64, u64) = (0xfd_0000_0000, 0xff_ffff_ffff);

/// The driver.
pub struct AmdVi;

/// A unit as the IVRS table describes it, and what it became when it was taken over.
pub struct AmdViUnit {
    firmware: Arc<Firmware>,
    pub(super) base: u64,
    pub(super) segment: u16,
    /// The unit's own PCI function.
    pub(super) function: RequesterId,
    /// Stays after a release, for the next takeover, until the unit is dropped.
    hardware: SetOnce<Arc<Hardware>>,
}

impl AmdViUnit {
    /// The hardware, once it was taken over.
    #[inline]
    pub(super) fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.hardware.as_ref().ok_or(ENODEV)
    }

    /// What firmware says of the unit.
    fn ivhd(&self) -> Result<Ivhd<'_>> {
        let table = self.firmware.table().map_err(|_| EINVAL)?;
        table
            .units()
            .find(|unit| unit.base() == self.base)
            .ok_or(EINVAL)
    }
}

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

/// Says that a unit has failed, and blocks what is behind it.
#[cold]
fn fail(unit: &Unit<AmdVi>, hardware: &Hardware, failure: Failure) {
    if failure != Failure::Earlier {
        unit.fail(format_args!("{failure}"));
        hardware.block_all();
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

    fn acquire_tag(unit: &Unit<Self>, _paging: Option<&Paging>) -> Result<DomainId> {
        let hardware = unit.hardware().hardware()?;
        let id = hardware.ids.lock().take().ok_or_else(|| {
            log_warn!(
                "{}: all domain ids of the unit are in use; free a domain and try again",
                unit.name(),
            );
            ENOSPC
        })?;
        Ok(DomainId(id))
    }

    fn release_tag(unit: &Unit<Self>, tag: DomainId) {
        if let Ok(hardware) = unit.hardware().hardware() {
            let was_taken = hardware.ids.lock().give_back(tag.0);
            debug_assert!(was_taken);
        }
    }

    fn prepare(endpoint: &Endpoint<Self>, target: Target<'_, Self>, _when: When) -> Result<Plan> {
        let unit = endpoint.unit();
        unit.check()?;
        let hardware = unit.hardware().hardware()?;

        match target {
            Target::Paging { paging, .. } if !paging.fits(&hardware.description.space) => {
                Err(EINVAL)
            }
            Target::Paging { .. } | Target::Identity { .. } => Ok(Plan::EMPTY),
        }
    }

    fn plan_blocked(_endpoint: &Endpoint<Self>) -> Plan {
        Plan::EMPTY
    }

    /// See `update` for how an entry changes.
    ///
    /// The unit has forgotten the old entries before it forgets what it has translated with them.
    /// The other way round it could translate once more, and keep that.
    fn commit(unit: &Unit<Self>, steps: &mut Steps<'_, Self>) {
        let Ok(hardware) = unit.hardware().hardware() else {
            return;
        };
        let tables = &hardware.tables;
        let mut batch = hardware.batch();
        steps.for_each_target(|ids, plan, target| {
            plan.old = None;
            plan.new = translation(&target);
            for &id in ids {
                if let Some(old) = tables.change_to(id, || translation(&target)) {
                    batch.entry(id);
                    plan.old = plan.old.or(old.domain());
                }
            }
        });
        let mut last = None;
        steps.for_each(|_, _, plan| {
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
            fail(unit, hardware, failure);
        }

        // Who lets a table grow changes its top, then the entries; here the top is read after the
        // entries were written. So one of the two sees what the other did. If it was this one:
        // others may rely on the new top already, or be about to write it and not have told the
        // unit yet.
        smp_mb(Full);
        steps.for_each_target(|_, plan, target| {
            let has_grown = plan.new != translation(&target);
            if let (true, Some(Target::Paging { paging, tag })) = (has_grown, target) {
                // A unit that fails says so.
                let _ = Self::tell_top(unit, tag, paging);
            }
        });
        // The same with who declares the unit failed: that comes first, and the entries are blocked
        // then.
        if unit.has_failed() {
            steps.for_each(|_, ids, _| {
                for &id in ids {
                    tables.change(id, Translation::Blocked);
                }
            });
        }
    }

    fn needs_map_sync(unit: &Unit<Self>) -> bool {
        unit.hardware()
            .hardware()
            .is_ok_and(|hardware| hardware.description.capability.caches_not_present)
    }

    fn capable(endpoint: &Endpoint<Self>, capability: Capability) -> bool {
        let described = endpoint.unit().hardware();
        let Ok(hardware) = described.hardware() else {
            return false;
        };
        let description = &hardware.description;
        match capability {
            // Accesses of PCI devices are coherent unless the device asks otherwise.
            Capability::CoherentDma | Capability::DeferredFlush => true,
            Capability::EnforcedCoherency => description.space.kind == Kind::Host,
            Capability::PreBootProtection => described
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
        let described = device.unit().hardware();
        let hardware = described.hardware()?;

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

    fn tell_top(unit: &Unit<Self>, _tag: DomainId, paging: &Paging) -> Result {
        let hardware = unit.hardware().hardware()?;
        // Who attaches writes an entry and then reads the top. Here it is the other way round.
        smp_mb(Full);
        let mut batch = hardware.batch();
        hardware
            .tables
            .follow(|root| paging.top_over(root), |id| batch.entry(id));
        batch.run().map_err(|failure| {
            fail(unit, hardware, failure);
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

    fn mapped(unit: &Unit<Self>, tag: DomainId, first: Iova, last: Iova) -> Result {
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

    fn invalidate(unit: &Unit<Self>, tag: DomainId, scope: Scope) -> Result {
        let hardware = unit.hardware().hardware()?;
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
            fail(unit, hardware, failure);
            EIO
        })
    }
}

impl VendorDriver for AmdVi {
    fn discover() -> Result<KVec<Arc<Unit<Self>>>> {
        let firmware = Firmware::find()?;
        let mut units = KVec::new();
        let table = firmware.table().map_err(|_| EINVAL)?;

        for (number, unit) in table.units().enumerate() {
            let described = AmdViUnit {
                firmware: firmware.clone(),
                base: unit.base(),
                segment: unit.segment(),
                function: RequesterId::new(u32::from(unit.device())),
                hardware: SetOnce::new(),
            };
            let name = Label::new(format_args!("ivhd{number}"));
            units.push(Unit::new(name, Ok(described))?, GFP_KERNEL)?;
        }
        if units.is_empty() {
            log_info!("amd: the IVRS table lists no unit");
            return Err(ENODEV);
        }
        Ok(units)
    }

    fn take_over(unit: &Arc<Unit<Self>>) -> Result {
        let name = unit.name();
        let described = unit.hardware();
        let hardware = match described.hardware.as_ref() {
            Some(hardware) => hardware.clone(),
            None => {
                let info = described.firmware.table().map_err(|_| EINVAL)?.info();
                let hardware = Hardware::new(name, described.ivhd()?, info)?;
                described.hardware.populate(hardware.clone());
                hardware
            }
        };

        hardware.start(name)?;
        match EventInterrupt::new(unit, &hardware) {
            Ok(interrupt) => hardware.set_interrupt(interrupt),
            Err(error) => {
                log_err!(
                    "{}: no interrupt for faults ({}), so the unit is not used",
                    name,
                    error.to_errno(),
                );
                hardware.stop(name);
                return Err(error);
            }
        }

        let description = &hardware.description;
        log_info!(
            "{}: AMD-Vi unit at {:#x}, {} tables, up to {} levels, {} address bits, {} domain ids{}",
            name,
            described.base,
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

    fn enable(unit: &Unit<Self>) -> Result {
        unit.hardware().hardware()?.enable(unit.name())
    }

    fn release(unit: &Unit<Self>) {
        if let Ok(hardware) = unit.hardware().hardware() {
            hardware.stop(unit.name());
        }
    }

    fn suspend(unit: &Unit<Self>) -> Result {
        unit.hardware().hardware()?.suspend(unit.name())
    }

    fn resume(unit: &Unit<Self>) -> Result {
        unit.hardware().hardware()?.resume(unit.name())
    }

    /// An emulated unit that was reset has let everything pass since, and finds a device by its id
    /// only if the bridges above it have their bus numbers.
    fn buses_are_back(unit: &Unit<Self>) {
        if let Ok(hardware) = unit.hardware().hardware() {
            if let Err(failure) = hardware.invalidate_entries() {
                fail(unit, hardware, failure);
            }
        }
    }

    fn probe(units: &[Arc<Unit<Self>>], device: DeviceInfo) -> Result<Probed<Self>> {
        let firmware = &units.first().ok_or(ENODEV)?.hardware().firmware;
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
        let unit = units
            .iter()
            .find(|unit| unit.hardware().base == ivhd.base())
            .ok_or(ENODEV)?;
        let hardware = unit.hardware().hardware()?;

        let aliases = ids
            .iter()
            .filter_map(|id| scope::alias_of(ivhd, id.raw() as u16))
            .map(|alias| RequesterId::new(u32::from(alias)))
            .try_fold(KVec::new(), |mut all, alias| {
                all.push(alias, GFP_KERNEL).map(|()| all)
            })?;
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
            fail(unit, hardware, failure);
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
        Ok(Probed {
            unit: unit.clone(),
            ids,
            data: (),
            reserved,
        })
    }

    fn show_unit(unit: &Unit<Self>, f: &mut dyn fmt::Write) -> fmt::Result {
        show::unit(unit.hardware(), f)
    }
}
