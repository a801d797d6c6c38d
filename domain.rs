// SPDX-License-Identifier: GPL-2.0

//! Domains: what groups are attached to.
//!
//! A domain is counted (law 2): its allocator's handle and every group that is attached to it hold
//! an [`Arc`]. It keeps no way back to the device that it was allocated with (law 1): that device
//! named a unit, and the domain is `'static`.
//!
//! # Residences
//!
//! A unit's caches know a domain by a tag. A domain has one tag on each unit where somebody is
//! attached to it, however many endpoints that are: its [`Residence`]s. An unmap visits just
//! these, so its cost does not grow with the endpoints.
//!
//! Locking: `residences` is taken with interrupts off, for as long as it takes to look; nothing
//! nests inside. Who invalidates copies the list and lets go of the lock before it asks the units,
//! so that processors that unmap at the same time do not wait for each other's answers. That is
//! enough:
//!
//! - Adding a residence happens before the entry is written. An unmap that does not see it has
//!   nothing to invalidate there: it changed the page table before it looked.
//!   The same with a table that has grown: its top was there before it looked, and whoever attaches
//!   reads it afterwards.
//! - Removing one happens after the entry is gone and nothing under its tag is cached. An unmap
//!   that still sees it invalidates what somebody else has under the tag by now, which costs them a
//!   walk.

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
    pgtable::{kernel_memory::Gfp, Gather, TableMemory, Top},
    registry::{DomainRecord, Listing, Registry},
    unit::Unit,
};

/// What a domain does with DMA.
pub enum Kind<D: Attach> {
    /// Translates it by a page table of its own.
    Paging(Tables<D>),
    /// Lets it pass untranslated.
    Identity,
    /// Lets nothing pass.
    Blocked,
}

/// The vendor driver's part of a paging domain.
///
/// It is freed with the domain, unless a unit has failed that may have cached a way to it: such a
/// unit cannot be told to forget, so its page tables are never used for anything else (law 8).
pub struct Tables<D: Attach> {
    /// `None` only while this is dropped.
    paging: Option<D::Paging>,
    kept_for_ever: Atomic<bool>,
}

impl<D: Attach> Tables<D> {
    fn new(paging: D::Paging) -> Self {
        Self {
            paging: Some(paging),
            kept_for_ever: Atomic::new(false),
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
        if self.kept_for_ever.load(Relaxed) {
            core::mem::forget(self.paging.take());
        }
    }
}

/// Tables of a vendor driver's that wait to be freed.
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

