// SPDX-License-Identifier: GPL-2.0

//! The AMD-Vi driver: what the core calls.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{
    prelude::*,
    sync::{atomic::Full, Arc},
};

use super::{
    capability::Encryption,
    capability::TableKind,
    commands::{Command, Pages, MAX_ORDER},
    entries::Translation,
    firmware::Firmware,
    function::encryption,
    interrupt_table::GroupTable,
    ivrs::Usage,
    paging::Paging,
    quirks::needs_identity,
    scope, show,
    unit::{AmdViUnit, Description},
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    device::{DeviceInfo, Place},
    driver::{
        Attach, Capability, DefaultKind, DeviceView, Geometry, KernelGather, Probed, Scope, Step,
        Steps, Target, Translate, VendorDriver, When,
    },
    drivers::shell::{
        domain_ids::DomainId,
        invalidation::{absent_before, invalidate, Part},
        unit::UnitHardware,
    },
    fault::FaultSink,
    ffi::compat::{eopnotsupp, smp_mb},
    health::Health,
    interrupt::NotRemapped,
    label::Label,
    log::{log_info, log_warn},
    pasid::Selector,
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        Top,
    },
    remapping::InterruptTable,
    requester::RequesterId,
    reserved::{Kind, Reserved},
};

/// The addresses of interrupt messages, which are never translated (2.1.4).
const MESSAGES: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);
/// HyperTransport's own addresses, which are not memory unless the unit says so (2.1.2).
const HYPERTRANSPORT: (u64, u64) = (0xfd_0000_0000, 0xff_ffff_ffff);

/// The driver.
pub struct AmdVi;

/// The driver's state for an endpoint. Entries need the ids only.
pub struct EndpointData {
    /// Whether DMA of the device has to pass untranslated by default.
    needs_identity: bool,
}

/// A prepared attach. A table may grow at any time, so commit takes what an entry has to say from
/// the domain when it writes the entry. The plan holds only what commit has to remember.
pub struct Plan {
    /// The old domain of the endpoint's ids. All ids that were not blocked come from the domain
    /// that the group was attached to.
    old: Option<u16>,
    /// What the new entries said at first. They may have got a later top since.
    new: Translation,
}

impl Plan {
    const EMPTY: Self = Self {
        old: None,
        new: Translation::Blocked,
    };
}

/// What entries for `target` have to say now; `None` blocks.
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

    type Endpoint = EndpointData;

    type Paging = Paging;
    type Tag = DomainId;
    type Plan = Plan;

    fn health(unit: &AmdViUnit) -> &Health {
        &unit.health
    }

    fn acquire_tag(
        unit: &AmdViUnit,
        _paging: Option<&Paging>,
        _selector: Selector,
    ) -> Result<DomainId> {
        unit.hardware()?.ids.take(unit.health.name())
    }

    fn release_tag(unit: &AmdViUnit, tag: DomainId) {
        if let Ok(hardware) = unit.hardware() {
            hardware.ids.give_back(tag);
        }
    }

    fn prepare(
        unit: &AmdViUnit,
        _endpoint: &EndpointData,
        _selector: Selector,
        target: Target<'_, Self>,
        _when: When,
    ) -> Result<Plan> {
        unit.health.check()?;
        let hardware = unit.hardware()?;

        match target {
            Target::Paging { paging, .. } if !paging.fits(&hardware.properties.tables) => {
                Err(EINVAL)
            }
            Target::Paging { .. } | Target::Identity { .. } => Ok(Plan::EMPTY),
        }
    }

    fn plan_blocked(_unit: &AmdViUnit, _endpoint: &EndpointData, _selector: Selector) -> Plan {
        Plan::EMPTY
    }

    /// See `update` for how an entry changes.
    ///
    /// The unit invalidates the old entries before the translations that it has made with them. In
    /// the other order it could translate with an old entry once more, and cache that.
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
        let _ = hardware.answered(batch.run());

        // Two other threads may have interfered. Each does the opposite of this commit, which has
        // written entries and now reads; the full barrier on both sides makes one see the other.
        //
        // 1. A thread that declares the unit failed blocks the entries afterwards.
        // 2. A thread that grows a table sets its top, then changes the entries (`update_top`). If
        //    the top read here is a later one, a third thread may rely on it already although the
        //    unit was not told of the entry: so this commit tells it.
        let has_failed = hardware.has_failed_meanwhile();
        steps.for_each(|Step { plan, target, .. }| {
            let has_grown = plan.new != translation(&target);
            if let (true, Some(Target::Paging { paging, tag })) = (has_grown, target) {
                // If the unit fails, `update_top` says so and blocks all entries.
                let _ = Self::update_top(unit, tag, paging);
            }
        });
        if has_failed {
            steps.for_each(|Step { ids, .. }| {
                for &id in ids {
                    tables.change(id, Translation::Blocked);
                }
            });
        }
    }

    fn needs_map_sync(unit: &AmdViUnit) -> bool {
        unit.hardware()
            .is_ok_and(|hardware| hardware.properties.capability.caches_not_present)
    }

    fn capable(unit: &AmdViUnit, _endpoint: &EndpointData, capability: Capability) -> bool {
        let Ok(hardware) = unit.hardware() else {
            return false;
        };
        let tables = &hardware.properties.tables;
        match capability {
            // DMA of a PCI device is coherent unless the device asks for No Snoop.
            Capability::CoherentDma | Capability::DeferredFlush => true,
            Capability::EnforcedCoherency => tables.kind == TableKind::Host,
            Capability::PreBootProtection => unit
                .description
                .firmware
                .table()
                .info()
                .preboot_protection(),
            Capability::NoExec => tables.no_execute,
        }
    }
}

