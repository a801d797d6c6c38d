// SPDX-License-Identifier: GPL-2.0

//! The VT-d driver: what the core calls.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{prelude::*, sync::Arc};

use super::{
    capability::{Mode, Stage},
    change::{forget_context, forget_pasid, forget_translations, CacheTag},
    entries::{ContextEntry, Translation},
    firmware::{Firmware, MemoryNodes},
    hardware::Hardware,
    interrupt_table::GroupTable,
    invalidation::{Descriptor, TlbScope},
    irte::Source,
    machine::Machine,
    paging::Paging,
    pasid::{PasidEntry, PasidTranslation, PasidWidth},
    queue::Failure,
    quirks::Function,
    removal::Removal,
    scope::{self, Device, Location, TranslationCache},
    show,
    tables::IdEntry,
    tag::Tag,
    unit::{Description, VtdUnit},
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    device::{DeviceInfo, EnabledPasids, PasidControl, Place},
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
    ffi::{compat::eopnotsupp, irq_domain::is_x2apic},
    health::Health,
    interrupt::NotRemapped,
    label::Label,
    log::{log_info, log_warn},
    pasid::Selector,
    pgtable::kernel_memory::{Gfp, KernelMemory},
    remapping::InterruptTable,
    requester::RequesterId,
    reserved::{Kind, Reserved},
};

/// The addresses of interrupt messages, which are never translated (3.14).
const MESSAGES: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);

/// The driver.
pub struct Vtd;

/// Whether the kernel is configured to leave integrated graphics untranslated, as Debian's is.
/// Whoever boots another one with its own driver off, to load this one, wants all devices
/// translated.
const GRAPHICS_UNTRANSLATED: bool = cfg!(CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF);

/// The driver's state for an endpoint. Entries need the ids only.
pub struct EndpointData {
    /// The name of the device, for messages.
    name: Label,
    /// Whether DMA of the device has to pass untranslated.
    needs_identity: bool,
    /// Its PASIDs, if it uses any.
    pasids: Option<Pasids>,
}

/// What an endpoint that uses PASIDs needs to be attached for one.
struct Pasids {
    /// How many there are, 0 included.
    count: u32,
    /// The endpoint's ids, each of which has PASID tables.
    ids: KVec<RequesterId>,
    /// The device makes requests with a PASID as long as this is there.
    _enabled: EnabledPasids,
}

impl Pasids {
    /// Has the device make requests with PASIDs of `width`, if it can.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn new(
        hardware: &Hardware,
        name: &Label,
        control: KBox<dyn PasidControl>,
        width: PasidWidth,
        ids: &[RequesterId],
    ) -> Result<Option<Self>> {
        // Tables stay as they were when a device with the id was probed first.
        let smallest = ids.iter().map(|id| hardware.tables.pasids(*id)).min();
        let count = width.count().min(smallest.unwrap_or(0));
        if count == 0 {
            log_info!("{}: uses no PASIDs, its tables have no room for them", name);
            return Ok(None);
        }
        let mut copy = KVec::new();
        copy.extend_from_slice(ids, GFP_KERNEL)?;
        match EnabledPasids::new(control) {
            Ok(enabled) => Ok(Some(Self {
                count,
                ids: copy,
                _enabled: enabled,
            })),
            Err(error) => {
                log_info!(
                    "{}: uses no PASIDs, they cannot be enabled: error {}",
                    name,
                    error.to_errno(),
                );
                Ok(None)
            }
        }
    }
}

/// The entry that the ids of an endpoint get; `None` blocks.
pub struct Plan(Option<IdEntry>);

/// What to do for isolated interrupts.
const HOW_TO_ISOLATE: &str = match cfg!(CONFIG_IOMMU_CORE_NATIVE) {
    true => "",
    false => {
        "; the kernel's own driver isolates them, and so does a kernel with iommu_core built in"
    }
};

/// Whether entries can check the requester ids of a device.
fn can_check(ids: &[RequesterId]) -> Result<(), NotRemapped> {
    match (Source::of(ids), ids.first()) {
        (None, Some(&id)) => Err(NotRemapped::SeveralIds(id)),
        _ => Ok(()),
    }
}

