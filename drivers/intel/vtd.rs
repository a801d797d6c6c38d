// SPDX-License-Identifier: GPL-2.0

//! What the core calls.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{atomic::Full, barrier::smp_mb, Arc, SetOnce},
};

use super::{
    entries::{ContextEntry, Translation},
    firmware::Firmware,
    hardware::Hardware,
    invalidation::{ContextScope, TlbScope},
    irq::FaultInterrupt,
    paging::Paging,
    removal::Removal,
    scope::{self, Device, Location, TranslationCache},
    show,
    unit::VtdUnit,
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
    pgtable::kernel_memory::{Gfp, KernelMemory},
    reserved::{Kind, Reserved},
};

/// Where interrupt messages go: never translated (3.14).
const MESSAGES: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);

/// The driver.
pub struct Vtd;

/// The name of a domain in a unit's caches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DomainId(u16);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain id {}", self.0)
    }
}

/// What the context entries of an endpoint will be; `None` blocks.
pub struct Plan(Option<ContextEntry>);

/// What firmware's use of memory through a device with this PCI class code means.
///
/// Firmware uses USB controllers to emulate a keyboard, and display controllers for its messages.
/// Both end when a driver takes the device over. Of other devices nothing is known.
fn direct_kind(class: u32) -> Kind {
    match (class >> 16, class >> 8 & 0xff) {
        (0x03, _) | (0x0c, 0x03) => Kind::DirectRelaxable,
        _ => Kind::Direct,
    }
}

impl Attach for Vtd {
    const NAME: &'static str = "intel";

    type Unit = VtdUnit;

    /// The name of the device, for messages. For entries the ids are enough.
    type Endpoint = Label;

    type Paging = Paging;
    type Tag = DomainId;
    type Plan = Plan;

    fn health(unit: &VtdUnit) -> &Health {
        &unit.health
    }

    fn acquire_tag(unit: &VtdUnit, _paging: Option<&Paging>) -> Result<DomainId> {
        let hardware = unit.hardware()?;
        let id = hardware.ids.lock().take();

        id.map(DomainId).ok_or_else(|| {
            log_warn!(
                "{}: all {} domain ids of the unit are in use; free a domain and try again",
                unit.health.name(),
                hardware.capability.usable_domains(),
            );
            ENOSPC
        })
    }

    fn release_tag(unit: &VtdUnit, tag: DomainId) {
        if let Ok(hardware) = unit.hardware() {
            let was_taken = hardware.ids.lock().give_back(tag.0);
            debug_assert!(was_taken);
        }
    }

    fn prepare(
        unit: &VtdUnit,
        device: &Label,
        target: Target<'_, Self>,
        _when: When,
    ) -> Result<Plan> {
        unit.health.check()?;
        let capability = &unit.hardware()?.capability;

        let (translation, tag) = match target {
            Target::Paging { paging, tag } => {
                if !paging.fits(capability) {
                    return Err(EINVAL);
                }
                (paging.translation(), tag)
            }
            Target::Identity { tag } => match capability.untranslated() {
                Some(width) => (Translation::PassThrough { width }, tag),
                None => {
                    log_warn!(
                        "{}: the unit cannot let DMA of {} pass untranslated (ECAP.PT is 0); use \
                         a paging domain",
                        unit.health.name(),
                        device,
                    );
                    return Err(EOPNOTSUPP);
                }
            },
        };
        Ok(Plan(Some(ContextEntry {
            translation,
            domain: tag.0,
        })))
    }

    fn plan_blocked(_unit: &VtdUnit, _device: &Label) -> Plan {
        Plan(None)
    }

