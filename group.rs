// SPDX-License-Identifier: GPL-2.0

//! Groups: the smallest sets of endpoints that hardware can isolate from the rest.
//!
//! Everything that changes what endpoints can reach happens here, for the whole group at once
//! (law 3):
//!
//! ```text
//! same domain?  -> done                                       (law 4)
//! prepare every member; a failure drops what was prepared     (law 3)
//! commit: one batch of entries and invalidations per unit
//! the members' old residences end, the old domain is uncounted (law 2)
//! ```
//!
//! Locking: `state` is a mutex and held during an attach. Inside it nest a unit's `seats`, a
//! domain's `residences` and whatever the vendor driver locks. It is never taken on a map or unmap.

#![forbid(unsafe_code)]

mod claim;
mod loan;
mod member;
mod show;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex},
    time::{Instant, Monotonic},
};

use self::member::{commit, pick, Member};
pub use self::{
    claim::Claim,
    loan::Loan,
    member::{Reason, Steps},
};
use crate::{
    domain::{Attachment, Domain},
    driver::{Attach, When},
    endpoint::Endpoint,
    fault::{Fault, RateLimit, Verdict},
    label::Label,
    log::log_warn,
    ownership::{Change, Owner, Ownership, Refusal},
};

/// What the group's lock protects.
///
/// # Invariants
///
/// 1. Members that are not suspended are attached to `current`, all of them.
/// 2. While the group is claimed or lent, each member has a way back to `default` prepared, if
///    there is one, so that the end of the claim or loan cannot fail.
/// 3. Outside of a change no member has a step prepared.
/// 4. An id that several members share is driven by one that is not suspended, if there is one.
struct State<D: Attach> {
    members: KVec<Member<D>>,
    current: Attachment<D>,
    default: Option<Arc<Domain<D>>>,
    ownership: Ownership,
}

struct Faults {
    count: u64,
    last: Option<Fault>,
    limit: RateLimit,
}

/// A group.
#[pin_data]
pub struct Group<D: Attach> {
    name: Label,
    blocked: Arc<Domain<D>>,
    #[pin]
    state: Mutex<State<D>>,
    #[pin]
    faults: Mutex<Faults>,
    created: Instant<Monotonic>,
}

