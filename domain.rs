// SPDX-License-Identifier: GPL-2.0

//! Domains: what groups are attached to.
//!
//! A domain is reference-counted (law 2): its allocator's handle and every group that is attached
//! to it hold an [`Arc`]. It holds no reference to the device that it was allocated with (law 1):
//! the allocation took only the unit from that device, and the domain is `'static`.
//!
//! # Residences
//!
//! A unit's caches identify a domain by a tag. A domain has exactly one tag on each unit on which
//! some endpoint is attached to it, for any number of endpoints: these are its residences
//! ([`Residence`] is one endpoint's use of one). Where the unit's caches tell translations apart by
//! PASID it has one for each PASID as well. An unmap visits the residences only, so its cost does
//! not grow with the number of endpoints.
//!
//! Locking: the lock of `residences` is taken with interrupts off, for one look-up or change; no
//! other lock nests inside. Code that invalidates reads the residences without it, so processors
//! that unmap at the same time do not wait for each other. This is sufficient:
//!
//! - The core adds a residence before the driver writes the entry. If an unmap does not see the
//!   residence, there is nothing to invalidate on that unit: the unmap changed the page table
//!   before it read the residences. The same holds for a page table that has grown: its new top was
//!   in place before they were read, and a later attach reads the new top. Between the two steps of
//!   each side is a full barrier: that of an unmap or a map is in the counter of mapped bytes.
//! - The core removes a residence after the entry is gone and nothing is cached under the tag. If
//!   an unmap still sees the residence, it invalidates what another domain has under the tag by
//!   now, which costs that domain a page-table walk.

#![forbid(unsafe_code)]

mod residences;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use self::residences::Residences;
use crate::{
    addr::{Iova, PhysAddr, Prot},
    driver::{Attach, Capability, Geometry, Scope, Target, Translate},
    endpoint::Endpoint,
    label::Label,
    pasid::Selector,
    pgtable::{kernel_memory::Gfp, Gather, TableMemory, Top},
    registry::{DomainRecord, Listing, Registry},
    unit::Unit,
};

/// What a domain does with DMA.
pub enum Kind<D: Attach> {
    /// Translates it with the domain's own page table.
    Paging(Tables<D>),
    /// Lets it pass untranslated.
    Identity,
    /// Blocks all of it.
    Blocked,
}

/// The vendor driver's part of a paging domain.
///
/// It is freed with the domain, except after a unit has failed that may have cached pointers into
/// the page table. Such a unit cannot be invalidated, so the page-table pages must never be reused
/// (law 8).
pub struct Tables<D: Attach> {
    /// `None` only during `drop`.
    paging: Option<D::Paging>,
    never_freed: Atomic<bool>,
}

impl<D: Attach> Tables<D> {
    fn new(paging: D::Paging) -> Self {
        Self {
            paging: Some(paging),
            never_freed: Atomic::new(false),
        }
    }

    /// The vendor driver's part.
    #[inline]
    pub fn get(&self) -> Result<&D::Paging> {
        self.paging.as_ref().ok_or(EINVAL)
    }
}

impl<D: Attach> Drop for Tables<D> {
    fn drop(&mut self) {
        if self.never_freed.load(Relaxed) {
            core::mem::forget(self.paging.take());
        }
    }
}

/// The list type for page-table pages that wait to be freed.
pub type TablesOf<D> = <<D as Translate>::Memory as TableMemory>::List;

/// A domain.
#[pin_data]
pub struct Domain<D: Attach> {
    kind: Kind<D>,
    listing: Listing,
    #[pin]
    residences: Residences<D>,
}