impl Translate for AmdVi {
    type Memory = KernelMemory;

    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Paging> {
        let hardware = device.unit().hardware()?;

        Paging::new(hardware.properties.tables, hardware.node)
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

    fn update_top(unit: &AmdViUnit, _tag: DomainId, paging: &Paging) -> Result {
        let hardware = unit.hardware()?;
        // The caller has set the top and now the entries change. A commit does the opposite: it
        // writes an entry, and then reads the top. This barrier pairs with the one in `commit`.
        smp_mb(Full);
        let mut batch = hardware.batch();
        hardware
            .tables
            .follow(|root| paging.top_over(root), |id| batch.entry(id));
        hardware.answered(batch.run())
    }

    fn acknowledge_top(paging: &Paging, top: Top) {
        paging.acknowledge_top(top);
    }

    fn map_list(
        paging: &Paging,
        iova: Iova,
        pieces: impl Iterator<Item = (PhysAddr, u64)>,
        prot: Prot,
        flags: Gfp,
        gather: &mut KernelGather,
    ) -> (u64, Result) {
        paging.map_list(iova, pieces, prot, flags, gather)
    }

    #[inline]
    fn unmap(paging: &Paging, iova: Iova, len: u64, gather: &mut KernelGather) -> u64 {
        paging.unmap(iova, len, gather)
    }

    fn splits_are_invalidated(paging: &Paging, count: u32) {
        paging.splits_are_invalidated(count);
    }

    #[inline]
    fn iova_to_phys(paging: &Paging, iova: Iova) -> Option<PhysAddr> {
        paging.iova_to_phys(iova)
    }

    fn mapped(unit: &AmdViUnit, tag: DomainId, first: Iova, last: Iova) -> Result {
        Self::invalidate(unit, tag, absent_before(first, last))
    }

    fn invalidate(unit: &AmdViUnit, DomainId(domain): DomainId, scope: Scope) -> Result {
        let hardware = unit.hardware()?;
        let space = hardware.space();
        let command = |part| match part {
            Part::Domain => Command::pages(domain, space, Pages::All, false),
            Part::Block { block, leaves_only } => {
                Command::pages(domain, space, Pages::Block(block), leaves_only)
            }
        };
        let execute = |commands: &[Command]| hardware.execute(commands);
        hardware.answered(invalidate(scope, Some(MAX_ORDER), command, execute))
    }
}

impl VendorDriver for AmdVi {
    fn discover() -> Result<KVec<AmdViUnit>> {
        let firmware = Firmware::find()?;
        let mut units = KVec::new();
        let table = firmware.table();

        for (number, unit) in table.units().enumerate() {
            let description = Description {
                firmware: firmware.clone(),
                base: unit.base(),
                segment: unit.segment(),
                function: RequesterId::new(u32::from(unit.device())),
            };
            let name = Label::new(format_args!("ivhd{number}"));
            units.push(AmdViUnit::new(name, description)?, GFP_KERNEL)?;
        }
        if units.is_empty() {
            log_info!("amd: the IVRS table lists no unit that can be used");
            return Err(ENODEV);
        }
        Ok(units)
    }

