// SPDX-License-Identifier: GPL-2.0

//! What a vendor driver implements: three traits, each of which requires the one before it.
//!
//! | trait | what the driver implements in it | which core code calls it |
//! |---|---|---|
//! | [`Attach`] | attaching endpoints to domains, and blocking them | groups, residences |
//! | [`Translate`] | map, unmap and invalidate in a paging domain | paging domains |
//! | [`VendorDriver`] | discovery, takeover and release of units; probing of devices | frontends |
//!
//! The core is generic over these traits. Domains, groups and endpoints of one driver therefore
//! cannot be mixed with those of another driver, and every call below the frontend's one indirect
//! call is static.
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
//! 1. The core calls [`prepare`](Attach::prepare) once per endpoint. The driver allocates and
//!    checks; hardware sees nothing.
//! 2. The core calls [`commit`](Attach::commit) once per unit. The driver writes the entries of all
//!    endpoints, invalidates in one batch and waits once.
//!
//! If the core drops a plan instead of committing it, hardware never sees that attach.

#![forbid(unsafe_code)]

use core::marker::PhantomData;

use kernel::{prelude::*, sync::Arc};

use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    device::DeviceInfo,
    fault::FaultSink,
    ffi::compat::eopnotsupp,
    health::Health,
    interrupt::NotRemapped,
    label::Label,
    pasid::Selector,
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        Gather, TableMemory, Top,
    },
    remapping::InterruptTable,
    requester::RequesterId,
    reserved::Reserved,
};

/// What an unmap leaves to invalidate, and the page-table pages to free afterwards, for drivers
/// whose page tables are in the kernel's memory.
pub type KernelGather = Gather<KernelMemory>;

/// What the core attaches an endpoint to.
pub enum Target<'a, D: Attach> {
    /// A paging domain, with its tag on the endpoint's unit.
    Paging {
        /// The driver's part of the domain.
        paging: &'a D::Paging,
        /// The domain's tag on the unit.
        tag: D::Tag,
    },
    /// DMA passes untranslated.
    Identity {
        /// The identity domain's tag on the unit.
        tag: D::Tag,
    },
}

/// When the core will commit a prepared attach.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// Now or never: the core commits or drops the plan before it does anything else to the
    /// endpoint.
    Now,
    /// Later: the core may commit other plans of the endpoint before this one.
    Later,
}

/// What a paging domain can map.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// First address that can be mapped.
    pub first: Iova,
    /// Last address that can be mapped.
    pub last: Iova,
    /// Page sizes, in bytes.
    pub page_sizes: PageSizes,
}

/// What an invalidation covers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Translations of `first..=last`; cached page-table entries above them as well if `tables`.
    Range {
        /// First byte.
        first: Iova,
        /// Last byte.
        last: Iova,
        /// Whether page-table pages were unlinked, so that the unit's cached walks must be
        /// invalidated too.
        tables: bool,
    },
    /// Everything under the tag.
    All,
}

/// A capability of a unit or a driver.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Capability {
    /// DMA snoops CPU caches when the mapping asks for it.
    CoherentDma,
    /// A domain can force DMA to snoop CPU caches, even if the device requests no snooping.
    EnforcedCoherency,
    /// Unmapped address ranges may be invalidated later, all at once.
    DeferredFlush,
    /// The firmware asks the kernel to block DMA from boot on.
    PreBootProtection,
    /// Mappings can refuse execution.
    NoExec,
}

/// The kind of default domain that a device has to have.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DefaultKind {
    /// DMA passes untranslated.
    Identity,
    /// DMA is translated.
    Paging,
}

/// The platform devices that the kernel creates for units of one kind.
#[derive(Copy, Clone)]
pub struct PlatformIds {
    /// The `compatible` string of a unit's node in a device tree.
    pub compatible: &'static CStr,
    /// The name of a platform device that the kernel creates from an ACPI table, without the number
    /// after it.
    pub name: &'static CStr,
    /// How the user keeps the kernel's own driver from binding to them; for messages.
    pub how_to_free: &'static str,
}

