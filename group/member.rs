// SPDX-License-Identifier: GPL-2.0

//! Members of a group, and the two halves of an attach as seen by one member.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::reason::Reason;
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

/// One endpoint in a group.
///
/// # Invariants
///
/// 1. `drives` are ids of the endpoint, and no other member of the group drives any of them:
///    endpoints that share an alias are one for an attach, the first of them does it.
/// 2. `drives` has room for all ids of the endpoint.
/// 3. Hardware has the entries of `drives` as `attached` says; `None` is blocked.
/// 4. `suspended` is `Some` while the member is blocked on its own: what to come back to.
pub(super) struct Member<D: Attach> {
    endpoint: Arc<Endpoint<D>>,
    drives: KVec<RequesterId>,
    reason: Reason,
    /// The kernel driver that uses the DMA API with the device.
    driver: Option<Label>,
    next: Option<Prepared<D>>,
    attached: Option<Residence<D>>,
    /// The way back to the default domain, prepared when the group was claimed or lent.
    home: Option<Prepared<D>>,
    suspended: Option<Prepared<D>>,
}

impl<D: Attach> Member<D> {
    /// A member that is blocked and drives nothing yet.
    pub(super) fn new(endpoint: &Arc<Endpoint<D>>, reason: Reason) -> Result<Self> {
        Ok(Self {
            endpoint: endpoint.clone(),
            drives: KVec::with_capacity(endpoint.ids().len(), GFP_KERNEL)?,
            reason,
            driver: None,
            next: None,
            attached: None,
            home: None,
            suspended: None,
        })
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint<D>> {
        &self.endpoint
    }

    pub(super) fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Sets why the endpoint is in its group, and returns what it was.
    pub(super) fn set_reason(&mut self, reason: Reason) -> Reason {
        core::mem::replace(&mut self.reason, reason)
    }

    /// Whether hardware lets the endpoint reach anything.
    pub(super) fn is_attached(&self) -> bool {
        self.attached.is_some()
    }

    pub(super) fn driver(&self) -> Option<Label> {
        self.driver
    }

    pub(super) fn set_driver(&mut self, driver: Option<Label>) {
        self.driver = driver;
    }

    pub(super) fn is(&self, endpoint: &Endpoint<D>) -> bool {
        core::ptr::eq(&*self.endpoint, endpoint)
    }

    pub(super) fn drives(&self) -> &[RequesterId] {
        &self.drives
    }

    /// Whether it is this member that writes the entry of `id` on `unit`.
    pub(super) fn drives_at(&self, unit: &Arc<Unit<D>>, id: RequesterId) -> bool {
        Arc::ptr_eq(self.endpoint.unit(), unit) && self.drives.contains(&id)
    }

    /// Whether some id is both this endpoint's and that of `other`.
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        self.endpoint.shared_id(&other.endpoint).is_some()
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// The domain's tag on the member's unit, for people.
    pub(super) fn tag(&self) -> Option<Label> {
        self.attached.as_ref().map(Residence::label)
    }

    /// Starts to drive `id`, which must be the endpoint's. The hardware entry comes with the next
    /// commit.
    pub(super) fn drive(&mut self, id: RequesterId) {
        // By the second invariant there is room.
        let _ = self.drives.push_within_capacity(id);
    }

    /// Stops to drive the ids that `other` has as well, and lets `other` drive them; `rename` is
    /// told of each. Writes nothing. The shared entries must already match `other`'s state, or
    /// `other` must be about to write them.
    pub(super) fn hand_over_shared(
        &mut self,
        other: &mut Self,
        mut rename: impl FnMut(RequesterId, &Arc<Endpoint<D>>),
    ) {
        if !Arc::ptr_eq(self.endpoint.unit(), other.endpoint.unit()) {
            return;
        }
        self.drives.retain(|id| {
            let shared = other.endpoint.ids().contains(id);
            if shared {
                other.drive(*id);
                rename(*id, &other.endpoint);
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

    /// First half of an attach: may fail, and hardware sees nothing of it.
    pub(super) fn prepare(&mut self, domain: &Arc<Domain<D>>, when: When) -> Result {
        self.next = Some(self.prepared(domain, when)?);
        Ok(())
    }

    /// Prepares to be blocked. Cannot fail.
    pub(super) fn prepare_blocked(&mut self) {
        let (unit, endpoint) = self.data();
        self.next = Some(Prepared {
            plan: D::plan_blocked(unit, endpoint),
            residence: None,
        });
    }

    /// Prepares the way back to the default domain.
    pub(super) fn prepare_home(&mut self, domain: &Arc<Domain<D>>) -> Result {
        self.home = Some(self.prepared(domain, When::Later)?);
        Ok(())
    }

    /// Makes the step that was prepared the way back.
    pub(super) fn keep_for_later(&mut self) {
        self.home = self.next.take();
    }

    /// Takes the prepared way back as the next step. Cannot fail.
    pub(super) fn go_home(&mut self) {
        self.next = self.home.take();
    }

    /// Drops a preparation.
    pub(super) fn abandon(&mut self) {
        self.next = None;
    }

    /// Drops the way back to the default domain.
    pub(super) fn abandon_home(&mut self) {
        self.home = None;
    }

    /// While the member is suspended: keeps the step for later instead of committing it.
    pub(super) fn defer_if_suspended(&mut self) {
        if self.suspended.is_some() {
            self.suspended = self.next.take();
        }
    }

    /// Prepares to block the member alone; `back` is what [`resume`](Self::resume) restores.
    pub(super) fn suspend(&mut self, back: &Arc<Domain<D>>) -> Result {
        let back = self.prepared(back, When::Later)?;
        let (unit, endpoint) = self.data();
        self.next = Some(Prepared {
            plan: D::prepare_blocked(unit, endpoint)?,
            residence: None,
        });
        self.suspended = Some(back);
        Ok(())
    }

    /// Takes what the member was to be attached to as the next step. Cannot fail.
    pub(super) fn resume(&mut self) {
        self.next = self.suspended.take();
    }

    /// After the commit: the old residence ends, now that nothing of it is cached any more.
    fn settle(&mut self) {
        if let Some(Prepared { residence, .. }) = self.next.take() {
            self.attached = residence;
        }
    }
}

/// The steps of one commit on one unit: what the members behind it have prepared.
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

/// The member that `endpoint` is, and all others.
pub(super) fn pick<'a, D: Attach>(
    members: &'a mut [Member<D>],
    endpoint: &Endpoint<D>,
) -> Option<(&'a mut Member<D>, impl Iterator<Item = &'a mut Member<D>>)> {
    let index = members.iter().position(|m| m.is(endpoint))?;
    let (before, rest) = members.split_at_mut(index);
    let (member, after) = rest.split_first_mut()?;
    Some((member, Iterator::chain(before.iter_mut(), after)))
}

/// Second half of an attach: makes what every member has prepared true, with one commit for each
/// unit. Members without a preparation stay as they are. Cannot fail, does not allocate.
pub(super) fn commit<D: Attach>(members: &mut [Member<D>]) {
    for index in 0..members.len() {
        let (before, rest) = members.split_at(index);
        let unit = rest[0].endpoint.unit().clone();
        let is_stepping = |m: &Member<D>| {
            m.next.is_some() && !m.drives.is_empty() && Arc::ptr_eq(m.endpoint.unit(), &unit)
        };
        if before.iter().any(is_stepping) || !rest.iter().any(is_stepping) {
            // Done with the first member on that unit, or nothing to do on it.
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
        member.settle();
    }
}