/// Whether the unit can remap the messages of all devices behind it. `devices` are the ids of each,
/// `plain` is one whose messages have to pass unchanged.
fn may_remap<'a>(
    unit: &VtdUnit,
    hardware: &Hardware,
    mut devices: impl Iterator<Item = &'a [RequesterId]>,
    plain: Option<Label>,
    x2apic: bool,
) -> Result<(), NotRemapped> {
    let Description {
        firmware,
        base,
        machine,
        ..
    } = &unit.description;
    let table = firmware.table();
    let structure = table.units().find(|unit| unit.base() == *base);
    let structure = structure.ok_or(ENODEV)?;
    let why = if !hardware.capability.interrupt_remapping {
        "the unit cannot remap interrupts (ECAP.IR is 0)"
    } else if x2apic && !hardware.capability.extended_interrupt_mode {
        "the unit cannot name processors in x2APIC mode (ECAP.EIM is 0)"
    } else if !table.interrupt_remapping() {
        "firmware does not say that it may (flag 0 of the DMAR table)"
    } else if machine.quirks.remapping_broken {
        "the chipset loses interrupts that it remaps"
    } else if scope::lists_controllers(table, structure) {
        "an I/O APIC or a timer is behind the unit, whose messages have to pass as they are"
    } else if !scope::lists_functions_only(table, structure) {
        "the unit is for more devices than firmware lists"
    } else {
        return match plain {
            Some(device) => Err(NotRemapped::NeededPlain(device)),
            None => devices.try_for_each(can_check),
        };
    };
    Err(NotRemapped::ByUnit(why))
}

/// Calls `f` with the tag of each new entry of `steps`; once for neighbours with the same tag.
fn for_each_tag(steps: &mut impl Steps<Vtd>, mut f: impl FnMut(CacheTag)) {
    let mut last = None;
    steps.for_each(|Step { plan, selector, .. }| {
        let Some(tag) = plan.0.map(|entry| entry.tag(selector.number())) else {
            return;
        };
        if last.replace(tag) != Some(tag) {
            f(tag);
        }
    });
}

/// Has a unit in caching mode forget that the entries of `steps`, which are written, were absent.
///
/// # Errors
///
/// Why the unit did not do it.
fn forget_absent(hardware: &Hardware, steps: &mut impl Steps<Vtd>) -> Result<(), Failure> {
    let mut batch = hardware.batch();
    steps.for_each(|Step { ids, plan, .. }| {
        if plan.0.is_some() {
            let entries = ids.iter().map(|id| forget_context(id.raw() as u16, 0));
            entries.for_each(|entry| batch.push(entry));
        }
    });
    if hardware.mode().is_scalable() {
        let mut last = None;
        steps.for_each(|Step { selector, .. }| {
            if last.replace(selector) != Some(selector) {
                batch.push(forget_pasid(0, selector.number()));
            }
        });
        for_each_tag(steps, |tag| batch.push(forget_pasid(tag.domain, tag.pasid)));
    }
    batch.fence();
    let drain = hardware.queue().drain();
    for_each_tag(steps, |tag| batch.push(forget_translations(tag, drain)));
    batch.run()
}

/// What firmware uses memory for through a device with this PCI class code.
///
/// Firmware emulates a keyboard with USB controllers, and shows messages with display controllers.
/// Both end when a driver takes the device over. Nothing is known of other devices.
fn direct_kind(class: u32) -> Kind {
    match (class >> 16, class >> 8 & 0xff) {
        (0x03, _) | (0x0c, 0x03) => Kind::DirectRelaxable,
        _ => Kind::Direct,
    }
}

impl Attach for Vtd {
    const NAME: &'static str = "intel";

    type Unit = VtdUnit;

    type Endpoint = EndpointData;

    type Paging = Paging;
    type Tag = Tag;
    type Plan = Plan;

    fn health(unit: &VtdUnit) -> &Health {
        &unit.health
    }

    fn pasids(_unit: &VtdUnit, endpoint: &EndpointData) -> u32 {
        endpoint.pasids.as_ref().map_or(0, |pasids| pasids.count)
    }

    /// Identity domains have no translations that change, and each attach invalidates its own.
    fn tags_by_pasid(unit: &VtdUnit, paging: Option<&Paging>) -> bool {
        paging.is_some()
            && unit
                .hardware()
                .is_ok_and(|hardware| hardware.mode().stage() == Stage::First)
    }

    fn acquire_tag(unit: &VtdUnit, _paging: Option<&Paging>, selector: Selector) -> Result<Tag> {
        let domain = unit.hardware()?.ids.take(unit.health.name())?;
        Ok(Tag::new(domain, selector.number()))
    }

    fn release_tag(unit: &VtdUnit, tag: Tag) {
        if let Ok(hardware) = unit.hardware() {
            hardware.ids.give_back(tag.domain());
        }
    }

