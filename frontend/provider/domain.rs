// SPDX-License-Identifier: GPL-2.0

//! Domains as C knows them: C's structure with a count on the core's domain.

#[cfg(CONFIG_IOMMU_CORE_NATIVE)]
use kernel::sync::ArcBorrow;
use kernel::{
    bindings,
    ffi::{c_int, c_ulong},
    prelude::*,
    sync::Arc,
    types::Opaque,
};

use super::{device::HostedDevice, gather, instance::Hosted};
use crate::{
    addr::{Iova, PhysAddr, Prot},
    domain::Domain,
    driver::Scope,
    frontend::{answer, hosted::attach},
    log::log_err,
    pgtable::{kernel_memory::Gfp, Gather},
};

/// What an attach to a domain is meant to do.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Role {
    /// Translates by a page table; C says for whom.
    Paging,
    /// Lets DMA pass untranslated.
    Identity,
    /// Lets nothing pass: a group is claimed, a claim's domain is taken away, or a device is reset.
    Blocked,
    /// Lets nothing pass: the device leaves.
    Release,
}

/// A domain as C knows it.
///
/// C's part is first, so that a pointer to one is a pointer to the other. It is C's: it writes to
/// it at any time. C has a count of a paging domain until it frees it. Dropping this drops a count
/// of the core's domain; groups that are still attached have their own.
#[repr(C)]
pub struct HostedDomain<D: Hosted> {
    c: Opaque<bindings::iommu_domain>,
    core: Arc<Domain<D>>,
    role: Role,
    /// Keeps the functions that C calls with the domain; it may have it for longer than a device.
    _module: Option<ModuleCount>,
}

// SAFETY: The core's domain is shared between tasks, and C's part is for C to look after.
unsafe impl<D: Hosted> Send for HostedDomain<D> {}
// SAFETY: As above.
unsafe impl<D: Hosted> Sync for HostedDomain<D> {}

impl<D: Hosted> HostedDomain<D> {
    const PAGING: &'static bindings::iommu_domain_ops = &bindings::iommu_domain_ops {
        attach_dev: Some(attach_dev::<D>),
        map_pages: Some(map_pages::<D>),
        unmap_pages: Some(unmap_pages::<D>),
        flush_iotlb_all: Some(flush_iotlb_all::<D>),
        iotlb_sync_map: Some(iotlb_sync_map::<D>),
        iotlb_sync: Some(iotlb_sync::<D>),
        iova_to_phys: Some(iova_to_phys::<D>),
        enforce_cache_coherency: Some(enforce_cache_coherency::<D>),
        free: Some(free::<D>),
        ..NO_OPS
    };

    const FIXED: &'static bindings::iommu_domain_ops = &bindings::iommu_domain_ops {
        attach_dev: Some(attach_dev::<D>),
        ..NO_OPS
    };

    /// A domain that is there as long as the instance is.
    pub fn fixed(core: &Arc<Domain<D>>, role: Role) -> Result<Arc<Self>> {
        let c = bindings::iommu_domain {
            type_: match role {
                Role::Identity => bindings::IOMMU_DOMAIN_IDENTITY,
                _ => bindings::IOMMU_DOMAIN_BLOCKED,
            },
            ops: Self::FIXED,
            ..pin_init::zeroed()
        };
        Ok(Arc::new(
            Self {
                c: Opaque::new(c),
                core: core.clone(),
                role,
                _module: None,
            },
            GFP_KERNEL,
        )?)
    }

    fn paging(device: &HostedDevice<D>) -> Result<Arc<Self>> {
        let core = Domain::paging(&device.instance().registry, device.endpoint())?;
        let geometry = core.geometry()?;
        let c = bindings::iommu_domain {
            ops: Self::PAGING,
            pgsize_bitmap: geometry.page_sizes.raw() as c_ulong,
            geometry: bindings::iommu_domain_geometry {
                aperture_start: geometry.first.raw(),
                aperture_end: geometry.last.raw(),
                force_aperture: true,
            },
            ..pin_init::zeroed()
        };
        Ok(Arc::new(
            Self {
                c: Opaque::new(c),
                core,
                role: Role::Paging,
                _module: Some(ModuleCount::new(device.instance().module())),
            },
            GFP_KERNEL,
        )?)
    }

    /// The pointer that C knows the domain by.
    pub fn as_c(&self) -> *mut bindings::iommu_domain {
        self.c.get()
    }

    /// One more count of C's domain.
    ///
    /// # Safety
    ///
    /// `raw` is a domain that was made here for the same vendor driver, and is not freed meanwhile.
    #[cfg(CONFIG_IOMMU_CORE_NATIVE)]
    pub unsafe fn counted(raw: *mut bindings::iommu_domain) -> Arc<Self> {
        // SAFETY: C's part is the first, and what C has is a count.
        unsafe { ArcBorrow::from_raw(raw.cast_const().cast::<Self>()) }.into()
    }

    /// The core's domain.
    #[inline]
    pub fn core(&self) -> &Arc<Domain<D>> {
        &self.core
    }

    /// What an attach to the domain means.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether C uses the domain for the DMA API, that is as a group's default domain.
    pub fn is_for_dma_api(&self) -> bool {
        // SAFETY: C's part is valid. C sets the type before it attaches the domain, and later
        // changes it only from one kind for the DMA API to the other.
        let kind = unsafe { (&raw const (*self.c.get()).type_).read_volatile() };
        kind & bindings::__IOMMU_DOMAIN_DMA_API != 0
    }
}