/// What a vendor driver found out about a device.
pub struct Probed<D: Attach> {
    /// The ids under which the device's transactions appear, from the bus and from firmware's
    /// tables. The device's own id comes first; no id appears twice.
    pub ids: KVec<RequesterId>,
    /// The driver's state for the device.
    pub data: D::Endpoint,
    /// The device's reserved regions.
    pub reserved: KVec<Reserved>,
}

/// A device during an allocation, borrowed (law 1).
///
/// The view tells the driver which unit the device is behind, and nothing else. The driver cannot
/// keep it: it is neither `Clone` nor `Copy`, its lifetime is invariant and ends with the call, and
/// everything that an allocation returns is `'static`. It gives no access to anything
/// reference-counted.
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

/// One step of a commit: the prepared attach of one endpoint for one selector.
pub struct Step<'a, D: Attach> {
    /// The driver's state for the endpoint.
    pub endpoint: &'a D::Endpoint,
    /// Which requests of the endpoint the step is for.
    pub selector: Selector,
    /// The ids whose entries the step writes. If several members of a group share an id, the id is
    /// in the step of exactly one of them.
    pub ids: &'a [RequesterId],
    /// The plan that [`Attach::prepare`] or [`Attach::plan_blocked`] returned.
    pub plan: &'a mut D::Plan,
    /// What the plan was prepared for; `None` if it blocks the endpoint.
    pub target: Option<Target<'a, D>>,
}

/// How one unit's caches identify a domain.
pub trait Tag: Copy + Send + Sync + PartialEq + core::fmt::Display + 'static {
    /// The tag as a number below 2^63, so that a domain can publish it in one store.
    fn pack(self) -> u64;

    /// The tag that [`pack`](Self::pack) has made `number` of.
    fn unpack(number: u64) -> Self;
}

