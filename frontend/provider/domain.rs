// SPDX-License-Identifier: GPL-2.0

//! Domains as C knows them: C's structure with a count on the core's domain.

use kernel::{
    bindings,
    ffi::c_ulong,
    prelude::*,
    sync::{Arc, ArcBorrow},
    types::Opaque,
};

use super::{
    deferred::Deferred,
    module_count::ModuleCount,
    ranges::{RangeDomain, RangeOps},
    served::Served,
};
use crate::{
    domain::Domain, driver::Scope, pgtable::kernel_memory::KernelTableList, registry::Registry,
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
#[pin_data]
#[repr(C)]
pub struct ProviderDomain<D: Served> {
    c: Opaque<RangeDomain>,
    core: Arc<Domain<D>>,
    role: Role,
    /// Page-table pages that were unlinked in lazy mode, until C flushes.
    #[pin]
    deferred: Deferred<KernelTableList>,
    /// Keeps the functions that C calls with the domain; it may have it for longer than a device.
    _module: Option<ModuleCount>,
}

// SAFETY: The core's domain is shared between tasks, and C's part is for C to look after.
unsafe impl<D: Served> Send for ProviderDomain<D> {}
// SAFETY: As above.
unsafe impl<D: Served> Sync for ProviderDomain<D> {}

impl<D: Served> ProviderDomain<D> {
    /// A domain that is there as long as its vendor driver is served.
    fn fixed(
        core: &Arc<Domain<D>>,
        role: Role,
        ops: &'static bindings::iommu_domain_ops,
    ) -> Result<Arc<Self>> {
        let c = bindings::iommu_domain {
            type_: match role {
                Role::Identity => bindings::IOMMU_DOMAIN_IDENTITY,
                _ => bindings::IOMMU_DOMAIN_BLOCKED,
            },
            ops,
            ..pin_init::zeroed()
        };
        Self::new(c, None, core.clone(), role, None)
    }

    fn new(
        c: bindings::iommu_domain,
        ranges: Option<&'static RangeOps>,
        core: Arc<Domain<D>>,
        role: Role,
        module: Option<ModuleCount>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                c: Opaque::new(RangeDomain::new(c, ranges)),
                core,
                role,
                deferred <- Deferred::new(),
                _module: module,
            }),
            GFP_KERNEL,
        )
    }

    /// A domain that translates. C gives its count back with [`free`](Self::free).
    ///
    /// `ranges` are functions for ranges of any length. C lets the DMA API unmap lazily in a domain
    /// that has such functions.
    pub fn paging(
        core: Arc<Domain<D>>,
        ops: &'static bindings::iommu_domain_ops,
        ranges: Option<&'static RangeOps>,
        module: &'static ThisModule,
    ) -> Result<*mut bindings::iommu_domain> {
        let geometry = core.geometry()?;
        let c = bindings::iommu_domain {
            ops,
            pgsize_bitmap: geometry.page_sizes.raw() as c_ulong,
            geometry: bindings::iommu_domain_geometry {
                aperture_start: geometry.first.raw(),
                aperture_end: geometry.last.raw(),
                force_aperture: true,
            },
            ..pin_init::zeroed()
        };
        let domain = Self::new(
            c,
            ranges,
            core,
            Role::Paging,
            Some(ModuleCount::new(module)),
        )?;
        Ok(Arc::into_raw(domain).cast_mut().cast())
    }

    /// The domain of a call from C.
    ///
    /// # Safety
    ///
    /// `raw` is a domain that was made here for the same vendor driver, and stays for `'a`.
    #[inline(always)]
    pub unsafe fn of<'a>(raw: *mut bindings::iommu_domain) -> &'a Self {
        // SAFETY: C's part is the first.
        unsafe { &*raw.cast::<Self>() }
    }

    /// C's count, which C gives back.
    ///
    /// # Safety
    ///
    /// `raw` is from [`paging`](Self::paging) for the same vendor driver, and C does not use it any
    /// more.
    pub unsafe fn free(raw: *mut bindings::iommu_domain) -> Arc<Self> {
        // SAFETY: By the requirements.
        unsafe { Arc::from_raw(raw.cast_const().cast::<Self>()) }
    }

    /// The pointer that C knows the domain by.
    pub fn as_c(&self) -> *mut bindings::iommu_domain {
        self.c.get().cast()
    }

    /// One more count of C's domain.
    ///
    /// # Safety
    ///
    /// `raw` is a domain that was made here for the same vendor driver, and is not freed meanwhile.
    // Only the native frontend asks.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_NATIVE), allow(dead_code))]
    pub unsafe fn counted(raw: *mut bindings::iommu_domain) -> Arc<Self> {
        // SAFETY: C's part is the first, and what C has is a count.
        unsafe { ArcBorrow::from_raw(raw.cast_const().cast::<Self>()) }.into()
    }

    /// The core's domain.
    #[inline]
    pub fn core(&self) -> &Arc<Domain<D>> {
        &self.core
    }

    /// Keeps unlinked page-table pages until the next [`flush`](Self::flush).
    #[inline]
    pub fn defer(&self, tables: KernelTableList) {
        self.deferred.add(tables);
    }

    /// Invalidates everything, and frees the page-table pages that wait for it.
    ///
    /// Context: any; does not sleep.
    pub fn flush(&self) {
        // C cannot be told of an error; the log has a message that the unit has failed.
        self.deferred.flush(|| self.core.invalidate(Scope::All));
    }

    /// What an attach to the domain means.
    // Only the hosted frontend asks.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether C uses the domain for the DMA API, that is as a group's default domain.
    pub fn is_for_dma_api(&self) -> bool {
        // SAFETY: C's part is valid. C sets the type before it attaches the domain, and later
        // changes it only from one kind for the DMA API to the other.
        let kind = unsafe { (&raw const (*self.as_c()).type_).read_volatile() };
        kind & bindings::__IOMMU_DOMAIN_DMA_API != 0
    }
}

/// The domains of which a vendor driver has one each.
pub struct FixedDomains<D: Served> {
    /// Where devices go that nobody may do DMA with, and where groups begin.
    pub blocked: Arc<ProviderDomain<D>>,
    /// Where DMA passes untranslated.
    pub identity: Arc<ProviderDomain<D>>,
    /// Where devices go that leave; blocked as well, but told apart by C's pointer.
    pub release: Arc<ProviderDomain<D>>,
}

impl<D: Served> FixedDomains<D> {
    /// The domains, with C's functions for them.
    pub fn new(registry: &Arc<Registry>, ops: &'static bindings::iommu_domain_ops) -> Result<Self> {
        let nothing = Domain::blocked(registry)?;
        let identity = Domain::identity(registry)?;
        Ok(Self {
            blocked: ProviderDomain::fixed(&nothing, Role::Blocked, ops)?,
            release: ProviderDomain::fixed(&nothing, Role::Release, ops)?,
            identity: ProviderDomain::fixed(&identity, Role::Identity, ops)?,
        })
    }
}
