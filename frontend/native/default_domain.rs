// SPDX-License-Identifier: GPL-2.0

//! Default domains: of which type, with what mapped, and how they change.

use core::mem::offset_of;

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_ulong},
    prelude::*,
};

use super::{
    command_line, domain,
    foreign::iommu_domain_free,
    group::{Changing, IommuGroup, Locked, Shape},
    map::{iommu_iova_to_phys, iommu_map},
    record,
    region_list::RegionList,
};
use crate::{
    ffi::{compat::eopnotsupp, device::Device},
    log::{log_err, log_warn},
};

/// The type that the driver of a device's unit wants for it; 0 if it leaves that open.
///
/// # Safety
///
/// `dev` is a member of a group, and behind a unit.
unsafe fn wish_of(dev: *mut bindings::device) -> u32 {
    // SAFETY: By the requirements.
    unsafe {
        let Some(ops) = record::ops(dev) else {
            return 0;
        };
        if let Some(default) = ops.default_domain.as_ref() {
            return default.type_;
        }
        match ops.def_domain_type {
            Some(wish) => u32::try_from(wish(dev)).unwrap_or(0),
            None => 0,
        }
    }
}

/// Whether a device may not be trusted to keep to what it is told: one on an external port.
///
/// # Safety
///
/// `dev` is valid.
unsafe fn is_untrusted(dev: *mut bindings::device) -> bool {
    // SAFETY: By the requirements. Devices on the PCI bus are embedded in a `struct pci_dev`.
    unsafe {
        core::ptr::eq((*dev).bus, &raw const bindings::pci_bus_type)
            && (*dev
                .byte_sub(offset_of!(bindings::pci_dev, dev))
                .cast::<bindings::pci_dev>())
            .untrusted()
                != 0
    }
}

/// The type that the group's default domain has to have; 0 for the kernel's default. `target` is
/// what a user wants, or 0.
///
/// # Errors
///
/// `EINVAL` if what is wanted cannot be.
fn choose(locked: &Locked<'_>, target: u32) -> Result<u32> {
    let group = locked.group();
    let mut wanted = match cfg!(CONFIG_ARM_DMA_USE_IOMMU) {
        // The architecture attaches domains of its own later.
        true => bindings::IOMMU_DOMAIN_IDENTITY,
        false => 0,
    };
    let mut untrusted = None;
    for member in &locked.members {
        let dev = member.as_raw();
        // SAFETY: A member is valid, and all of them are behind units.
        let (wish, is_untrusted) = unsafe { (wish_of(dev), is_untrusted(dev)) };
        if is_untrusted {
            untrusted = Some(dev);
        }
        if wish == 0 || wish == wanted {
            continue;
        }
        if wanted != 0 {
            log_err!(
                "group {}: its driver of units wants types {} and {} for devices of one group",
                group.id(),
                wanted,
                wish,
            );
        }
        // Devices that rely on identity do not work without.
        if wanted == 0 || wish == bindings::IOMMU_DOMAIN_IDENTITY {
            wanted = wish;
        }
    }
    if !cfg!(CONFIG_IOMMU_DMA) {
        if kernel::warn_on!(wanted == bindings::IOMMU_DOMAIN_DMA) {
            return Err(EINVAL);
        }
        if wanted == 0 {
            wanted = bindings::IOMMU_DOMAIN_IDENTITY;
        }
    }
    if let Some(dev) = untrusted {
        if wanted != 0 && wanted != bindings::IOMMU_DOMAIN_DMA {
            // SAFETY: A member is valid.
            let name = unsafe { Device::from_raw(dev) }.map(Device::name);
            log_err!(
                "{}: cannot be trusted, yet type {} is wanted for group {}: refused",
                name.unwrap_or("?".into()),
                wanted,
                group.id(),
            );
            return Err(EINVAL);
        }
        wanted = bindings::IOMMU_DOMAIN_DMA;
    }
    match target {
        0 => Ok(wanted),
        target if wanted != 0 && target != wanted => Err(EINVAL),
        target => Ok(target),
    }
}

/// A domain of exactly the type.
fn alloc_type(locked: &Locked<'_>, kind: u32) -> Result<*mut bindings::iommu_domain> {
    let ops = locked.ops()?;
    let first = locked.members.first().ok_or(ENODEV)?.as_raw();
    let present = locked.group().default_domain();
    // SAFETY: Members and the group's domain are valid.
    unsafe {
        if !present.is_null() && (*present).type_ == kind {
            return Ok(present);
        }
        if kind & bindings::__IOMMU_DOMAIN_PAGING != 0 {
            // A driver may want to use PASIDs next to the domain.
            if (*(*first).iommu).max_pasids > 0 {
                let flags = bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_PASID;
                match domain::alloc_paging(first, kind, flags) {
                    Err(error) if error == eopnotsupp() => {}
                    result => return result,
                }
            }
            return domain::alloc_paging(first, kind, 0);
        }
        if kind != bindings::IOMMU_DOMAIN_IDENTITY {
            return Err(EINVAL);
        }
        if !ops.identity_domain.is_null() {
            return Ok(ops.identity_domain);
        }
        let alloc = ops.domain_alloc_identity.ok_or(eopnotsupp())?;
        let identity = kernel::error::from_err_ptr(alloc(first))?;
        domain::adopt(identity, kind, ops);
        Ok(identity)
    }
}

