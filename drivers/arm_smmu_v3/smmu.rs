// SPDX-License-Identifier: GPL-2.0

//! What the core calls.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    prelude::*,
    sync::{Arc, SetOnce},
};

use super::{
    attach,
    device_tlb::{self, Tlb},
    iort::{Rmr, RootComplex, Stream},
    paging::{walk, Paging},
    records::{
        capability::{Capability, Stalls},
        command,
        invalidation::{Plan as RangePlan, Range},
        ste::{ContextFormat, DeviceTlb, NoSubstream, Sharing, Stage1, StreamEntry, Words, World},
    },
    show,
    unit::{
        command_queue::Failure,
        firmware::{self, Description, Iort},
        hardware::{Hardware, Stage},
        irq::Interrupts,
    },
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    driver::{
        Attach, Capability as Ability, Geometry, KernelGather, PlatformIds, Probed, Scope, Target,
        Translate, VendorDriver, When,
    },
    endpoint::{DeviceInfo, DeviceView, Endpoint, Place},
    group::Steps,
    label::Label,
    log::{log_err, log_info, log_warn},
    pgtable::{
        armv8::GranuleSize,
        kernel_memory::{Gfp, KernelMemory},
    },
    requester::RequesterId,
    reserved::{Kind, Reserved},
    unit::Unit,
};

/// Where owners of devices find room for the places that interrupt messages go to: the window that
/// VFIO's users know from the kernel's own drivers.
const MESSAGES: (u64, u64) = (0x0800_0000, 0x080f_ffff);
/// With which VMID stage 1 marks what it caches.
const NO_MACHINE: u16 = 0;

/// The driver.
pub struct SmmuV3;

/// A unit as firmware describes it, and what it became when it was taken over.
pub struct SmmuUnit {
    pub(super) description: Description,
    /// Stays after a release, for the next takeover, until the unit is dropped.
    hardware: SetOnce<Arc<Hardware>>,
}

impl SmmuUnit {
    /// A unit that was taken over already, for suites.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn of(description: Description, taken: Arc<Hardware>) -> Self {
        let hardware = SetOnce::new();
        hardware.populate(taken);
        Self {
            description,
            hardware,
        }
    }

    /// The hardware, once it was taken over.
    #[inline]
    pub(super) fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.hardware.as_ref().ok_or(ENODEV)
    }
}

/// The name of a domain in a unit's caches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Tag {
    /// Of stage 1; also which of the unit's context descriptors is the domain's.
    Asid {
        /// The name.
        asid: u16,
        /// The granule of the domain's tables, which invalidations depend on.
        granule: GranuleSize,
    },
    /// Of stage 2.
    Vmid {
        /// The name.
        vmid: u16,
        /// As above.
        granule: GranuleSize,
    },
    /// The domain does not translate, so nothing is cached.
    Untranslated,
}

impl Tag {
    /// The name as commands have it, and the granule.
    fn named(self) -> Option<(command::Tag, GranuleSize)> {
        match self {
            Self::Asid { asid, granule } => Some((of_asid(asid), granule)),
            Self::Vmid { vmid, granule } => Some((command::Tag::Stage2 { vmid }, granule)),
            Self::Untranslated => None,
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asid { asid, .. } => write!(f, "asid {asid}"),
            Self::Vmid { vmid, .. } => write!(f, "vmid {vmid}"),
            Self::Untranslated => write!(f, "no tag"),
        }
    }
}

pub(super) fn of_asid(asid: u16) -> command::Tag {
    command::Tag::Stage1 {
        world: World::El1,
        vmid: NO_MACHINE,
        asid,
    }
}

/// A prepared attach.
pub struct Plan {
    /// What the stream table entries of the endpoint will be.
    entry: Words,
    /// The domain of which the endpoint's TLB will have translations, if it is to be on. The entry
    /// allows that then, and otherwise does not.
    tlb: Option<command::Tag>,
}