/// The steps of one commit on one unit.
pub trait Steps<D: Attach> {
    /// Calls `f` for each step. Every call of `for_each` visits all steps in the same order, so a
    /// driver can make several passes.
    fn for_each(&mut self, f: impl FnMut(Step<'_, D>));
}

/// What groups need from a driver: attaching endpoints to domains. A driver may implement only this
/// trait, for domains whose mappings other code manages.
///
/// Context: unless a function says otherwise it may sleep, and the caller either holds the group's
/// lock or calls before any other thread can see the object.
pub trait Attach: Sized + Send + Sync + 'static {
    /// The driver's name in messages and sysfs.
    const NAME: &'static str;

    /// Whether the driver can prepare an attach without hardware seeing it.
    ///
    /// A driver that cannot do this attaches in `prepare(Now)` and detaches when the plan is
    /// dropped. Its endpoints are not blocked before their first attach. They must not share ids:
    /// commit skips a member that drives no id, and dropping its plan would undo the attach.
    const PREPARES: bool = true;

    /// Whether some unit may ever need a call after each map, see
    /// [`needs_map_sync`](Self::needs_map_sync).
    const MAY_NEED_MAP_SYNC: bool = true;

    /// One unit: registers, tables, queues.
    type Unit: Send + Sync + 'static;

    /// The driver's state for one endpoint. `prepare` and `commit` get this, the unit and the ids
    /// of a [`Step`], and nothing else of the endpoint (law 6).
    type Endpoint: Send + Sync + 'static;

    /// The driver's part of a paging domain: the page table and what belongs to it.
    type Paging: Send + Sync + 'static;

    /// How one unit's caches identify a domain (VT-d and AMD domain id, ASID, VMID).
    type Tag: Tag;

    /// A prepared attach of one endpoint.
    type Plan: Send + 'static;

    /// The unit's name and whether the unit has failed.
    fn health(unit: &Self::Unit) -> &Health;

    /// How many PASIDs `endpoint` can use on the unit, 0 included: it can be attached for those
    /// below. 0 if it uses none.
    fn pasids(_unit: &Self::Unit, _endpoint: &Self::Endpoint) -> u32 {
        0
    }

    /// Whether the unit's caches tell the translations of a domain apart by PASID. The domain then
    /// has a tag on the unit for each selector. `paging` is as in
    /// [`acquire_tag`](Self::acquire_tag).
    fn tags_by_pasid(_unit: &Self::Unit, _paging: Option<&Self::Paging>) -> bool {
        false
    }

    /// Allocates a tag on `unit`: for a paging domain with `paging`, or for an identity domain if
    /// `paging` is `None`. `selector` is that of the domain's requests if
    /// [`tags_by_pasid`](Self::tags_by_pasid) says that it matters, else `NoPasid`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the unit has no free tag.
    fn acquire_tag(
        unit: &Self::Unit,
        paging: Option<&Self::Paging>,
        selector: Selector,
    ) -> Result<Self::Tag>;

    /// Frees a tag. No entry refers to the tag any more, and the commit that removed the last such
    /// entry has invalidated what the unit cached under it.
    fn release_tag(unit: &Self::Unit, tag: Self::Tag);

    /// Prepares to attach `endpoint` to `target` for the requests of `selector`. Changes nothing
    /// that hardware sees. A PASID is below [`pasids`](Self::pasids), and the endpoint shares no id
    /// with another one.
    ///
    /// An endpoint can have several plans at a time for each selector: one for the next attach, and
    /// one that returns it to the default domain. Committing or dropping one plan leaves the others
    /// valid. A plan is valid for every id of the endpoint: which ids it is committed for depends
    /// on the members that share them at that time.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the domain does not fit the endpoint (without a message, because callers try
    /// several domains), `ENOMEM`, `EIO` if the unit has failed.
    fn prepare(
        unit: &Self::Unit,
        endpoint: &Self::Endpoint,
        selector: Selector,
        target: Target<'_, Self>,
        when: When,
    ) -> Result<Self::Plan>;

    /// Prepares to block the endpoint's requests of `selector`. Cannot fail and does not allocate,
    /// because blocking must always be possible.
    fn plan_blocked(unit: &Self::Unit, endpoint: &Self::Endpoint, selector: Selector)
        -> Self::Plan;

    /// Like [`plan_blocked`](Self::plan_blocked), for callers that can handle an error. A driver
    /// that cannot prepare an attach ([`PREPARES`](Self::PREPARES) is false) blocks the endpoint in
    /// this call.
    ///
    /// # Errors
    ///
    /// Only a driver with `PREPARES` false returns one; which one is up to that driver.
    fn prepare_blocked(
        unit: &Self::Unit,
        endpoint: &Self::Endpoint,
        selector: Selector,
    ) -> Result<Self::Plan> {
        Ok(Self::plan_blocked(unit, endpoint, selector))
    }

    /// Commits the plans of all `steps`. Cannot fail.
    ///
    /// When it returns, every entry is written, and neither the unit nor a device caches anything
    /// of the old entries or the old domains. Until then an endpoint may see its old domain,
    /// nothing, or its new domain, and never anything else (law 7). The driver submits one batch
    /// and waits once, for any number of endpoints. On a failed unit it blocks the endpoints as far
    /// as the unit still responds.
    fn commit(unit: &Self::Unit, steps: &mut impl Steps<Self>);

    /// Whether the core must call [`Translate::mapped`] on this unit before a device may use new
    /// mappings. A domain reads this when it gets its tag on the unit.
    fn needs_map_sync(unit: &Self::Unit) -> bool;

    /// Whether the unit of `endpoint` has `capability`.
    fn capable(unit: &Self::Unit, endpoint: &Self::Endpoint, capability: Capability) -> bool;
}

/// What paging domains need from a driver: page tables, and invalidation of what changed in them.
///
/// Context: stated for each function. The caller keeps the domain alive during the call and holds
/// no lock.
pub trait Translate: Attach {
    /// The allocator of page-table pages.
    type Memory: TableMemory<Flags = Gfp>;

