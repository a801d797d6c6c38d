// SPDX-License-Identifier: GPL-2.0

//! The SMMUv3 driver: what the core calls.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{prelude::*, sync::Arc};

use super::{
    attach,
    device_tlb::{self, EndpointStep, EndpointSteps, Tlb},
    paging::Paging,
    plan::{Plan, Tag, STAGE1_VMID},
    probe,
    records::{
        capability::{Stage, Stalls},
        invalidation::{Plan as RangePlan, Range},
        ste::{DeviceTlb, Sharing, Stage1, Ste, Walk},
    },
    show,
    unit::{firmware, smmu_unit::SmmuUnit},
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    device::{DeviceInfo, Place},
    driver::{
        Attach, Capability as Ability, DeviceView, Geometry, KernelGather, PlatformIds, Probed,
        Scope, Step, Steps, Target, Translate, VendorDriver, When,
    },
    drivers::shell::unit::UnitHardware,
    fault::FaultSink,
    health::Health,
    label::Label,
    log::log_warn,
    pasid::Selector,
    pgtable::kernel_memory::{Gfp, KernelMemory},
};

/// The driver.
pub struct SmmuV3;

/// The steps of a commit, as attaches of this driver need them.
struct OwnSteps<'a, S>(&'a mut S);

impl<S: Steps<SmmuV3>> EndpointSteps for OwnSteps<'_, S> {
    fn for_each(&mut self, f: &mut dyn FnMut(EndpointStep<'_>)) {
        self.0.for_each(
            |Step {
                 endpoint,
                 ids,
                 plan,
                 ..
             }| {
                f(EndpointStep {
                    tlb: endpoint.as_ref(),
                    ids,
                    plan,
                })
            },
        );
    }
}

impl Attach for SmmuV3 {
    const NAME: &'static str = "arm-smmu-v3";
    const MAY_NEED_MAP_SYNC: bool = false;

    type Unit = SmmuUnit;

    /// The device's TLB, if the driver uses one. The rest of an endpoint is its stream ids.
    type Endpoint = Option<Tlb>;

    type Paging = Paging;
    type Tag = Tag;
    type Plan = Plan;

    fn health(unit: &SmmuUnit) -> &Health {
        &unit.health
    }

    fn acquire_tag(unit: &SmmuUnit, paging: Option<&Paging>, _selector: Selector) -> Result<Tag> {
        let hardware = unit.hardware()?;
        let Some(paging) = paging else {
            return Ok(Tag::Untranslated);
        };
        let granule = paging.needs.granule;
        let mut tags = hardware.tags.lock();
        let tag = match paging.needs.stage {
            Stage::One => tags
                .take_asid(|asid| paging.context_descriptor(&hardware.capability, asid))
                .map(|asid| Tag::Asid { asid, granule }),
            Stage::Two => tags.take_vmid().map(|vmid| Tag::Vmid { vmid, granule }),
        };
        tag.inspect_err(|error| {
            if *error == ENOSPC {
                log_warn!(
                    "{}: all {} of the unit are in use; free a domain and try again",
                    unit.health.name(),
                    match paging.needs.stage {
                        Stage::One => "ASIDs",
                        Stage::Two => "VMIDs",
                    },
                );
            }
        })
    }

    fn release_tag(unit: &SmmuUnit, tag: Tag) {
        if let Ok(hardware) = unit.hardware() {
            let mut tags = hardware.tags.lock();
            match tag {
                Tag::Asid { asid, .. } => tags.give_asid_back(asid),
                Tag::Vmid { vmid, .. } => tags.give_vmid_back(vmid),
                Tag::Untranslated => {}
            }
        }
    }

    fn prepare(
        unit: &SmmuUnit,
        tlb: &Option<Tlb>,
        _selector: Selector,
        target: Target<'_, Self>,
        _when: When,
    ) -> Result<Plan> {
        unit.health.check()?;
        let hardware = unit.hardware()?;
        let capability = &hardware.capability;

        let (paging, tag) = match target {
            Target::Paging { paging, .. } if !paging.needs.are_met_by(capability) => {
                return Err(EINVAL)
            }
            Target::Paging { paging, tag } => (paging, tag),
            Target::Identity { .. } => {
                let sharing = Sharing::of(capability);
                return Ok(Plan::new(&Ste::Bypass { sharing }, None));
            }
        };
        let (name, _) = tag.cached().ok_or(EINVAL)?;
        let tlb = match tlb {
            Some(tlb) if tlb.is_usable() => Some(name),
            _ => None,
        };
        let device_tlb = match tlb {
            Some(_) => DeviceTlb::Full,
            None => DeviceTlb::Forbidden,
        };
        let ste = match tag {
            Tag::Asid { asid, .. } => Ste::Stage1(Stage1 {
                context_descriptor: hardware.tags.lock().address(asid).ok_or(EINVAL)?,
                walk: Walk::of(capability),
                vmid: STAGE1_VMID,
                never_stall: capability.stalls == Stalls::Optional,
                device_tlb,
            }),
            Tag::Vmid { vmid, .. } => paging.ste(capability, vmid, device_tlb),
            Tag::Untranslated => return Err(EINVAL),
        };
        Ok(Plan::new(&ste, tlb))
    }

