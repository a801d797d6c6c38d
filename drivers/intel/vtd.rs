// SPDX-License-Identifier: GPL-2.0

//! What the core calls.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
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
    queue::Failure,
    removal::Removal,
    scope::{self, Device, Location, TranslationCache},
    show,
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
    pgtable::kernel_memory::{Gfp, KernelMemory},
    reserved::{Kind, Reserved},
    unit::Unit,
};

/// Where interrupt messages go: never translated (3.14).
const MESSAGES: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);

/// The driver.
pub struct Vtd;

/// A unit as the DMAR table describes it, and what it became when it was taken over.
pub struct VtdUnit {
    firmware: Arc<Firmware>,
    pub(super) base: u64,
    pub(super) segment: u16,
    pub(super) include_all: bool,
    node: i32,
    /// Stays after a release, for the next takeover, until the unit is dropped.
    hardware: SetOnce<Arc<Hardware>>,
}

impl VtdUnit {
    /// The hardware, once it was taken over.
    #[inline]
    pub(super) fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.hardware.as_ref().ok_or(ENODEV)
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

/// Says that a unit has failed, and blocks what is behind it.
#[cold]
fn fail(unit: &Unit<Vtd>, hardware: &Hardware, failure: Failure) {
    if failure != Failure::Earlier {
        unit.fail(format_args!("{failure}"));
        hardware.block_all();
    }
}

impl Attach for Vtd {
    const NAME: &'static str = "intel";

    type Unit = VtdUnit;

    /// Nothing: the ids say it all.
    type Endpoint = ();

    type Paging = Paging;
    type Tag = DomainId;
    type Plan = Plan;

    fn acquire_tag(unit: &Unit<Self>, _paging: Option<&Paging>) -> Result<DomainId> {
        let hardware = unit.hardware().hardware()?;
        let id = hardware.ids.lock().take();

        id.map(DomainId).ok_or_else(|| {
            log_warn!(
                "{}: all {} domain ids of the unit are in use; free a domain and try again",
                unit.name(),
                hardware.capability.usable_domains(),
            );
            ENOSPC
        })
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
        let capability = &unit.hardware().hardware()?.capability;

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
                        unit.name(),
                        endpoint.name(),
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

    fn plan_blocked(_endpoint: &Endpoint<Self>) -> Plan {
        Plan(None)
    }

    /// See `tables` for what a change of an entry needs.
    ///
    /// First every old entry is removed and invalidated, all of them in one batch; then the new
    /// ones are written. That a unit in caching mode has kept that they were not present is what
    /// the second batch is for, which no other unit needs.
    fn commit(unit: &Unit<Self>, steps: &mut Steps<'_, Self>) {
        let Ok(hardware) = unit.hardware().hardware() else {
            return;
        };
        let tables = &hardware.tables;
        let mut removal = Removal::new(hardware);
        let mut writes = false;
        steps.for_each(|_, ids, Plan(entry)| {
            writes |= entry.is_some();
            ids.iter().for_each(|&id| removal.remove(id));
        });
        if let Err(failure) = removal.run() {
            fail(unit, hardware, failure);
        }
        if !writes || unit.has_failed() {
            // What could be blocked is.
            return;
        }

        let caching = hardware.capability.caching_mode;
        let mut batch = hardware.batch();
        steps.for_each(|_, ids, Plan(entry)| {
            let Some(entry) = entry else { return };
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
            steps.for_each(|_, _, Plan(entry)| {
                let Some(ContextEntry { domain, .. }) = *entry else {
                    return;
                };
                if last.replace(domain) != Some(domain) {
                    batch.iotlb(TlbScope::Domain { domain });
                }
            });
        }
        if let Err(failure) = batch.run() {
            fail(unit, hardware, failure);
        }
        if !caching {
            // Invalidations do it on the way.
            hardware.flush_write_buffer();
        }
        // Who declares the unit failed says so first and clears the tables then; here it is the
        // other way round. So one of the two sees what the other did.
        smp_mb(Full);
        if unit.has_failed() {
            steps.for_each(|_, ids, _| {
                for &id in ids {
                    tables.clear(id);
                }
            });
        }
    }

    fn needs_map_sync(unit: &Unit<Self>) -> bool {
        unit.hardware().hardware().is_ok_and(|hardware| {
            hardware.capability.caching_mode || hardware.capability.write_buffer_flush
        })
    }

    fn capable(endpoint: &Endpoint<Self>, capability: Capability) -> bool {
        let described = endpoint.unit().hardware();
        match capability {
            // Accesses of PCI devices are coherent unless the device asks otherwise.
            Capability::CoherentDma | Capability::DeferredFlush => true,
            Capability::EnforcedCoherency => described
                .hardware()
                .is_ok_and(|hardware| hardware.capability.snoop_control),
            Capability::PreBootProtection => described
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
        let described = device.unit().hardware();
        let hardware = described.hardware()?;
        let table = described.firmware.table().map_err(|_| EINVAL)?;

        Paging::new(
            &hardware.capability,
            hardware.space,
            table.host_address_width(),
            described.node,
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

    fn mapped(unit: &Unit<Self>, tag: DomainId, first: Iova, last: Iova) -> Result {
        let hardware = unit.hardware().hardware()?;
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
        unit.check()
    }

    fn invalidate(unit: &Unit<Self>, tag: DomainId, scope: Scope) -> Result {
        let hardware = unit.hardware().hardware()?;
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
            fail(unit, hardware, failure);
            EIO
        })
    }
}

impl VendorDriver for Vtd {
    fn discover() -> Result<KVec<Arc<Unit<Self>>>> {
        let firmware = Firmware::find()?;
        let mut units = KVec::new();
        let table = firmware.table().map_err(|_| EINVAL)?;

        for (number, unit) in table.units().enumerate() {
            let described = VtdUnit {
                firmware: firmware.clone(),
                base: unit.base(),
                segment: unit.segment(),
                include_all: unit.include_all(),
                node: firmware.node_of(unit.base()),
                hardware: SetOnce::new(),
            };
            let name = Label::new(format_args!("dmar{number}"));
            units.push(Unit::new(name, Ok(described))?, GFP_KERNEL)?;
        }
        if units.is_empty() {
            log_info!("intel: the DMAR table lists no unit");
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
                let hardware = Hardware::new(name, described.base, described.node)?;
                described.hardware.populate(hardware.clone());
                hardware
            }
        };

        hardware.start(name).inspect_err(|error| {
            // A unit that is somebody else's is left as it was.
            if *error != EBUSY {
                hardware.stop(name);
            }
        })?;
        match FaultInterrupt::new(unit, &hardware) {
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

        let capability = &hardware.capability;
        log_info!(
            "{}: VT-d unit at {:#x}, {} levels, {} address bits, {} domain ids{}{}",
            name,
            described.base,
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

    fn probe(units: &[Arc<Unit<Self>>], device: DeviceInfo) -> Result<Probed<Self>> {
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
        let firmware = &units.first().ok_or(ENODEV)?.hardware().firmware;
        let table = firmware.table().map_err(|_| EINVAL)?;
        let listed = scope::unit_for(table, place).ok_or(ENODEV)?;
        let unit = units
            .iter()
            .find(|unit| unit.hardware().base == listed.base())
            .ok_or(ENODEV)?;
        let hardware = unit.hardware().hardware()?;

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
