// SPDX-License-Identifier: GPL-2.0

//! The kernel's drivers as a driver of the core's.
//!
//! Such a driver has one function for an attach, which hardware sees at once and which may fail. So
//! there is nothing to prepare; whole groups are attached, or not at all, like this:
//!
//! - a plan for now is an attach that was made. Committed it stays; dropped it is undone, by an
//!   attach to what the device was attached to before;
//! - a plan for later is an attach that commit makes. Should that fail, which drivers promise it
//!   does not for a domain that they have accepted before, the device is blocked if it can be;
//! - to block is to attach to the domain that the driver has for it, or to one that maps nothing.
//!
//! Between the first and the last of a group's devices the group is in two domains. The kernel's
//! drivers have no other way, and none of the devices is ever in a third.

use core::{fmt, ptr};

use kernel::{
    bindings,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};

use crate::{
    driver::{Attach, Capability, Steps, Tag, Target, When},
    ffi::{compat::eopnotsupp, device::Device},
    frontend::native::{group_domains::GroupDomains, record, trace},
    health::Health,
    label::Label,
    log::{log_err, log_warn},
    pasid::{Pasid, Selector},
};

/// The kernel's drivers, all of them: what tells them apart is in their tables of functions.
pub struct Foreign;

/// A unit that somebody has registered.
///
/// # Invariants
///
/// `raw` is valid until the unit is unregistered, and nobody uses it after that.
pub struct ForeignUnit {
    raw: *mut bindings::iommu_device,
    health: Health,
}

// SAFETY: A unit may be looked at by any task.
unsafe impl Send for ForeignUnit {}
// SAFETY: As above.
unsafe impl Sync for ForeignUnit {}

impl ForeignUnit {
    /// The unit at `raw`, called `name`.
    ///
    /// # Safety
    ///
    /// The unit is valid until it is unregistered.
    pub unsafe fn new(raw: *mut bindings::iommu_device, name: Label) -> Self {
        // INVARIANT: By the requirements.
        Self {
            raw,
            health: Health::new(name),
        }
    }

    /// Whether this is the unit at `raw`.
    pub fn is(&self, raw: *mut bindings::iommu_device) -> bool {
        ptr::eq(self.raw, raw)
    }
}

/// A domain that a driver has made.
///
/// # Invariants
///
/// The domain is valid, and its driver's module is counted.
pub struct ForeignDomain {
    raw: *mut bindings::iommu_domain,
    module: *mut bindings::module,
    /// Whether its user has freed it. It is gone when nobody is attached any more.
    freed: Atomic<bool>,
}

// SAFETY: Domains are used by any task.
unsafe impl Send for ForeignDomain {}
// SAFETY: As above.
unsafe impl Sync for ForeignDomain {}

impl ForeignDomain {
    /// The domain at `raw`.
    ///
    /// # Errors
    ///
    /// `ENODEV` if its driver is on its way out.
    ///
    /// # Safety
    ///
    /// It is valid until somebody calls [`free`](Self::free), or for ever.
    pub unsafe fn new(raw: *mut bindings::iommu_domain) -> Result<Self> {
        // SAFETY: By the requirements. Domains that are a part of their driver name no owner.
        let module = unsafe {
            match (*raw).owner.as_ref() {
                Some(ops) => ops.owner,
                None => ptr::null_mut(),
            }
        };
        // SAFETY: The driver has a device whose attach is asked for, so the module is there; null
        // is the kernel itself.
        if !unsafe { bindings::iommu_core_get_module(module) } {
            return Err(ENODEV);
        }
        // INVARIANT: By the requirements, and the count has just been taken.
        Ok(Self {
            raw,
            module,
            freed: Atomic::new(false),
        })
    }

    /// The pointer that C knows the domain by.
    pub fn as_raw(&self) -> *mut bindings::iommu_domain {
        self.raw
    }

    /// Its user has freed the domain.
    pub fn free(&self) {
        self.freed.store(true, Relaxed);
    }
}

