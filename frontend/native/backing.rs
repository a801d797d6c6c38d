// SPDX-License-Identifier: GPL-2.0

//! Leads from a group of C's to the core's group.
//!
//! C's groups are of one type, the core's groups are generic over a driver. So a group of C's
//! refers to the core's by a table of functions ([`Backing`]), which is chosen for the group's
//! first device. That is the one indirect call of an operation; everything below is static. A
//! driver in Rust prepares and commits. One driver of the core's stands for all drivers in C, and
//! attaches device by device ([`foreign`](super::foreign)).
//!
//! Locking: callers hold the group's mutex, so nobody waits for `state`. It is held during calls of
//! C's drivers. These may call functions that read C's group, and none that gets here.

use core::fmt::{self, Write};

use kernel::{
    bindings, new_mutex,
    prelude::*,
    sync::{atomic::Atomic, Arc, Mutex},
};

use crate::{
    domain::Domain,
    driver::Attach,
    endpoint::Endpoint,
    group::{Claim, Group, Loan},
    label::Label,
    ownership::{Owner, Ownership},
    pasid::Pasid,
};

/// A driver whose devices can be in C's groups.
pub(super) trait Native: Attach {
    /// Keeps a domain of C's while a group is attached to it.
    type Kept: Send + Unpin;

    /// The core's domain for a domain of C's.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENODEV` if the driver's module is being unloaded.
    ///
    /// # Safety
    ///
    /// This driver has made `domain`, which is valid until it is freed.
    unsafe fn domain(
        domain: *mut bindings::iommu_domain,
    ) -> Result<(Arc<Domain<Self>>, Self::Kept)>;

    /// The record of a device that the driver has probed.
    ///
    /// # Safety
    ///
    /// `dev` is valid, and behind a unit of this driver.
    unsafe fn endpoint(dev: *mut bindings::device) -> Result<Arc<Endpoint<Self>>>;

    /// Whether the device has to stay attached to a domain of its own until its group has a default
    /// domain.
    ///
    /// # Safety
    ///
    /// As that of [`endpoint`](Self::endpoint).
    unsafe fn waits(_dev: *mut bindings::device) -> bool {
        false
    }

    /// Makes the device a member of the group. `others` are the members so far.
    ///
    /// # Errors
    ///
    /// Those of [`Group::join`].
    ///
    /// # Safety
    ///
    /// As that of [`endpoint`](Self::endpoint), which has returned this one.
    unsafe fn join(
        group: &Arc<Group<Self>>,
        dev: *mut bindings::device,
        endpoint: &Arc<Endpoint<Self>>,
        others: &[BackedDevice<Self>],
    ) -> Result;

    /// Takes a device out of the group that is going to be released.
    ///
    /// # Safety
    ///
    /// As that of [`endpoint`](Self::endpoint), which has returned this one.
    unsafe fn leave(
        group: &Arc<Group<Self>>,
        dev: *mut bindings::device,
        endpoint: &Arc<Endpoint<Self>>,
    );

    /// Sets the domain that blocks the device; null if its driver of units blocks it. Does nothing
    /// for drivers that need no domain to block.
    fn block_with(_endpoint: &Endpoint<Self>, _domain: *mut bindings::iommu_domain) {}

    /// Where the driver of units notes that it has blocked the device, if it asks for that in its
    /// functions.
    fn blocked(_endpoint: &Endpoint<Self>) -> Option<Arc<Atomic<bool>>> {
        None
    }

    /// Makes a deferred attach: attaches the device to the domain of its group.
    ///
    /// # Errors
    ///
    /// Its driver's.
    ///
    /// # Safety
    ///
    /// `domain` is valid.
    unsafe fn attach_deferred(
        _endpoint: &Endpoint<Self>,
        _domain: *mut bindings::iommu_domain,
    ) -> Result {
        Ok(())
    }
}

/// Whose domain a group was detached from.
pub(super) enum Detached {
    /// An owner's: the group is blocked.
    Claimed,
    /// A driver's, or nobody's: the group is on its default domain.
    Home,
}

/// What sysfs shows of a group.
#[derive(Copy, Clone)]
pub(super) enum Question {
    /// Who may do DMA with it.
    Owner,
    /// What it is attached to.
    Domain,
    /// Why each of its devices is in it.
    Reason,
}

