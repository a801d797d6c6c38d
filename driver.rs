// SPDX-License-Identifier: GPL-2.0

//! What a vendor driver implements: three traits, of which each needs the one before.
//!
//! | trait | what is asked of it | who asks |
//! |---|---|---|
//! | [`Attach`] | endpoints come to a domain, and leave it | groups, residences |
//! | [`Translate`] | a domain maps, unmaps, invalidates | paging domains |
//! | [`VendorDriver`] | units and the devices behind them are found, taken, given back | frontends |
//!
//! The core is generic over them: domains, groups and endpoints of one driver cannot be mixed with
//! those of another, and all calls below the frontend's one indirect call are static.
//!
//! # A unit's life
//!
//! ```text
//! discover -> take_over -> (endpoints join groups, entries written) -> enable -> ... -> release
//!                                                                       |     ^
//!                                                                    suspend resume
//! ```
//!
//! # An attach
//!
//! [`prepare`](Attach::prepare) once per endpoint: allocates and checks, hardware sees nothing.
//! Then [`commit`](Attach::commit) once per unit: writes the entries of all endpoints, invalidates
//! in one batch and waits once. A plan that is dropped is an attach that never was.

#![forbid(unsafe_code)]

use core::marker::PhantomData;

use kernel::{prelude::*, sync::Arc};

use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    device::DeviceInfo,
    fault::FaultSink,
    health::Health,
    label::Label,
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        Gather, TableMemory, Top,
    },
    requester::RequesterId,
    reserved::Reserved,
};

/// What an unmap leaves to be invalidated, and the tables to free after that; for drivers whose
/// tables are in the kernel's memory.
pub type KernelGather = Gather<KernelMemory>;

/// What endpoints are to be attached to.
pub enum Target<'a, D: Attach> {
    /// A paging domain, under the tag that it has on the endpoint's unit.
    Paging {
        /// The driver's part of the domain.
        paging: &'a D::Paging,
        /// The domain's tag on the unit.
        tag: D::Tag,
    },
    /// Addresses pass untranslated.
    Identity {
        /// The identity domain's tag on the unit.
        tag: D::Tag,
    },
}

/// When an attach that is prepared is going to be made.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// Now or never: the plan is committed or dropped before anything else happens to the endpoint.
    Now,
    /// Some time: other plans of the endpoint may be committed before.
    Later,
}

/// What a paging domain can map.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// First address that can be mapped.
    pub first: Iova,
    /// Last address that can be mapped.
    pub last: Iova,
    /// Sizes of pages, in bytes.
    pub page_sizes: PageSizes,
}

/// What an invalidation covers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Translations of `first..=last`; page-table pages as well if `tables`.
    Range {
        /// First byte.
        first: Iova,
        /// Last byte.
        last: Iova,
        /// Whether tables were unlinked, so that cached walks have to go too.
        tables: bool,
    },
    /// Everything under the tag.
    All,
}

/// Something that a unit or a driver can or cannot do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Capability {
    /// DMA snoops CPU caches when the mapping asks for it.
    CoherentDma,
    /// A domain can force snooping whatever the device asks for.
    EnforcedCoherency,
    /// Freed address ranges may be invalidated later, all at once.
    DeferredFlush,
    /// The firmware asks that DMA is blocked from boot on.
    PreBootProtection,
    /// Mappings can refuse execution.
    NoExec,
}

/// What the kernel calls the platform devices that it makes for units of one kind.
#[derive(Copy, Clone)]
pub struct PlatformIds {
    /// In a device tree: what the node is compatible with.
    pub compatible: &'static CStr,
    /// Made from an ACPI table: the name, without the number after it.
    pub name: &'static CStr,
    /// What keeps the kernel's own driver away from them.
    pub how_to_free: &'static str,
}

/// What a vendor driver found out about a device.
pub struct Probed<D: Attach> {
    /// The ids under which the device's transactions appear, its own first, none twice: those that
    /// the bus tells of, and those that firmware's tables do.
    pub ids: KVec<RequesterId>,
    /// The driver's state for the device.
    pub data: D::Endpoint,
    /// Address ranges with a meaning of their own.
    pub reserved: KVec<Reserved>,
}

