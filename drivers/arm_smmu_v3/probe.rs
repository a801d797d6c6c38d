// SPDX-License-Identifier: GPL-2.0

//! New devices: their unit, stream ids, reserved regions and TLB.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    device_tlb::Tlb,
    iort::{Rmr, RootComplex, Stream, Table},
    unit::smmu_unit::SmmuUnit,
};
use crate::{
    addr::{Iova, Prot},
    device::{DeviceTlb, Place},
    label::Label,
    log::{log_err, log_warn},
    requester::RequesterId,
    reserved::{Kind, Reserved},
};

/// Addresses that owners of devices use for the doorbells of interrupt controllers. The kernel's
/// own drivers reserve the same, and VFIO's users rely on that.
const MESSAGES: (u64, u64) = (0x0800_0000, 0x080f_ffff);

/// What the IORT table says of a device.
pub(super) struct Link {
    /// Physical address of the registers of the device's unit.
    pub(super) unit_base: u64,
    /// The device's stream ids, none twice.
    pub(super) ids: KVec<RequesterId>,
    /// Whether the root complex supports ATS.
    pub(super) passes_ats: bool,
}

/// What the way from a device to its unit does to requests and ids.
#[derive(Copy, Clone)]
pub(super) struct Path {
    /// Whether the ids are those that the device had when firmware started the kernel.
    pub(super) ids_kept: bool,
    /// Whether ATS translation requests pass.
    pub(super) passes_ats: bool,
}

/// Looks a device up in the IORT table. `requesters` are the ids that it has on its PCI bus.
///
/// # Errors
///
/// `ENODEV` if the table names no unit for it; `EINVAL` if it names several.
pub(super) fn link(table: Table<'_>, place: &Place, requesters: &[RequesterId]) -> Result<Link> {
    match place {
        Place::Pci { segment, .. } => {
            let segment = u32::from(*segment);
            let streams = requesters
                .iter()
                .filter_map(|requester| table.stream_of_pci(segment, requester.raw()));
            let root = table.root_complex(segment);
            link_of(streams, root.is_some_and(RootComplex::device_tlb))
        }
        Place::Acpi(name) => {
            let node = table.named(&name.path).ok_or(ENODEV)?;
            link_of(table.streams_of_named(node), false)
        }
        Place::Behind { .. } => Err(ENODEV),
    }
}

fn link_of<'a>(streams: impl Iterator<Item = Stream<'a>>, passes_ats: bool) -> Result<Link> {
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
    Ok(Link {
        unit_base: base.ok_or(ENODEV)?,
        ids,
        passes_ats,
    })
}

/// Makes room in the stream table for the device called `name`, which has `ids` behind `unit`, and
/// finds its TLB and reserved regions.
///
/// # Errors
///
/// `ERANGE` if the unit has no such stream ids (logged); `ENODEV` if the unit was not taken over;
/// `ENOMEM`.
pub(super) fn endpoint(
    unit: &SmmuUnit,
    name: Label,
    ids: &[RequesterId],
    path: Path,
    switch: Option<KBox<dyn DeviceTlb>>,
) -> Result<(Option<Tlb>, KVec<Reserved>)> {
    let hardware = unit.hardware()?;

    for id in ids {
        hardware.stream_table.add(*id).inspect_err(|error| {
            if *error == ERANGE {
                log_err!(
                    "{}: {}: firmware gives it stream id {:#x}, but the unit has {} bits of it",
                    unit.health.name(),
                    name,
                    id.raw(),
                    hardware.stream_table.layout().bits(),
                );
            }
        })?;
    }
    let reserved = reserved(unit, name, ids, path)?;
    let tlb = match switch {
        // A device with direct regions must reach them also while the unit does not translate.
        // With ATS it would send translation requests, which fail then.
        Some(switch) if path.passes_ats && !reserved.iter().any(Reserved::is_direct) => {
            Tlb::new(hardware, name, ids, switch)?
        }
        _ => None,
    };
    Ok((tlb, reserved))
}

/// The reserved regions of a device with these ids.
fn reserved(
    unit: &SmmuUnit,
    name: Label,
    ids: &[RequesterId],
    path: Path,
) -> Result<KVec<Reserved>> {
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

    let Ok(table) = unit.description.iort() else {
        return Ok(reserved);
    };
    let base = unit.description.base;
    let concerned = |memory: &Rmr<'_>| ids.iter().any(|id| table.concerns(*memory, base, id.raw()));
    if !path.ids_kept && table.rmrs().any(|memory| concerned(&memory)) {
        // Arm DEN 0049E.d, 3.1.1.5: the stream ids of an RMR hold while PCI buses keep their
        // numbers.
        log_warn!(
            "{}: {}: memory that firmware reserves for a stream id of it (RMR) is not mapped: \
             firmware lets the kernel give PCI buses new numbers (no _DSM function 5 that returns 0 \
             at the host bridge), so the id may be that of another device",
            unit.health.name(),
            name,
        );
        return Ok(reserved);
    }
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
