// SPDX-License-Identifier: GPL-2.0

//! Members of a group, and the two halves of an attach for one member.

#![forbid(unsafe_code)]

use core::iter::once;

use kernel::{prelude::*, sync::Arc};

use super::{attached::Attached, messages::Messages, reason::Reason, space::Space};
use crate::{
    domain::{Domain, Residence},
    driver::{Attach, Step, Steps, When},
    endpoint::Endpoint,
    label::Label,
    pasid::{Pasid, Selector},
    requester::RequesterId,
    unit::Unit,
};

/// One endpoint in a group. A member *drives* an id if the driver writes the id's entry in the
/// member's step.
///
/// # Invariants
///
/// 1. `drives` contains ids of the endpoint, and no other member of the group drives any of them:
///    an id that several members share is written once, by the first of them.
/// 2. `drives` has room for all ids of the endpoint.
/// 3. Hardware's entries of `drives` for a selector match what its space says.
/// 4. `main` is the space for requests without a PASID. `others` has one for each PASID that the
///    group is attached for, in any order, if the member uses PASIDs.
pub(super) struct Member<D: Attach> {
    endpoint: Arc<Endpoint<D>>,
    drives: KVec<RequesterId>,
    reason: Reason,
    /// The kernel driver that uses the DMA API with the device.
    driver: Option<Label>,
    messages: Messages,
    main: Space<D>,
    others: KVec<Space<D>>,
}