/// A device during an allocation, borrowed (law 1).
///
/// It answers one question, which unit the device is behind, and cannot be kept: it is neither
/// `Clone` nor `Copy`, its lifetime is invariant and ends with the call, and everything that an
/// allocation returns is `'static`. It leads to nothing that is counted.
pub struct DeviceView<'a, D: Attach> {
    unit: &'a D::Unit,
    _invariant: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl<'a, D: Attach> DeviceView<'a, D> {
    /// A device behind `unit`.
    pub(crate) fn new(unit: &'a D::Unit) -> Self {
        Self {
            unit,
            _invariant: PhantomData,
        }
    }

    /// The unit that the device is behind.
    pub fn unit(&self) -> &D::Unit {
        self.unit
    }
}

/// One step of a commit: the prepared attach of one endpoint.
pub struct Step<'a, D: Attach> {
    /// The driver's state for the endpoint.
    pub endpoint: &'a D::Endpoint,
    /// The ids whose entries the step writes. Ids that the endpoint shares with another member of
    /// its group are in the step of one of them only.
    pub ids: &'a [RequesterId],
    /// The plan that [`Attach::prepare`] or [`Attach::plan_blocked`] has returned.
    pub plan: &'a mut D::Plan,
    /// What the plan was prepared for; `None` if that is to be blocked.
    pub target: Option<Target<'a, D>>,
}

/// The steps of one commit on one unit.
pub trait Steps<D: Attach> {
    /// Calls `f` for each step. Each call of `for_each` visits all of them, in the same order, so
    /// that a driver can make several passes.
    fn for_each(&mut self, f: impl FnMut(Step<'_, D>));
}

/// What groups ask of a driver: to attach endpoints to domains. It can do so with domains that it
/// knows nothing else of.
///
/// Context: unless said otherwise a function may sleep and is called with the group's lock held or
/// before the object it works on is visible to anybody else.
pub trait Attach: Sized + Send + Sync + 'static {
    /// The name in messages and sysfs.
    const NAME: &'static str;

    /// Whether the driver can prepare an attach without hardware seeing it.
    ///
    /// A driver that cannot do this attaches in `prepare(Now)` and detaches when the plan is
    /// dropped. Its endpoints are not blocked before their first attach. They must not share ids:
    /// commit skips a member that drives no id, and dropping its plan would undo the attach.
    const PREPARES: bool = true;

    /// One unit: registers, tables, queues.
    type Unit: Send + Sync + 'static;

    /// State for one endpoint. Together with the unit, and the ids of a [`Step`], this is all that
    /// `prepare` and `commit` get (law 6).
    type Endpoint: Send + Sync + 'static;

    /// The driver's part of a domain that translates: the page table and what it needs.
    type Paging: Send + Sync + 'static;

    /// The name of a domain in one unit's caches (VT-d and AMD domain id, ASID, VMID).
    type Tag: Copy + Send + Sync + PartialEq + core::fmt::Display + 'static;

    /// A prepared attach of one endpoint.
    type Plan: Send + 'static;

    /// The unit's name, and whether it has failed.
    fn health(unit: &Self::Unit) -> &Health;

    /// Takes a tag on `unit` for a domain that translates with `paging`, or `None` for one that
    /// does not translate.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the unit has none left.
    fn acquire_tag(unit: &Self::Unit, paging: Option<&Self::Paging>) -> Result<Self::Tag>;

    /// Gives a tag back. No entry refers to it any more, and the commit that removed the last one
    /// has invalidated what the unit cached under it.
    fn release_tag(unit: &Self::Unit, tag: Self::Tag);

    /// Prepares to attach `endpoint` to `target`. Changes nothing that hardware sees.
    ///
    /// Several plans of one endpoint can exist at a time (the next step, the way back to the
    /// default domain); committing or dropping one leaves the others good. A plan is good for all
    /// ids of the endpoint: which of them it is committed for depends on with whom it shares them
    /// by then.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the domain does not fit the endpoint (without a message: callers try domains),
    /// `ENOMEM`, `EIO` if the unit has failed.
    fn prepare(
        unit: &Self::Unit,
        endpoint: &Self::Endpoint,
        target: Target<'_, Self>,
        when: When,
    ) -> Result<Self::Plan>;

    /// Prepares to block. Cannot fail and does not allocate: blocking must always be possible.
    fn plan_blocked(unit: &Self::Unit, endpoint: &Self::Endpoint) -> Self::Plan;

    /// As [`plan_blocked`](Self::plan_blocked), for callers that can be told that it cannot be
    /// done. Where attaches cannot be prepared ([`PREPARES`](Self::PREPARES)) it is done at once.
    ///
    /// # Errors
    ///
    /// What such a driver fails with; others have none.
    fn prepare_blocked(unit: &Self::Unit, endpoint: &Self::Endpoint) -> Result<Self::Plan> {
        Ok(Self::plan_blocked(unit, endpoint))
    }

    /// Makes the plans of all `steps` true. Cannot fail.
    ///
    /// When it returns every entry is written, and nothing that the unit or a device cached of
    /// the old entries and the old domains is left. On the way an endpoint may see its old domain,
    /// nothing, or its new one, never anything else (law 7). One batch, one wait, however many
    /// endpoints; a failed unit is blocked as far as it still listens.
    fn commit(unit: &Self::Unit, steps: &mut impl Steps<Self>);

    /// Whether the unit has to be told of new mappings ([`Translate::mapped`]) before a device may
    /// use them. A domain remembers it from when it came to live on the unit.
    fn needs_map_sync(unit: &Self::Unit) -> bool;

    /// Whether the device's unit has a capability.
    fn capable(unit: &Self::Unit, endpoint: &Self::Endpoint, capability: Capability) -> bool;
}

/// What paging domains ask of a driver: page tables, and that units forget what changed in them.
///
/// Context: that of each function. The domain is kept for the time of the call; no lock is held.
pub trait Translate: Attach {
    /// Where page tables live.
    type Memory: TableMemory<Flags = Gfp>;

