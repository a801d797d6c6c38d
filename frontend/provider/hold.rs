// SPDX-License-Identifier: GPL-2.0

//! Attaches devices that are to be held. Which ones, and for what reason, is decided by
//! [`stage`](super::stage); the table of them is [`held`](super::held).

use kernel::{prelude::*, sync::Arc};

use super::{
    bus,
    group::ProviderGroup,
    grouping::explain,
    held::Held,
    instance::Instance,
    layer::Layer,
    stage::{HoldReason, Move, Seen},
};
use crate::{
    addr::{Iova, PhysAddr},
    domain::Domain,
    driver::{DefaultKind, VendorDriver},
    endpoint::Endpoint,
    ffi::{
        compat::eopnotsupp,
        device::{Device, Driver},
    },
    group::{Group, Reason},
    label::Label,
    log::{log_err, log_info, log_warn},
    pgtable::kernel_memory::Gfp,
    unit::Unit,
};

/// Holds those devices behind `unit` that must not be blocked when it starts to translate. One that
/// cannot be held is left out: it stays blocked.
///
/// # Errors
///
/// `ENOMEM`. Some may be held then.
pub fn hold_all<D: Layer>(instance: &Instance<D>, unit: &Arc<Unit<D>>) -> Result {
    bus::for_each_device(|device| {
        bus::isolate(device);
        Ok(())
    })?;
    hold_outside(instance, unit, |device, endpoint| {
        Some(Seen::UnitTaken {
            driver: bound_driver(device),
            direct: endpoint.has_direct_regions(),
        })
    })
}

/// Holds those devices behind `unit` that have got a driver since [`hold_all`], and that C does not
/// know: C asks firmware which unit translates for a device before its driver starts, so it did not
/// know of `unit` yet. One that cannot be held is left out: it stays blocked.
///
/// # Errors
///
/// `ENOMEM`. Some may be held then.
pub fn hold_new_drivers<D: Layer>(instance: &Instance<D>, unit: &Arc<Unit<D>>) -> Result {
    hold_outside(instance, unit, |device, _| {
        let driver = bound_driver(device);
        driver.is_some().then_some(Seen::Probe { driver })
    })
}

/// Holds devices behind `unit` that are outside, by what `look` sees of them.
fn hold_outside<D: Layer>(
    instance: &Instance<D>,
    unit: &Arc<Unit<D>>,
    look: impl Fn(Device<'_>, &Endpoint<D>) -> Option<Seen>,
) -> Result {
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
        let seen = look(device, &endpoint);
        let result = match seen.map(|seen| instance.held.stage(device).see(seen).0) {
            Some(Move::Hold(reason)) => hold(instance, device, &endpoint, reason),
            _ => Ok(()),
        };
        match result {
            Err(error) if error != ENOMEM => {
                log_err!(
                    "{}: {} stays blocked, its DMA fails: error {}",
                    unit.name(),
                    device.name(),
                    error.to_errno()
                );
                Ok(())
            }
            result => result,
        }
    })
}

/// The driver that is bound to a device: whether it uses the DMA API.
pub fn bound_driver(device: Device<'_>) -> Option<bool> {
    device.driver().map(|driver| !driver.manages_dma())
}

/// Holds a device that appeared, or got its driver, after its unit was taken over. It may be held
/// for its direct regions already. Does nothing if the unit is not in use.
///
/// # Errors
///
/// `EBUSY` if the device cannot be isolated from others that are not on identity; otherwise those
/// of [`Group::join`]. The device is then as it was.
pub fn hold_late<D: Layer>(
    instance: &Instance<D>,
    device: Device<'_>,
    reason: HoldReason,
) -> Result {
    let endpoint = match instance.held.find(device) {
        Some((endpoint, _)) => endpoint,
        None => Endpoint::new(&instance.cores, bus::describe(device)?)?,
    };
    match instance.unit(endpoint.unit()) {
        Some(unit) if unit.is_active() && !unit.is_leaving() => {
            hold(instance, device, &endpoint, reason)
        }
        _ => Ok(()),
    }
}