/// A count on this module.
struct ModuleCount(&'static ThisModule);

impl ModuleCount {
    fn new(module: &'static ThisModule) -> Self {
        // SAFETY: The module is running, for this is its code.
        unsafe { bindings::__module_get(module.as_ptr()) };
        Self(module)
    }
}

impl Drop for ModuleCount {
    fn drop(&mut self) {
        // SAFETY: The count was taken by `new`.
        unsafe { bindings::module_put(self.0.as_ptr()) };
    }
}

/// The domain of a call from C.
///
/// # Safety
///
/// `raw` is a domain that [`HostedDomain`] made for the same vendor driver, and stays for `'a`.
#[inline(always)]
unsafe fn hosted<'a, D: Hosted>(raw: *mut bindings::iommu_domain) -> &'a HostedDomain<D> {
    // SAFETY: C's part is the first.
    unsafe { &*raw.cast::<HostedDomain<D>>() }
}

/// No function at all.
const NO_OPS: bindings::iommu_domain_ops = pin_init::zeroed();

/// C allocates a domain.
pub extern "C" fn alloc_paging<D: Hosted>(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_domain {
    // SAFETY: C calls with a device that was probed, and keeps it meanwhile.
    let device = unsafe { HostedDevice::<D>::of(dev) };
    match device.and_then(HostedDomain::paging) {
        Ok(domain) => Arc::into_raw(domain).cast_mut().cast(),
        Err(error) => error.to_ptr(),
    }
}

extern "C" fn free<D: Hosted>(domain: *mut bindings::iommu_domain) {
    // SAFETY: C has the pointer from `alloc_paging`, with a count that it gives back.
    let domain = unsafe { Arc::from_raw(domain.cast_const().cast::<HostedDomain<D>>()) };
    let groups = domain.core.record().groups();
    // Of default domains C knows when they are not needed. A device that firmware does DMA with may
    // stay attached to one.
    if groups > 0 && !domain.is_for_dma_api() {
        log_err!(
            "{} is freed while {} groups are attached to it; it lasts until they have left",
            &*domain.core,
            groups,
        );
    }
}

extern "C" fn attach_dev<D: Hosted>(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: The domain's table has led here. C calls with a device that was probed, and keeps it.
    let (domain, device) = unsafe { (hosted::<D>(domain), HostedDevice::<D>::of(dev)) };
    answer(device.and_then(|device| attach::attach(device, domain)))
}

extern "C" fn map_pages<D: Hosted>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    paddr: bindings::phys_addr_t,
    pgsize: usize,
    pgcount: usize,
    prot: c_int,
    gfp: bindings::gfp_t,
    mapped: *mut usize,
) -> c_int {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { hosted::<D>(domain) };
    let (Some(len), Some(prot)) = (
        pgsize.checked_mul(pgcount),
        Prot::from_iommu_bits(prot as u32),
    ) else {
        return EINVAL.to_errno();
    };
    let (done, result) = domain.core.map(
        Iova::new(iova as u64),
        PhysAddr::new(paddr),
        len as u64,
        prot,
        Gfp::from_raw(gfp),
    );
    // SAFETY: C passes a place for the answer.
    unsafe { *mapped = done as usize };
    answer(result)
}

extern "C" fn unmap_pages<D: Hosted>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    pgsize: usize,
    pgcount: usize,
    c_gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { hosted::<D>(domain) };
    let Some(len) = pgsize.checked_mul(pgcount) else {
        return 0;
    };
    let mut gather = Gather::new();
    let done = domain
        .core
        .unmap(Iova::new(iova as u64), len as u64, &mut gather);
    let tables = domain.core.take_tables(&mut gather);
    // SAFETY: C passes a gather that is its own and initialised.
    unsafe { gather::add(c_gather, &gather, tables) };
    done as usize
}

extern "C" fn iotlb_sync<D: Hosted>(
    domain: *mut bindings::iommu_domain,
    gather: *mut bindings::iommu_iotlb_gather,
) {
    // SAFETY: The domain's table has led here; the gather is C's and filled by `unmap_pages`, or
    // it is a range of C's that nothing was unmapped in.
    let (domain, mut gather) = unsafe { (hosted::<D>(domain), gather::take(gather)) };
    domain.core.sync(&mut gather);
}

extern "C" fn flush_iotlb_all<D: Hosted>(domain: *mut bindings::iommu_domain) {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { hosted::<D>(domain) };
    // C has no way to hear of an error, and the unit has said that it failed. Tables that C holds
    // for this flush it frees in any case; those unlinked from now on it does not get.
    let _ = domain.core.invalidate(Scope::All);
}

extern "C" fn iotlb_sync_map<D: Hosted>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
) -> c_int {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { hosted::<D>(domain) };
    let first = Iova::new(iova as u64);
    let Some(last) = first.last(size as u64) else {
        return 0;
    };
    answer(domain.core.sync_map(first, last))
}

extern "C" fn iova_to_phys<D: Hosted>(
    domain: *mut bindings::iommu_domain,
    iova: bindings::dma_addr_t,
) -> bindings::phys_addr_t {
    // SAFETY: The domain's table has led here.
    let domain = unsafe { hosted::<D>(domain) };
    domain
        .core
        .iova_to_phys(Iova::new(iova))
        .map_or(0, PhysAddr::raw)
}

extern "C" fn enforce_cache_coherency<D: Hosted>(domain: *mut bindings::iommu_domain) -> bool {
    // SAFETY: The domain's table has led here.
    unsafe { hosted::<D>(domain) }.core.enforce_coherency()
}