    /// Makes an empty paging domain for devices like `device`.
    ///
    /// The device resolves the unit and nothing else (law 1): the view cannot be kept.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; whatever says that the unit has no page table for it.
    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Self::Paging>;

    /// What a paging domain can map.
    ///
    /// Context: any.
    fn geometry(paging: &Self::Paging) -> Geometry;

    /// Maps. Returns the bytes mapped also when it fails after some. Tables that a large page
    /// takes the place of go to `gather`; a new top is [`new_top`](Self::new_top)'s.
    ///
    /// Context: any; sleeps only if `flags` allow it. No lock.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if something is mapped there, `EINVAL` or `ERANGE` for bad arguments,
    /// `ENOMEM`.
    fn map(
        paging: &Self::Paging,
        iova: Iova,
        phys: PhysAddr,
        len: u64,
        prot: Prot,
        flags: Gfp,
        gather: &mut Gather<Self::Memory>,
    ) -> (u64, Result);

    /// The top of the page table, if it has grown and not all units may know: they have to before
    /// what was mapped last can be used. Only for formats that
    /// [grow](crate::pgtable::Format::GROWS); for the others it is nothing at all, and costs as
    /// much.
    ///
    /// Context: any. It is asked after each [`map`](Self::map).
    #[inline(always)]
    fn new_top(_paging: &Self::Paging) -> Option<Top> {
        None
    }

    /// Has all that the unit translates with `paging` under `tag` go through the page table from
    /// its top, as it is now or later; returns when the unit does so.
    ///
    /// Context: any; does not sleep. Several may call at a time, and beside a
    /// [`commit`](Attach::commit), which sees to it itself that the entries that it writes have a
    /// top that is not older than its return.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit has failed.
    fn tell_top(_unit: &Self::Unit, _tag: Self::Tag, _paging: &Self::Paging) -> Result {
        Ok(())
    }

    /// Says that all units know of `top`, which [`new_top`](Self::new_top) has returned.
    ///
    /// Context: any.
    fn top_is_told(_paging: &Self::Paging, _top: Top) {}

    /// Unmaps and tells `gather` what to invalidate. Returns the bytes unmapped; stops at the
    /// first address that is not mapped.
    ///
    /// Context: any; does not sleep. No lock.
    fn unmap(paging: &Self::Paging, iova: Iova, len: u64, gather: &mut Gather<Self::Memory>)
        -> u64;