/// The core's group, of any driver. Callers hold the group's mutex.
///
/// A device that is passed is a member, unless the function says otherwise. The group's driver has
/// made a domain that is passed, and the domain is valid until it is freed.
pub(super) trait Backing: Send + Sync {
    /// The state of ownership.
    fn ownership(&self) -> Ownership;

    /// Makes a device a member. `blocking` is the domain that blocks it, or null.
    ///
    /// # Errors
    ///
    /// Those of [`Group::join`]. The device is not a member then.
    ///
    /// # Safety
    ///
    /// The device is valid, and behind a unit of the group's driver.
    unsafe fn join(
        &self,
        dev: *mut bindings::device,
        blocking: *mut bindings::iommu_domain,
    ) -> Result;

    /// Takes a device out that is going to be released.
    ///
    /// # Safety
    ///
    /// What the trait says of devices and domains.
    unsafe fn leave(&self, dev: *mut bindings::device);

    /// A driver of the device starts to use the DMA API.
    ///
    /// # Errors
    ///
    /// Those of [`Group::start_dma_api`].
    fn start_dma_api(&self, dev: *mut bindings::device, driver: Label) -> Result;

    /// A driver of the device no longer uses the DMA API.
    fn end_dma_api(&self, dev: *mut bindings::device);

    /// Claims the group, as often as the owner likes if the claims are `shared`.
    ///
    /// # Errors
    ///
    /// Those of [`Group::claim`].
    fn claim(&self, owner: Owner, shared: bool) -> Result;

    /// How many claims there are.
    fn claims(&self) -> usize;

    /// Ends a claim. With the last one the group goes back to its default domain.
    fn end_claim(&self);

    /// Attaches the group to a user's domain: for its owner, or else on a loan to `borrower`.
    ///
    /// # Errors
    ///
    /// Those of [`Claim::attach`] and [`Group::lend`].
    ///
    /// # Safety
    ///
    /// What the trait says of devices and domains.
    unsafe fn attach(
        &self,
        domain: *mut bindings::iommu_domain,
        borrower: &dyn Fn() -> Label,
    ) -> Result;

    /// Takes a user's domain away. Cannot fail.
    fn detach(&self) -> Detached;

    /// Attaches the group to a user's domain for requests with a PASID.
    ///
    /// # Errors
    ///
    /// Those of [`Group::attach_pasid`].
    ///
    /// # Safety
    ///
    /// What the trait says of devices and domains.
    unsafe fn attach_pasid(&self, pasid: Pasid, domain: *mut bindings::iommu_domain) -> Result;

    /// Takes the domain for requests with a PASID away. Cannot fail.
    fn detach_pasid(&self, pasid: Pasid);

    /// Makes a domain the group's default domain.
    ///
    /// # Errors
    ///
    /// Those of [`Group::set_default`].
    ///
    /// # Safety
    ///
    /// What the trait says of devices and domains.
    unsafe fn set_default(&self, domain: *mut bindings::iommu_domain) -> Result;

    /// Makes those devices members that have waited for the first default domain.
    ///
    /// # Errors
    ///
    /// Those of [`Group::join`].
    fn admit(&self) -> Result;

    /// Sets the domain that blocks all devices.
    fn block_with(&self, domain: *mut bindings::iommu_domain);

    /// Where it is noted that the device's driver of units has blocked it, if anywhere.
    fn blocked(&self, dev: *mut bindings::device) -> Option<Arc<Atomic<bool>>>;

    /// Blocks one device, with its PASIDs, while it is reset.
    ///
    /// # Errors
    ///
    /// Those of [`Group::suspend`].
    fn suspend(&self, dev: *mut bindings::device) -> Result;

    /// Ends [`suspend`](Self::suspend).
    fn resume(&self, dev: *mut bindings::device);

    /// Makes the deferred attach of a device.
    ///
    /// # Errors
    ///
    /// Its driver's.
    ///
    /// # Safety
    ///
    /// What the trait says of devices and domains.
    unsafe fn attach_deferred(
        &self,
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
    ) -> Result;

    /// Writes the answer to a question, in lines.
    fn tell(&self, question: Question, f: &mut dyn Write) -> fmt::Result;
}

/// A device of a group, with its endpoint.
///
/// # Invariants
///
/// `device` is the address of a device that is valid as long as this is in the group's list.
pub(super) struct BackedDevice<D: Native> {
    device: usize,
    endpoint: Arc<Endpoint<D>>,
    /// Whether the device is not a member of the core's group yet.
    waits: bool,
}

