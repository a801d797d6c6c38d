// SPDX-License-Identifier: GPL-2.0

//! Devices that are attached without C's IOMMU layer.
//!
//! * **Kept**: a driver was bound before the unit was taken over. It goes on with the physical
//!   addresses that it has handed out, so the device stays on identity until it is removed or its
//!   unit is given back. If the driver uses the DMA API the kernel owns the group for that time:
//!   what cannot be isolated from the device can be claimed by nobody.
//! * **Parked**: firmware does DMA with the device (direct regions), so it must not be blocked
//!   before C has made its own domain for it, nor while the unit is given back.

use kernel::{prelude::*, sync::Arc};

use super::{
    bus,
    instance::{Hosted, Instance},
};
use crate::{
    addr::Iova,
    domain::Domain,
    driver::VendorDriver,
    endpoint::Endpoint,
    ffi::device::{Counted, Device},
    frontend::reason,
    group::{Group, Reason},
    label::Label,
    log::{log_info, log_warn},
    pgtable::kernel_memory::Gfp,
    unit::Unit,
};

/// A device that is attached without C's IOMMU layer.
pub struct Held<D: Hosted> {
    device: Counted,
    endpoint: Arc<Endpoint<D>>,
    group: Arc<Group<D>>,
    /// What it cannot be isolated from, see [`Isolation`](crate::ffi::pci::Isolation).
    key: Option<u64>,
    why: Why,
}

/// A device that is no longer held, and the group that it is in.
pub struct Member<D: Hosted> {
    pub endpoint: Arc<Endpoint<D>>,
    pub group: Arc<Group<D>>,
}

/// Why a device is held.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Why {
    /// A driver was there first.
    Kept {
        /// Whether it uses the DMA API.
        dma_api: bool,
    },
    /// Firmware does DMA with it.
    Parked,
}

impl<D: Hosted> Held<D> {
    /// Holds those devices behind `unit` that must not be blocked when it starts to translate.
    ///
    /// # Errors
    ///
    /// The first error of any of them; some may be held then.
    pub fn hold_all(instance: &Instance<D>, unit: &Arc<Unit<D>>) -> Result {
        bus::for_each_device(|device| {
            bus::isolate(device);
            Ok(())
        })?;
        bus::for_each_device(|device| {
            if !device.iommu_group().is_null() || Self::is_held(instance, device) {
                return Ok(());
            }
            let endpoint = bus::describe(device)
                .and_then(|described| Endpoint::new(&instance.cores, described));
            let endpoint = match endpoint {
                Ok(endpoint) if Arc::ptr_eq(endpoint.unit(), unit) => endpoint,
                Err(error) if error == ENOMEM => return Err(error),
                // Somebody else's, or to be refused with a message when C asks for it.
                _ => return Ok(()),
            };
            if device.driver().is_some() {
                Self::keep(instance, device, endpoint)
            } else if endpoint.has_direct_regions() {
                Self::park(instance, device, endpoint)
            } else {
                Ok(())
            }
        })
    }

    /// Keeps a device that has a driver and was not there, or had none, when its unit was taken
    /// over. Does nothing if it is held or its unit is not in use.
    pub fn keep_late(instance: &Instance<D>, device: Device<'_>) -> Result {
        if Self::is_held(instance, device) {
            return Ok(());
        }
        let endpoint = Endpoint::new(&instance.cores, bus::describe(device)?)?;
        match instance.unit(endpoint.unit()) {
            Some(unit) if unit.is_active() => Self::keep(instance, device, endpoint),
            _ => Ok(()),
        }
    }

    fn keep(instance: &Instance<D>, device: Device<'_>, endpoint: Arc<Endpoint<D>>) -> Result {
        let Some(driver) = device.driver() else {
            return Ok(());
        };
        let isolation = bus::isolation(device);
        let key = isolation.as_ref().map(|isolation| isolation.key);
        let dma_api = !driver.manages_dma();
        let name = endpoint.name();
        let neighbour = Self::neighbour(instance, key, &endpoint);
        let (group, reason) = match neighbour {
            Some(group) => (group, reason::by_bridge(isolation.as_ref())),
            None => {
                let group = Group::new(
                    Label::new(format_args!("group of {name}")),
                    instance.blocked(),
                )?;
                group.set_default(instance.identity())?;
                (group, Reason::Isolated)
            }
        };
        group.join(&endpoint, reason)?;
        if dma_api {
            if let Err(error) = group.start_dma_api(&endpoint, driver.name()) {
                group.leave(&endpoint);
                return Err(error);
            }
        }
        log_info!(
            "{}: {} stays on identity: driver {} was bound before the unit was taken over",
            endpoint.unit().name(),
            name,
            driver.name(),
        );
        Self::enter(
            instance,
            Self {
                device: device.counted(),
                endpoint,
                group,
                key,
                why: Why::Kept { dma_api },
            },
        )
    }

    fn park(instance: &Instance<D>, device: Device<'_>, endpoint: Arc<Endpoint<D>>) -> Result {
        let name = endpoint.name();
        let domain = Domain::paging(&instance.registry, &endpoint)?;
        map_direct_regions(&domain, &endpoint)?;
        let group = Group::new(
            Label::new(format_args!("parking of {name}")),
            instance.blocked(),
        )?;
        group.set_default(&domain)?;
        group.join(&endpoint, Reason::Isolated)?;
        log_info!(
            "{}: {} keeps its direct regions: firmware does DMA with it",
            endpoint.unit().name(),
            name,
        );
        Self::enter(
            instance,
            Self {
                device: device.counted(),
                endpoint,
                group,
                key: bus::isolation(device).map(|isolation| isolation.key),
                why: Why::Parked,
            },
        )
    }