    fn prepare(
        unit: &VtdUnit,
        endpoint: &EndpointData,
        selector: Selector,
        target: Target<'_, Self>,
        _when: When,
    ) -> Result<Plan> {
        unit.health.check()?;
        let hardware = unit.hardware()?;
        let capability = &hardware.capability;
        if let Selector::Pasid(pasid) = selector {
            let pasids = endpoint.pasids.as_ref().ok_or(EINVAL)?;
            for id in &pasids.ids {
                hardware.tables.add_pasid(*id, pasid.number())?;
            }
        }

        let entry = match target {
            Target::Paging { paging, tag } => {
                if !paging.fits(capability) {
                    return Err(EINVAL);
                }
                paging.entry(hardware.mode(), tag.domain().0)
            }
            Target::Identity { tag } => match (capability.untranslated(), hardware.mode()) {
                (Some(width), Mode::Legacy) => IdEntry::Context(ContextEntry {
                    translation: Translation::PassThrough { width },
                    domain: tag.domain().0,
                }),
                (Some(width), Mode::Scalable(_)) => IdEntry::Pasid(PasidEntry {
                    translation: PasidTranslation::PassThrough { width },
                    domain: tag.domain().0,
                }),
                (None, _) => {
                    log_warn!(
                        "{}: the unit cannot let DMA of {} pass untranslated (ECAP.PT is 0); use \
                         a paging domain",
                        unit.health.name(),
                        endpoint.name,
                    );
                    return Err(eopnotsupp());
                }
            },
        };
        Ok(Plan(Some(entry)))
    }

    fn plan_blocked(_unit: &VtdUnit, _endpoint: &EndpointData, _selector: Selector) -> Plan {
        Plan(None)
    }

    /// Removes and invalidates all old entries in one batch, then writes the new ones; `change`
    /// says why. A second batch follows only for a unit in caching mode, which may have cached that
    /// the entries were not present.
    fn commit(unit: &VtdUnit, steps: &mut impl Steps<Self>) {
        let Ok(hardware) = unit.hardware() else {
            return;
        };
        let tables = &hardware.tables;
        let mut removal = Removal::new(hardware);
        let mut writes = false;
        steps.for_each(|step| {
            let pasid = step.selector.number();
            writes |= step.plan.0.is_some();
            step.ids.iter().for_each(|&id| removal.remove(id, pasid));
        });
        let _ = hardware.answered(removal.run());
        if !writes || unit.health.has_failed() {
            // All ids are blocked.
            return;
        }

        steps.for_each(|step| {
            let pasid = step.selector.number();
            if let Some(entry) = step.plan.0 {
                step.ids
                    .iter()
                    .for_each(|&id| tables.write(id, pasid, entry));
            }
        });
        if hardware.capability.caching_mode {
            let _ = hardware.answered(forget_absent(hardware, steps));
        } else {
            // Invalidations flush the write buffer, but there was none.
            hardware.flush_write_buffer();
        }
        if hardware.has_failed_meanwhile() {
            steps.for_each(|Step { ids, selector, .. }| {
                ids.iter().for_each(|&id| {
                    tables.clear(id, selector.number());
                });
            });
        }
    }

    fn needs_map_sync(unit: &VtdUnit) -> bool {
        unit.hardware().is_ok_and(|hardware| {
            hardware.caches_absent_pages || hardware.capability.write_buffer_flush
        })
    }

    fn capable(unit: &VtdUnit, _endpoint: &EndpointData, capability: Capability) -> bool {
        match capability {
            // DMA of a PCI device is coherent unless the device asks for No Snoop.
            Capability::CoherentDma => true,
            Capability::DeferredFlush => unit.description.machine.quirks.allows_deferred_flush(),
            // A page of a first-stage table cannot ask for it.
            Capability::EnforcedCoherency => unit.hardware().is_ok_and(|hardware| {
                hardware.capability.snoop_control && hardware.mode().stage() == Stage::Second
            }),
            Capability::PreBootProtection => {
                unit.description.firmware.table().dma_protection_opt_in()
            }
            Capability::NoExec => false,
        }
    }
}