impl<D: Attach> Domain<D> {
    fn with_kind(registry: &Arc<Registry>, kind: Kind<D>, name: &'static str) -> Result<Arc<Self>> {
        let listing = Registry::list(registry, name, D::NAME)?;
        Arc::pin_init(
            pin_init!(Self {
                kind,
                listing,
                residences <- Residences::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes a domain from a page table that other code has allocated; `name` is the name of its
    /// kind in messages.
    pub fn from_paging(
        registry: &Arc<Registry>,
        paging: D::Paging,
        name: &'static str,
    ) -> Result<Arc<Self>> {
        Self::with_kind(registry, Kind::Paging(Tables::new(paging)), name)
    }

    /// Allocates a domain that lets DMA pass untranslated.
    pub fn identity(registry: &Arc<Registry>) -> Result<Arc<Self>> {
        Self::with_kind(registry, Kind::Identity, "identity")
    }

    /// Allocates a domain that lets nothing pass.
    pub fn blocked(registry: &Arc<Registry>) -> Result<Arc<Self>> {
        Self::with_kind(registry, Kind::Blocked, "blocked")
    }

    /// What the domain does with DMA.
    pub fn kind(&self) -> &Kind<D> {
        &self.kind
    }

    /// Whether the domain blocks all DMA.
    pub fn is_blocked(&self) -> bool {
        matches!(self.kind, Kind::Blocked)
    }

    /// Whether the domain lets DMA pass untranslated.
    pub fn is_identity(&self) -> bool {
        matches!(self.kind, Kind::Identity)
    }

    /// What debugfs and messages say of the domain.
    pub fn record(&self) -> &DomainRecord {
        self.listing.record()
    }

    fn page_table(&self) -> Result<&D::Paging> {
        match &self.kind {
            Kind::Paging(tables) => tables.get(),
            Kind::Identity | Kind::Blocked => Err(EINVAL),
        }
    }

    /// Whether unlinked page-table pages may be freed after an invalidation. False once a unit has
    /// failed that may still read them.
    fn may_free_tables(&self) -> bool {
        match &self.kind {
            Kind::Paging(tables) => !tables.never_freed.load(Relaxed),
            Kind::Identity | Kind::Blocked => true,
        }
    }

    /// Records that a failed unit may read the page tables at any time from now on.
    #[cold]
    fn never_free_tables(&self) {
        if let Kind::Paging(tables) = &self.kind {
            tables.never_freed.store(true, Relaxed);
        }
    }

    /// Makes all DMA through the domain snoop CPU caches from now on, even if a device requests no
    /// snooping. Returns whether it does: every unit must support this, and nothing may be mapped
    /// yet.
    ///
    /// Context: any.
    pub fn enforce_coherency(&self) -> bool {
        self.residences
            .enforce_snooping(|| self.page_table().is_ok() && self.listing.record().mapped() == 0)
    }

    /// Adds a residence on the unit of `endpoint` for its requests of `selector`: allocates a tag
    /// there, or shares the domain's existing tag.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the unit has no free tag, `ENOMEM`, `EIO` if the unit has failed, `EINVAL` if
    /// the domain enforces snooping and the unit cannot.
    pub(crate) fn reside(
        self: &Arc<Self>,
        endpoint: &Endpoint<D>,
        selector: Selector,
    ) -> Result<Residence<D>> {
        let unit = endpoint.unit();
        unit.check()?;
        let paging = self.page_table().ok();
        let selector = match selector {
            Selector::Pasid(_) if D::tags_by_pasid(unit.data(), paging) => selector,
            _ => Selector::NoPasid,
        };
        let can_snoop = D::capable(unit.data(), endpoint.data(), Capability::EnforcedCoherency);
        let acquire = || D::acquire_tag(unit.data(), paging, selector);
        let tag = self
            .residences
            .share_or_add(unit, selector, can_snoop, acquire)?;
        Ok(Residence {
            domain: self.clone(),
            unit: unit.clone(),
            selector,
            tag,
        })
    }

    /// What the driver attaches an endpoint to on a unit where the domain has `tag`; `None` if it
    /// blocks the endpoint.
    fn target(&self, tag: D::Tag) -> Option<Target<'_, D>> {
        match &self.kind {
            Kind::Paging(tables) => Some(Target::Paging {
                paging: tables.get().ok()?,
                tag,
            }),
            Kind::Identity => Some(Target::Identity { tag }),
            Kind::Blocked => None,
        }
    }
}

impl<D: Translate> Domain<D> {
    /// Allocates an empty paging domain for devices like that of `endpoint`.
    pub fn paging(registry: &Arc<Registry>, endpoint: &Endpoint<D>) -> Result<Arc<Self>> {
        endpoint.unit().check()?;
        let paging = D::alloc_paging(&endpoint.view())?;
        Self::with_kind(registry, Kind::Paging(Tables::new(paging)), "paging")
    }

    /// What the domain can map.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not a paging domain.
    pub fn geometry(&self) -> Result<Geometry> {
        Ok(D::geometry(self.page_table()?))
    }

    /// Maps `len` bytes. Returns the number of bytes mapped, also when it fails after some.
    ///
    /// Devices may use the mapping after [`sync_map`](Self::sync_map).
    ///
    /// Context: any; sleeps only if `flags` allow it.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if something is already mapped in the range (it stays mapped), `EINVAL` or
    /// `ERANGE` for bad arguments, `ENOMEM`.
    #[inline]
    pub fn map(
        &self,
        iova: Iova,
        phys: PhysAddr,
        len: u64,
        prot: Prot,
        flags: Gfp,
    ) -> (u64, Result) {
        let paging = match self.page_table() {
            Ok(paging) => paging,
            Err(error) => return (0, Err(error)),
        };
        let prot = self.snooping(prot);
        let mut gather = Gather::new();
        let (mapped, result) = D::map(paging, iova, phys, len, prot, flags, &mut gather);
        self.finish_map(paging, &mut gather, mapped, result)
    }

    /// Maps `pieces` of memory one after the other from `iova` on, each with its length in bytes.
    /// Otherwise like [`map`](Self::map).
    // The two share no function that takes a closure: that took over 20 instructions of a map.
    #[cfg_attr(CONFIG_IOMMU_CORE_HOSTED, allow(dead_code))]
    pub fn map_list(
        &self,
        iova: Iova,
        pieces: impl Iterator<Item = (PhysAddr, u64)>,
        prot: Prot,
        flags: Gfp,
    ) -> (u64, Result) {
        let paging = match self.page_table() {
            Ok(paging) => paging,
            Err(error) => return (0, Err(error)),
        };
        let prot = self.snooping(prot);
        let mut gather = Gather::new();
        let (mapped, result) = D::map_list(paging, iova, pieces, prot, flags, &mut gather);
        self.finish_map(paging, &mut gather, mapped, result)
    }

    /// `prot`, with snooping if the domain forces it.
    #[inline(always)]
    fn snooping(&self, prot: Prot) -> Prot {
        match self.residences.snoops() {
            true => prot | Prot::FORCE_SNOOP,
            false => prot,
        }
    }

    /// What follows a map of `mapped` bytes, whatever its result is.
    #[inline(always)]
    fn finish_map(
        &self,
        paging: &D::Paging,
        gather: &mut Gather<D::Memory>,
        mapped: u64,
        result: Result,
    ) -> (u64, Result) {
        self.listing.record().count_mapped(mapped);
        if !gather.is_empty() {
            // A large page has replaced empty page-table pages that the units may have cached.
            self.sync(gather);
        }
        match D::new_top(paging) {
            None => (mapped, result),
            Some(top) => (mapped, result.and(self.update_top(paging, top))),
        }
    }

    /// Makes every unit walk from `top` or a later top; returns when they do.
    ///
    /// This can miss a unit on which an endpoint is being attached at this moment. The commit of
    /// that attach reads the top again after it has written its entries (see
    /// [`Translate::update_top`]).
    ///
    /// # Errors
    ///
    /// `EIO` if a unit of a residence has failed. All other units use the new top then.
    #[cold]
    fn update_top(&self, paging: &D::Paging, top: Top) -> Result {
        let mut result = Ok(());
        self.residences.for_each(|unit, tag| {
            result = result.and(D::update_top(unit.data(), tag, paging));
        });
        D::acknowledge_top(paging, top);
        result
    }

    /// Makes new mappings in `first..=last` usable by devices.
    ///
    /// Context: any; does not sleep.
    #[inline]
    pub fn sync_map(&self, first: Iova, last: Iova) -> Result {
        // Most units read page-table entries on demand and need no call.
        if !self.residences.sync_maps() {
            return Ok(());
        }
        // If one unit fails, the others must still see the new mappings.
        let mut result = Ok(());
        self.residences.for_each(|unit, tag| {
            if D::needs_map_sync(unit.data()) {
                result = result.and(D::mapped(unit.data(), tag, first, last));
            }
        });
        result
    }

    /// Unmaps up to `len` bytes and stops at the first address that is not mapped. Returns the
    /// number of bytes unmapped.
    ///
    /// The caller may reuse the memory behind them after [`sync`](Self::sync) (law 8).
    ///
    /// Context: any; does not sleep.
    #[inline]
    pub fn unmap(&self, iova: Iova, len: u64, gather: &mut Gather<D::Memory>) -> u64 {
        let Ok(paging) = self.page_table() else {
            return 0;
        };
        let unmapped = D::unmap(paging, iova, len, gather);
        self.listing.record().count_unmapped(unmapped);
        if gather.has_splits() {
            self.finish_splits(paging, gather);
        }
        unmapped
    }

    /// Invalidates what was gathered at once, because an unmap has split a page: until that is
    /// done every call invalidates blocks of the page's size.
    #[cold]
    fn finish_splits(&self, paging: &D::Paging, gather: &mut Gather<D::Memory>) {
        let splits = gather.take_splits();
        if self.sync_all(gather).is_ok() {
            D::splits_are_invalidated(paging, splits);
        }
    }

    /// Invalidates what `gather` holds on every unit that may have cached it, then frees the
    /// page-table pages in it (law 8). If a unit has failed, the pages are never freed.
    ///
    /// Context: any; does not sleep.
    pub fn sync(&self, gather: &mut Gather<D::Memory>) {
        // After an error what was gathered is gone, too.
        let _ = self.sync_all(gather);
    }

    fn sync_all(&self, gather: &mut Gather<D::Memory>) -> Result {
        let result = match gather.range() {
            Some((first, last)) => self.invalidate(Scope::Range {
                first,
                last,
                tables: gather.tables_changed(),
            }),
            None => Ok(()),
        };
        match result {
            Ok(()) => gather.done(),
            Err(_) => core::mem::forget(core::mem::replace(gather, Gather::new())),
        }
        result
    }

    /// Invalidates `scope` on every unit that may have cached it. Returns when the invalidations
    /// have completed.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// `EIO` if a unit on which the domain has or ever had a residence has failed: the unit may
    /// still use what it has cached. The other units were invalidated.
    pub fn invalidate(&self, scope: Scope) -> Result {
        let mut result = Ok(());
        self.residences.for_each(|unit, tag| {
            result = result.and(D::invalidate(unit.data(), tag, scope));
        });
        match result {
            // The list no longer contains a failed unit on which no endpoint is attached any more.
            Ok(()) if self.may_free_tables() => Ok(()),
            Ok(()) => Err(EIO),
            Err(_) => {
                self.never_free_tables();
                result
            }
        }
    }

    /// Takes the page-table pages out of `gather`. The caller frees them after the invalidation of
    /// the range or of [`Scope::All`] has completed. Pages that a failed unit may still read are
    /// not returned, and are never freed.
    #[inline]
    pub fn take_tables(&self, gather: &mut Gather<D::Memory>) -> TablesOf<D> {
        let tables = gather.take_tables();
        if self.may_free_tables() {
            return tables;
        }
        core::mem::forget(tables);
        TablesOf::<D>::default()
    }

    /// Returns the physical address that `iova` translates to, if there is one. The caller keeps
    /// the range mapped during the call.
    ///
    /// Context: any.
    pub fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        match &self.kind {
            Kind::Paging(tables) => D::iova_to_phys(tables.get().ok()?, iova),
            Kind::Identity => Some(PhysAddr::new(iova.raw())),
            Kind::Blocked => None,
        }
    }
}

/// The domain's name in messages: `paging domain 12`.
impl<D: Attach> fmt::Display for Domain<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.record(), f)
    }
}

