// SPDX-License-Identifier: GPL-2.0

//! The group: members, domains, and changes of the group's domain.

#![forbid(unsafe_code)]

use kernel::{
    prelude::*,
    sync::{new_mutex, new_spinlock, Arc, Mutex, SpinLock},
};

use super::{
    attached::{Attached, PasidAttachments},
    faults::GroupFaults,
    member::{commit, Member},
};
use crate::{
    domain::{Attachment, Domain},
    driver::{Attach, When},
    endpoint::Endpoint,
    fault::{Fault, Verdict},
    label::Label,
    log::log_warn,
    ownership::{Ownership, Refusal},
    pasid::Selector,
    requester::RequesterId,
    unit::Unit,
};

/// What the group's lock protects.
///
/// # Invariants
///
/// 1. All members that are not suspended are attached to `current`; those that use PASIDs are
///    attached to what `pasids` has as well.
/// 2. While the group is claimed or lent and has a `default`, each member has a prepared return to
///    it, so that the end of the claim or loan cannot fail.
/// 3. Outside of a change no member has a prepared step.
/// 4. If several members share an id, a member that is not suspended drives it, if there is one.
pub(super) struct GroupState<D: Attach> {
    pub(super) members: KVec<Member<D>>,
    /// For requests without a PASID.
    pub(super) current: Attachment<D>,
    /// For requests with one.
    pub(super) pasids: PasidAttachments<D>,
    pub(super) default: Option<Arc<Domain<D>>>,
    pub(super) ownership: Ownership,
}

impl<D: Attach> GroupState<D> {
    /// The members, and what they are attached to.
    pub(super) fn split(&mut self) -> (&mut KVec<Member<D>>, Attached<'_, D>) {
        let Self {
            members,
            current,
            pasids,
            ..
        } = self;
        (members, Attached { current, pasids })
    }
}

/// Records which group each id of a unit belongs to. Groups call it; a module above the groups
/// implements it.
///
/// Context: may sleep; called with the lock of the group's state held.
pub trait IdOwners<D: Attach>: Send + Sync {
    /// Records that `id` belongs to `endpoint`, a member of `group`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another group has the id: hardware cannot distinguish that group's endpoint from
    /// this one, so both would have to be in one group. `ENOMEM`.
    fn insert(&self, id: RequesterId, endpoint: &Arc<Endpoint<D>>, group: &Arc<Group<D>>)
        -> Result;

    /// Attributes `id`, which a group already has, to `endpoint`, another member of that group.
    fn reassign(&self, id: RequesterId, endpoint: &Arc<Endpoint<D>>);

    /// Attributes `id` of `unit`, which another group has, to `group`.
    fn move_to(&self, id: RequesterId, unit: &Arc<Unit<D>>, group: &Arc<Group<D>>);

    /// Removes `id` of `unit` from the group that has it.
    fn remove(&self, id: RequesterId, unit: &Arc<Unit<D>>);
}

/// A group.
#[pin_data]
pub struct Group<D: Attach> {
    #[pin]
    name: SpinLock<Label>,
    pub(super) blocked: Arc<Domain<D>>,
    pub(super) ids: Arc<dyn IdOwners<D>>,
    #[pin]
    pub(super) state: Mutex<GroupState<D>>,
    #[pin]
    pub(super) faults: Mutex<GroupFaults>,
}