impl Translate for Vtd {
    type Memory = KernelMemory;

    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Paging> {
        let unit = device.unit();
        let hardware = unit.hardware()?;

        Paging::new(
            &hardware.capability,
            hardware.space,
            unit.description.memory_node,
        )
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

    fn mapped(unit: &VtdUnit, tag: Tag, first: Iova, last: Iova) -> Result {
        let hardware = unit.hardware()?;
        if hardware.caches_absent_pages {
            Self::invalidate(unit, tag, absent_before(first, last))?;
        } else {
            hardware.flush_write_buffer();
        }
        unit.health.check()
    }

    fn invalidate(unit: &VtdUnit, tag: Tag, scope: Scope) -> Result {
        let hardware = unit.hardware()?;
        let (DomainId(domain), pasid) = (tag.domain(), tag.pasid());
        let descriptor = |part| {
            let scope = match part {
                Part::Domain => TlbScope::Domain { domain },
                Part::Block { block, leaves_only } => TlbScope::Pages {
                    domain,
                    block,
                    leaves_only,
                },
            };
            hardware.iotlb(pasid, scope)
        };
        let execute = |descriptors: &[Descriptor]| hardware.execute(descriptors);
        let largest = hardware.largest_block;
        hardware.answered(invalidate(scope, largest, descriptor, execute))
    }
}

impl VendorDriver for Vtd {
    fn discover() -> Result<KVec<VtdUnit>> {
        let firmware = Firmware::find()?;
        let mut units = KVec::new();
        let table = firmware.table();
        // Firmware sets the flag where its own settings turn remapping off. The C driver lets
        // nothing overrule it, so nobody has seen such a machine work with remapping on.
        if table.remapping_opt_out() {
            log_warn!(
                "intel: firmware forces DMA remapping off (flag 3 of the DMAR table), so no unit is \
                 used; its settings can change that"
            );
            return Err(ENODEV);
        }

        let nodes = MemoryNodes::new(table)?;
        let machine = Machine::look(table)?;
        for (number, unit) in table.units().enumerate() {
            let name = Label::new(format_args!("dmar{number}"));
            if let Some(why) = machine.leaves_alone(number) {
                log_info!(
                    "{}: the unit at {:#x} is left alone: {}",
                    name,
                    unit.base(),
                    why,
                );
                continue;
            }
            let description = Description {
                firmware: firmware.clone(),
                base: unit.base(),
                segment: unit.segment(),
                include_all: unit.include_all(),
                memory_node: nodes.of(unit.base()),
                machine: machine.clone(),
                present: machine.present(number),
            };
            units.push(VtdUnit::new(name, description)?, GFP_KERNEL)?;
        }
        if units.is_empty() {
            log_info!("intel: the DMAR table lists no unit that can be used");
            return Err(ENODEV);
        }
        Ok(units)
    }

    fn prepare_all<'a>(units: impl Iterator<Item = &'a VtdUnit>) {
        for unit in units.filter(|unit| unit.description.machine.quirks.queues_first) {
            // Whoever takes the unit over or resumes it finds out.
            let _ = unit.start_early();
        }
    }

    fn take_over(unit: &VtdUnit, faults: Arc<dyn FaultSink>) -> Result {
        unit.take_over(faults)
    }

    fn output_bits(unit: &VtdUnit) -> u8 {
        unit.description.firmware.table().host_address_width()
    }

    const PASIDS: bool = true;

    fn max_pasids(unit: &VtdUnit) -> u32 {
        let bits = unit.hardware().ok().and_then(|h| h.capability.pasids());
        bits.map_or(0, |bits| PasidWidth::Bits(bits).count())
    }

    fn enable(unit: &VtdUnit) -> Result {
        unit.enable()
    }

    fn release(unit: &VtdUnit) -> Result {
        unit.release()
    }

    fn suspend(unit: &VtdUnit) -> Result {
        unit.suspend()
    }

    fn resume(unit: &VtdUnit) -> Result {
        unit.resume()
    }

    fn probe<'a>(
        mut units: impl Iterator<Item = &'a VtdUnit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a VtdUnit, Probed<Self>)> {
        let first = units.clone().next().ok_or(ENODEV)?;
        let machine = &first.description.machine;
        let mut needs_identity = false;
        let (place, direct_kind) = match &device.place {
            Place::Pci {
                segment,
                id,
                upstream,
                vendor,
                device,
                class,
                physical,
                trusted,
                has_pasids: _,
            } => {
                if machine.is_misplaced(*segment, *id) {
                    return Err(ENODEV);
                }
                let function = Function {
                    vendor: *vendor,
                    device: *device,
                    class: *class,
                    on_root_bus: upstream.is_empty(),
                    trusted: *trusted,
                };
                needs_identity = machine
                    .quirks
                    .needs_identity(function, GRAPHICS_UNTRANSLATED);
                let location = Location {
                    segment: *segment,
                    function: physical.unwrap_or(*id),
                    upstream,
                };
                (Device::Function(location), direct_kind(*class))
            }
            Place::Acpi(name) => (Device::Named(&name.path), Kind::Direct),
            Place::Behind { .. } => return Err(ENODEV),
        };
        let table = first.description.firmware.table();
        let listed = scope::unit_for(table, place).ok_or(ENODEV)?;
        let unit = units
            .find(|unit| unit.description.base == listed.base())
            .ok_or(ENODEV)?;
        let hardware = unit.hardware()?;