/// A default domain; `kind` is 0 for what the kernel was told to take.
fn alloc(locked: &Locked<'_>, kind: u32) -> Result<*mut bindings::iommu_domain> {
    let fixed = locked.ops()?.default_domain;
    if !fixed.is_null() {
        // SAFETY: The domain is a part of its driver.
        return match unsafe { (*fixed).type_ } == kind {
            true => Ok(fixed),
            false => Err(EINVAL),
        };
    }
    if kind != 0 {
        return alloc_type(locked, kind);
    }
    let default = command_line::default_type();
    alloc_type(locked, default).or_else(|error| {
        if default == bindings::IOMMU_DOMAIN_DMA {
            return Err(error);
        }
        let domain = alloc_type(locked, bindings::IOMMU_DOMAIN_DMA)?;
        log_warn!(
            "group {}: no default domain of type {}, it translates instead",
            locked.group().id(),
            default,
        );
        Ok(domain)
    })
}

/// Maps what firmware wants mapped for a device, one to one, and notes whether the device needs it
/// at all times. What is mapped stays.
///
/// # Safety
///
/// `domain` and `dev` are valid, and the device has a unit.
pub(super) unsafe fn map_direct_regions(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
) -> Result {
    // SAFETY: By the requirements.
    let (is_for_dma, sizes) = unsafe {
        (
            (*domain).type_ & bindings::__IOMMU_DOMAIN_DMA_API != 0,
            (*domain).pgsize_bitmap as u64,
        )
    };
    if kernel::warn_on!(is_for_dma && sizes == 0) {
        return Err(EINVAL);
    }
    // SAFETY: By the requirements.
    unsafe {
        RegionList::with_regions_of(dev, |list| {
            let mut result = Ok(());
            list.for_each(|region| {
                let kind = (*region).type_;
                if kind == bindings::iommu_resv_type_IOMMU_RESV_DIRECT {
                    (*(*dev).iommu).set_require_direct(1);
                }
                let is_direct = kind == bindings::iommu_resv_type_IOMMU_RESV_DIRECT
                    || kind == bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE;
                if is_direct && is_for_dma && result.is_ok() {
                    result = map_one_to_one(domain, &*region, sizes & sizes.wrapping_neg());
                }
            });
            result
        })
    }
}

/// Maps the pages of a region that are not mapped.
///
/// # Safety
///
/// `domain` is valid and maps pages of `page` bytes, a power of two.
unsafe fn map_one_to_one(
    domain: *mut bindings::iommu_domain,
    region: &bindings::iommu_resv_region,
    page: u64,
) -> Result {
    let up = |address: u64| address.checked_add(page - 1).map(|end| end & !(page - 1));
    let end = region.start.checked_add(region.length as u64);
    let (Some(first), Some(end)) = (up(region.start), end.and_then(up)) else {
        return Err(EINVAL);
    };
    let mut at = first;
    while at < end {
        let mut hole = at;
        // Regions of different devices may overlap. 0 is no answer, so the first page is asked for
        // at its second byte.
        // SAFETY: By the requirements.
        while hole < end && unsafe { iommu_iova_to_phys(domain, hole.max(1)) } == 0 {
            hole += page;
        }
        if hole > at {
            // SAFETY: By the requirements.
            to_result(unsafe {
                iommu_map(
                    domain,
                    at as c_ulong,
                    at,
                    (hole - at) as usize,
                    region.prot,
                    bindings::GFP_KERNEL,
                )
            })?;
        }
        at = hole.saturating_add(page);
    }
    Ok(())
}

/// Gives the group a default domain of a type (0: the one that suits it), attaches it, and tells
/// the DMA API.
///
/// # Errors
///
/// `EINVAL` if the type cannot be; what its driver fails with. The group is as it was.
pub(super) fn set_up(changing: Changing<'_, '_>, target: u32) -> Result {
    let group = changing.group();
    let old = group.default_domain();
    let new = alloc(&changing, choose(&changing, target)?)?;
    if new == old {
        return Ok(());
    }
    let result = prepare(new).and_then(|()| attach(&changing, old, new));
    // If nothing is there that the group could go back to, some of its devices may be attached to
    // the new one after all. Then it goes with the last of them.
    let unused = match group.default_domain() == new {
        true => old,
        false => new,
    };
    let shape = changing.unlock();
    if !unused.is_null() {
        // SAFETY: The group is not attached to it, and nobody else has it. It may be a part of its
        // driver, which is no matter.
        unsafe { iommu_domain_free(unused) };
    }
    result.inspect(|()| tell_dma_api(shape))
}