impl<D: Native> BackedDevice<D> {
    /// The pointer that C knows the device by.
    pub(super) fn device(&self) -> *mut bindings::device {
        self.device as *mut _
    }

    /// The core's record.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint<D>> {
        &self.endpoint
    }
}

struct BackedState<D: Native> {
    devices: KVec<BackedDevice<D>>,
    /// Claims of the group's owner.
    claims: KVec<Claim<D>>,
    /// The loan of a driver that has attached a domain of its own without a claim.
    loan: Option<Loan<D>>,
    /// The user's domain that the group is attached to.
    attached: Option<D::Kept>,
    /// The users' domains that it is attached to for requests with a PASID.
    pasids: KVec<(Pasid, D::Kept)>,
    has_default: bool,
}

/// The core's group of a driver `D`, with its users' claims and loan. Dropping it ends these.
#[pin_data]
pub(super) struct Backed<D: Native> {
    core: Arc<Group<D>>,
    #[pin]
    state: Mutex<BackedState<D>>,
}

impl<D: Native> Backed<D> {
    /// `core`, without devices that C knows.
    pub(super) fn new(core: &Arc<Group<D>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                core: core.clone(),
                state <- new_mutex!(BackedState {
                    devices: KVec::new(),
                    claims: KVec::new(),
                    loan: None,
                    attached: None,
                    pasids: KVec::new(),
                    has_default: false,
                }),
            }),
            GFP_KERNEL,
        )
    }
}

impl<D: Native> BackedState<D> {
    fn endpoint(&self, dev: *mut bindings::device) -> Result<&Arc<Endpoint<D>>> {
        let mut devices = self.devices.iter();
        let member = devices.find(|member| member.device == dev as usize);
        Ok(&member.ok_or(ENODEV)?.endpoint)
    }
}

impl<D: Native> Backing for Backed<D> {
    fn ownership(&self) -> Ownership {
        self.core.ownership()
    }

    unsafe fn join(
        &self,
        dev: *mut bindings::device,
        blocking: *mut bindings::iommu_domain,
    ) -> Result {
        // SAFETY: By the requirements.
        let endpoint = unsafe { D::endpoint(dev) }?;
        let mut state = self.state.lock();
        state.devices.reserve(1, GFP_KERNEL)?;
        D::block_with(&endpoint, blocking);
        // SAFETY: By the requirements.
        let waits = !state.has_default && unsafe { D::waits(dev) };
        if !waits {
            // SAFETY: By the requirements.
            unsafe { D::join(&self.core, dev, &endpoint, &state.devices) }?;
        }
        // INVARIANT: By the requirements, and `leave` is called before the device goes.
        let member = BackedDevice {
            device: dev as usize,
            endpoint,
            waits,
        };
        // There is room.
        let _ = state.devices.push_within_capacity(member);
        Ok(())
    }

    unsafe fn leave(&self, dev: *mut bindings::device) {
        let member = {
            let mut state = self.state.lock();
            let mut devices = state.devices.iter();
            let index = devices.position(|member| member.device == dev as usize);
            index.and_then(|index| state.devices.remove(index).ok())
        };
        if let Some(member) = member {
            // The driver of units attaches a device that leaves, as its `release_domain` says.
            D::block_with(&member.endpoint, core::ptr::null_mut());
            // SAFETY: By the requirements.
            unsafe { D::leave(&self.core, dev, &member.endpoint) }
        }
    }

    fn start_dma_api(&self, dev: *mut bindings::device, driver: Label) -> Result {
        let state = self.state.lock();
        self.core.start_dma_api(state.endpoint(dev)?, driver)
    }

    fn end_dma_api(&self, dev: *mut bindings::device) {
        if let Ok(endpoint) = self.state.lock().endpoint(dev) {
            self.core.end_dma_api(endpoint);
        }
    }

    fn claim(&self, owner: Owner, shared: bool) -> Result {
        let mut state = self.state.lock();
        state.claims.reserve(1, GFP_KERNEL)?;
        let claim = match shared {
            true => self.core.claim(owner),
            false => self.core.claim_alone(owner),
        }?;
        // There is room.
        let _ = state.claims.push_within_capacity(claim);
        Ok(())
    }

