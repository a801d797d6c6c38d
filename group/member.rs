// SPDX-License-Identifier: GPL-2.0

//! Members of a group, and the two halves of an attach for one member.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{messages::Messages, reason::Reason};
use crate::{
    domain::{Domain, Residence},
    driver::{Attach, Step, Steps, When},
    endpoint::Endpoint,
    label::Label,
    requester::RequesterId,
    unit::Unit,
};

/// A prepared attach of one member. Dropping it undoes the preparation.
pub(super) struct Prepared<D: Attach> {
    plan: D::Plan,
    residence: Option<Residence<D>>,
}

/// One endpoint in a group. A member *drives* an id if the driver writes the id's entry in the
/// member's step.
///
/// # Invariants
///
/// 1. `drives` contains ids of the endpoint, and no other member of the group drives any of them:
///    an id that several members share is written once, by the first of them.
/// 2. `drives` has room for all ids of the endpoint.
/// 3. Hardware's entries of `drives` match `attached`; `None` means blocked.
pub(super) struct Member<D: Attach> {
    endpoint: Arc<Endpoint<D>>,
    drives: KVec<RequesterId>,
    reason: Reason,
    /// The kernel driver that uses the DMA API with the device.
    driver: Option<Label>,
    messages: Messages,
    next: Option<Prepared<D>>,
    attached: Option<Residence<D>>,
    /// The prepared return to the default domain; set when the group is claimed or lent.
    prepared_return: Option<Prepared<D>>,
    suspended: Suspended<D>,
}

/// Whether a member alone is blocked.
enum Suspended<D: Attach> {
    No,
    /// With the return to the group's domain prepared.
    Prepared(Prepared<D>),
    /// Without.
    Cut,
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
            next: None,
            attached: None,
            prepared_return: None,
            suspended: Suspended::No,
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

    pub(super) fn is_suspended(&self) -> bool {
        !matches!(self.suspended, Suspended::No)
    }

    /// Whether the member is suspended and its return to the group's domain is not prepared.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.suspended, Suspended::Cut)
    }

    /// The domain's tag on the member's unit, for messages.
    pub(super) fn tag(&self) -> Option<Label> {
        self.attached.as_ref().map(Residence::label)
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

    fn prepared(&self, domain: &Arc<Domain<D>>, when: When) -> Result<Prepared<D>> {
        let (unit, endpoint) = self.data();
        if domain.is_blocked() {
            return Ok(Prepared {
                plan: match when {
                    When::Now => D::prepare_blocked(unit, endpoint)?,
                    When::Later => D::plan_blocked(unit, endpoint),
                },
                residence: None,
            });
        }
        let residence = domain.reside(&self.endpoint)?;
        let plan = match residence.target() {
            Some(target) => D::prepare(unit, endpoint, target, when)?,
            None => D::plan_blocked(unit, endpoint),
        };
        Ok(Prepared {
            plan,
            residence: Some(residence),
        })
    }

    /// First half of an attach: may fail; hardware sees nothing. The core commits the step of a
    /// suspended member when the suspension ends, so that step is for later.
    pub(super) fn prepare(&mut self, domain: &Arc<Domain<D>>, when: When) -> Result {
        let when = match self.is_suspended() {
            true => When::Later,
            false => when,
        };
        self.next = Some(self.prepared(domain, when)?);
        Ok(())
    }

    /// Prepares to block the member. Cannot fail.
    pub(super) fn prepare_blocked(&mut self) {
        let (unit, endpoint) = self.data();
        self.next = Some(Prepared {
            plan: D::plan_blocked(unit, endpoint),
            residence: None,
        });
    }

    /// Prepares the return to the default domain.
    pub(super) fn prepare_return(&mut self, domain: &Arc<Domain<D>>) -> Result {
        self.prepared_return = Some(self.prepared(domain, When::Later)?);
        Ok(())
    }

    /// Keeps the prepared step as the return to the default domain.
    pub(super) fn keep_as_return(&mut self) {
        self.prepared_return = self.next.take();
    }

    /// Makes the prepared return the next step. Cannot fail.
    pub(super) fn take_return(&mut self) {
        self.next = self.prepared_return.take();
    }

    /// Drops the prepared step.
    pub(super) fn drop_next(&mut self) {
        self.next = None;
    }

    /// Drops the prepared return to the default domain.
    pub(super) fn drop_return(&mut self) {
        self.prepared_return = None;
    }

    /// If the member is suspended: keeps the step for [`resume`](Self::resume) instead of
    /// committing it now.
    pub(super) fn defer_if_suspended(&mut self) {
        if self.is_suspended() {
            if let Some(next) = self.next.take() {
                self.suspended = Suspended::Prepared(next);
            }
        }
    }

    /// Prepares to block this member alone; [`resume`](Self::resume) attaches it to `back` again.
    /// If the unit has failed, the member stays blocked.
    pub(super) fn suspend(&mut self, back: &Arc<Domain<D>>) -> Result {
        let (unit, endpoint) = self.data();
        let back = match self.prepared(back, When::Later) {
            Err(_) if self.endpoint.unit().has_failed() => Prepared {
                plan: D::plan_blocked(unit, endpoint),
                residence: None,
            },
            back => back?,
        };
        self.next = Some(Prepared {
            plan: D::prepare_blocked(unit, endpoint)?,
            residence: None,
        });
        self.suspended = Suspended::Prepared(back);
        Ok(())
    }

    /// Prepares to block this member alone, with no prepared return. Cannot fail.
    pub(super) fn cut(&mut self) {
        self.prepare_blocked();
        self.suspended = Suspended::Cut;
    }

    /// Prepares the return to `back` of a member that is suspended.
    pub(super) fn prepare_resume(&mut self, back: &Arc<Domain<D>>) -> Result {
        self.suspended = Suspended::Prepared(self.prepared(back, When::Later)?);
        Ok(())
    }

    /// Makes the attach that the suspension deferred the next step. Cannot fail.
    pub(super) fn resume(&mut self) {
        if let Suspended::Prepared(back) = core::mem::replace(&mut self.suspended, Suspended::No) {
            self.next = Some(back);
        }
    }

    /// After the commit: ends the old residence, since nothing is cached under its tag any more.
    fn finish_step(&mut self) {
        if let Some(Prepared { residence, .. }) = self.next.take() {
            self.attached = residence;
        }
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
            if let Some(Prepared { plan, residence }) = &mut member.next {
                f(Step {
                    endpoint: member.endpoint.data(),
                    ids: &member.drives,
                    plan,
                    target: residence.as_ref().and_then(Residence::target),
                });
            }
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
            |m: &Member<D>| m.next.is_some() && !m.drives.is_empty() && is_behind_it(m);
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