    /// Keeps a device attached that C lets go of, until its unit is given back.
    pub fn linger(
        instance: &Instance<D>,
        device: Device<'_>,
        endpoint: &Arc<Endpoint<D>>,
        group: &Arc<Group<D>>,
    ) -> Result {
        Self::enter(
            instance,
            Self {
                device: device.counted(),
                endpoint: endpoint.clone(),
                group: group.clone(),
                key: None,
                why: Why::Parked,
            },
        )
    }

    fn enter(instance: &Instance<D>, held: Self) -> Result {
        let mut table = instance.held.lock();
        if table.reserve(1, GFP_KERNEL).is_err() {
            drop(table);
            held.group.leave(&held.endpoint);
            return Err(ENOMEM);
        }
        // There is room.
        let _ = table.push_within_capacity(held);
        Ok(())
    }

    /// Whether a device is held.
    pub fn is_held(instance: &Instance<D>, device: Device<'_>) -> bool {
        instance.held.lock().iter().any(|held| held.is(device))
    }

    fn is(&self, device: Device<'_>) -> bool {
        self.device.get().as_raw() == device.as_raw()
    }

    /// The group of kept devices that a device cannot be isolated from.
    pub fn neighbour(
        instance: &Instance<D>,
        key: Option<u64>,
        endpoint: &Endpoint<D>,
    ) -> Option<Arc<Group<D>>> {
        let is_near = |held: &&Self| {
            held.why != Why::Parked
                && (key.is_some() && held.key == key || held.endpoint.shared_id(endpoint).is_some())
        };
        let table = instance.held.lock();
        table.iter().find(is_near).map(|held| held.group.clone())
    }

    /// Whether a driver that uses the DMA API relies on `group` being on identity.
    pub fn has_driver(instance: &Instance<D>, group: &Arc<Group<D>>) -> bool {
        instance
            .held
            .lock()
            .iter()
            .any(|held| held.why == Why::Kept { dma_api: true } && Arc::ptr_eq(&held.group, group))
    }

    /// The groups of all held devices, each once.
    pub fn groups(instance: &Instance<D>) -> Result<KVec<Arc<Group<D>>>> {
        let table = instance.held.lock();
        let mut groups: KVec<Arc<Group<D>>> = KVec::with_capacity(table.len(), GFP_KERNEL)?;
        for held in table.iter() {
            if !groups.iter().any(|known| Arc::ptr_eq(known, &held.group)) {
                groups.push(held.group.clone(), GFP_KERNEL)?;
            }
        }
        Ok(groups)
    }

    /// How many devices behind `unit` are held.
    pub fn count(instance: &Instance<D>, unit: &Arc<Unit<D>>) -> usize {
        instance
            .held
            .lock()
            .iter()
            .filter(|held| Arc::ptr_eq(held.endpoint.unit(), unit))
            .count()
    }

    /// Ends the hold of a device, which stays attached: its endpoint, and the group that it is in.
    pub fn take(instance: &Instance<D>, device: Device<'_>) -> Option<Member<D>> {
        let held = {
            let mut table = instance.held.lock();
            let index = table.iter().position(|held| held.is(device))?;
            table.remove(index).ok()?
        };
        if held.why == (Why::Kept { dma_api: true }) {
            // The driver is gone.
            held.group.end_dma_api(&held.endpoint);
        }
        Some(Member {
            endpoint: held.endpoint,
            group: held.group,
        })
    }

    /// A device was removed from the system: it is blocked, if it was held.
    pub fn removed(instance: &Instance<D>, device: Device<'_>) {
        if let Some(Member { endpoint, group }) = Self::take(instance, device) {
            group.leave(&endpoint);
        }
    }

    /// Lets go of all devices behind `unit`, after it was given back.
    pub fn let_go(instance: &Instance<D>, unit: &Arc<Unit<D>>) {
        loop {
            let held = {
                let mut table = instance.held.lock();
                let index = table
                    .iter()
                    .position(|held| Arc::ptr_eq(held.endpoint.unit(), unit));
                index.and_then(|index| table.remove(index).ok())
            };
            match held {
                Some(held) => held.group.leave(&held.endpoint),
                None => return,
            }
        }
    }
}

/// Maps an endpoint's direct regions one to one.
fn map_direct_regions<D: VendorDriver>(domain: &Arc<Domain<D>>, endpoint: &Endpoint<D>) -> Result {
    let page = domain.geometry()?.page_sizes.smallest();
    for region in endpoint
        .reserved()
        .iter()
        .filter(|region| region.is_direct())
    {
        let first = region.first.align_down(page);
        let last = region.last.align_down(page);
        let mut at = first;
        while at <= last {
            let phys = crate::addr::PhysAddr::new(at.raw());
            // Regions of two firmware tables may overlap: what is mapped is mapped right.
            if domain.iova_to_phys(at).is_none() {
                let (_, result) = domain.map(at, phys, page, region.prot, Gfp::KERNEL);
                if let Err(error) = result {
                    log_warn!(
                        "{}: cannot map the direct region {}: error {}",
                        endpoint.name(),
                        region,
                        error.to_errno(),
                    );
                    return Err(error);
                }
            }
            at = match at.checked_add(page) {
                Some(next) => next,
                None => break,
            };
        }
        domain.sync_map(first, Iova::new(last.raw() | (page - 1)))?;
    }
    Ok(())
}