    /// See `tables` for what a change of an entry needs.
    ///
    /// First every old entry is removed and invalidated, all of them in one batch; then the new
    /// ones are written. That a unit in caching mode has kept that they were not present is what
    /// the second batch is for, which no other unit needs.
    fn commit(unit: &VtdUnit, steps: &mut impl Steps<Self>) {
        let Ok(hardware) = unit.hardware() else {
            return;
        };
        let tables = &hardware.tables;
        let mut removal = Removal::new(hardware);
        let mut writes = false;
        steps.for_each(|Step { ids, plan, .. }| {
            writes |= plan.0.is_some();
            ids.iter().for_each(|&id| removal.remove(id));
        });
        if let Err(failure) = removal.run() {
            hardware.fail(failure);
        }
        if !writes || unit.health.has_failed() {
            // What could be blocked is.
            return;
        }

        let caching = hardware.capability.caching_mode;
        let mut batch = hardware.batch();
        steps.for_each(|Step { ids, plan, .. }| {
            let Some(entry) = plan.0 else { return };
            for &id in ids {
                tables.write(id, entry.encode());
                if caching {
                    let source = id.raw() as u16;
                    batch.context(ContextScope::Device { domain: 0, source });
                }
            }
        });
        if caching {
            batch.fence();
            let mut last = None;
            steps.for_each(|Step { plan, .. }| {
                let Some(ContextEntry { domain, .. }) = plan.0 else {
                    return;
                };
                if last.replace(domain) != Some(domain) {
                    batch.iotlb(TlbScope::Domain { domain });
                }
            });
        }
        if let Err(failure) = batch.run() {
            hardware.fail(failure);
        }
        if !caching {
            // Invalidations do it on the way.
            hardware.flush_write_buffer();
        }
        // Who declares the unit failed says so first and clears the tables then; here it is the
        // other way round. So one of the two sees what the other did.
        smp_mb(Full);
        if unit.health.has_failed() {
            steps.for_each(|Step { ids, .. }| {
                for &id in ids {
                    tables.clear(id);
                }
            });
        }
    }

    fn needs_map_sync(unit: &VtdUnit) -> bool {
        unit.hardware().is_ok_and(|hardware| {
            hardware.capability.caching_mode || hardware.capability.write_buffer_flush
        })
    }

    fn capable(unit: &VtdUnit, _device: &Label, capability: Capability) -> bool {
        match capability {
            // Accesses of PCI devices are coherent unless the device asks otherwise.
            Capability::CoherentDma | Capability::DeferredFlush => true,
            Capability::EnforcedCoherency => unit
                .hardware()
                .is_ok_and(|hardware| hardware.capability.snoop_control),
            Capability::PreBootProtection => unit
                .firmware
                .table()
                .is_ok_and(|table| table.dma_protection_opt_in()),
            Capability::NoExec => false,
        }
    }
}

impl Translate for Vtd {
    type Memory = KernelMemory;

    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Paging> {
        let unit = device.unit();
        let hardware = unit.hardware()?;
        let table = unit.firmware.table().map_err(|_| EINVAL)?;

        Paging::new(
            &hardware.capability,
            hardware.space,
            table.host_address_width(),
            unit.node,
        )
    }

    fn geometry(paging: &Paging) -> Geometry {
        Geometry {
            first: Iova::new(0),
            last: paging.table.last_iova(),
            page_sizes: paging.table.page_sizes(),
        }
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
        let (mapped, result) = paging.table.map(iova, phys, len, prot, flags, gather);
        (mapped, result.map_err(Error::from))
    }

    #[inline]
    fn unmap(paging: &Paging, iova: Iova, len: u64, gather: &mut KernelGather) -> u64 {
        paging.table.unmap(iova, len, gather)
    }

    #[inline]
    fn iova_to_phys(paging: &Paging, iova: Iova) -> Option<PhysAddr> {
        paging.table.iova_to_phys(iova)
    }

    fn mapped(unit: &VtdUnit, tag: DomainId, first: Iova, last: Iova) -> Result {
        let hardware = unit.hardware()?;
        if hardware.capability.caching_mode {
            // Tables may have been added on the way, and what was not present is cached at any
            // level.
            let tables = true;
            Self::invalidate(
                unit,
                tag,
                Scope::Range {
                    first,
                    last,
                    tables,
                },
            )?;
        } else {
            hardware.flush_write_buffer();
        }
        unit.health.check()
    }

    fn invalidate(unit: &VtdUnit, tag: DomainId, scope: Scope) -> Result {
        let hardware = unit.hardware()?;
        let domain = tag.0;
        let capability = &hardware.capability;
        let (cover, leaves_only) = match scope {
            Scope::All => (Cover::Domain, false),
            Scope::Range {
                first,
                last,
                tables,
            } => {
                let largest = capability
                    .page_selective
                    .then_some(capability.max_address_mask);
                (Cover::new(first.raw(), last.raw(), largest), !tables)
            }
        };

        let mut batch = hardware.batch();
        match cover.blocks() {
            [] => batch.iotlb(TlbScope::Domain { domain }),
            blocks => {
                for &block in blocks {
                    batch.iotlb(TlbScope::Pages {
                        domain,
                        block,
                        leaves_only,
                    });
                }
            }
        }
        batch.run().map_err(|failure| {
            hardware.fail(failure);
            EIO
        })
    }
}