    fn take_over(unit: &AmdViUnit, faults: Arc<dyn FaultSink>) -> Result {
        unit.take_over(faults)
    }

    fn enable(unit: &AmdViUnit) -> Result {
        unit.enable()
    }

    fn release(unit: &AmdViUnit) -> Result {
        unit.release()
    }

    fn suspend(unit: &AmdViUnit) -> Result {
        unit.suspend()
    }

    fn resume(unit: &AmdViUnit) -> Result {
        unit.resume()
    }

    /// An emulated unit lets everything pass after a reset until it is told of each entry. When it
    /// is told, it finds a device by its id only if the bridges above have their bus numbers.
    fn buses_resumed(unit: &AmdViUnit) {
        if let Ok(hardware) = unit.hardware() {
            let _ = hardware.answered(hardware.invalidate_entries());
        }
    }

    fn probe<'a>(
        mut units: impl Iterator<Item = &'a AmdViUnit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a AmdViUnit, Probed<Self>)> {
        let first = units.clone().next().ok_or(ENODEV)?;
        let table = first.description.firmware.table();
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
            .find(|unit| unit.description.base == ivhd.base())
            .ok_or(ENODEV)?;
        let hardware = unit.hardware()?;
        if scope::claims(table, segment, own).count() > 1 {
            log_warn!(
                "{}: the IVRS table puts the device behind several units; the last one, at offset \
                 {:#x}, gets it",
                device.name,
                ivhd.offset(),
            );
        }

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
        // The unit itself refuses the requests of ids that its table does not cover.
        ids.retain(|id| hardware.tables.covers(*id));
        // The entries have not changed, and they block. But an emulated unit lets a device that was
        // plugged in pass until it is told of its entry.
        let mut batch = hardware.batch();
        ids.iter().for_each(|&id| batch.entry(id));
        let _ = hardware.answered(batch.run());

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
            add((region.base(), region.limit()), prot, Kind::Direct)?;
        }
        add(MESSAGES, Prot::WRITE, Kind::Msi)?;
        if !hardware.properties.features.ht_range_ignored {
            add(HYPERTRANSPORT, Prot::READ | Prot::WRITE, Kind::Reserved)?;
        }
        let (has_pasids, trusted) = match device.place {
            Place::Pci {
                has_pasids,
                trusted,
                ..
            } => (has_pasids, trusted),
            _ => (false, false),
        };
        let features = &hardware.properties.features;
        let encrypted = !matches!(encryption(), Encryption::None);
        let probed = Probed {
            ids,
            data: EndpointData {
                needs_identity: needs_identity(features, has_pasids, trusted, encrypted),
            },
            reserved,
        };
        Ok((unit, probed))
    }

    fn remaps(unit: &AmdViUnit, ids: &[RequesterId]) -> Result<(), NotRemapped> {
        unit.hardware()?
            .properties
            .remapping
            .map_err(NotRemapped::ByUnit)?;
        let ivhd = unit.description.ivhd()?;
        for &id in ids {
            let device = id.raw() as u16;
            if scope::is_controller(ivhd, device) {
                return Err(NotRemapped::SharedWithController(id));
            }
            if scope::settings_of(ivhd, device).pass_interrupts() {
                return Err(NotRemapped::FirmwarePasses(id));
            }
        }
        Ok(())
    }

    fn stop_refusing(unit: &AmdViUnit, ids: &[RequesterId]) {
        let Ok(hardware) = unit.hardware() else {
            return;
        };
        let mut batch = hardware.batch();
        for &id in ids {
            if hardware.tables.pass_refused(id) {
                batch.entry(id);
            }
        }
        let submitted = batch.submit();
        let _ = hardware.answered(submitted.and_then(|submitted| submitted.wait()));
    }

    fn interrupt_table(unit: &AmdViUnit) -> Result<Arc<dyn InterruptTable>> {
        let hardware = unit.hardware()?;
        let remapping = hardware.properties.remapping.map_err(|_| eopnotsupp())?;
        Ok(GroupTable::new(hardware, remapping)?)
    }

    fn default_kind(_unit: &AmdViUnit, endpoint: &EndpointData) -> Option<DefaultKind> {
        endpoint.needs_identity.then_some(DefaultKind::Identity)
    }

    fn show_features(unit: &AmdViUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::features(unit, f)
    }

    fn show_unit(unit: &AmdViUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::unit(unit, f)
    }
}