impl Drop for ForeignDomain {
    fn drop(&mut self) {
        // SAFETY: By the invariant. Nobody is attached, and who had it has freed it. The driver's
        // code is there until the count is dropped.
        unsafe {
            if self.freed.load(Relaxed) {
                if let Some(free) = (*(*self.raw).ops).free {
                    free(self.raw);
                }
            }
            bindings::iommu_core_put_module(self.module);
        }
    }
}

/// The way from an endpoint to its device.
///
/// # Invariants
///
/// `device` is valid as long as the endpoint is a member of a group. Nobody looks at it after that.
#[pin_data]
struct Wire {
    device: *mut bindings::device,
    /// What the device is attached to; null before its first attach.
    now: Atomic<*mut bindings::iommu_domain>,
    /// What blocks it; null as long as nobody had to.
    blocking: Atomic<*mut bindings::iommu_domain>,
    /// Whether `now` is `blocking`. A driver of units may ask when it attaches a PASID.
    blocked: Arc<Atomic<bool>>,
    /// What it is attached to for requests with a PASID.
    #[pin]
    pasids: Mutex<PasidDomains>,
}

/// The domains of a device's PASIDs; null where there is only a place for one.
type PasidDomains = KVec<(Pasid, *mut bindings::iommu_domain)>;

// SAFETY: The pointers are used with the group's mutex held.
unsafe impl Send for Wire {}
// SAFETY: As above.
unsafe impl Sync for Wire {}

impl Wire {
    fn now(&self) -> *mut bindings::iommu_domain {
        self.now.load(Relaxed)
    }

    fn blocking(&self) -> *mut bindings::iommu_domain {
        self.blocking.load(Relaxed)
    }

    fn device(&self) -> Option<Device<'_>> {
        // SAFETY: By the invariant.
        unsafe { Device::from_raw(self.device) }
    }

    /// Attaches the device to `to`, which is not what it is attached to, if it can be there for as
    /// long as its user likes. An attach that is put off is as good as made.
    fn attach(&self, to: *mut bindings::iommu_domain, from: *mut bindings::iommu_domain) -> Result {
        // SAFETY: By the invariant; a member has a record and a group. The caller keeps the
        // domains.
        unsafe {
            let record = (*self.device).iommu;
            let blocks = (*to).type_ == bindings::IOMMU_DOMAIN_BLOCKED || to == self.blocking();
            if (*record).require_direct() != 0 && blocks {
                if let Some(device) = self.device() {
                    log_warn!(
                        "{}: firmware does DMA with it at all times, it cannot be blocked",
                        device.name()
                    );
                }
                return Err(EINVAL);
            }
            if (*record).attach_deferred() != 0 {
                if to == GroupDomains::of((*self.device).iommu_group).default_domain() {
                    // The device may still do DMA of the kernel that crashed. It is attached when
                    // its driver maps something.
                    return Ok(());
                }
                (*record).set_attach_deferred(0);
            }
        }
        self.attach_now(to, from)
    }

    /// Attaches the device to `to`.
    fn attach_now(
        &self,
        to: *mut bindings::iommu_domain,
        from: *mut bindings::iommu_domain,
    ) -> Result {
        // SAFETY: By the invariant; a member has a record. The caller keeps the domains.
        unsafe {
            let attach = (*(*to).ops).attach_dev.ok_or(ENODEV)?;
            to_result(attach(to, self.device, from))?;
            (*(*self.device).iommu).set_attach_deferred(0);
            trace::attach_device_to_domain(self.device);
        }
        Ok(())
    }

    /// Attaches the device to `to`, if at all possible; else blocks it.
    fn attach_surely(&self, to: *mut bindings::iommu_domain) {
        let from = self.now();
        if to.is_null() || to == from {
            return;
        }
        let blocking = self.blocking();
        let result = match to == blocking {
            // For a while, as a reset takes: no owner gets a device that cannot be blocked.
            true => self.attach_now(to, from),
            false => self.attach(to, from),
        };
        if let Err(error) = result {
            kernel::warn_on!(true);
            if let Some(device) = self.device() {
                log_err!(
                    "{}: its driver of units refuses a domain that it has accepted: error {}",
                    device.name(),
                    error.to_errno()
                );
            }
            if !blocking.is_null() && blocking != to {
                let _ = self.attach_now(blocking, from);
            }
        }
        self.set_now(to);
    }

    fn set_now(&self, to: *mut bindings::iommu_domain) {
        self.now.store(to, Relaxed);
        self.blocked.store(to == self.blocking(), Relaxed);
    }
}