    /// Makes a domain of what somebody else has allocated; `name` is what people call its kind.
    pub fn of(
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

    /// Whether nothing passes.
    pub fn is_blocked(&self) -> bool {
        matches!(self.kind, Kind::Blocked)
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

    /// Whether tables that were unlinked may be freed after an invalidation. Not once a unit has
    /// failed, which may use them at any time.
    fn may_free_tables(&self) -> bool {
        match &self.kind {
            Kind::Paging(tables) => !tables.kept_for_ever.load(Relaxed),
            Kind::Identity | Kind::Blocked => true,
        }
    }

    /// A failed unit may use the page tables at any time from now on.
    #[cold]
    fn keep_for_ever(&self) {
        if let Kind::Paging(tables) = &self.kind {
            tables.kept_for_ever.store(true, Relaxed);
        }
    }

    /// Makes all DMA through the domain snoop CPU caches from now on, whatever a device asks for.
    /// Says whether it does: every unit has to be able to, and nothing may be mapped yet.
    ///
    /// Context: any.
    pub fn enforce_coherency(&self) -> bool {
        self.residences
            .enforce_snooping(|| self.page_table().is_ok() && self.listing.record().mapped() == 0)
    }

    /// Moves in on the unit of `endpoint`: takes a tag there, or shares the one that the domain
    /// has.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the unit has no tag left, `ENOMEM`, `EIO` if the unit has failed, `EINVAL` if
    /// the domain enforces snooping and the unit cannot.
    pub(crate) fn reside(self: &Arc<Self>, endpoint: &Endpoint<D>) -> Result<Residence<D>> {
        let unit = endpoint.unit();
        unit.check()?;
        let can_snoop = D::capable(unit.data(), endpoint.data(), Capability::EnforcedCoherency);
        let tag = self.residences.share_or_add(unit, can_snoop, || {
            D::acquire_tag(unit.data(), self.page_table().ok())
        })?;
        Ok(Residence {
            domain: self.clone(),
            unit: unit.clone(),
            tag,
        })
    }

    /// What endpoints on the unit of `residence` are to be attached to.
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
    /// Allocates an empty paging domain for devices like `endpoint`'s.
    pub fn paging(registry: &Arc<Registry>, endpoint: &Endpoint<D>) -> Result<Arc<Self>> {
        endpoint.unit().check()?;
        let paging = D::alloc_paging(&endpoint.view())?;
        Self::with_kind(registry, Kind::Paging(Tables::new(paging)), "paging")
    }

    /// What the domain can map.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it maps nothing.
    pub fn geometry(&self) -> Result<Geometry> {
        Ok(D::geometry(self.page_table()?))
    }

    /// Maps `len` bytes. Says how many bytes are mapped now, also when it fails after some.
    ///
    /// Devices may use the mapping after [`sync_map`](Self::sync_map).
    ///
    /// Context: any; sleeps only if `flags` allow it.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if something is mapped there (it stays), `EINVAL` or `ERANGE` for bad
    /// arguments, `ENOMEM`.
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
        let prot = match self.residences.snoops() {
            true => prot | Prot::FORCE_SNOOP,
            false => prot,
        };
        let mut gather = Gather::new();
        let (mapped, result) = D::map(paging, iova, phys, len, prot, flags, &mut gather);
        self.listing.record().count_mapped(mapped);
        if !gather.is_empty() {
            // A large page took the place of empty tables, which the units may have cached.
            self.sync(&mut gather);
        }
        match D::new_top(paging) {
            None => (mapped, result),
            Some(top) => (mapped, result.and(self.tell_top(paging, top))),
        }
    }

    /// Has every unit walk from `top` or a later one; returns when they do.
    ///
    /// A unit where somebody is just being attached may be missed here. Its commit looks at the top
    /// again then, after it has written its entries (see [`Translate::tell_top`]).
    ///
    /// # Errors
    ///
    /// `EIO` if a unit has failed where somebody is attached. The others were told.
    #[cold]
    fn tell_top(&self, paging: &D::Paging, top: Top) -> Result {
        let mut result = Ok(());
        self.residences.for_each(|unit, tag| {
            result = result.and(D::tell_top(unit.data(), tag, paging));
        });
        D::top_is_told(paging, top);
        result
    }

    /// Makes new mappings in `first..=last` usable by devices.
    ///
    /// Context: any; does not sleep.
    #[inline]
    pub fn sync_map(&self, first: Iova, last: Iova) -> Result {
        // The common unit reads its page tables when it needs them and wants nothing.
        if !self.residences.sync_maps() {
            return Ok(());
        }
        // A unit that fails does not keep the news from the others.
        let mut result = Ok(());
        self.residences.for_each(|unit, tag| {
            if D::needs_map_sync(unit.data()) {
                result = result.and(D::mapped(unit.data(), tag, first, last));
            }
        });
        result
    }

    /// Unmaps up to `len` bytes and stops at the first hole. Returns how many.
    ///
    /// The memory behind them may be used again after [`sync`](Self::sync) (law 8).
    ///
    /// Context: any; does not sleep.
    #[inline]
    pub fn unmap(&self, iova: Iova, len: u64, gather: &mut Gather<D::Memory>) -> u64 {
        let Ok(paging) = self.page_table() else {
            return 0;
        };
        let unmapped = D::unmap(paging, iova, len, gather);
        self.listing.record().count_unmapped(unmapped);
        unmapped
    }

    /// Invalidates what `gather` holds, on every unit that may have cached it, then frees the
    /// tables in it (law 8). If a unit has failed the tables are never freed.
    ///
    /// Context: any; does not sleep.
    pub fn sync(&self, gather: &mut Gather<D::Memory>) {
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
    }

    /// Invalidates `scope` on every unit that may have cached it; returns when done.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// `EIO` if a unit has failed where somebody is attached, or ever was: it may go on using what
    /// it has cached. The other units were invalidated.
    pub fn invalidate(&self, scope: Scope) -> Result {
        let mut result = Ok(());
        self.residences.for_each(|unit, tag| {
            result = result.and(D::invalidate(unit.data(), tag, scope));
        });
        match result {
            // A failed unit is no longer asked when nobody is attached there.
            Ok(()) if self.may_free_tables() => Ok(()),
            Ok(()) => Err(EIO),
            Err(_) => {
                self.keep_for_ever();
                result
            }
        }
    }

    /// Takes the tables out of `gather` for somebody who frees them when he has invalidated
    /// [`Scope::All`], whatever comes of that. Those that a failed unit may use are not among them,
    /// and are never freed.
    #[inline]
    pub fn take_tables(&self, gather: &mut Gather<D::Memory>) -> TablesOf<D> {
        let tables = gather.take_tables();
        if self.may_free_tables() {
            return tables;
        }
        core::mem::forget(tables);
        TablesOf::<D>::default()
    }

    /// Where `iova` leads, if anywhere. The caller keeps the range mapped meanwhile.
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

/// `paging domain 12`, as messages call it.
impl<D: Attach> fmt::Display for Domain<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.record(), f)
    }
}

/// A group's place on a domain; counted for people to read.
pub(crate) struct Attachment<D: Attach>(Arc<Domain<D>>);

impl<D: Attach> Attachment<D> {
    /// One more group is on `domain`.
    pub(crate) fn new(domain: &Arc<Domain<D>>) -> Self {
        domain.record().group_attached();
        Self(domain.clone())
    }

    /// The domain.
    pub(crate) fn domain(&self) -> &Arc<Domain<D>> {
        &self.0
    }

    /// Whether this is a place on `domain`.
    pub(crate) fn is_on(&self, domain: &Arc<Domain<D>>) -> bool {
        Arc::ptr_eq(&self.0, domain)
    }
}

impl<D: Attach> Drop for Attachment<D> {
    fn drop(&mut self) {
        self.0.record().group_detached();
    }
}

/// The use of a domain on one unit by one endpoint: keeps both and the tag.
///
/// # Invariants
///
/// `domain` has a slot for `unit` with `tag`, and this is one of its `users`.
pub(crate) struct Residence<D: Attach> {
    domain: Arc<Domain<D>>,
    unit: Arc<Unit<D>>,
    tag: D::Tag,
}

impl<D: Attach> Residence<D> {
    /// What the endpoint is to be attached to. `None`: nothing, it is to be blocked.
    pub(crate) fn target(&self) -> Option<Target<'_, D>> {
        self.domain.target(self.tag)
    }

    /// The domain's name on the unit, for people.
    pub(crate) fn label(&self) -> Label {
        Label::new(format_args!("{}", self.tag))
    }
}

impl<D: Attach> Drop for Residence<D> {
    fn drop(&mut self) {
        if self.unit.has_failed() && !self.unit.is_released() {
            // The commit that removed the entry could not invalidate it.
            self.domain.keep_for_ever();
        }
        // By the invariant there is a user to take away.
        if self.domain.residences.leave(&self.unit) {
            D::release_tag(self.unit.data(), self.tag);
        }
    }
}