/// Tells the DMA API which domain the group's devices have. The mutex is free.
fn tell_dma_api(shape: &Shape<'_>) {
    for member in shape.members() {
        // SAFETY: A member is valid, and nobody else changes its default domain.
        unsafe {
            bindings::iommu_core_set_up_dma(member.as_raw(), shape.group().default_domain());
        }
    }
}

/// Makes a new domain fit to be a default domain.
fn prepare(new: *mut bindings::iommu_domain) -> Result {
    // SAFETY: The domain was just allocated or is a part of its driver.
    unsafe {
        match (*new).type_ & bindings::__IOMMU_DOMAIN_DMA_API {
            0 => Ok(()),
            _ => to_result(bindings::iommu_core_get_dma_cookie(new)),
        }
    }
}

/// Attaches the group to a new default domain. If that fails it is on the old one, or where the
/// first attach has failed: on none that could be named.
fn attach(
    locked: &Locked<'_>,
    old: *mut bindings::iommu_domain,
    new: *mut bindings::iommu_domain,
) -> Result {
    let group = locked.group();
    let core = locked.core()?;
    // Before the attach, so that what firmware does goes on without a gap.
    // SAFETY: The domain is valid.
    let direct = unsafe { map_for_all(locked, new) };
    // Drivers ask for it while they attach.
    group.set_default_domain(new);
    // SAFETY: The domain is valid, and made by the group's driver.
    if let Err(error) = unsafe { core.set_default(new) } {
        if !old.is_null() {
            group.set_default_domain(old);
        }
        return Err(error);
    }
    group.set_current(new);
    core.admit()?;
    if direct.is_ok() {
        return Ok(());
    }
    // Some drivers can map only when somebody is attached.
    log_warn!(
        "group {}: what firmware wants mapped is mapped after the attach",
        group.id(),
    );
    // SAFETY: As above.
    let direct = unsafe { map_for_all(locked, new) };
    if direct.is_err() && !old.is_null() {
        // SAFETY: The old default domain is still there, and the group was attached to it.
        let back = unsafe { core.set_default(old) };
        if !kernel::warn_on!(back.is_err()) {
            group.set_default_domain(old);
            group.set_current(old);
        }
    }
    direct
}

/// # Safety
///
/// `domain` is valid.
unsafe fn map_for_all(locked: &Locked<'_>, domain: *mut bindings::iommu_domain) -> Result {
    let mut result = Ok(());
    for member in &locked.members {
        // SAFETY: By the requirements; a member is valid, and all of them are behind units.
        result = result.and(unsafe { map_direct_regions(domain, member.as_raw()) });
    }
    result
}

/// Somebody changes the type of a group's default domain in sysfs.
pub(super) fn store_type(group: &IommuGroup, wanted: &str) -> Result {
    // SAFETY: Always safe.
    let may = unsafe {
        bindings::capable(bindings::CAP_SYS_ADMIN as c_int)
            && bindings::capable(bindings::CAP_SYS_RAWIO as c_int)
    };
    if !may {
        return Err(EACCES);
    }
    const LAZY: u32 = bindings::IOMMU_DOMAIN_DMA | bindings::__IOMMU_DOMAIN_DMA_FQ;
    let kind = match wanted.trim_end_matches('\n') {
        "identity" => bindings::IOMMU_DOMAIN_IDENTITY,
        "DMA" => bindings::IOMMU_DOMAIN_DMA,
        "DMA-FQ" => LAZY,
        "auto" => 0,
        _ => return Err(EINVAL),
    };
    let mut shape = group.shape();
    let changing = shape.lock();
    let present = group.default_domain();
    if present.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: With the mutex held the default domain is valid, and nobody else changes its type.
    unsafe {
        if kind == LAZY && (*present).type_ == bindings::IOMMU_DOMAIN_DMA {
            // The domain stays, and so may its users.
            to_result(bindings::iommu_core_init_flush_queue(present))?;
            (*present).type_ = LAZY;
            return Ok(());
        }
    }
    let is_free = matches!(
        changing.core()?.ownership(),
        crate::ownership::Ownership::Free
    );
    if changing.members.is_empty() || !is_free {
        return Err(EPERM);
    }
    set_up(changing, kind)
}

/// What sysfs calls the type of the group's default domain.
pub(super) fn type_of(group: &IommuGroup) -> &'static str {
    let _locked = group.lock();
    let domain = group.default_domain();
    if domain.is_null() {
        return "unknown";
    }
    // SAFETY: With the mutex held the default domain is valid.
    match unsafe { (*domain).type_ } {
        bindings::IOMMU_DOMAIN_BLOCKED => "blocked",
        bindings::IOMMU_DOMAIN_IDENTITY => "identity",
        bindings::IOMMU_DOMAIN_UNMANAGED => "unmanaged",
        bindings::IOMMU_DOMAIN_DMA => "DMA",
        kind if kind == bindings::IOMMU_DOMAIN_DMA | bindings::__IOMMU_DOMAIN_DMA_FQ => "DMA-FQ",
        _ => "unknown",
    }
}