    /// Where `iova` leads, if it is mapped.
    ///
    /// Context: any. The caller keeps the range mapped meanwhile.
    fn iova_to_phys(paging: &Self::Paging, iova: Iova) -> Option<PhysAddr>;

    /// Makes new mappings visible to a unit that caches absent entries or has to flush its write
    /// buffer.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit has failed.
    fn mapped(unit: &Self::Unit, tag: Self::Tag, first: Iova, last: Iova) -> Result;

    /// Removes what the unit and the devices behind it cached under `tag`; returns when done.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit has failed: nothing is known of what it has cached.
    fn invalidate(unit: &Self::Unit, tag: Self::Tag, scope: Scope) -> Result;
}

/// Code for one kind of unit: finds units, owns them for as long as the module is there, and knows
/// which devices are behind them.
///
/// Context: unless said otherwise a function may sleep and no lock is held. `take_over`, `enable`
/// and `release` of a unit are called by one thread at a time.
pub trait VendorDriver: Translate {
    /// The platform devices that are units, where the kernel makes some.
    const PLATFORM: Option<PlatformIds> = None;

    /// Reads the firmware's tables. Touches no unit.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the machine has none, which is not worth a message: it may have units of another
    /// kind. `EINVAL` if the tables are broken (logged).
    fn discover() -> Result<KVec<Self::Unit>>;

    /// The name of the platform device that the kernel has made for the unit, if it has.
    fn platform_device(_unit: &Self::Unit) -> Option<Label> {
        None
    }

    /// Makes the unit ready: every requester id blocked, caches empty, queue running, faults
    /// reported to `faults` until [`release`](Self::release). Nothing is translated yet.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has the unit; it is then left as it was. The message says how to
    /// free it.
    fn take_over(unit: &Self::Unit, faults: Arc<dyn FaultSink>) -> Result;

    /// Starts translation.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    fn enable(unit: &Self::Unit) -> Result;

    /// Gives the unit back: translation off, then the queue off, the interrupt gone. Entries stay
    /// as they are until translation is off: endpoints that may go on afterwards (identity, direct
    /// regions) are still attached, all others have left. Also undoes
    /// [`take_over`](Self::take_over) without [`enable`](Self::enable), and another `take_over` may
    /// follow. Cannot fail: a unit that does not answer is left as it is.
    ///
    /// Tags and endpoints of the unit may be dropped later.
    fn release(unit: &Self::Unit);

    /// Switches an enabled unit off, while no device does DMA: translation, queue and interrupt.
    /// Tables, tags and all that commits and invalidations work with stay, and these go on to work:
    /// what they would tell the unit is told by [`resume`](Self::resume), since nothing is cached
    /// until then. The registers may be lost meanwhile; or the machine ends, and another kernel
    /// finds a unit that nobody uses.
    ///
    /// Context: any; does not sleep. When the machine goes to sleep interrupts are off and there is
    /// one processor; when it ends others may still call in. No lock is held.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer. It is declared failed then.
    fn suspend(unit: &Self::Unit) -> Result;

    /// Switches the unit on again after [`suspend`](Self::suspend), with all registers set and all
    /// caches invalidated, whoever used it meanwhile. A unit that has failed blocks everything.
    ///
    /// Context: as that of `suspend`.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` or `EIO` if the unit does not answer. It is declared failed then; as far as it
    /// listens everything is blocked.
    fn resume(unit: &Self::Unit) -> Result;

    /// Says that the buses work again after [`resume`](Self::resume), and that devices may do DMA
    /// from now on. Most units have no use for that.
    ///
    /// Context: may sleep. No lock is held.
    fn buses_are_back(_unit: &Self::Unit) {}

    /// Finds the unit of a device among `units` and makes the state for it.
    ///
    /// Allocates whatever [`plan_blocked`](Attach::plan_blocked) must not.
    ///
    /// # Errors
    ///
    /// `ENODEV` if no unit is responsible for it.
    fn probe<'a>(
        units: impl Iterator<Item = &'a Self::Unit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a Self::Unit, Probed<Self>)>;

    /// Writes registers, queue and counters for people to read; several lines.
    fn show_unit(unit: &Self::Unit, f: &mut dyn core::fmt::Write) -> core::fmt::Result;
}