        let mut ids = device.ids;
        for id in scope::ids_for(table, listed, place) {
            if !ids.contains(&id) {
                ids.push(id, GFP_KERNEL)?;
            }
        }
        let width = match (&device.pasids, hardware.capability.pasids()) {
            (Some(control), Some(bits)) => PasidWidth::Bits(bits.min(control.bits())),
            _ => PasidWidth::None,
        };
        for id in &ids {
            let tables = &hardware.tables;
            // A wide directory takes many pages in a row. The device works without its PASIDs.
            tables
                .add(*id, width)
                .or_else(|_| tables.add(*id, PasidWidth::None))?;
        }
        let pasids = match device.pasids.filter(|_| width != PasidWidth::None) {
            Some(control) => Pasids::new(hardware, &device.name, control, width, &ids)?,
            None => None,
        };
        let mut reserved = KVec::new();
        for region in scope::regions_for(table, place) {
            reserved.push(
                Reserved {
                    first: Iova::new(region.base()),
                    last: Iova::new(region.limit()),
                    prot: Prot::READ | Prot::WRITE,
                    kind: direct_kind,
                },
                GFP_KERNEL,
            )?;
        }
        reserved.push(
            Reserved {
                first: Iova::new(MESSAGES.0),
                last: Iova::new(MESSAGES.1),
                prot: Prot::WRITE,
                kind: Kind::Msi,
            },
            GFP_KERNEL,
        )?;

        if scope::translation_cache(table, place) == TranslationCache::Required {
            // In legacy mode software must not enable ATS in such a device once more.
            log_info!(
                "{}: needs a translation cache of its own (SATC); {}",
                device.name,
                match hardware.mode() {
                    Mode::Legacy => "the unit enables that by itself",
                    Mode::Scalable(_) => "this driver does not enable it, so its DMA may fail",
                },
            );
        }
        let probed = Probed {
            ids,
            data: EndpointData {
                name: device.name,
                needs_identity,
                pasids,
            },
            reserved,
        };
        Ok((unit, probed))
    }

    const REMAPS_TOGETHER: bool = true;

    fn remap_together<'a>(
        unit: &VtdUnit,
        devices: impl Iterator<Item = &'a [RequesterId]>,
        plain: Option<Label>,
    ) {
        let Ok(hardware) = unit.hardware() else {
            return;
        };
        if hardware.is_shared() {
            // The kernel's own code remaps them, and gives devices another domain for interrupts.
            return;
        }
        let x2apic = is_x2apic();
        let state = may_remap(unit, hardware, devices, plain, x2apic)
            .and_then(|()| Ok(hardware.remap_messages(x2apic)?));
        hardware.remapping.set(state);
        match state {
            Ok(()) => log_info!(
                "{}: remaps the interrupts of the devices behind it",
                unit.health.name(),
            ),
            Err(why) => log_info!(
                "{}: interrupts of the devices behind it are not isolated: {}{}",
                unit.health.name(),
                why,
                HOW_TO_ISOLATE,
            ),
        }
    }

    fn passes_plain_messages(unit: &VtdUnit) -> bool {
        !unit
            .hardware()
            .is_ok_and(|hardware| hardware.remapping.wanted().is_some())
    }

    fn remaps(unit: &VtdUnit, ids: &[RequesterId]) -> Result<(), NotRemapped> {
        unit.hardware()?.remapping.state()?;
        can_check(ids)
    }

    fn interrupt_table(unit: &VtdUnit) -> Result<Arc<dyn InterruptTable>> {
        let hardware = unit.hardware()?;
        let table = hardware.remapping.wanted().ok_or(eopnotsupp())?;
        Ok(GroupTable::new(hardware, table)?)
    }

    fn default_kind(unit: &VtdUnit, endpoint: &EndpointData) -> Option<DefaultKind> {
        match unit.hardware().ok()?.capability.untranslated() {
            None => Some(DefaultKind::Paging),
            Some(_) => endpoint.needs_identity.then_some(DefaultKind::Identity),
        }
    }

    fn show_features(unit: &VtdUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::features(unit, f)
    }

    fn show_unit(unit: &VtdUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::unit(unit, f)
    }
}