    /// Allocates an empty paging domain for devices like `device`.
    ///
    /// The driver can learn only the unit from `device` (law 1), and cannot keep the view.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the driver's own errors if it has no page table format for the unit.
    fn alloc_paging(device: &DeviceView<'_, Self>) -> Result<Self::Paging>;

    /// What a paging domain can map.
    ///
    /// Context: any.
    fn geometry(paging: &Self::Paging) -> Geometry;

    /// Maps. Returns the number of bytes mapped, also when it fails after some. Adds to `gather`
    /// the page-table pages that a large page has replaced. If the page table got a new top,
    /// [`new_top`](Self::new_top) returns it.
    ///
    /// Context: any; sleeps only if `flags` allow it. Takes no lock.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if something is already mapped in the range, `EINVAL` or `ERANGE` for bad
    /// arguments, `ENOMEM`.
    fn map(
        paging: &Self::Paging,
        iova: Iova,
        phys: PhysAddr,
        len: u64,
        prot: Prot,
        flags: Gfp,
        gather: &mut Gather<Self::Memory>,
    ) -> (u64, Result);

    /// Maps `pieces` of memory one after the other, each with its length in bytes; otherwise like
    /// [`map`](Self::map), which see.
    #[cfg_attr(CONFIG_IOMMU_CORE_HOSTED, allow(dead_code))]
    fn map_list(
        paging: &Self::Paging,
        iova: Iova,
        pieces: impl Iterator<Item = (PhysAddr, u64)>,
        prot: Prot,
        flags: Gfp,
        gather: &mut Gather<Self::Memory>,
    ) -> (u64, Result);

    /// Returns the top of the page table if the table has grown and some units may still use an
    /// older top. All units must use the new top before a device may use the last mapping. Only
    /// formats that [grow](crate::pgtable::Format::GROWS) implement this; for all others the
    /// default compiles to nothing.
    ///
    /// Context: any. The core calls it after each [`map`](Self::map).
    #[inline(always)]
    fn new_top(_paging: &Self::Paging) -> Option<Top> {
        None
    }

    /// Makes the unit walk the page table of `paging` from its current top, or from a later one, in
    /// every entry that has `tag`. Returns when the unit does so.
    ///
    /// Context: any; does not sleep. May run concurrently with itself and with
    /// [`commit`](Attach::commit). `commit` guarantees that its entries use a top at least as new
    /// as the one current when it returns.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit has failed.
    fn update_top(_unit: &Self::Unit, _tag: Self::Tag, _paging: &Self::Paging) -> Result {
        Ok(())
    }

    /// Records that all units use `top`, which [`new_top`](Self::new_top) returned.
    ///
    /// Context: any.
    fn acknowledge_top(_paging: &Self::Paging, _top: Top) {}

    /// Unmaps, and adds to `gather` what must be invalidated. Returns the number of bytes unmapped;
    /// stops at the first address that is not mapped.
    ///
    /// Context: any; does not sleep. Takes no lock.
    fn unmap(paging: &Self::Paging, iova: Iova, len: u64, gather: &mut Gather<Self::Memory>)
        -> u64;

    /// Records that everything is invalidated, on every unit and device TLB, that an unmap has
    /// gathered which [split](Gather::take_splits) `count` pages. Only formats for which
    /// invalidating a part of a page is
    /// [not sufficient](crate::pgtable::Format::PARTS_ARE_INVALIDATED) need this.
    ///
    /// Context: any.
    fn splits_are_invalidated(_paging: &Self::Paging, _count: u32) {}

    /// Returns the physical address that `iova` translates to, or `None` if it is not mapped.
    ///
    /// Context: any. The caller keeps the range mapped during the call.
    fn iova_to_phys(paging: &Self::Paging, iova: Iova) -> Option<PhysAddr>;

    /// Makes new mappings visible to a unit that caches non-present entries or that needs a
    /// write-buffer flush.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit has failed.
    fn mapped(unit: &Self::Unit, tag: Self::Tag, first: Iova, last: Iova) -> Result;

    /// Invalidates what the unit and the devices behind it have cached under `tag`. Returns when
    /// the invalidation has completed.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit has failed: what it still caches is unknown.
    fn invalidate(unit: &Self::Unit, tag: Self::Tag, scope: Scope) -> Result;
}

/// A driver for one kind of unit. It discovers the units, owns them while the module is loaded, and
/// knows which devices are behind them.
///
/// Context: unless a function says otherwise it may sleep, and the caller holds no lock. Only one
/// thread at a time calls `take_over`, `enable` and `release` of a unit.
pub trait VendorDriver: Translate {
    /// The platform devices that stand for units, if the kernel creates them.
    const PLATFORM: Option<PlatformIds> = None;