impl<D: Attach> Group<D> {
    /// An empty group called `name`, on `blocked`.
    pub fn new(name: Label, blocked: &Arc<Domain<D>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                name,
                blocked: blocked.clone(),
                state <- new_mutex!(State {
                    members: KVec::new(),
                    current: Attachment::new(blocked),
                    default: None,
                    ownership: Ownership::Free,
                }),
                faults <- new_mutex!(Faults { count: 0, last: None, limit: RateLimit::default() }),
                created: Instant::now(),
            }),
            GFP_KERNEL,
        )
    }

    /// What messages call the group.
    pub fn name(&self) -> Label {
        self.name
    }

    /// Whether `domain` is what the group is attached to.
    pub fn is_on(&self, domain: &Arc<Domain<D>>) -> bool {
        self.state.lock().current.is_on(domain)
    }

    /// Whether the group has no member.
    pub fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }

    /// The state of ownership.
    pub fn ownership(&self) -> Ownership {
        self.state.lock().ownership
    }

    /// Whether an endpoint is a member.
    ///
    /// Does not allocate: to attach a member to what the group is attached to never fails.
    pub fn has(&self, endpoint: &Endpoint<D>) -> bool {
        self.state.lock().members.iter().any(|m| m.is(endpoint))
    }

    /// Adds an endpoint. It is attached to what the group is attached to.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another group uses one of its ids, `EEXIST` if it is a member already, `EINVAL`
    /// if the group is claimed and firmware needs the device, otherwise those of
    /// [`Attach::prepare`]. The endpoint is then as it was: blocked.
    pub fn join(self: &Arc<Self>, endpoint: &Arc<Endpoint<D>>, reason: Reason) -> Result {
        self.admit(&mut Some(Member::new(endpoint, reason)?))
    }

    /// Adds an endpoint that is a member of `from`. It goes from that group's domain to this
    /// group's in one step, so that what both map is never out of its reach.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is not a member of `from`; `EBUSY` if `from` is claimed or lent, if a driver
    /// uses the endpoint, if it is suspended, or if it shares an id with another member, which
    /// would then be in two groups; otherwise those of [`join`](Self::join). The endpoint is then
    /// where it was.
    pub fn adopt(
        self: &Arc<Self>,
        endpoint: &Endpoint<D>,
        from: &Arc<Self>,
        reason: Reason,
    ) -> Result {
        let mut moving = {
            let mut state = from.state.lock();
            let index = state.members.iter().position(|m| m.is(endpoint));
            let index = index.ok_or(ENODEV)?;
            let member = &state.members[index];
            if state.ownership.is_exclusive()
                || member.driver().is_some()
                || member.is_suspended()
                || state
                    .members
                    .iter()
                    .any(|m| !m.is(endpoint) && m.shares_with(member))
            {
                return Err(EBUSY);
            }
            let member = state.members.remove(index)?;
            from.vacate(&member);
            Some(member)
        };
        let mut before = reason;
        if let Some(member) = &mut moving {
            before = member.set_reason(reason);
        }
        let result = self.admit(&mut moving);
        if let Some(mut member) = moving {
            member.set_reason(before);
            member.abandon();
            member.abandon_home();
            from.take_back(member);
        }
        result
    }

    /// Makes `newcomer` a member; it is still there if that fails.
    fn admit(self: &Arc<Self>, newcomer: &mut Option<Member<D>>) -> Result {
        let mut state = self.state.lock();
        let Some(member) = newcomer else {
            return Err(ENODEV);
        };
        let endpoint = member.endpoint().clone();
        if state.members.iter().any(|m| m.is(&endpoint)) {
            return Err(EEXIST);
        }
        if endpoint.is_pinned() && matches!(state.ownership, Ownership::Claimed { .. }) {
            log_warn!(
                "{}: {} cannot join: firmware does DMA with it at all times, and the group is held by {}",
                self.name,
                endpoint.name(),
                state.ownership,
            );
            return Err(EINVAL);
        }
        for &id in endpoint.ids() {
            let driven = state
                .members
                .iter()
                .any(|m| m.drives_at(endpoint.unit(), id));
            if !driven && !member.drives_at(endpoint.unit(), id) {
                member.drive(id);
            }
        }
        state.members.reserve(1, GFP_KERNEL)?;
        // An endpoint outside of a group is blocked, so there is nothing to write. Where that is
        // not so a group has no business with it before it has a default domain.
        let stays = state.current.domain().is_blocked()
            && !member.is_attached()
            && (D::PREPARES || state.default.is_none());
        if !stays {
            member.prepare(state.current.domain(), When::Now)?;
        }
        if state.ownership.is_exclusive() {
            if let Some(default) = &state.default {
                member.prepare_home(default)?;
            }
        }
        for (done, &id) in member.drives().iter().enumerate() {
            if let Err(error) = endpoint.unit().seat(id, &endpoint, self) {
                for &id in &member.drives()[..done] {
                    endpoint.unit().unseat(id);
                }
                return Err(error);
            }
        }
        for other in state.members.iter_mut().filter(|m| m.is_suspended()) {
            // What they share is blocked with it, and now there is somebody who uses it.
            other.hand_over_shared(member);
        }
        if let Some(member) = newcomer.take() {
            // Room was reserved.
            let _ = state.members.push_within_capacity(member);
        }
        commit(&mut state.members);
        Ok(())
    }

    /// Takes an endpoint out of the group and blocks it. The others stay as they are, also where
    /// they share an id with it. Cannot fail; does nothing if it is not a member.
    pub fn leave(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let index = state.members.iter().position(|m| m.is(endpoint));
        let Some(Ok(mut member)) = index.map(|index| state.members.remove(index)) else {
            return;
        };
        if member.driver().is_some() {
            // Its driver is gone with it.
            let _ = state.ownership.end_use();
        }
        for other in state.members.iter_mut().filter(|m| !m.is_suspended()) {
            member.hand_over_shared(other);
        }
        member.prepare_blocked();
        commit(core::slice::from_mut(&mut member));
        for other in state.members.iter_mut() {
            // They are suspended, and what they get is blocked now.
            member.hand_over_shared(other);
        }
        self.vacate(&member);
    }

    /// Gives up the seats of a member that was taken out.
    fn vacate(&self, member: &Member<D>) {
        for &id in member.drives() {
            member.endpoint().unit().unseat(id);
        }
    }

    /// Makes a member that was taken out one again.
    fn take_back(self: &Arc<Self>, member: Member<D>) {
        let mut state = self.state.lock();
        let endpoint = member.endpoint().clone();
        for &id in member.drives() {
            // Without a seat its faults have no name; nothing else depends on it.
            let _ = endpoint.unit().seat(id, &endpoint, self);
        }
        // Removing it left its room.
        let _ = state.members.push_within_capacity(member);
    }

    /// Changes the reason that an endpoint is in the group for, as people read it.
    pub fn explain(&self, endpoint: &Endpoint<D>, reason: Reason) {
        let mut state = self.state.lock();
        if let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) {
            member.set_reason(reason);
        }
    }

    /// Makes `domain` the group's default domain, and attaches it unless the group is claimed or
    /// lent; then it is where the end of that leads.
    ///
    /// # Errors
    ///
    /// `EBUSY` if kernel drivers do DMA on the present one, or will when a loan ends; otherwise
    /// those of [`Attach::prepare`]. Nothing has changed then.
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
                    "{}: the default domain cannot change: {}; unbind first",
                    self.name,
                    self.holder(state),
                );
                return Err(EBUSY);
            }
            match is_held {
                true => self.prepare_way_back(state, domain)?,
                false => self.switch(state, domain)?,
            }
        }
        state.default = Some(domain.clone());
        Ok(())
    }

    /// A driver of `endpoint`'s device starts to use the DMA API.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the group is claimed or lent.
    pub fn start_dma_api(&self, endpoint: &Endpoint<D>, driver: Label) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) else {
            return Err(ENODEV);
        };
        if member.driver().is_some() {
            return Ok(());
        }
        match state.ownership.start_use() {
            Ok(()) => {
                member.set_driver(Some(driver));
                Ok(())
            }
            Err(refusal) => {
                let what = Label::new(format_args!("driver {driver} of {}", endpoint.name()));
                Err(self.refuse(state, what, refusal))
            }
        }
    }

    /// A driver of `endpoint`'s device no longer uses the DMA API.
    pub fn end_dma_api(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(member) = state.members.iter_mut().find(|m| m.is(endpoint)) else {
            return;
        };
        if member.driver().is_some() {
            member.set_driver(None);
            // By the check above there is a use to end.
            let _ = state.ownership.end_use();
        }
    }

    /// Who uses the DMA API with the group, for people. `None` if nobody does.
    pub fn used_by(&self) -> Option<Label> {
        let state = self.state.lock();
        matches!(state.ownership, Ownership::Kernel { .. }).then(|| self.holder(&state))
    }

    /// The driver of `endpoint`'s device, if it and nobody else uses the DMA API with the group.
    pub fn only_user(&self, endpoint: &Endpoint<D>) -> Option<Label> {
        let state = self.state.lock();
        let member = state.members.iter().find(|m| m.is(endpoint))?;
        match state.ownership {
            Ownership::Kernel { users: 1 } => member.driver(),
            _ => None,
        }
    }

    /// Claims the group for `owner`: it leaves the default domain and is blocked until the owner
    /// attaches a domain.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else holds the group; the log says who. `EINVAL` if a member
    /// [is pinned](Endpoint::is_pinned); the log says which. Otherwise `ENOMEM` and the like from
    /// preparing the way back. The group is as it was.
    pub fn claim(self: &Arc<Self>, owner: Owner) -> Result<Claim<D>> {
        self.take(owner, true)
    }

    /// As [`claim`](Self::claim) for an owner that wants no second claim: that is refused as well.
    pub fn claim_alone(self: &Arc<Self>, owner: Owner) -> Result<Claim<D>> {
        self.take(owner, false)
    }

    fn take(self: &Arc<Self>, owner: Owner, shared: bool) -> Result<Claim<D>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let change = match (state.ownership.may_claim(owner), state.ownership.owner()) {
            (Ok(_), Some(by)) if !shared => Err(Refusal::Claimed { by }),
            (change, _) => change,
        };
        match change {
            Err(refusal) => {
                return Err(self.refuse(state, owner.name, refusal));
            }
            Ok(Change::Taken) => {
                if let Some(pinned) = state.members.iter().find(|m| m.endpoint().is_pinned()) {
                    log_warn!(
                        "{}: refused to {}: firmware does DMA with {} at all times, so it cannot be \
                         blocked",
                        self.name,
                        owner.name,
                        pinned.endpoint().name(),
                    );
                    return Err(EINVAL);
                }
                if let Some(default) = state.default.clone() {
                    self.prepare_way_back(state, &default)?;
                }
                if let Err(error) = self.switch(state, &self.blocked) {
                    state.members.iter_mut().for_each(Member::abandon_home);
                    return Err(error);
                }
            }
            Ok(_) => {}
        }
        // `may_claim` said that it succeeds.
        let _ = state.ownership.claim(owner);
        Ok(Claim::new(self.clone(), owner))
    }

    fn attach_claimed(&self, owner: Owner, domain: &Arc<Domain<D>>) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        self.switch(state, domain)?;
        // A claim exists, so the group is its owner's.
        let _ = state.ownership.set_attached(owner, !domain.is_blocked());
        Ok(())
    }

    fn detach_claimed(&self, owner: Owner) {
        let mut state = self.state.lock();
        let state = &mut *state;
        self.block(state);
        let _ = state.ownership.set_attached(owner, false);
    }

    fn end_claim(&self, owner: Owner) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        match state.ownership.release(owner) {
            Ok(change) => {
                self.follow(state, change);
                Ok(())
            }
            Err(refusal) => Err(self.refuse(state, owner.name, refusal)),
        }
    }

    /// As [`end_claim`](Self::end_claim), but what is still attached is detached.
    fn drop_claim(&self, owner: Owner) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut released = state.ownership.release(owner);
        if released.is_err() {
            // The domain of its owner's goes with the last claim.
            let _ = state.ownership.set_attached(owner, false);
            released = state.ownership.release(owner);
        }
        // A claim existed and nothing keeps it any more, so it has ended.
        if let Ok(change) = released {
            self.follow(state, change);
        }
    }

    /// After a claim has ended: if it was the last one the group goes back to its default domain.
    fn follow(&self, state: &mut State<D>, change: Change) {
        if change == Change::Freed {
            self.block(state);
            self.go_home(state);
        }
    }

    /// Takes the prepared way back to the default domain; blocks if there is none. Cannot fail.
    fn go_home(&self, state: &mut State<D>) {
        match state.default.clone() {
            Some(default) => {
                state.members.iter_mut().for_each(Member::go_home);
                self.finish(state, &default);
            }
            None => self.block(state),
        }
    }

    /// Blocks one member for a while, because its device is being reset: it must not be reached by
    /// invalidations (PCIe 10.3.1). The group stays where it is, and so do ids that the member
    /// shares with others that are not suspended.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is not a member, otherwise those of [`Attach::prepare`]: the way back
    /// is prepared now, so that [`resume`](Self::resume) cannot fail.
    pub fn suspend(&self, endpoint: &Endpoint<D>) -> Result {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some((member, others)) = pick(&mut state.members, endpoint) else {
            return Err(ENODEV);
        };
        if !member.is_suspended() {
            member.suspend(state.current.domain())?;
            for other in others.filter(|m| !m.is_suspended()) {
                member.hand_over_shared(other);
            }
            commit(core::slice::from_mut(member));
        }
        Ok(())
    }

    /// Ends [`suspend`](Self::suspend): the member joins the others where they are now.
    pub fn resume(&self, endpoint: &Endpoint<D>) {
        let mut state = self.state.lock();
        let Some((member, others)) = pick(&mut state.members, endpoint) else {
            return;
        };
        if member.is_suspended() {
            for other in others.filter(|m| m.is_suspended()) {
                // What they share is blocked with them.
                other.hand_over_shared(member);
            }
            member.resume();
            commit(core::slice::from_mut(member));
        }
    }

    /// Attaches every member to `domain`, or none.
    fn switch(&self, state: &mut State<D>, domain: &Arc<Domain<D>>) -> Result {
        if state.current.is_on(domain) {
            return Ok(());
        }
        if !D::PREPARES && state.members.iter().any(Member::is_suspended) {
            // What cannot be prepared cannot be promised for the time after the reset.
            return Err(EBUSY);
        }
        self.prepare(state, domain, When::Now)?;
        self.finish(state, domain);
        Ok(())
    }

    /// Prepares every member's way back to `domain`, or none's.
    fn prepare_way_back(&self, state: &mut State<D>, domain: &Arc<Domain<D>>) -> Result {
        // The old way back, if there is one, has to last until the new one is complete.
        self.prepare(state, domain, When::Later)?;
        state.members.iter_mut().for_each(Member::keep_for_later);
        Ok(())
    }

    /// Prepares a step to `domain` for every member, or for none.
    fn prepare(&self, state: &mut State<D>, domain: &Arc<Domain<D>>, when: When) -> Result {
        let prepared = state
            .members
            .iter_mut()
            .try_for_each(|m| m.prepare(domain, when));
        if prepared.is_err() {
            state.members.iter_mut().for_each(Member::abandon);
        }
        prepared
    }

    /// Blocks every member. Cannot fail.
    fn block(&self, state: &mut State<D>) {
        if !state.current.domain().is_blocked() {
            state.members.iter_mut().for_each(Member::prepare_blocked);
            self.finish(state, &self.blocked);
        } else if !state.current.is_on(&self.blocked) {
            // An owner's own; to hardware they are all the same.
            state.current = Attachment::new(&self.blocked);
        }
    }

    /// Commits what the members have prepared: from now on they are attached to `domain`.
    fn finish(&self, state: &mut State<D>, domain: &Arc<Domain<D>>) {
        state
            .members
            .iter_mut()
            .for_each(Member::defer_if_suspended);
        commit(&mut state.members);
        state.current = Attachment::new(domain);
    }

    /// Who holds the group, for a message: the owner, who it is lent to, or the first of the kernel
    /// drivers.
    fn holder(&self, state: &State<D>) -> Label {
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

    /// Says that `who` was refused and who holds the group.
    fn refuse(&self, state: &State<D>, who: Label, refusal: Refusal) -> Error {
        let holder = match refusal {
            Refusal::InUseByKernel { .. } => self.holder(state),
            other => Label::new(format_args!("{other}")),
        };
        log_warn!("{}: refused to {}: {}", self.name, who, holder);
        EBUSY
    }

    /// Counts a fault of `endpoint` and logs it, unless the group has logged many just now.
    pub(crate) fn report_fault(&self, unit: Label, endpoint: &Label, fault: &Fault) {
        let now_ms = self.created.elapsed().as_millis() as u64;
        let verdict = {
            let mut faults = self.faults.lock();
            faults.count += 1;
            faults.last = Some(*fault);
            faults.limit.check(now_ms)
        };
        let Verdict::Print { suppressed } = verdict else {
            return;
        };
        if suppressed > 0 {
            log_warn!(
                "{}: {}: {} more faults were not printed",
                unit,
                self.name,
                suppressed
            );
        }
        let state = self.state.lock();
        log_warn!(
            "{}: fault: {} ({}, {}, owner {}): {}",
            unit,
            endpoint,
            self.name,
            &**state.current.domain(),
            state.ownership,
            fault,
        );
    }
}
