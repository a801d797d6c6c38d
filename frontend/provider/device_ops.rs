// SPDX-License-Identifier: GPL-2.0

//! The functions that C calls for a device: `struct iommu_ops`.

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::ptr;

use kernel::{bindings, error::from_err_ptr, ffi::c_int, prelude::*, sync::Arc};

use super::{
    bus,
    device::ProviderDevice,
    domain::{FixedDomains, ProviderDomain},
    domain_ops::DomainOps,
    group::ProviderGroup,
    hold,
    instance::Instance,
    layer::Layer,
    served::Served,
    stage::{Move, Seen},
    unit::ProviderUnit,
};
use crate::{
    domain::Domain,
    driver::{Capability, DefaultKind},
    endpoint::Endpoint,
    ffi::{compat::eopnotsupp, device::Device, firmware},
    frontend::answer,
    log::log_err,
    reserved::{Kind, Reserved},
};

/// The table of functions of a vendor driver. `module` is this module.
pub fn table<D: Layer>(
    module: &'static ThisModule,
    domains: &FixedDomains<D>,
) -> bindings::iommu_ops {
    bindings::iommu_ops {
        capable: Some(capable::<D>),
        domain_alloc_paging: Some(alloc_paging::<D>),
        domain_alloc_paging_flags: match D::PASIDS {
            true => Some(alloc_paging_with::<D>),
            false => None,
        },
        probe_device: Some(probe::<D>),
        probe_finalize: Some(probed::<D>),
        release_device: Some(release::<D>),
        device_group: Some(group::<D>),
        get_resv_regions: Some(reserved_regions::<D>),
        of_xlate: Some(tree_id),
        def_domain_type: Some(default_type::<D>),
        owner: module.as_ptr(),
        identity_domain: domains.identity.as_c(),
        blocked_domain: domains.blocked.as_c(),
        release_domain: match D::ATTACH {
            Some(_) => domains.release.as_c(),
            None => ptr::null_mut(),
        },
        ..pin_init::zeroed()
    }
}

/// C probes a device: it is new, or a unit was registered.
extern "C" fn probe<D: Layer>(dev: *mut bindings::device) -> *mut bindings::iommu_device {
    // SAFETY: C keeps the device.
    let device = unsafe { Device::from_raw(dev) };
    let (Some(instance), Some(device)) = (D::slot().get(), device) else {
        return ENODEV.to_ptr();
    };
    match try_probe(&instance, device) {
        Ok(known) => {
            let unit = known.unit().as_c();
            // SAFETY: C's probe mutex is held and the device has a record. The count is C's until
            // `release`.
            unsafe {
                bindings::dev_iommu_priv_set(dev, Arc::into_raw(known).cast_mut().cast());
            }
            unit
        }
        Err(error) => {
            if error != ENODEV {
                let what = match instance.held.is_held(device) {
                    true => "stays attached as it was",
                    false => "stays blocked, its DMA fails",
                };
                log_err!("{}: {}: error {}", device.name(), what, error.to_errno());
            }
            // With any other error C would unregister the unit.
            ENODEV.to_ptr()
        }
    }
}

/// C has probed a device, and holds no lock.
extern "C" fn probed<D: Layer>(dev: *mut bindings::device) {
    // SAFETY: C keeps the device.
    let (Some(instance), Some(device)) = (D::slot().get(), unsafe { Device::from_raw(dev) }) else {
        return;
    };
    if let Some(known) = instance.device(device) {
        known.is_probed();
    }
}