impl Plan {
    /// What the entries will be.
    pub(super) fn entry(&self) -> &Words {
        &self.entry
    }

    /// The domain of which the endpoint's TLB will have translations.
    pub(super) fn tlb(&self) -> Option<command::Tag> {
        self.tlb
    }

    /// The TLB is not to be on after all.
    pub(super) fn forbid_tlb(&mut self) {
        self.tlb = None;
        self.entry = DeviceTlb::forbid(&self.entry);
    }
}

impl From<StreamEntry> for Plan {
    fn from(entry: StreamEntry) -> Self {
        Self {
            entry: entry.encode(),
            tlb: None,
        }
    }
}

/// How transactions that pass untranslated, or that only stage 2 translates, are shared.
pub(super) fn sharing(capability: &Capability) -> Sharing {
    match capability.override_types {
        true => Sharing::Incoming,
        false => Sharing::Reserved,
    }
}

/// Says that a unit has failed, and blocks what is behind it.
#[cold]
pub(super) fn fail(unit: &Unit<SmmuV3>, hardware: &Hardware, failure: Failure) {
    if failure != Failure::Earlier {
        unit.fail(format_args!("{failure}"));
        hardware.block_all();
    }
}

/// A unit, and the ids that a device has there.
type Link<'a> = (&'a Arc<Unit<SmmuV3>>, KVec<RequesterId>);

/// The unit of a PCI function that the kernel has not looked up, and the ids that the function has
/// there, by the IORT table.
fn link_of_pci<'a>(
    units: &'a [Arc<Unit<SmmuV3>>],
    segment: u16,
    requesters: &[RequesterId],
) -> Result<Link<'a>> {
    let table = iort(units)?.table()?;
    let streams = requesters
        .iter()
        .filter_map(|requester| table.stream_of_pci(u32::from(segment), requester.raw()));
    link(units, streams)
}

/// The same of a device that the table names by its path in the ACPI namespace.
fn link_of_named<'a>(units: &'a [Arc<Unit<SmmuV3>>], path: &[u8]) -> Result<Link<'a>> {
    let table = iort(units)?.table()?;
    link(
        units,
        table.streams_of_named(table.named(path).ok_or(ENODEV)?),
    )
}

/// The IORT table, if there is one.
fn iort(units: &[Arc<Unit<SmmuV3>>]) -> Result<&Iort> {
    let first = units.first().ok_or(ENODEV)?;
    first.hardware().description.iort.as_deref().ok_or(ENODEV)
}

/// The unit that `streams` lead to, and their ids.
fn link<'a, 'b>(
    units: &'a [Arc<Unit<SmmuV3>>],
    streams: impl Iterator<Item = Stream<'b>>,
) -> Result<Link<'a>> {
    let mut base = None;
    let mut ids: KVec<RequesterId> = KVec::new();

    for stream in streams {
        if base
            .replace(stream.unit.base())
            .is_some_and(|other| other != stream.unit.base())
        {
            // No device is behind two units.
            return Err(EINVAL);
        }
        let id = RequesterId::new(stream.id);
        if !ids.contains(&id) {
            ids.push(id, GFP_KERNEL)?;
        }
    }
    let base = base.ok_or(ENODEV)?;
    let unit = units
        .iter()
        .find(|unit| unit.hardware().description.base == base)
        .ok_or(ENODEV)?;
    Ok((unit, ids))
}

/// Whether translation requests of PCI functions reach the unit, by the IORT table.
fn passes_requests(unit: &Unit<SmmuV3>, segment: u16) -> Result<bool> {
    let iort = unit.hardware().description.iort.as_ref().ok_or(ENODEV)?;
    let root = iort.table()?.root_complex(u32::from(segment));
    Ok(root.is_some_and(RootComplex::device_tlb))
}