    /// Reads the firmware's tables. Touches no unit.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the machine has no such table (without a message, because the machine may have
    /// units of another kind). `EINVAL` if the tables are broken (logged).
    fn discover() -> Result<KVec<Self::Unit>>;

    /// The name of the platform device that the kernel has created for the unit, if there is one.
    fn platform_device(_unit: &Self::Unit) -> Option<Label> {
        None
    }

    /// Comes before one of `units` is taken over or resumed. For machines where something must be
    /// on in all units before any of them gets its tables.
    /// Errors show when the unit is taken over or resumed.
    ///
    /// Context: that of what follows. Units that are resumed were taken over before.
    fn prepare_all<'a>(_units: impl Iterator<Item = &'a Self::Unit>) {}

    /// Takes the unit over: blocks every requester id, empties the caches, starts the queue, and
    /// reports faults to `faults` until [`release`](Self::release). The unit does not translate
    /// yet. One that firmware or an earlier kernel has left translating never lets DMA pass: it
    /// translates with entries that block, or aborts.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another driver uses the unit; the unit is then unchanged. The message says how to
    /// free the unit.
    fn take_over(unit: &Self::Unit, faults: Arc<dyn FaultSink>) -> Result;

    /// The width of the physical addresses that the unit can put out. It refuses DMA to what lies
    /// beyond, with a fault.
    ///
    /// Context: any; called between [`take_over`](Self::take_over) and [`release`](Self::release).
    fn output_bits(_unit: &Self::Unit) -> u8 {
        u64::BITS as u8
    }

    /// Whether units may serve requests with a PASID.
    const PASIDS: bool = false;

    /// How many PASIDs the unit serves, 0 included; 0 if it serves no requests with one.
    ///
    /// Context: any; called between [`take_over`](Self::take_over) and [`release`](Self::release).
    fn max_pasids(_unit: &Self::Unit) -> u32 {
        0
    }

    /// Starts translation.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    fn enable(unit: &Self::Unit) -> Result;

    /// Gives the unit back: disables translation, then the queue, then the interrupt. Entries stay
    /// unchanged until translation is off: endpoints whose DMA may continue afterwards (identity
    /// domains, direct regions) are still attached, all other endpoints have left their groups.
    /// Also undoes [`take_over`](Self::take_over) without [`enable`](Self::enable). `take_over` may
    /// be called again afterwards.
    ///
    /// The core may drop tags and endpoints of the unit later.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not stop. It is left as it is: it goes on with its entries, and
    /// may access its tables at any time. The core then declares it failed, writes no more entries,
    /// and never frees a page table that the unit may read (law 8). `EBUSY` if the unit must not
    /// stop, since firmware or an earlier kernel had left it translating and it was not enabled
    /// yet: it goes on, and blocks everything.
    fn release(unit: &Self::Unit) -> Result;

    /// Disables an enabled unit while no device does DMA: translation, queue and interrupt. Tables
    /// and tags stay. Commits and invalidations still work while the unit is off, and change only
    /// the tables: nothing is cached until [`resume`](Self::resume), which invalidates everything.
    /// Afterwards either the registers may be lost during sleep, or the machine ends and another
    /// kernel finds an unused unit.
    ///
    /// Context: any; does not sleep. On the way to sleep, interrupts are off and only one processor
    /// runs; on reboot or kexec other processors may still call the driver. The caller holds no
    /// lock.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not respond. The caller then declares the unit failed.
    fn suspend(unit: &Self::Unit) -> Result;