fn try_probe<D: Layer>(
    instance: &Arc<Instance<D>>,
    device: Device<'_>,
) -> Result<Arc<ProviderDevice<D>>> {
    let seen = Seen::Probe {
        driver: hold::bound_driver(device),
    };
    // C takes no device that has a driver. The device is held since its unit was taken over, or has
    // got its driver after that.
    match instance.held.stage(device).see(seen).0 {
        Move::Offer | Move::HandOver => {}
        Move::Hold(reason) => {
            hold::hold_late(instance, device, reason)?;
            return Err(ENODEV);
        }
        Move::Nothing | Move::Drop => return Err(ENODEV),
    }
    bus::isolate(device);
    let (endpoint, was_held) = match instance.held.find(device) {
        Some((endpoint, reason)) => (endpoint, Some(reason)),
        None => {
            let described = bus::describe_known(device)?;
            (Endpoint::new(&instance.cores, described)?, None)
        }
    };
    let unit = instance.unit(endpoint.unit()).ok_or(ENODEV)?;
    if !unit.is_active() {
        return Err(ENODEV);
    }
    let key = bus::isolation(device).map(|isolation| isolation.key);
    if bus::is_untrusted(device) {
        refuse_beside_held_driver(instance, device, key, &endpoint)?;
    }
    let known = ProviderDevice::new(device, endpoint.clone(), unit.clone(), key, was_held)?;
    let is_direct = endpoint.has_direct_regions();
    if is_direct {
        instance.held.promise()?;
    }
    if let Err(error) = enter(instance, unit, &known) {
        if is_direct {
            instance.held.end_promise();
        }
        return Err(error);
    }
    // Nothing can fail any more: the device is either held or known.
    instance.held.hand_over(device);
    Ok(known)
}

/// Puts a device into the table of known ones, unless its unit is being given back: whoever gives
/// it back looks into the table after that has been noted.
fn enter<D: Served>(
    instance: &Instance<D>,
    unit: &ProviderUnit<D>,
    known: &Arc<ProviderDevice<D>>,
) -> Result {
    let mut devices = instance.devices.lock();
    if unit.is_leaving() {
        return Err(ENODEV);
    }
    Ok(devices.push(known.clone(), GFP_KERNEL)?)
}

/// C refuses identity to a device that it does not trust, and with it the whole unit. So the device
/// is left out if its group has to be on identity for a driver that was bound before.
fn refuse_beside_held_driver<D: Served>(
    instance: &Instance<D>,
    device: Device<'_>,
    key: Option<u64>,
    endpoint: &Endpoint<D>,
) -> Result {
    for group in &instance.held.near_drivers(key, endpoint)? {
        if instance.held.relies_on(group) {
            log_err!(
                "{}: stays blocked, its DMA fails: it is behind an external port and must not be \
                 on identity, which a driver in {} relies on; unbind that driver, and load its \
                 module after iommu_core",
                device.name(),
                group.name(),
            );
            return Err(ENODEV);
        }
    }
    Ok(())
}

/// C releases a device: it was removed, its unit was unregistered, or something failed after
/// `probe`.
extern "C" fn release<D: Layer>(dev: *mut bindings::device) {
    // SAFETY: C keeps the device.
    let (Some(instance), Some(device)) = (D::slot().get(), unsafe { Device::from_raw(dev) }) else {
        return;
    };
    let private: *const ProviderDevice<D> = device.iommu_private().cast();
    if private.is_null() {
        return;
    }
    // SAFETY: `probe` made the pointer of a count for C, which ends here.
    let known = unsafe { Arc::from_raw(private) };
    let forgotten = {
        let mut devices = instance.devices.lock();
        let index = devices.iter().position(|other| Arc::ptr_eq(other, &known));
        index.and_then(|index| devices.remove(index).ok())
    };
    drop(forgotten);
    known.end_interrupts(instance.module());
    match known.group() {
        Ok(group) => group.forget(&instance, &known),
        // C has never asked for its group.
        Err(_) => known.part(&instance),
    }
}