/// The reserved regions of a device with these ids.
fn reserved(unit: &Unit<SmmuV3>, ids: &[RequesterId]) -> Result<KVec<Reserved>> {
    let mut reserved = KVec::new();
    reserved.push(
        Reserved {
            first: Iova::new(MESSAGES.0),
            last: Iova::new(MESSAGES.1),
            prot: Prot::WRITE | Prot::NOEXEC | Prot::MMIO,
            kind: Kind::SoftwareMsi,
        },
        GFP_KERNEL,
    )?;

    let description = &unit.hardware().description;
    let Some(iort) = &description.iort else {
        return Ok(reserved);
    };
    let table = iort.table()?;
    let Some(node) = table.unit_at(description.base) else {
        return Ok(reserved);
    };
    let concerned = |memory: &Rmr<'_>| {
        ids.iter()
            .any(|id| memory.concerns(node.offset(), id.raw()))
    };
    for memory in table.rmrs().filter(concerned) {
        let mut prot = Prot::READ | Prot::WRITE;
        if memory.is_privileged() {
            prot = prot | Prot::PRIV;
        }
        if memory.is_device_memory() {
            prot = prot | Prot::MMIO;
        } else if memory.is_cached() {
            prot = prot | Prot::CACHE;
        }
        let kind = match memory.is_relaxable() {
            true => Kind::DirectRelaxable,
            false => Kind::Direct,
        };
        for region in memory.regions() {
            reserved.push(
                Reserved {
                    first: Iova::new(region.first()),
                    last: Iova::new(region.last()),
                    prot,
                    kind,
                },
                GFP_KERNEL,
            )?;
        }
    }
    Ok(reserved)
}

impl Attach for SmmuV3 {
    const NAME: &'static str = "arm-smmu-v3";

    type Unit = SmmuUnit;

    /// Of most devices the ids say it all.
    type Endpoint = Option<Tlb>;

    type Paging = Paging;
    type Tag = Tag;
    type Plan = Plan;

    fn acquire_tag(unit: &Unit<Self>, paging: Option<&Paging>) -> Result<Tag> {
        let hardware = unit.hardware().hardware()?;
        let Some(paging) = paging else {
            return Ok(Tag::Untranslated);
        };
        let granule = paging.granule;
        let mut contexts = hardware.contexts.lock();
        let tag = match paging.stage {
            Stage::One => contexts
                .take_asid(|asid| paging.context(&hardware.capability, asid))
                .map(|asid| Tag::Asid { asid, granule }),
            Stage::Two => contexts.take_vmid().map(|vmid| Tag::Vmid { vmid, granule }),
        };
        tag.inspect_err(|error| {
            if *error == ENOSPC {
                log_warn!(
                    "{}: all {} of the unit are in use; free a domain and try again",
                    unit.name(),
                    match paging.stage {
                        Stage::One => "ASIDs",
                        Stage::Two => "VMIDs",
                    },
                );
            }
        })
    }

    fn release_tag(unit: &Unit<Self>, tag: Tag) {
        if let Ok(hardware) = unit.hardware().hardware() {
            let mut contexts = hardware.contexts.lock();
            match tag {
                Tag::Asid { asid, .. } => contexts.give_asid_back(asid),
                Tag::Vmid { vmid, .. } => contexts.give_vmid_back(vmid),
                Tag::Untranslated => {}
            }
        }
    }

