// SPDX-License-Identifier: GPL-2.0

//! The functions that C calls for a domain: `struct iommu_domain_ops`.

use core::marker::PhantomData;

use kernel::{
    bindings,
    ffi::{c_int, c_uint, c_ulong},
    prelude::*,
};

use super::{
    device::ProviderDevice,
    domain::ProviderDomain,
    gather,
    layer::Layer,
    ranges::{RangeDomain, RangeOps},
    served::Served,
};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    count::Count,
    frontend::answer,
    log::log_err,
    pasid::Pasid,
    pgtable::{
        kernel_memory::{Gfp, KernelTableList},
        Gather,
    },
};

/// No function at all.
const NO_OPS: bindings::iommu_domain_ops = pin_init::zeroed();

type AttachFn = unsafe extern "C" fn(
    *mut bindings::iommu_domain,
    *mut bindings::device,
    *mut bindings::iommu_domain,
) -> c_int;

type SetPasidFn = unsafe extern "C" fn(
    *mut bindings::iommu_domain,
    *mut bindings::device,
    bindings::ioasid_t,
    *mut bindings::iommu_domain,
) -> c_int;

/// The tables of functions for a vendor driver's domains.
pub struct DomainOps<D>(PhantomData<D>);

impl<D: Layer> DomainOps<D> {
    /// For domains that translate.
    pub const PAGING: &'static bindings::iommu_domain_ops = &bindings::iommu_domain_ops {
        attach_dev: Self::ATTACH,
        set_dev_pasid: Self::SET_PASID,
        map_pages: Some(map_pages::<D>),
        unmap_pages: Some(unmap_pages::<D>),
        flush_iotlb_all: Some(flush_iotlb_all::<D>),
        iotlb_sync_map: match D::MAY_NEED_MAP_SYNC {
            true => Some(iotlb_sync_map::<D>),
            false => None,
        },
        iotlb_sync: Some(iotlb_sync::<D>),
        iova_to_phys: Some(iova_to_phys::<D>),
        enforce_cache_coherency: Some(enforce_cache_coherency::<D>),
        free: Some(free::<D>),
        ..NO_OPS
    };

    /// For domains that translate: what C calls in place of `map_pages` and `unmap_pages` if it
    /// can.
    pub const RANGES: &'static RangeOps = &RangeOps::new(map_range::<D>, unmap_range::<D>);

    /// For domains that are there as long as the driver is served.
    pub const FIXED: &'static bindings::iommu_domain_ops = &bindings::iommu_domain_ops {
        attach_dev: Self::ATTACH,
        set_dev_pasid: Self::SET_PASID,
        ..NO_OPS
    };

    const ATTACH: Option<AttachFn> = match D::ATTACH {
        Some(_) => Some(attach_dev::<D>),
        None => None,
    };

    const SET_PASID: Option<SetPasidFn> = match D::ATTACH_PASID {
        Some(_) if D::PASIDS => Some(set_dev_pasid::<D>),
        _ => None,
    };
}

extern "C" fn free<D: Served>(domain: *mut bindings::iommu_domain) {
    // SAFETY: C has the pointer from `ProviderDomain::paging`, with a count that it gives back.
    let domain = unsafe { ProviderDomain::<D>::free(domain) };
    let groups = domain.core().record().groups();
    // C frees a default domain with its group, and drops its flush queue without a flush. A device
    // that firmware does DMA with may stay attached to the domain.
    domain.flush();
    if groups > 0 && !domain.is_for_dma_api() {
        log_err!(
            "{} is freed while attached to {}; it lasts until they have left",
            &**domain.core(),
            Count::new(groups, "group"),
        );
    }
}

extern "C" fn attach_dev<D: Layer>(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: The domain's table has led here. C calls with a device that was probed, and keeps it.
    let (domain, device) = unsafe {
        (
            ProviderDomain::<D>::of(domain),
            ProviderDevice::<D>::of(dev),
        )
    };
    let (Some(attach), Some(instance)) = (D::ATTACH, D::slot().get()) else {
        return ENODEV.to_errno();
    };
    // Only a device that is new was attached to nothing.
    answer(device.and_then(|device| attach(&instance, device, domain, old.is_null())))
}

extern "C" fn set_dev_pasid<D: Layer>(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    pasid: bindings::ioasid_t,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: The domain's table has led here. C calls with a device that was probed, and keeps it.
    let (domain, device) = unsafe {
        (
            ProviderDomain::<D>::of(domain),
            ProviderDevice::<D>::of(dev),
        )
    };
    let (Some(attach), Some(instance)) = (D::ATTACH_PASID, D::slot().get()) else {
        return ENODEV.to_errno();
    };
    let pasid = Pasid::new(pasid).ok_or(EINVAL);
    answer(device.and_then(|device| attach(&instance, device, domain, pasid?)))
}

extern "C" fn map_pages<D: Served>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    paddr: bindings::phys_addr_t,
    pgsize: usize,
    pgcount: usize,
    prot: c_int,
    gfp: bindings::gfp_t,
    mapped: *mut usize,
) -> c_int {
    let Some(len) = pgsize.checked_mul(pgcount) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The domain's table has led here.
    let domain = unsafe { ProviderDomain::<D>::of(domain) };
    let (done, result) = map(domain, iova as u64, paddr, len as u64, prot as u32, gfp);
    // SAFETY: C passes a place for the answer.
    unsafe { *mapped = done };
    answer(result)
}