impl<D: Attach> Group<D> {
    /// Creates an empty group called `name`, attached to `blocked`. The group records its members'
    /// ids in `ids`.
    pub fn new(
        name: Label,
        blocked: &Arc<Domain<D>>,
        ids: Arc<dyn IdOwners<D>>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                name <- new_spinlock!(name),
                blocked: blocked.clone(),
                ids,
                state <- new_mutex!(GroupState {
                    members: KVec::new(),
                    current: Attachment::new(blocked),
                    pasids: PasidAttachments::new(),
                    default: None,
                    ownership: Ownership::Free,
                }),
                faults <- new_mutex!(GroupFaults::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// The group's name in messages.
    pub fn name(&self) -> Label {
        *self.name.lock()
    }

    /// Changes the name. Returns the one before.
    pub fn rename(&self, name: Label) -> Label {
        core::mem::replace(&mut *self.name.lock(), name)
    }

    /// Whether the group is attached to `domain`.
    pub fn is_on(&self, domain: &Arc<Domain<D>>) -> bool {
        self.state.lock().current.is_on(domain)
    }

    /// Whether `domain` would be a new default domain of the group.
    // The native frontend knows: it chooses the domain.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub fn is_new_default(&self, domain: &Arc<Domain<D>>) -> bool {
        let state = self.state.lock();
        !matches!(&state.default, Some(default) if Arc::ptr_eq(default, domain))
    }

    /// Whether the group has no member.
    pub fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }

    /// The default domain, if the group has got one.
    pub fn default_domain(&self) -> Option<Arc<Domain<D>>> {
        self.state.lock().default.clone()
    }

    /// The state of ownership.
    pub fn ownership(&self) -> Ownership {
        self.state.lock().ownership
    }

    /// Whether an endpoint is a member.
    ///
    /// Does not allocate: attaching a member to the group's current domain must never fail.
    pub fn has(&self, endpoint: &Endpoint<D>) -> bool {
        self.state.lock().members.iter().any(|m| m.is(endpoint))
    }