    fn prepare(endpoint: &Endpoint<Self>, target: Target<'_, Self>, _when: When) -> Result<Plan> {
        let unit = endpoint.unit();
        unit.check()?;
        let hardware = unit.hardware().hardware()?;
        let capability = &hardware.capability;

        let (paging, tag) = match target {
            Target::Paging { paging, .. } if !paging.fits(capability) => return Err(EINVAL),
            Target::Paging { paging, tag } => (paging, tag),
            Target::Identity { .. } => {
                let sharing = sharing(capability);
                return Ok(StreamEntry::Bypass { sharing }.into());
            }
        };
        let (name, _) = tag.named().ok_or(EINVAL)?;
        let tlb = match endpoint.data() {
            Some(tlb) if tlb.is_usable() => Some(name),
            _ => None,
        };
        let device_tlb = match tlb {
            Some(_) => DeviceTlb::Full,
            None => DeviceTlb::Forbidden,
        };
        let entry = match tag {
            Tag::Asid { asid, .. } => StreamEntry::Stage1(Stage1 {
                contexts: hardware.contexts.lock().address(asid).ok_or(EINVAL)?,
                format: ContextFormat::Linear,
                substream_bits: 0,
                no_substream: NoSubstream::Terminate,
                walk: walk(capability),
                world: World::El1,
                vmid: NO_MACHINE,
                never_stall: capability.stalls == Stalls::Optional,
                device_tlb,
                sharing: sharing(capability),
            }),
            Tag::Vmid { vmid, .. } => paging.stream(capability, vmid, device_tlb),
            Tag::Untranslated => return Err(EINVAL),
        };
        Ok(Plan {
            entry: entry.encode(),
            tlb,
        })
    }

    fn plan_blocked(_endpoint: &Endpoint<Self>) -> Plan {
        StreamEntry::Invalid.into()
    }

    fn commit(unit: &Unit<Self>, steps: &mut Steps<'_, Self>) {
        attach::commit(unit, steps);
    }

    fn needs_map_sync(_unit: &Unit<Self>) -> bool {
        // Nothing is cached of what is not mapped, and walks see what was written.
        false
    }

    fn capable(endpoint: &Endpoint<Self>, capability: Ability) -> bool {
        match capability {
            // A unit whose walks snoop is connected to caches that its devices snoop as well.
            Ability::CoherentDma => endpoint
                .unit()
                .hardware()
                .hardware()
                .is_ok_and(|hardware| hardware.capability.coherent),
            Ability::DeferredFlush | Ability::NoExec => true,
            Ability::EnforcedCoherency | Ability::PreBootProtection => false,
        }
    }
}

impl Translate for SmmuV3 {
    type Memory = KernelMemory;

    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Paging> {
        let described = device.unit().hardware();
        Paging::new(described.hardware()?, described.description.memory_node)
    }

    fn geometry(paging: &Paging) -> Geometry {
        Geometry {
            first: Iova::new(0),
            last: paging.last_iova(),
            page_sizes: paging.page_sizes(),
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
        paging.map(iova, phys, len, prot, flags, gather)
    }

    #[inline]
    fn unmap(paging: &Paging, iova: Iova, len: u64, gather: &mut KernelGather) -> u64 {
        paging.unmap(iova, len, gather)
    }

    #[inline]
    fn iova_to_phys(paging: &Paging, iova: Iova) -> Option<PhysAddr> {
        paging.iova_to_phys(iova)
    }

    fn mapped(unit: &Unit<Self>, _tag: Tag, _first: Iova, _last: Iova) -> Result {
        unit.check()
    }

    fn invalidate(unit: &Unit<Self>, tag: Tag, scope: Scope) -> Result {
        let hardware = unit.hardware().hardware()?;
        let Some((tag, granule)) = tag.named() else {
            return unit.check();
        };
        let plan = match scope {
            Scope::All => RangePlan::Domain,
            Scope::Range {
                first,
                last,
                tables,
            } => RangePlan::new(
                &Range {
                    first: first.raw(),
                    last: last.raw(),
                    granule,
                    leaf: None,
                    leaves_only: !tables,
                },
                hardware.capability.range_invalidation,
            ),
        };

        let in_devices = match scope {
            Scope::All => None,
            Scope::Range { first, last, .. } => Some((first.raw(), last.raw())),
        };

        let mut batch = hardware.batch();
        for command in plan.commands(tag) {
            batch.push(command);
        }
        device_tlb::forget(unit, hardware, &mut batch, tag, in_devices);
        batch.run().map_err(|failure| {
            fail(unit, hardware, failure);
            EIO
        })
    }
}

impl VendorDriver for SmmuV3 {
    const PLATFORM: Option<PlatformIds> = Some(firmware::IDS);