/// A group's attachment to a domain. It keeps the domain alive and counts in the group count that
/// debugfs shows.
pub(crate) struct Attachment<D: Attach>(Arc<Domain<D>>);

impl<D: Attach> Attachment<D> {
    /// Attaches one more group to `domain`.
    pub(crate) fn new(domain: &Arc<Domain<D>>) -> Self {
        domain.record().group_attached();
        Self(domain.clone())
    }

    /// The domain.
    pub(crate) fn domain(&self) -> &Arc<Domain<D>> {
        &self.0
    }

    /// Whether this is an attachment to `domain`.
    pub(crate) fn is_on(&self, domain: &Arc<Domain<D>>) -> bool {
        Arc::ptr_eq(&self.0, domain)
    }
}

impl<D: Attach> Drop for Attachment<D> {
    fn drop(&mut self) {
        self.0.record().group_detached();
    }
}

/// One endpoint's use of a domain on one unit: keeps the domain, the unit and the tag.
///
/// # Invariants
///
/// `domain` has a slot for `unit` and `selector` with `tag`, and this is one of the slot's `users`.
pub(crate) struct Residence<D: Attach> {
    domain: Arc<Domain<D>>,
    unit: Arc<Unit<D>>,
    /// The selector that the tag is for; `NoPasid` if it is for all.
    selector: Selector,
    tag: D::Tag,
}

impl<D: Attach> Residence<D> {
    /// What the driver attaches the endpoint to; `None` if it blocks the endpoint.
    pub(crate) fn target(&self) -> Option<Target<'_, D>> {
        self.domain.target(self.tag)
    }

    /// The domain's tag on the unit, for messages.
    pub(crate) fn label(&self) -> Label {
        Label::new(format_args!("{}", self.tag))
    }
}

impl<D: Attach> Drop for Residence<D> {
    fn drop(&mut self) {
        if self.unit.has_failed() && !self.unit.has_stopped() {
            // The commit that removed the entry could not invalidate the unit's caches, or there
            // was no such commit because the unit goes on although it was released.
            self.domain.never_free_tables();
        }
        // The invariant guarantees that the slot has a user to remove.
        if self.domain.residences.leave(&self.unit, self.selector) {
            D::release_tag(self.unit.data(), self.tag);
        }
    }
}