    /// Makes `domain` the group's default domain. Attaches the group to it, unless the group is
    /// claimed or lent; in that case the group returns to it when the claim or loan ends.
    ///
    /// # Errors
    ///
    /// `EBUSY` if kernel drivers do DMA through the present default domain, or will when a loan
    /// ends; otherwise those of [`Attach::prepare`]. Nothing has changed then.
    pub fn set_default(&self, domain: &Arc<Domain<D>>) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let is_held = state.ownership.is_exclusive();
        let stays = match &state.default {
            Some(default) if is_held => Arc::ptr_eq(default, domain),
            _ => !is_held && state.current.is_on(domain),
        };
        if !stays {
            if state.ownership.users() > 0 {
                log_warn!(
                    "{}: the default domain cannot change: {}; unbind all drivers first",
                    self.name(),
                    self.holder(state),
                );
                return Err(EBUSY);
            }
            match is_held {
                true => self.prepare_return(state, domain)?,
                false => self.switch(state, domain)?,
            }
        }
        state.default = Some(domain.clone());
        Ok(())
    }

    /// Commits the prepared return to the default domain; blocks the group if it has no default
    /// domain. Cannot fail.
    pub(super) fn return_to_default(&self, state: &mut GroupState<D>) {
        match state.default.clone() {
            Some(default) => {
                state.members.iter_mut().for_each(Member::take_return);
                self.commit_to(state, &default);
            }
            None => self.block(state),
        }
    }

    /// Attaches every member to `domain`, or none.
    pub(super) fn switch(&self, state: &mut GroupState<D>, domain: &Arc<Domain<D>>) -> Result {
        if state.current.is_on(domain) {
            return Ok(());
        }
        if !D::PREPARES && state.members.iter().any(Member::is_suspended) {
            // A driver that cannot prepare an attach cannot guarantee one for the time after the
            // reset.
            return Err(EBUSY);
        }
        self.prepare(state, domain, When::Now)?;
        self.commit_to(state, domain);
        Ok(())
    }

    /// Prepares the return to `domain` for every member, or for none.
    pub(super) fn prepare_return(
        &self,
        state: &mut GroupState<D>,
        domain: &Arc<Domain<D>>,
    ) -> Result {
        // The old prepared return must stay valid until the new one is complete.
        self.prepare(state, domain, When::Later)?;
        state.members.iter_mut().for_each(Member::keep_as_return);
        Ok(())
    }

    /// Prepares an attach to `domain` for every member, or for none.
    fn prepare(&self, state: &mut GroupState<D>, domain: &Arc<Domain<D>>, when: When) -> Result {
        let prepared = state
            .members
            .iter_mut()
            .try_for_each(|m| m.prepare(Selector::NoPasid, domain, when));
        if prepared.is_err() {
            state.members.iter_mut().for_each(Member::drop_next);
        }
        prepared
    }

    /// Blocks every member's requests without a PASID. Cannot fail.
    pub(super) fn block(&self, state: &mut GroupState<D>) {
        if !state.current.domain().is_blocked() {
            let members = state.members.iter_mut();
            members.for_each(|m| m.prepare_blocked(Selector::NoPasid));
            self.commit_to(state, &self.blocked);
        } else if !state.current.is_on(&self.blocked) {
            // `current` is a blocked domain that an owner attached. For hardware all blocked
            // domains are the same.
            state.current = Attachment::new(&self.blocked);
        }
    }

    /// Blocks every member's requests, with and without a PASID, by one commit. Cannot fail.
    pub(super) fn block_all(&self, state: &mut GroupState<D>) {
        if !state.pasids.is_empty() {
            let members = state.members.iter_mut();
            members.for_each(Member::prepare_others_blocked);
            if state.current.domain().is_blocked() {
                self.commit(state);
            }
        }
        self.block(state);
        self.forget_pasids(state);
    }

    /// Commits what the members have prepared: from now on they are attached to `domain`.
    fn commit_to(&self, state: &mut GroupState<D>, domain: &Arc<Domain<D>>) {
        self.commit(state);
        state.current = Attachment::new(domain);
    }

    /// Commits what the members have prepared.
    #[inline(always)]
    pub(super) fn commit(&self, state: &mut GroupState<D>) {
        state
            .members
            .iter_mut()
            .for_each(Member::defer_if_suspended);
        commit(&mut state.members);
    }

    /// The holder of the group, for a message: the owner, the driver that the group is lent to, or
    /// the first kernel driver.
    pub(super) fn holder(&self, state: &GroupState<D>) -> Label {
        let mut drivers = state.members.iter().filter_map(|m| Some((m.driver()?, m)));
        match (state.ownership, drivers.next()) {
            (Ownership::Kernel { users }, Some((driver, member))) => {
                let device = member.endpoint().name();
                match users {
                    1 => Label::new(format_args!("driver {driver} uses {device}")),
                    _ => Label::new(format_args!("{users} drivers use it, {driver} on {device}")),
                }
            }
            (Ownership::Lent { to, .. }, _) => Label::new(format_args!("{}", Refusal::Lent { to })),
            (ownership, _) => Label::new(format_args!("held by {ownership}")),
        }
    }

    /// Logs that `who` was refused and who holds the group.
    pub(super) fn refuse(&self, state: &GroupState<D>, who: Label, refusal: Refusal) -> Error {
        let holder = match refusal {
            Refusal::InUseByKernel { .. } => self.holder(state),
            other => Label::new(format_args!("{other}")),
        };
        log_warn!("{}: refused to {}: {}", self.name(), who, holder);
        EBUSY
    }

    /// Counts a fault of `endpoint`, and logs it unless the group has exceeded its rate limit.
    pub(crate) fn report_fault(&self, unit: Label, endpoint: &Label, fault: &Fault) {
        let verdict = self.faults.lock().enter(fault);
        let Verdict::Print { suppressed } = verdict else {
            return;
        };
        if suppressed > 0 {
            log_warn!(
                "{}: {}: {} more faults were not printed",
                unit,
                self.name(),
                suppressed
            );
        }
        let state = self.state.lock();
        let selector = fault.pasid.map_or(Selector::NoPasid, Selector::Pasid);
        let attached = Attached {
            current: &state.current,
            pasids: &state.pasids,
        };
        log_warn!(
            "{}: fault: {} ({}, {}, owner {}): {}",
            unit,
            endpoint,
            self.name(),
            &**attached.domain(selector).unwrap_or(&self.blocked),
            state.ownership,
            fault,
        );
    }
}