    fn discover() -> Result<KVec<Arc<Unit<Self>>>> {
        let mut units = KVec::new();
        for (number, description) in firmware::find()?.into_iter().enumerate() {
            let unit = SmmuUnit {
                description,
                hardware: SetOnce::new(),
            };
            let name = Label::new(format_args!("smmu{number}"));
            units.push(Unit::new(name, Ok(unit))?, GFP_KERNEL)?;
        }
        if units.is_empty() {
            return Err(ENODEV);
        }
        Ok(units)
    }

    fn platform_device(unit: &Unit<Self>) -> Option<Label> {
        Some(unit.hardware().description.name)
    }

    fn take_over(unit: &Arc<Unit<Self>>) -> Result {
        let name = unit.name();
        let described = unit.hardware();
        let hardware = match described.hardware.as_ref() {
            Some(hardware) => hardware.clone(),
            None => {
                let hardware = Hardware::new(name, &described.description)?;
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
        let interrupts = Interrupts::new(unit, &hardware).and_then(|interrupts| {
            hardware.set_interrupts(interrupts);
            hardware.enable_interrupts()
        });
        if let Err(error) = interrupts {
            log_err!(
                "{}: no interrupts for events and errors ({}), so the unit is not used",
                name,
                error.to_errno(),
            );
            hardware.stop(name);
            return Err(error);
        }

        let capability = &hardware.capability;
        if capability.coherent_overridden {
            log_warn!(
                "{}: firmware says that walks {}, the unit says otherwise; firmware counts",
                name,
                if capability.coherent {
                    "snoop"
                } else {
                    "do not snoop"
                },
            );
        }
        let (stage, input_bits) = match hardware.stage {
            Stage::One => (1, capability.stage1_input_bits(hardware.granule)),
            Stage::Two => (2, capability.stage2_input_bits(hardware.granule)),
        };
        log_info!(
            "{}: SMMUv3 at {:#x}, stage {}, {} address bits, {} ASIDs, {} VMIDs{}{}",
            name,
            described.description.base,
            stage,
            input_bits,
            1u32 << capability.asid_bits,
            1u32 << capability.vmid_bits,
            if capability.coherent {
                ""
            } else {
                ", walks do not snoop"
            },
            if capability.range_invalidation {
                ", range invalidation"
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
        let (unit, ids, passes) = match &device.place {
            Place::Behind { unit: node } => {
                let unit = units
                    .iter()
                    .find(|unit| unit.hardware().description.node == *node)
                    .ok_or(ENODEV)?;
                (unit, device.ids, true)
            }
            Place::Pci { segment, .. } => {
                let (unit, ids) = link_of_pci(units, *segment, &device.ids)?;
                (unit, ids, passes_requests(unit, *segment)?)
            }
            Place::Acpi(name) => {
                let (unit, ids) = link_of_named(units, &name.path)?;
                (unit, ids, false)
            }
        };
        let hardware = unit.hardware().hardware()?;

        for id in &ids {
            hardware.tables.add(*id).inspect_err(|error| {
                if *error == ERANGE {
                    log_err!(
                        "{}: {}: firmware gives it stream id {:#x}, but the unit has {} bits of it",
                        unit.name(),
                        device.name,
                        id.raw(),
                        hardware.tables.layout().bits(),
                    );
                }
            })?;
        }
        let reserved = reserved(unit, &ids)?;
        let tlb = match device.device_tlb {
            // What firmware keeps using is reached also while the unit does not translate, and a
            // device whose TLB is on would ask it to.
            Some(switch) if passes && !reserved.iter().any(Reserved::is_direct) => {
                Tlb::new(hardware, device.name, &ids, switch)?
            }
            _ => None,
        };
        Ok(Probed {
            unit: unit.clone(),
            reserved,
            ids,
            data: tlb,
        })
    }

    fn show_unit(unit: &Unit<Self>, f: &mut dyn fmt::Write) -> fmt::Result {
        show::unit(unit.hardware(), f)
    }
}
