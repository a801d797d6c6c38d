// SPDX-License-Identifier: GPL-2.0

//! Groups of devices whose units have one of the kernel's own drivers.

use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{
    domain_table,
    driver::{Foreign, ForeignEndpoint},
    unit_table::unit_of,
};
use crate::{
    addr::{Iova, Prot},
    domain::Domain,
    driver::Probed,
    endpoint::Endpoint,
    ffi::{device::Device, pci::Pci},
    frontend::{
        native::{
            backing::{BackedDevice, Native},
            merge::Region,
            region_list::RegionList,
        },
        reason::{self, Peer},
    },
    group::Group,
    label::Label,
    requester::RequesterId,
    reserved::{Kind, Reserved},
};

/// The core's group for the group of C's with that number.
pub fn new_group(id: c_int) -> Result<Arc<Group<Foreign>>> {
    let blocked = Domain::blocked(domain_table::registry()?)?;
    Group::new(
        Label::new(format_args!("group {id}")),
        &blocked,
        domain_table::ids()?,
    )
}

impl Native for Foreign {
    /// The core's domain keeps C's.
    type Kept = ();

    unsafe fn domain(domain: *mut bindings::iommu_domain) -> Result<(Arc<Domain<Self>>, ())> {
        // SAFETY: By the requirements.
        Ok((unsafe { domain_table::domain_of(domain) }?, ()))
    }

    unsafe fn endpoint(dev: *mut bindings::device) -> Result<Arc<Endpoint<Self>>> {
        // SAFETY: By the requirements.
        unsafe { describe(dev) }
    }

    unsafe fn join(
        group: &Arc<Group<Self>>,
        dev: *mut bindings::device,
        endpoint: &Arc<Endpoint<Self>>,
        others: &[BackedDevice<Self>],
    ) -> Result {
        // SAFETY: By the requirements, and members are valid.
        let (peer, others) = unsafe {
            let mut peers = KVec::with_capacity(others.len(), GFP_KERNEL)?;
            for other in others {
                peers.push(
                    (Function::new(other.device())?, other.endpoint()),
                    GFP_KERNEL,
                )?;
            }
            (Function::new(dev)?, peers)
        };
        let why = reason::of(&peer, others.iter().map(|(other, _)| other));
        group.join(endpoint, why)?;
        for (index, (other, endpoint)) in others.iter().enumerate() {
            // It may be what the others cannot be isolated from.
            let rest = others.iter().enumerate().filter(|(i, _)| *i != index);
            let all = rest.map(|(_, (other, _))| other);
            group.explain(
                endpoint,
                reason::of(other, Iterator::chain(all, core::iter::once(&peer))),
            );
        }
        Ok(())
    }

    unsafe fn leave(
        group: &Arc<Group<Self>>,
        _dev: *mut bindings::device,
        endpoint: &Arc<Endpoint<Self>>,
    ) {
        group.leave(endpoint);
    }

    fn block_with(endpoint: &Endpoint<Self>, domain: *mut bindings::iommu_domain) {
        endpoint.data().block_with(domain);
    }

    fn blocked(endpoint: &Endpoint<Self>) -> Option<Arc<Atomic<bool>>> {
        Some(endpoint.data().blocked())
    }

    unsafe fn attach_deferred(
        endpoint: &Endpoint<Self>,
        domain: *mut bindings::iommu_domain,
    ) -> Result {
        endpoint.data().attach_now(domain)
    }
}

/// A device, with the ids that the bus knows it by.
struct Function<'a> {
    device: Device<'a>,
    ids: KVec<RequesterId>,
}

impl Function<'_> {
    /// # Safety
    ///
    /// `dev` is valid as long as this is.
    unsafe fn new(dev: *mut bindings::device) -> Result<Self> {
        // SAFETY: By the requirements.
        let device = unsafe { Device::from_raw(dev) }.ok_or(EINVAL)?;
        let ids = device.pci().map(Pci::ids).transpose()?;
        Ok(Self {
            device,
            ids: ids.unwrap_or_default(),
        })
    }
}

impl Peer for Function<'_> {
    fn device(&self) -> Device<'_> {
        self.device
    }

    fn shared_id(&self, other: &Self) -> Option<RequesterId> {
        let segment = |peer: &Self| Some(peer.device.pci()?.segment());
        let mut ids = self.ids.iter().copied();
        let shared = ids.find(|id| other.ids.contains(id));
        shared.filter(|_| segment(self) == segment(other))
    }
}

/// Numbers for devices: their drivers know what ids they have.
static NUMBER: Atomic<u32> = Atomic::new(0);

/// The core's record of the device.
///
/// # Safety
///
/// `dev` is valid, and has a unit.
unsafe fn describe(dev: *mut bindings::device) -> Result<Arc<Endpoint<Foreign>>> {
    let mut regions: KVec<Region> = KVec::new();
    // SAFETY: By the requirements.
    let (device, unit, data) = unsafe {
        RegionList::with_regions_of(dev, |list| list.append_to(&mut regions))?;
        (
            Device::from_raw(dev).ok_or(EINVAL)?,
            unit_of((*(*dev).iommu).iommu_dev)?,
            ForeignEndpoint::new(dev)?,
        )
    };
    let mut reserved = KVec::with_capacity(regions.len(), GFP_KERNEL)?;
    for region in &regions {
        let kind = match region.kind {
            bindings::iommu_resv_type_IOMMU_RESV_DIRECT => Kind::Direct,
            bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE => Kind::DirectRelaxable,
            bindings::iommu_resv_type_IOMMU_RESV_MSI => Kind::Msi,
            bindings::iommu_resv_type_IOMMU_RESV_SW_MSI => Kind::SoftwareMsi,
            _ => Kind::Reserved,
        };
        let region = Reserved {
            first: Iova::new(region.first),
            last: Iova::new(region.last),
            prot: Prot::from_iommu_bits(region.prot as u32).unwrap_or(Prot::NONE),
            kind,
        };
        reserved.push(region, GFP_KERNEL)?;
    }
    let mut ids = KVec::new();
    ids.push(RequesterId::new(NUMBER.fetch_add(1, Relaxed)), GFP_KERNEL)?;
    Endpoint::from_probed(
        device.name(),
        unit,
        Probed {
            ids,
            data,
            reserved,
        },
    )
}