fn hold<D: Layer>(
    instance: &Instance<D>,
    device: Device<'_>,
    endpoint: &Arc<Endpoint<D>>,
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
fn hold_on_identity<D: Layer>(
    instance: &Instance<D>,
    device: Device<'_>,
    endpoint: &Arc<Endpoint<D>>,
    dma_api: bool,
) -> Result {
    let Some(driver) = device.driver() else {
        return Ok(());
    };
    if D::default_kind(endpoint.unit().data(), endpoint.data()) == Some(DefaultKind::Paging) {
        let why = Label::new(format_args!("the unit translates for all devices"));
        no_identity(endpoint, &driver, &why);
        return Err(eopnotsupp());
    }
    let key = bus::isolation(device).map(|isolation| isolation.key);
    let near = Near {
        drivers: instance.held.near_drivers(key, endpoint)?,
        alike: instance.held.with_same_id(endpoint)?,
    };
    // C's probe mutex is held, or C does not know the unit: no group becomes known meanwhile.
    let known = ProviderGroup::known_near(instance, key, endpoint, &near.drivers);
    let join = || -> Result<Arc<Group<D>>> {
        let group = identity_group(instance, endpoint, known.as_deref(), &near, &driver)?;
        let user = dma_api.then(|| driver.name());
        let is_member = group.has(endpoint);
        match user {
            Some(driver) if is_member => group.start_dma_api(endpoint, driver)?,
            Some(driver) => group.join_in_use(endpoint, Reason::Isolated, driver)?,
            None if is_member => {}
            None => group.join(endpoint, Reason::Isolated)?,
        }
        match is_member {
            true => instance.held.has_got_driver(device, dma_api),
            false => instance.held.add(Held {
                device: device.counted(),
                endpoint: endpoint.clone(),
                key,
                reason: HoldReason::DriverWasBound { dma_api },
            })?,
        }
        Ok(group)
    };
    // Between the look at the group and its change C must not attach it to something else.
    let group = match known.as_deref() {
        Some(known) => D::undisturbed(instance, known, join)?,
        None => join()?,
    };
    group.rely_on_messages(endpoint);
    explain(instance, &group);
    log_info!(
        "{}: {} stays on identity: driver {} was bound before the unit was taken over",
        endpoint.unit().name(),
        endpoint.name(),
        driver.name(),
    );
    Ok(())
}

/// Groups of held devices.
struct Near<D: Layer> {
    /// Those of devices with a driver that a device cannot be isolated from.
    drivers: KVec<Arc<Group<D>>>,
    /// Those of devices with an id of its own.
    alike: KVec<Arc<Group<D>>>,
}

/// The group for a device whose driver relies on identity: that of the devices with a driver that
/// it cannot be isolated from, and of all devices with an id of its own; or else a new one. It is
/// on identity, unless C has attached it to something else and the driver manages DMA itself.
/// `known` is the group of devices that C knows and that the device belongs to.
///
/// # Errors
///
/// `EBUSY` if somebody holds the group, or if the driver uses the DMA API and C has attached the
/// group to something else or does not trust a device of it; otherwise those of [`Group::adopt`].
fn identity_group<D: Layer>(
    instance: &Instance<D>,
    endpoint: &Arc<Endpoint<D>>,
    known: Option<&ProviderGroup<D>>,
    near: &Near<D>,
    driver: &Driver,
) -> Result<Arc<Group<D>>> {
    let identity = instance.identity();
    let Near { drivers, alike } = near;
    // Before its first default domain C's group is free to be on identity.
    let is_settled = known
        .is_some_and(|known| known.is_settled(instance) && known.core().default_domain().is_some());
    let group = match known.map(ProviderGroup::core) {
        Some(core) => core.clone(),
        None => match drivers.first().or(alike.first()) {
            Some(held) => held.clone(),
            None => Group::new(
                Label::new(format_args!("group of {}", endpoint.name())),
                instance.blocked(),
                instance.ids.clone(),
            )?,
        },
    };
    if let Some(known) = known {
        let uses_dma_api = !driver.manages_dma();
        let untrusted = known.untrusted(instance).filter(|_| uses_dma_api);
        let name = group.name();
        let why = if group.ownership().is_exclusive() {
            Some(Label::new(format_args!("somebody holds {name}")))
        } else if let Some(device) = untrusted {
            Some(Label::new(format_args!("{device} in {name} is untrusted")))
        } else if uses_dma_api && is_settled && !group.is_on(identity) {
            Some(Label::new(format_args!("{name} is attached elsewhere")))
        } else {
            None
        };
        if let Some(why) = why {
            no_identity(endpoint, driver, &why);
            return Err(EBUSY);
        }
    }
    if !is_settled {
        group.set_default(identity)?;
    }
    for other in Iterator::chain(drivers.iter(), alike.iter()) {
        group.adopt(other)?;
    }
    Ok(group)
}

/// Logs why a device whose driver relies on identity cannot have it.
fn no_identity<D: VendorDriver>(endpoint: &Endpoint<D>, driver: &Driver, why: &Label) {
    log_err!(
        "{}: {}: its driver {} was bound before the unit was taken over and relies on identity, but \
         {}; unbind the driver, and load its module after iommu_core",
        endpoint.unit().name(),
        endpoint.name(),
        driver.name(),
        why,
    );
}

/// Holds a device that firmware does DMA with, beside those with the same id: to the unit they are
/// one.
fn hold_on_direct_regions<D: Layer>(
    instance: &Instance<D>,
    device: Device<'_>,
    endpoint: &Arc<Endpoint<D>>,
) -> Result {
    let name = endpoint.name();
    let alike = instance.held.with_same_id(endpoint)?;
    let on_identity = |group: &&Arc<Group<D>>| group.is_on(instance.identity());
    let group = match alike.iter().find(on_identity).or(alike.first()) {
        Some(group) => group.clone(),
        None => {
            let group = Group::new(
                Label::new(format_args!("hold of {name}")),
                instance.blocked(),
                instance.ids.clone(),
            )?;
            group.set_default(&Domain::paging(&instance.registry, endpoint)?)?;
            group
        }
    };
    let domain = group.default_domain().ok_or(EINVAL)?;
    if !Arc::ptr_eq(&domain, instance.identity()) {
        for other in alike.iter().filter(|other| !Arc::ptr_eq(other, &group)) {
            instance
                .held
                .for_each_in(other, |_, endpoint| map_direct_regions(&domain, endpoint))?;
        }
        map_direct_regions(&domain, endpoint)?;
    }
    for other in alike.iter() {
        group.adopt(other)?;
    }
    group.join(endpoint, Reason::Isolated)?;
    instance.held.add(Held {
        device: device.counted(),
        endpoint: endpoint.clone(),
        key: bus::isolation(device).map(|isolation| isolation.key),
        reason: HoldReason::DirectRegions,
    })?;
    explain(instance, &group);
    log_info!(
        "{}: {} keeps its direct regions: firmware does DMA with it",
        endpoint.unit().name(),
        name,
    );
    Ok(())
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