impl VendorDriver for Vtd {
    fn discover() -> Result<KVec<VtdUnit>> {
        let firmware = Firmware::find()?;
        let mut units = KVec::new();
        let table = firmware.table().map_err(|_| EINVAL)?;

        for (number, unit) in table.units().enumerate() {
            let name = Label::new(format_args!("dmar{number}"));
            let unit = VtdUnit {
                firmware: firmware.clone(),
                base: unit.base(),
                segment: unit.segment(),
                include_all: unit.include_all(),
                node: firmware.node_of(unit.base()),
                health: Arc::new(Health::new(name), GFP_KERNEL)?,
                hardware: SetOnce::new(),
                interrupt: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
            };
            units.push(unit, GFP_KERNEL)?;
        }
        if units.is_empty() {
            log_info!("intel: the DMAR table lists no unit");
            return Err(ENODEV);
        }
        Ok(units)
    }

    fn take_over(unit: &VtdUnit, faults: Arc<dyn FaultSink>) -> Result {
        let name = unit.health.name();
        let hardware = match unit.hardware.as_ref() {
            Some(hardware) => hardware.clone(),
            None => {
                let hardware = Hardware::new(&unit.health, unit.base, unit.node)?;
                unit.hardware.populate(hardware.clone());
                hardware
            }
        };

        hardware.start().inspect_err(|error| {
            // A unit that is somebody else's is left as it was.
            if *error != EBUSY {
                hardware.stop();
            }
        })?;
        match FaultInterrupt::new(&hardware, faults) {
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

        let capability = &hardware.capability;
        log_info!(
            "{}: VT-d unit at {:#x}, {} levels, {} address bits, {} domain ids{}{}",
            name,
            unit.base,
            hardware.space.width.levels(),
            hardware.space.bits,
            capability.usable_domains(),
            if capability.coherent {
                ""
            } else {
                ", walks do not snoop"
            },
            if capability.caching_mode {
                ", caching mode"
            } else {
                ""
            },
        );
        Ok(())
    }

    fn enable(unit: &VtdUnit) -> Result {
        unit.hardware()?.enable()
    }

    fn release(unit: &VtdUnit) {
        // The interrupt's thread ends when this is dropped.
        let interrupt = unit.interrupt.lock().take();
        drop(interrupt);
        if let Ok(hardware) = unit.hardware() {
            hardware.stop();
        }
    }

    fn suspend(unit: &VtdUnit) -> Result {
        unit.hardware()?.suspend()
    }

    fn resume(unit: &VtdUnit) -> Result {
        unit.hardware()?.resume()
    }

    fn probe<'a>(
        mut units: impl Iterator<Item = &'a VtdUnit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a VtdUnit, Probed<Self>)> {
        let (place, direct_kind) = match &device.place {
            Place::Pci {
                segment,
                id,
                upstream,
                class,
                physical,
            } => {
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
        let firmware = &units.clone().next().ok_or(ENODEV)?.firmware;
        let table = firmware.table().map_err(|_| EINVAL)?;
        let listed = scope::unit_for(table, place).ok_or(ENODEV)?;
        let unit = units
            .find(|unit| unit.base == listed.base())
            .ok_or(ENODEV)?;
        let hardware = unit.hardware()?;

        let mut ids = device.ids;
        for id in scope::ids_for(table, listed, place) {
            if !ids.contains(&id) {
                ids.push(id, GFP_KERNEL)?;
            }
        }
        for id in &ids {
            hardware.tables.add_bus(id.bus())?;
        }
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
            log_warn!(
                "{}: firmware says that the device needs a translation cache of its own, which is \
                 not supported; its DMA may not work",
                device.name,
            );
        }
        let probed = Probed {
            ids,
            data: device.name,
            reserved,
        };
        Ok((unit, probed))
    }

    fn show_unit(unit: &VtdUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::unit(unit, f)
    }
}