    /// Enables the unit again after [`suspend`](Self::suspend): sets all registers and invalidates
    /// all caches, whatever used the unit in between. A unit that has failed blocks all DMA.
    ///
    /// Context: as for `suspend`.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` or `EIO` if the unit does not respond. The caller then declares it failed; the
    /// driver blocks all DMA as far as the unit still responds.
    fn resume(unit: &Self::Unit) -> Result;

    /// Tells the driver, after [`resume`](Self::resume), that the buses work again and that devices
    /// may do DMA from now on. Most drivers do nothing here.
    ///
    /// Context: may sleep. The caller holds no lock.
    fn buses_resumed(_unit: &Self::Unit) {}

    /// Finds the unit of `device` among `units` and allocates the driver's state for the device.
    ///
    /// Allocates everything that [`plan_blocked`](Attach::plan_blocked) may need, since
    /// `plan_blocked` must not allocate.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the device is behind none of `units`.
    fn probe<'a>(
        units: impl Iterator<Item = &'a Self::Unit> + Clone,
        device: DeviceInfo,
    ) -> Result<(&'a Self::Unit, Probed<Self>)>;

    /// Whether a unit remaps the messages of all devices behind it or of none. If not, it remaps
    /// them by requester id.
    const REMAPS_TOGETHER: bool = false;

    /// Has a unit that [remaps messages together](Self::REMAPS_TOGETHER) remap those of the devices
    /// behind it from now on, and refuse all others, if it can. `devices` are the ids of each. If
    /// there is a device whose messages have to pass unchanged, `plain`, nothing changes.
    /// [`remaps`](Self::remaps) then says whether the unit remaps messages, or why not.
    ///
    /// Context: may sleep. The caller has the lock of each device, so no driver comes or goes.
    fn remap_together<'a>(
        _unit: &Self::Unit,
        _devices: impl Iterator<Item = &'a [RequesterId]>,
        _plain: Option<Label>,
    ) {
    }

    /// Has the unit let messages with those of `ids` pass unchanged that it refuses since a device
    /// has left. Ids that lead to an interrupt table stay as they are.
    ///
    /// Context: may sleep.
    fn stop_refusing(_unit: &Self::Unit, _ids: &[RequesterId]) {}

    /// Whether messages that the unit does not remap pass unchanged. If not, it refuses them.
    fn passes_plain_messages(_unit: &Self::Unit) -> bool {
        true
    }

    /// Whether the unit can remap interrupt messages with `ids`, all ids of a device (law 9). If
    /// not, these messages pass as they did before the unit was taken over, but see
    /// [`passes_plain_messages`](Self::passes_plain_messages).
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    fn remaps(_unit: &Self::Unit, _ids: &[RequesterId]) -> Result<(), NotRemapped> {
        Err(NotRemapped::Unsupported)
    }

    /// Makes an empty interrupt table for a group behind the unit.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EOPNOTSUPP` if the unit remaps nothing.
    fn interrupt_table(_unit: &Self::Unit) -> Result<Arc<dyn InterruptTable>> {
        Err(eopnotsupp())
    }

    /// The kind of default domain that a group with `endpoint` has to have because of the device or
    /// its unit; `None` for the kernel's default. Users cannot choose another kind than identity
    /// where it says so.
    ///
    /// Context: any.
    fn default_kind(_unit: &Self::Unit, _endpoint: &Self::Endpoint) -> Option<DefaultKind> {
        None
    }

    /// Writes what the unit is capable of, for sysfs: words with a space between them. Nothing if
    /// the unit was never taken over.
    fn show_features(_unit: &Self::Unit, _f: &mut dyn core::fmt::Write) -> core::fmt::Result {
        Ok(())
    }

    /// Writes the unit's registers, queue state and counters for debugfs; several lines.
    fn show_unit(unit: &Self::Unit, f: &mut dyn core::fmt::Write) -> core::fmt::Result;
}