/// C wants the group of a device.
extern "C" fn group<D: Layer>(dev: *mut bindings::device) -> *mut bindings::iommu_group {
    // SAFETY: C keeps the device, which was probed.
    let found = unsafe { ProviderDevice::<D>::of(dev) }.and_then(|known| {
        let instance = D::slot().get().ok_or(ENODEV)?;
        let group = ProviderGroup::find_or_make(&instance, known).inspect_err(|error| {
            log_err!(
                "{}: has no group, and stays as it is: error {}",
                known.device().name(),
                error.to_errno()
            );
        })?;
        let c = group.as_c();
        known.set_group(group);
        Ok(c)
    });
    // With any other error C would unregister the unit.
    found.unwrap_or(ENODEV.to_ptr())
}

/// Whether a device has a capability.
extern "C" fn capable<D: Layer>(
    dev: *mut bindings::device,
    capability: bindings::iommu_cap,
) -> bool {
    // SAFETY: C keeps the device, which was probed.
    let Ok(known) = (unsafe { ProviderDevice::<D>::of(dev) }) else {
        return false;
    };
    let capability = match capability {
        bindings::iommu_cap_IOMMU_CAP_CACHE_COHERENCY => Capability::CoherentDma,
        bindings::iommu_cap_IOMMU_CAP_NOEXEC => Capability::NoExec,
        bindings::iommu_cap_IOMMU_CAP_PRE_BOOT_PROTECTION => Capability::PreBootProtection,
        bindings::iommu_cap_IOMMU_CAP_ENFORCE_CACHE_COHERENCY => Capability::EnforcedCoherency,
        bindings::iommu_cap_IOMMU_CAP_DEFERRED_FLUSH => Capability::DeferredFlush,
        _ => return false,
    };
    has_capability(known, capability)
}

fn has_capability<D: Served>(known: &ProviderDevice<D>, capability: Capability) -> bool {
    // The flush queue flushes everything, at which an emulated unit that shadows the page tables
    // compares all of them: strict mode costs less, and leaves no freed memory reachable.
    if capability == Capability::DeferredFlush && known.unit().shadows() {
        return false;
    }
    let endpoint = known.endpoint();
    D::capable(endpoint.unit().data(), endpoint.data(), capability)
}

/// The type of default domain that a device needs; 0 for the one of the command line.
extern "C" fn default_type<D: Layer>(dev: *mut bindings::device) -> c_int {
    // SAFETY: C keeps the device, which was probed.
    let known = unsafe { ProviderDevice::<D>::of(dev) };
    match (known.map(ProviderDevice::group), D::slot().get()) {
        // The driver of a held device, which C does not see, relies on identity.
        (Ok(Ok(group)), Some(instance)) if instance.held.relies_on(group.core()) => {
            bindings::IOMMU_DOMAIN_IDENTITY as c_int
        }
        _ => known.map_or(0, wish_of),
    }
}

/// What the vendor driver says about the default domain of a device, in C's numbers.
fn wish_of<D: Served>(known: &ProviderDevice<D>) -> c_int {
    let endpoint = known.endpoint();
    let kind = D::default_kind(endpoint.unit().data(), endpoint.data());
    // SAFETY: Always safe.
    wish_for(kind, unsafe { bindings::iommu_default_passthrough() }) as c_int
}

/// C's number for what the vendor driver says. `passthrough` is whether C's default domains are
/// identity.
fn wish_for(kind: Option<DefaultKind>, passthrough: bool) -> u32 {
    match kind {
        Some(DefaultKind::Identity) => bindings::IOMMU_DOMAIN_IDENTITY,
        Some(DefaultKind::Paging) if passthrough => bindings::IOMMU_DOMAIN_DMA,
        // C's default translates already. It may be lazy, which C's number for paging is not.
        Some(DefaultKind::Paging) | None => 0,
    }
}