extern "C" fn map_range<D: Served>(
    domain: *mut RangeDomain,
    iova: bindings::dma_addr_t,
    paddr: bindings::phys_addr_t,
    len: bindings::dma_addr_t,
    prot: c_uint,
    gfp: bindings::gfp_t,
    mapped: *mut usize,
) -> c_int {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { ProviderDomain::<D>::of(domain.cast()) };
    let (done, result) = map(domain, iova, paddr, len, prot, gfp);
    // SAFETY: C passes a place for the answer, to which it is added.
    unsafe { *mapped += done };
    answer(result)
}

#[inline(always)]
fn map<D: Served>(
    domain: &ProviderDomain<D>,
    iova: u64,
    paddr: u64,
    len: u64,
    prot: u32,
    gfp: bindings::gfp_t,
) -> (usize, Result) {
    let Some(prot) = Prot::from_iommu_bits(prot) else {
        return (0, Err(EINVAL));
    };
    let (done, result) = domain.core().map(
        Iova::new(iova),
        PhysAddr::new(paddr),
        len,
        prot,
        Gfp::from_raw(gfp),
    );
    (done as usize, result)
}

/// Maps pieces of memory one after the other: what a frontend calls that has a list of them.
/// Returns the number of bytes mapped, also when it fails after some.
///
/// # Safety
///
/// `domain` is one with the functions in [`DomainOps::PAGING`].
#[cfg_attr(CONFIG_IOMMU_CORE_HOSTED, allow(dead_code))]
pub unsafe fn map_list<D: Served>(
    domain: *mut bindings::iommu_domain,
    iova: u64,
    pieces: impl Iterator<Item = (PhysAddr, u64)>,
    prot: u32,
    gfp: bindings::gfp_t,
) -> (usize, Result) {
    let Some(prot) = Prot::from_iommu_bits(prot) else {
        return (0, Err(EINVAL));
    };
    // SAFETY: By the requirements.
    let domain = unsafe { ProviderDomain::<D>::of(domain) };
    let iova = Iova::new(iova);
    let (done, result) = domain
        .core()
        .map_list(iova, pieces, prot, Gfp::from_raw(gfp));
    (done as usize, result)
}

extern "C" fn unmap_pages<D: Served>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    pgsize: usize,
    pgcount: usize,
    c_gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    let Some(len) = pgsize.checked_mul(pgcount) else {
        return 0;
    };
    // SAFETY: The domain's table has led here, and C passes a gather that is its own and
    // initialised.
    unsafe {
        let domain = ProviderDomain::<D>::of(domain);
        unmap(domain, iova as u64, len as u64, c_gather)
    }
}

extern "C" fn unmap_range<D: Served>(
    domain: *mut RangeDomain,
    iova: bindings::dma_addr_t,
    len: bindings::dma_addr_t,
    c_gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    // SAFETY: The domain's table has led here, and C passes a gather that is its own and
    // initialised.
    unsafe {
        let domain = ProviderDomain::<D>::of(domain.cast());
        unmap(domain, iova, len, c_gather)
    }
}

/// Unmaps, and adds to C's gather.
///
/// # Safety
///
/// `c_gather` is an initialised gather, and nobody else uses it.
#[inline(always)]
unsafe fn unmap<D: Served>(
    domain: &ProviderDomain<D>,
    iova: u64,
    len: u64,
    c_gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    let mut gather = Gather::new();
    let done = domain.core().unmap(Iova::new(iova), len, &mut gather);
    let mut tables = KernelTableList::default();
    if gather.has_tables() {
        tables = domain.core().take_tables(&mut gather);
        // SAFETY: By the requirements.
        if unsafe { (*c_gather).queued } {
            // C flushes everything later, from its queue.
            domain.defer(core::mem::take(&mut tables));
        }
    }
    // SAFETY: By the requirements.
    unsafe { gather::add(c_gather, &gather, tables) };
    done as usize
}

extern "C" fn iotlb_sync<D: Served>(
    domain: *mut bindings::iommu_domain,
    gather: *mut bindings::iommu_iotlb_gather,
) {
    // SAFETY: The domain's table has led here; the gather is C's and filled by `unmap_pages`, or
    // it is a range of C's that nothing was unmapped in.
    let (domain, mut gather) = unsafe { (ProviderDomain::<D>::of(domain), gather::take(gather)) };
    domain.core().sync(&mut gather);
}

extern "C" fn flush_iotlb_all<D: Served>(domain: *mut bindings::iommu_domain) {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { ProviderDomain::<D>::of(domain) };
    domain.flush();
}

extern "C" fn iotlb_sync_map<D: Served>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
) -> c_int {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { ProviderDomain::<D>::of(domain) };
    let first = Iova::new(iova as u64);
    let Some(last) = first.last(size as u64) else {
        return 0;
    };
    answer(domain.core().sync_map(first, last))
}

extern "C" fn iova_to_phys<D: Served>(
    domain: *mut bindings::iommu_domain,
    iova: bindings::dma_addr_t,
) -> bindings::phys_addr_t {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { ProviderDomain::<D>::of(domain) };
    domain
        .core()
        .iova_to_phys(Iova::new(iova))
        .map_or(0, PhysAddr::raw)
}

extern "C" fn enforce_cache_coherency<D: Served>(domain: *mut bindings::iommu_domain) -> bool {
    // SAFETY: The domain's table has led here.
    unsafe { ProviderDomain::<D>::of(domain) }
        .core()
        .enforce_coherency()
}