    fn claims(&self) -> usize {
        self.state.lock().claims.len()
    }

    fn end_claim(&self) {
        let mut state = self.state.lock();
        drop(state.claims.pop());
        if state.claims.is_empty() {
            state.attached = None;
            state.pasids.clear();
        }
    }

    unsafe fn attach(
        &self,
        domain: *mut bindings::iommu_domain,
        borrower: &dyn Fn() -> Label,
    ) -> Result {
        // SAFETY: By the requirements.
        let (domain, kept) = unsafe { D::domain(domain) }?;
        let mut state = self.state.lock();
        match (state.claims.first(), &state.loan) {
            (Some(claim), _) => claim.attach(&domain)?,
            (None, Some(loan)) => loan.attach(&domain)?,
            (None, None) => state.loan = Some(self.core.lend(borrower(), &domain)?),
        }
        // The domain that it was attached to may be freed now.
        state.attached = Some(kept);
        Ok(())
    }

    fn detach(&self) -> Detached {
        let mut state = self.state.lock();
        let from = match state.claims.first() {
            Some(claim) => {
                claim.detach();
                Detached::Claimed
            }
            None => {
                state.loan = None;
                Detached::Home
            }
        };
        state.attached = None;
        from
    }

    unsafe fn attach_pasid(&self, pasid: Pasid, domain: *mut bindings::iommu_domain) -> Result {
        // SAFETY: By the requirements.
        let (domain, kept) = unsafe { D::domain(domain) }?;
        let mut state = self.state.lock();
        state.pasids.reserve(1, GFP_KERNEL)?;
        match state.claims.first() {
            Some(claim) => claim.attach_pasid(pasid, &domain)?,
            None => self.core.attach_pasid(pasid, &domain)?,
        }
        // The domain that it was attached to may be freed now.
        state.pasids.retain(|(its, _)| *its != pasid);
        // There is room.
        let _ = state.pasids.push_within_capacity((pasid, kept));
        Ok(())
    }

    fn detach_pasid(&self, pasid: Pasid) {
        let mut state = self.state.lock();
        match state.claims.first() {
            Some(claim) => claim.detach_pasid(pasid),
            None => self.core.detach_pasid(pasid),
        }
        state.pasids.retain(|(its, _)| *its != pasid);
    }

    unsafe fn set_default(&self, domain: *mut bindings::iommu_domain) -> Result {
        // SAFETY: By the requirements. The group's owner of the domain keeps it.
        let (domain, _) = unsafe { D::domain(domain) }?;
        self.core.set_default(&domain)?;
        self.state.lock().has_default = true;
        Ok(())
    }

    fn admit(&self) -> Result {
        let mut state = self.state.lock();
        for index in 0..state.devices.len() {
            if !state.devices[index].waits {
                continue;
            }
            let (member, others) = (&state.devices[index], &state.devices[..index]);
            // SAFETY: A member is valid, and behind a unit of this driver.
            unsafe { D::join(&self.core, member.device(), &member.endpoint, others) }?;
            state.devices[index].waits = false;
        }
        Ok(())
    }

    fn block_with(&self, domain: *mut bindings::iommu_domain) {
        for member in &self.state.lock().devices {
            D::block_with(&member.endpoint, domain);
        }
    }

    fn blocked(&self, dev: *mut bindings::device) -> Option<Arc<Atomic<bool>>> {
        D::blocked(self.state.lock().endpoint(dev).ok()?)
    }

    fn suspend(&self, dev: *mut bindings::device) -> Result {
        self.core.suspend(self.state.lock().endpoint(dev)?)
    }

    fn resume(&self, dev: *mut bindings::device) {
        if let Ok(endpoint) = self.state.lock().endpoint(dev) {
            self.core.resume(endpoint);
        }
    }

    unsafe fn attach_deferred(
        &self,
        dev: *mut bindings::device,
        domain: *mut bindings::iommu_domain,
    ) -> Result {
        let state = self.state.lock();
        // SAFETY: By the requirements.
        unsafe { D::attach_deferred(state.endpoint(dev)?, domain) }
    }

    fn tell(&self, question: Question, f: &mut dyn Write) -> fmt::Result {
        match question {
            Question::Owner => self.core.show_owner(f),
            Question::Domain => self.core.show_domain(f),
            Question::Reason => self.core.show_reasons(f),
        }
    }
}