/// Adds a device's reserved regions to a list.
extern "C" fn reserved_regions<D: Layer>(
    dev: *mut bindings::device,
    list: *mut bindings::list_head,
) {
    // SAFETY: C keeps the device, which was probed.
    let Ok(known) = (unsafe { ProviderDevice::<D>::of(dev) }) else {
        return;
    };
    add_regions(known.endpoint().reserved(), list);
    if let Some(instance) = D::slot().get() {
        // The device is going to be attached to one domain with held devices, which C does not
        // know. What firmware does with these has to stay possible.
        let group = known.group().ok().map(|group| group.core());
        instance
            .held
            .for_each_beside(known.endpoint(), group, |held| {
                add_regions(
                    held.reserved().iter().filter(|region| region.is_direct()),
                    list,
                )
            });
    }
    // SAFETY: C calls for the device's regions.
    unsafe { firmware::add_reserved_regions(known.device(), list) };
}

/// Adds regions to a list of C's.
fn add_regions<'a>(
    regions: impl IntoIterator<Item = &'a Reserved>,
    list: *mut bindings::list_head,
) {
    for region in regions {
        let kind = match region.kind {
            Kind::Direct => bindings::iommu_resv_type_IOMMU_RESV_DIRECT,
            Kind::DirectRelaxable => bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE,
            Kind::Msi => bindings::iommu_resv_type_IOMMU_RESV_MSI,
            Kind::SoftwareMsi => bindings::iommu_resv_type_IOMMU_RESV_SW_MSI,
            Kind::Reserved => bindings::iommu_resv_type_IOMMU_RESV_RESERVED,
        };
        // SAFETY: Any region can be described; C frees it.
        let entry = unsafe {
            bindings::iommu_alloc_resv_region(
                region.first.raw(),
                (region.last.raw() - region.first.raw() + 1) as usize,
                region.prot.raw() as c_int,
                kind,
                bindings::GFP_KERNEL,
            )
        };
        if entry.is_null() {
            return;
        }
        // SAFETY: The list is C's and initialised, the entry new.
        unsafe { bindings::list_add_tail(&raw mut (*entry).list, list) };
    }
}

/// A device tree names an id of a device.
extern "C" fn tree_id(dev: *mut bindings::device, args: *const bindings::of_phandle_args) -> c_int {
    // SAFETY: C keeps the device.
    let Some(device) = (unsafe { Device::from_raw(dev) }) else {
        return ENODEV.to_errno();
    };
    // SAFETY: C calls with an id of the device.
    let result = unsafe { firmware::add_tree_id(device, args) };
    answer(result)
}

/// The domain is going to be attached for PASIDs, too: a flag of `enum iommufd_hwpt_alloc_flags`
/// (uapi/linux/iommufd.h).
const FOR_PASIDS: u32 = 1 << 3;

/// C allocates a domain for a purpose. Every domain can be attached for PASIDs.
extern "C" fn alloc_paging_with<D: Layer>(
    dev: *mut bindings::device,
    flags: u32,
    user_data: *const bindings::iommu_user_data,
) -> *mut bindings::iommu_domain {
    if flags & !FOR_PASIDS != 0 || !user_data.is_null() {
        return eopnotsupp().to_ptr();
    }
    match from_err_ptr(alloc_paging::<D>(dev)) {
        Ok(domain) => {
            // iommufd calls this function by itself, and leaves the type to it.
            //
            // SAFETY: The domain has just been made, and nobody else knows it.
            unsafe { (*domain).type_ = bindings::__IOMMU_DOMAIN_PAGING };
            domain
        }
        Err(error) => error.to_ptr(),
    }
}

/// C allocates a domain.
extern "C" fn alloc_paging<D: Layer>(dev: *mut bindings::device) -> *mut bindings::iommu_domain {
    // SAFETY: C calls with a device that was probed, and keeps it meanwhile.
    let domain = unsafe { ProviderDevice::<D>::of(dev) }.and_then(|known| {
        let instance = D::slot().get().ok_or(ENODEV)?;
        let core = Domain::paging(&instance.registry, known.endpoint())?;
        let ranges =
            has_capability(known, Capability::DeferredFlush).then_some(DomainOps::<D>::RANGES);
        ProviderDomain::paging(core, DomainOps::<D>::PAGING, ranges, instance.module())
    });
    domain.unwrap_or_else(Error::to_ptr)
}
