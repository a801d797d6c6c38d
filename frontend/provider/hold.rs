// SPDX-License-Identifier: GPL-2.0

//! Attaches devices that are to be held. Which ones, and for what reason, is decided by
//! [`stage`](super::stage); the table of them is [`held`](super::held).

use kernel::{prelude::*, sync::Arc};

use super::{
    bus,
    held::Held,
    instance::Instance,
    served::Served,
    stage::{HoldReason, Move, Seen},
};
use crate::{
    addr::{Iova, PhysAddr},
    domain::Domain,
    driver::VendorDriver,
    endpoint::Endpoint,
    ffi::device::Device,
    frontend::reason,
    group::{Group, Reason},
    label::Label,
    log::{log_info, log_warn},
    pgtable::kernel_memory::Gfp,
    unit::Unit,
};

/// Holds those devices behind `unit` that must not be blocked when it starts to translate.
///
/// # Errors
///
/// The first error of any device. Some may be held then.
pub fn hold_all<D: Served>(instance: &Instance<D>, unit: &Arc<Unit<D>>) -> Result {
    bus::for_each_device(|device| {
        bus::isolate(device);
        Ok(())
    })?;
    bus::for_each_device(|device| {
        if !device.iommu_group().is_null() || instance.held.is_held(device) {
            return Ok(());
        }
        let endpoint =
            bus::describe(device).and_then(|described| Endpoint::new(&instance.cores, described));
        let endpoint = match endpoint {
            Ok(endpoint) if Arc::ptr_eq(endpoint.unit(), unit) => endpoint,
            Err(error) if error == ENOMEM => return Err(error),
            // Behind another unit, or nothing can be said of it: C's probe fails with a message.
            _ => return Ok(()),
        };
        let seen = Seen::UnitTaken {
            driver: bound_driver(device),
            direct: endpoint.has_direct_regions(),
        };
        match instance.held.stage(device).see(seen).0 {
            Move::Hold(reason) => hold(instance, device, endpoint, reason),
            _ => Ok(()),
        }
    })
}

/// The driver that is bound to a device: whether it uses the DMA API.
pub fn bound_driver(device: Device<'_>) -> Option<bool> {
    device.driver().map(|driver| !driver.manages_dma())
}

/// Holds a device that appeared, or got its driver, after its unit was taken over. Does nothing if
/// the unit is not in use.
pub fn hold_late<D: Served>(
    instance: &Instance<D>,
    device: Device<'_>,
    reason: HoldReason,
) -> Result {
    let endpoint = Endpoint::new(&instance.cores, bus::describe(device)?)?;
    match instance.unit(endpoint.unit()) {
        Some(unit) if unit.is_active() => hold(instance, device, endpoint, reason),
        _ => Ok(()),
    }
}

fn hold<D: Served>(
    instance: &Instance<D>,
    device: Device<'_>,
    endpoint: Arc<Endpoint<D>>,
    reason: HoldReason,
) -> Result {
    match reason {
        HoldReason::DriverWasBound { dma_api } => {
            hold_on_identity(instance, device, endpoint, dma_api)
        }
        HoldReason::DirectRegions => hold_on_direct_regions(instance, device, endpoint),
    }
}

/// Holds a device with a driver, beside the devices with a driver that it cannot be isolated from.
/// `dma_api` is whether the driver uses the DMA API.
fn hold_on_identity<D: Served>(
    instance: &Instance<D>,
    device: Device<'_>,
    endpoint: Arc<Endpoint<D>>,
    dma_api: bool,
) -> Result {
    let Some(driver) = device.driver() else {
        return Ok(());
    };
    let isolation = bus::isolation(device);
    let key = isolation.as_ref().map(|isolation| isolation.key);
    let name = endpoint.name();
    let neighbour = instance.held.neighbour(key, &endpoint);
    let (group, reason) = match neighbour {
        Some(group) => (group, reason::by_bridge(isolation.as_ref())),
        None => {
            let group = Group::new(
                Label::new(format_args!("group of {name}")),
                instance.blocked(),
                instance.ids.clone(),
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
    instance.held.add(Held {
        device: device.counted(),
        endpoint,
        group,
        key,
        reason: HoldReason::DriverWasBound { dma_api },
    })
}

/// Holds a device that firmware does DMA with, in a group of its own.
fn hold_on_direct_regions<D: Served>(
    instance: &Instance<D>,
    device: Device<'_>,
    endpoint: Arc<Endpoint<D>>,
) -> Result {
    let name = endpoint.name();
    let domain = Domain::paging(&instance.registry, &endpoint)?;
    map_direct_regions(&domain, &endpoint)?;
    let group = Group::new(
        Label::new(format_args!("hold of {name}")),
        instance.blocked(),
        instance.ids.clone(),
    )?;
    group.set_default(&domain)?;
    group.join(&endpoint, Reason::Isolated)?;
    log_info!(
        "{}: {} keeps its direct regions: firmware does DMA with it",
        endpoint.unit().name(),
        name,
    );
    instance.held.add(Held {
        device: device.counted(),
        endpoint,
        group,
        key: bus::isolation(device).map(|isolation| isolation.key),
        reason: HoldReason::DirectRegions,
    })
}

/// Holds a device that C releases, where it is: it stays attached until its unit is given back.
pub fn hold_again<D: Served>(
    instance: &Instance<D>,
    device: Device<'_>,
    endpoint: &Arc<Endpoint<D>>,
    group: &Arc<Group<D>>,
    reason: HoldReason,
) -> Result {
    instance.held.add(Held {
        device: device.counted(),
        endpoint: endpoint.clone(),
        group: group.clone(),
        key: None,
        reason,
    })
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
            let phys = PhysAddr::new(at.raw());
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