impl Wire {
    /// The domain that blocks requests with a PASID, if the driver of units has one.
    fn pasid_blocking(&self) -> Option<*mut bindings::iommu_domain> {
        // SAFETY: By the invariant. Its driver's domains are valid.
        unsafe {
            let domain = record::ops(self.device)?.blocked_domain;
            let can = !domain.is_null() && (*(*domain).ops).set_dev_pasid.is_some();
            can.then_some(domain)
        }
    }

    /// How many PASIDs the device can use, if its driver of units can attach and detach them.
    fn limit(&self) -> u32 {
        match self.pasid_blocking() {
            // SAFETY: By the invariant; a device with a driver of units has a record.
            Some(_) => unsafe { (*(*self.device).iommu).max_pasids },
            None => 0,
        }
    }

    /// What the device is attached to for `pasid`; null if it is blocked.
    fn pasid_domain(&self, pasid: Pasid) -> *mut bindings::iommu_domain {
        let all = self.pasids.lock();
        let mut all = all.iter();
        let found = all.find(|(its, _)| *its == pasid);
        found.map_or(ptr::null_mut(), |(_, domain)| *domain)
    }

    /// Makes a place for the domain of `pasid`, so that setting it cannot fail.
    fn add_pasid(&self, pasid: Pasid) -> Result {
        let mut all = self.pasids.lock();
        if !all.iter().any(|(its, _)| *its == pasid) {
            all.push((pasid, ptr::null_mut()), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Notes what the device is attached to for `pasid`; null removes the place.
    fn set_pasid_domain(&self, pasid: Pasid, domain: *mut bindings::iommu_domain) {
        let mut all = self.pasids.lock();
        all.retain(|(its, _)| *its != pasid);
        if !domain.is_null() {
            // The place that was removed has left room.
            let _ = all.push_within_capacity((pasid, domain));
        }
    }

    /// Attaches the device to `to` for `pasid`. If that fails it stays attached to `from`.
    fn attach_pasid(
        &self,
        pasid: Pasid,
        to: *mut bindings::iommu_domain,
        from: *mut bindings::iommu_domain,
    ) -> Result {
        // SAFETY: By the invariant. The caller keeps the domains; `from` may be null.
        unsafe {
            let set = (*(*to).ops).set_dev_pasid.ok_or(eopnotsupp())?;
            to_result(set(to, self.device, pasid.number(), from))
        }
    }

    /// Blocks requests with `pasid`, if at all possible.
    fn block_pasid(&self, pasid: Pasid, from: *mut bindings::iommu_domain) {
        let result = match self.pasid_blocking() {
            Some(blocking) => self.attach_pasid(pasid, blocking, from),
            None => Err(ENODEV),
        };
        kernel::warn_on!(result.is_err());
    }

    /// Attaches the device to `to` for `pasid`, after a reset or because its group is; null blocks.
    fn attach_pasid_surely(&self, pasid: Pasid, to: *mut bindings::iommu_domain) {
        let from = self.pasid_domain(pasid);
        if to == from {
            return;
        }
        let mut now = to;
        if to.is_null() {
            self.block_pasid(pasid, from);
        } else {
            let blocked = self.pasid_blocking().unwrap_or(ptr::null_mut());
            let from = if from.is_null() { blocked } else { from };
            if kernel::warn_on!(self.attach_pasid(pasid, to, from).is_err()) {
                self.block_pasid(pasid, from);
                now = ptr::null_mut();
            }
        }
        self.set_pasid_domain(pasid, now);
    }
}

/// A device, for its driver of units.
pub struct ForeignEndpoint(Arc<Wire>);

impl ForeignEndpoint {
    /// A device that is not attached to anything.
    ///
    /// # Safety
    ///
    /// The device is valid as long as the endpoint is a member of a group, and is one of that
    /// group.
    pub unsafe fn new(device: *mut bindings::device) -> Result<Self> {
        let blocked = Arc::new(Atomic::new(false), GFP_KERNEL)?;
        // INVARIANT: By the requirements.
        let wire = pin_init!(Wire {
            device,
            now: Atomic::new(ptr::null_mut()),
            blocking: Atomic::new(ptr::null_mut()),
            blocked,
            pasids <- new_mutex!(KVec::new()),
        });
        Ok(Self(Arc::pin_init(wire, GFP_KERNEL)?))
    }

    /// Sets what the device is attached to when it is to be blocked.
    pub fn block_with(&self, domain: *mut bindings::iommu_domain) {
        self.0.blocking.store(domain, Relaxed);
    }

    /// Where it is noted that the device is blocked.
    pub fn blocked(&self) -> Arc<Atomic<bool>> {
        self.0.blocked.clone()
    }

    /// The device's driver maps something: makes an attach that was put off until now.
    pub fn attach_now(&self, domain: *mut bindings::iommu_domain) -> Result {
        // To its driver of units the device is attached to nothing yet.
        self.0.attach_now(domain, ptr::null_mut())
    }
}

/// An attach of a device: made, or to be made.
pub struct Plan {
    wire: Arc<Wire>,
    selector: Selector,
    step: Step,
}

// SAFETY: The pointers are those of the wire and of domains that the plan's owner keeps.
unsafe impl Send for Plan {}

enum Step {
    /// Made; undone unless it is committed.
    Made {
        to: *mut bindings::iommu_domain,
        from: *mut bindings::iommu_domain,
    },
    /// Made by the commit.
    Later(*mut bindings::iommu_domain),
    /// Made by the commit, to what blocks by then.
    Block,
    /// Nothing is left to be done.
    Done,
}

impl Plan {
    fn commit(&mut self) {
        let step = core::mem::replace(&mut self.step, Step::Done);
        let wire = &self.wire;
        match (self.selector, step) {
            (Selector::NoPasid, Step::Made { to, .. }) => wire.set_now(to),
            (Selector::NoPasid, Step::Later(to)) => wire.attach_surely(to),
            (Selector::NoPasid, Step::Block) => wire.attach_surely(wire.blocking()),
            (Selector::Pasid(pasid), Step::Made { to, .. }) => wire.set_pasid_domain(pasid, to),
            (Selector::Pasid(pasid), Step::Later(to)) => wire.attach_pasid_surely(pasid, to),
            (Selector::Pasid(pasid), Step::Block) => {
                wire.attach_pasid_surely(pasid, ptr::null_mut());
            }
            (_, Step::Done) => {}
        }
    }

    /// Undoes an attach for requests with a PASID.
    fn undo_pasid(
        &self,
        pasid: Pasid,
        to: *mut bindings::iommu_domain,
        from: *mut bindings::iommu_domain,
    ) {
        let is_back =
            !from.is_null() && !kernel::warn_on!(self.wire.attach_pasid(pasid, from, to).is_err());
        if !is_back {
            self.wire.block_pasid(pasid, to);
            self.wire.set_pasid_domain(pasid, ptr::null_mut());
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let Step::Made { to, from } = self.step else {
            return;
        };
        if let Selector::Pasid(pasid) = self.selector {
            return self.undo_pasid(pasid, to, from);
        }
        // A device that was attached to nothing is on its way out.
        if !from.is_null() && kernel::warn_on!(self.wire.attach(from, to).is_err()) {
            let blocking = self.wire.blocking();
            if !blocking.is_null() {
                let _ = self.wire.attach_now(blocking, to);
            }
        }
    }
}

/// There are no tags: these drivers see to their units' caches themselves.
#[derive(Copy, Clone, PartialEq)]
pub struct NoTag;

impl fmt::Display for NoTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its driver's")
    }
}

impl Tag for NoTag {
    fn pack(self) -> u64 {
        0
    }

    fn unpack(_number: u64) -> Self {
        Self
    }
}

impl Attach for Foreign {
    const NAME: &'static str = "kernel";
    const PREPARES: bool = false;

    type Unit = ForeignUnit;
    type Endpoint = ForeignEndpoint;
    type Paging = ForeignDomain;
    type Tag = NoTag;
    type Plan = Plan;

    fn health(unit: &ForeignUnit) -> &Health {
        &unit.health
    }

    fn pasids(_unit: &ForeignUnit, endpoint: &ForeignEndpoint) -> u32 {
        endpoint.0.limit()
    }

    fn acquire_tag(
        _unit: &ForeignUnit,
        _paging: Option<&ForeignDomain>,
        _selector: Selector,
    ) -> Result<NoTag> {
        Ok(NoTag)
    }

    fn release_tag(_unit: &ForeignUnit, _tag: NoTag) {}

    fn prepare(
        _unit: &ForeignUnit,
        endpoint: &ForeignEndpoint,
        selector: Selector,
        target: Target<'_, Self>,
        when: When,
    ) -> Result<Plan> {
        let wire = &endpoint.0;
        let Target::Paging { paging, .. } = target else {
            // Identity is a domain of the driver's like any other.
            return Err(eopnotsupp());
        };
        let to = paging.as_raw();
        let from = match selector {
            Selector::NoPasid => wire.now(),
            Selector::Pasid(pasid) => {
                wire.add_pasid(pasid)?;
                wire.pasid_domain(pasid)
            }
        };
        let step = match when {
            When::Later => Step::Later(to),
            When::Now if to == from => Step::Done,
            When::Now => {
                match selector {
                    Selector::NoPasid => wire.attach(to, from)?,
                    Selector::Pasid(pasid) => wire
                        .attach_pasid(pasid, to, from)
                        .inspect_err(|_| wire.set_pasid_domain(pasid, from))?,
                }
                Step::Made { to, from }
            }
        };
        Ok(Plan {
            wire: wire.clone(),
            selector,
            step,
        })
    }

    fn plan_blocked(_unit: &ForeignUnit, endpoint: &ForeignEndpoint, selector: Selector) -> Plan {
        Plan {
            wire: endpoint.0.clone(),
            selector,
            step: Step::Block,
        }
    }

    fn prepare_blocked(
        unit: &ForeignUnit,
        endpoint: &ForeignEndpoint,
        selector: Selector,
    ) -> Result<Plan> {
        let wire = &endpoint.0;
        if selector != Selector::NoPasid {
            // This cannot fail: whoever has attached has seen that the driver can detach.
            return Ok(Self::plan_blocked(unit, endpoint, selector));
        }
        let (to, from) = (wire.blocking(), wire.now());
        let step = match to.is_null() || to == from {
            true => Step::Done,
            false => {
                wire.attach_now(to, from)?;
                Step::Made { to, from }
            }
        };
        Ok(Plan {
            wire: wire.clone(),
            selector,
            step,
        })
    }

    fn commit(_unit: &ForeignUnit, steps: &mut impl Steps<Self>) {
        steps.for_each(|step| step.plan.commit());
    }

    fn capable(_unit: &ForeignUnit, endpoint: &ForeignEndpoint, capability: Capability) -> bool {
        let capability = match capability {
            Capability::CoherentDma => bindings::iommu_cap_IOMMU_CAP_CACHE_COHERENCY,
            Capability::NoExec => bindings::iommu_cap_IOMMU_CAP_NOEXEC,
            Capability::PreBootProtection => bindings::iommu_cap_IOMMU_CAP_PRE_BOOT_PROTECTION,
            Capability::EnforcedCoherency => bindings::iommu_cap_IOMMU_CAP_ENFORCE_CACHE_COHERENCY,
            Capability::DeferredFlush => bindings::iommu_cap_IOMMU_CAP_DEFERRED_FLUSH,
        };
        // SAFETY: By the invariant of the wire.
        unsafe { record::device_iommu_capable(endpoint.0.device, capability) }
    }

    fn needs_map_sync(_unit: &ForeignUnit) -> bool {
        // Domains of these drivers map by themselves, and tell their units.
        false
    }
}