impl<D: Attach> Member<D> {
    /// Creates a member that is blocked and drives no id yet.
    pub(super) fn new(endpoint: &Arc<Endpoint<D>>, reason: Reason) -> Result<Self> {
        Ok(Self {
            endpoint: endpoint.clone(),
            drives: KVec::with_capacity(endpoint.ids().len(), GFP_KERNEL)?,
            reason,
            driver: None,
            messages: Messages::Unused,
            main: Space::new(Selector::NoPasid),
            others: KVec::new(),
        })
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint<D>> {
        &self.endpoint
    }

    pub(super) fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Sets the reason why the endpoint is in its group, and returns the previous reason.
    pub(super) fn set_reason(&mut self, reason: Reason) -> Reason {
        core::mem::replace(&mut self.reason, reason)
    }

    pub(super) fn driver(&self) -> Option<Label> {
        self.driver
    }

    pub(super) fn set_driver(&mut self, driver: Option<Label>) {
        self.driver = driver;
    }

    pub(super) fn messages(&self) -> &Messages {
        &self.messages
    }

    pub(super) fn set_messages(&mut self, messages: Messages) {
        self.messages = messages;
    }

    pub(super) fn is(&self, endpoint: &Endpoint<D>) -> bool {
        core::ptr::eq(&*self.endpoint, endpoint)
    }

    pub(super) fn drives(&self) -> &[RequesterId] {
        &self.drives
    }

    /// Whether this member drives `id` on `unit`.
    pub(super) fn drives_at(&self, unit: &Arc<Unit<D>>, id: RequesterId) -> bool {
        Arc::ptr_eq(self.endpoint.unit(), unit) && self.drives.contains(&id)
    }

    /// Whether the member alone is blocked. A member that shares an id has no space but `main`.
    pub(super) fn is_suspended(&self) -> bool {
        self.main.is_suspended()
    }

    /// Whether the member is suspended and its return to the group's domains is not prepared.
    pub(super) fn is_cut(&self) -> bool {
        self.spaces().any(Space::is_cut)
    }

    /// Whether the member's requests with `pasid` are attached to something.
    pub(super) fn uses(&self, pasid: Pasid) -> bool {
        let mut spaces = self.others.iter();
        spaces.any(|space| space.selector() == Selector::Pasid(pasid) && !space.is_suspended())
    }

    /// How many PASIDs the member can use, 0 included; 0 if it uses none.
    pub(super) fn pasids(&self) -> u32 {
        let (unit, endpoint) = self.data();
        D::pasids(unit, endpoint)
    }

    fn spaces(&self) -> impl Iterator<Item = &Space<D>> {
        Iterator::chain(once(&self.main), self.others.iter())
    }

    fn spaces_mut(&mut self) -> impl Iterator<Item = &mut Space<D>> {
        self.parts().1
    }

    /// The endpoint, and all spaces.
    fn parts(&mut self) -> (&Endpoint<D>, impl Iterator<Item = &mut Space<D>>) {
        let Self {
            endpoint,
            main,
            others,
            ..
        } = self;
        (endpoint, Iterator::chain(once(main), others.iter_mut()))
    }

    /// The endpoint, and the space for `selector`.
    #[inline]
    fn part(&mut self, selector: Selector) -> (&Endpoint<D>, Option<&mut Space<D>>) {
        let space = match selector {
            Selector::NoPasid => Some(&mut self.main),
            Selector::Pasid(_) => {
                let mut others = self.others.iter_mut();
                others.find(|space| space.selector() == selector)
            }
        };
        (&self.endpoint, space)
    }

    /// Adds a blocked space for `pasid`, unless there is one.
    pub(super) fn add_space(&mut self, pasid: Pasid) -> Result {
        let selector = Selector::Pasid(pasid);
        if self.part(selector).1.is_none() {
            self.others.push(Space::new(selector), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Removes the space for `pasid`, which is blocked.
    pub(super) fn remove_space(&mut self, pasid: Pasid) {
        let selector = Selector::Pasid(pasid);
        self.others.retain(|space| space.selector() != selector);
    }

    /// Removes the spaces of all PASIDs, which are blocked.
    pub(super) fn remove_spaces(&mut self) {
        self.others.clear();
    }

    /// The domain's tag on the member's unit, for messages.
    pub(super) fn tag(&self) -> Option<Label> {
        self.main.attached().map(Residence::label)
    }

    /// Makes the member drive `id`, which must be an id of its endpoint. The next commit writes the
    /// entry.
    pub(super) fn drive(&mut self, id: RequesterId) {
        // The second invariant guarantees the capacity.
        let _ = self.drives.push_within_capacity(id);
    }

    /// Makes `other` drive the ids that both members share, instead of this member. Calls
    /// `reassign` for each of them. Writes nothing: the shared entries must already match `other`'s
    /// state, or `other` must be about to write them.
    pub(super) fn transfer_shared_ids(
        &mut self,
        other: &mut Self,
        mut reassign: impl FnMut(RequesterId, &Arc<Endpoint<D>>),
    ) {
        if !Arc::ptr_eq(self.endpoint.unit(), other.endpoint.unit()) {
            return;
        }
        self.drives.retain(|id| {
            let shared = other.endpoint.ids().contains(id);
            if shared {
                other.drive(*id);
                reassign(*id, &other.endpoint);
            }
            !shared
        });
    }

    /// The vendor driver's parts of the member's unit and endpoint.
    fn data(&self) -> (&D::Unit, &D::Endpoint) {
        (self.endpoint.unit().data(), self.endpoint.data())
    }

    /// First half of an attach: may fail; hardware sees nothing. Does nothing if the member has no
    /// space for `selector`.
    pub(super) fn prepare(
        &mut self,
        selector: Selector,
        domain: &Arc<Domain<D>>,
        when: When,
    ) -> Result {
        match self.part(selector) {
            (endpoint, Some(space)) => space.prepare(endpoint, domain, when),
            (_, None) => Ok(()),
        }
    }

    /// Prepares to block the requests of `selector`. Cannot fail.
    pub(super) fn prepare_blocked(&mut self, selector: Selector) {
        if let (endpoint, Some(space)) = self.part(selector) {
            space.prepare_blocked(endpoint);
        }
    }

    /// Prepares to block the requests with a PASID. Cannot fail.
    pub(super) fn prepare_others_blocked(&mut self) {
        let Self {
            endpoint, others, ..
        } = self;
        others
            .iter_mut()
            .for_each(|space| space.prepare_blocked(endpoint));
    }

    /// Prepares the return to the default domain.
    pub(super) fn prepare_return(&mut self, domain: &Arc<Domain<D>>) -> Result {
        self.main.prepare_return(&self.endpoint, domain)
    }

    /// Keeps the prepared step as the return to the default domain.
    pub(super) fn keep_as_return(&mut self) {
        self.main.keep_as_return();
    }

    /// Makes the prepared return the next step. Cannot fail.
    pub(super) fn take_return(&mut self) {
        self.main.take_return();
    }

    /// Drops the prepared steps.
    pub(super) fn drop_next(&mut self) {
        self.spaces_mut().for_each(Space::drop_next);
    }

    /// Drops the prepared return to the default domain.
    pub(super) fn drop_return(&mut self) {
        self.main.drop_return();
    }

    /// If the member is suspended: keeps the steps for [`resume`](Self::resume) instead of
    /// committing them now.
    #[inline]
    pub(super) fn defer_if_suspended(&mut self) {
        self.main.defer_if_suspended();
        self.others.iter_mut().for_each(Space::defer_if_suspended);
    }

    /// Prepares to block this member alone; [`resume`](Self::resume) attaches it to what the group
    /// is attached to, `now`. If the unit has failed, the member stays blocked.
    pub(super) fn suspend(&mut self, now: Attached<'_, D>) -> Result {
        let (endpoint, spaces) = self.parts();
        let mut spaces = spaces.filter(|space| !space.is_suspended());
        let result = spaces.try_for_each(|space| match now.domain(space.selector()) {
            Some(domain) => space.suspend(endpoint, domain),
            None => Ok(()),
        });
        drop(spaces);
        if result.is_err() {
            self.spaces_mut().for_each(Space::drop_suspension);
        }
        result
    }

    /// Prepares to block this member alone, with no prepared return. Cannot fail.
    pub(super) fn cut(&mut self) {
        let (endpoint, spaces) = self.parts();
        spaces.for_each(|space| space.cut(endpoint));
    }

    /// As [`cut`](Self::cut), for the requests with `pasid` alone.
    pub(super) fn cut_pasid(&mut self, pasid: Pasid) {
        if let (endpoint, Some(space)) = self.part(Selector::Pasid(pasid)) {
            space.cut(endpoint);
        }
    }

    /// Prepares what is not prepared yet of the return of a suspended member to what the group is
    /// attached to, `now`.
    pub(super) fn prepare_resume(&mut self, now: Attached<'_, D>) -> Result {
        let (endpoint, spaces) = self.parts();
        let mut missing = spaces.filter(|space| space.is_cut());
        missing.try_for_each(|space| match now.domain(space.selector()) {
            Some(domain) => space.prepare_resume(endpoint, domain),
            None => Ok(()),
        })
    }

    /// Makes the attaches that the suspension deferred the next steps. Cannot fail.
    pub(super) fn resume(&mut self) {
        self.spaces_mut().for_each(Space::resume);
    }

    /// As [`prepare_resume`](Self::prepare_resume) and [`resume`](Self::resume), for the requests
    /// with `pasid` alone.
    pub(super) fn resume_pasid(&mut self, pasid: Pasid, domain: &Arc<Domain<D>>) -> Result {
        let (endpoint, Some(space)) = self.part(Selector::Pasid(pasid)) else {
            return Ok(());
        };
        if space.is_cut() {
            space.prepare_resume(endpoint, domain)?;
        }
        space.resume();
        Ok(())
    }

    #[inline]
    fn is_stepping(&self) -> bool {
        self.main.is_stepping() || self.others.iter().any(Space::is_stepping)
    }

    #[inline]
    fn finish_step(&mut self) {
        self.main.finish_step();
        self.others.iter_mut().for_each(Space::finish_step);
    }
}

/// The steps of one commit on one unit: what the members behind the unit have prepared.
struct MemberSteps<'a, D: Attach> {
    members: &'a mut [Member<D>],
    unit: &'a Unit<D>,
}

impl<D: Attach> Steps<D> for MemberSteps<'_, D> {
    fn for_each(&mut self, mut f: impl FnMut(Step<'_, D>)) {
        for member in self.members.iter_mut() {
            if !core::ptr::eq(&**member.endpoint.unit(), self.unit) || member.drives.is_empty() {
                continue;
            }
            let Member {
                endpoint,
                drives,
                main,
                others,
                ..
            } = member;
            let mut step = |space: &mut Space<D>| {
                let selector = space.selector();
                if let Some((plan, target)) = space.step() {
                    f(Step {
                        endpoint: endpoint.data(),
                        selector,
                        ids: drives,
                        plan,
                        target,
                    });
                }
            };
            step(main);
            others.iter_mut().for_each(step);
        }
    }
}

/// Returns the member of `endpoint`, and all other members.
pub(super) fn find_with_others<'a, D: Attach>(
    members: &'a mut [Member<D>],
    endpoint: &Endpoint<D>,
) -> Option<(&'a mut Member<D>, impl Iterator<Item = &'a mut Member<D>>)> {
    let index = members.iter().position(|m| m.is(endpoint))?;
    let (before, rest) = members.split_at_mut(index);
    let (member, after) = rest.split_first_mut()?;
    Some((member, Iterator::chain(before.iter_mut(), after)))
}

/// Second half of an attach: commits what every member has prepared, with one commit per unit.
/// Members without a prepared step stay as they are. Cannot fail; does not allocate.
pub(super) fn commit<D: Attach>(members: &mut [Member<D>]) {
    for index in 0..members.len() {
        let (before, rest) = members.split_at(index);
        let unit = rest[0].endpoint.unit().clone();
        let is_behind_it = |m: &Member<D>| Arc::ptr_eq(m.endpoint.unit(), &unit);
        let is_stepping =
            |m: &Member<D>| m.is_stepping() && !m.drives.is_empty() && is_behind_it(m);
        if before.iter().any(is_behind_it) || !rest.iter().any(is_stepping) {
            // The steps of this unit were committed at its first member, or there are none.
            continue;
        }
        if unit.is_released() {
            continue;
        }
        D::commit(
            unit.data(),
            &mut MemberSteps {
                members,
                unit: &unit,
            },
        );
    }
    for member in members {
        member.finish_step();
    }
}