    fn plan_blocked(_unit: &SmmuUnit, _tlb: &Option<Tlb>, _selector: Selector) -> Plan {
        Plan::new(&Ste::Invalid, None)
    }

    fn commit(unit: &SmmuUnit, steps: &mut impl Steps<Self>) {
        if let Ok(hardware) = unit.hardware() {
            attach::commit(hardware, &mut OwnSteps(steps));
        }
    }

    fn needs_map_sync(_unit: &SmmuUnit) -> bool {
        // The unit caches no absent entries, and its walks see new ones at once.
        false
    }

    fn capable(unit: &SmmuUnit, _tlb: &Option<Tlb>, capability: Ability) -> bool {
        match capability {
            // If the unit's walks snoop the CPUs' caches, so does the DMA of its devices.
            Ability::CoherentDma => unit
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
        let unit = device.unit();
        Paging::new(unit.hardware()?, unit.description.memory_node)
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

    #[inline]
    fn iova_to_phys(paging: &Paging, iova: Iova) -> Option<PhysAddr> {
        paging.iova_to_phys(iova)
    }

    fn mapped(unit: &SmmuUnit, _tag: Tag, _first: Iova, _last: Iova) -> Result {
        unit.health.check()
    }

    fn invalidate(unit: &SmmuUnit, tag: Tag, scope: Scope) -> Result {
        let hardware = unit.hardware()?;
        let Some((tag, granule)) = tag.cached() else {
            return unit.health.check();
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
        let result = batch.run();
        hardware.answered(result.and_then(|()| device_tlb::invalidate(hardware, tag, in_devices)))
    }
}

impl VendorDriver for SmmuV3 {
    const PLATFORM: Option<PlatformIds> = Some(firmware::IDS);

    fn discover() -> Result<KVec<SmmuUnit>> {
        let mut units = KVec::new();
        for (number, description) in firmware::find()?.into_iter().enumerate() {
            let name = Label::new(format_args!("smmu{number}"));
            units.push(SmmuUnit::new(name, description)?, GFP_KERNEL)?;
        }
        if units.is_empty() {
            return Err(ENODEV);
        }
        Ok(units)
    }

    fn platform_device(unit: &SmmuUnit) -> Option<Label> {
        Some(unit.description.name)
    }

    fn take_over(unit: &SmmuUnit, faults: Arc<dyn FaultSink>) -> Result {
        unit.take_over(faults)
    }

    fn output_bits(unit: &SmmuUnit) -> u8 {
        match unit.hardware() {
            Ok(hardware) => hardware.capability.output_bits,
            Err(_) => u64::BITS as u8,
        }
    }

    fn enable(unit: &SmmuUnit) -> Result {
        unit.enable()
    }

    fn release(unit: &SmmuUnit) -> Result {
        unit.release()
    }

    fn suspend(unit: &SmmuUnit) -> Result {
        unit.suspend()
    }

    fn resume(unit: &SmmuUnit) -> Result {
        unit.resume()
    }

    fn probe<'a>(
        mut units: impl Iterator<Item = &'a SmmuUnit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a SmmuUnit, Probed<Self>)> {
        let (unit, ids, passes_ats) = match &device.place {
            Place::Behind { unit: node } => {
                let unit = units.find(|unit| unit.description.node == *node);
                (unit.ok_or(ENODEV)?, device.ids, true)
            }
            place => {
                let first = units.clone().next().ok_or(ENODEV)?;
                let link = probe::link(first.description.iort()?, place, &device.ids)?;
                let unit = units.find(|unit| unit.description.base == link.unit_base);
                (unit.ok_or(ENODEV)?, link.ids, link.passes_ats)
            }
        };
        let path = probe::Path {
            ids_kept: device.ids_kept,
            passes_ats,
        };
        let (data, reserved) = probe::endpoint(unit, device.name, &ids, path, device.device_tlb)?;
        let probed = Probed {
            ids,
            data,
            reserved,
        };
        Ok((unit, probed))
    }

    fn show_features(unit: &SmmuUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::features(unit, f)
    }

    fn show_unit(unit: &SmmuUnit, f: &mut dyn fmt::Write) -> fmt::Result {
        show::unit(unit, f)
    }
}
