// SPDX-License-Identifier: GPL-2.0

//! One address space of a member: what the member's requests of one selector are attached to, and
//! what is prepared for them. The same code for every selector (law 3).

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use crate::{
    domain::{Domain, Residence},
    driver::{Attach, Target, When},
    endpoint::Endpoint,
    pasid::Selector,
};

/// A prepared attach. Dropping it undoes the preparation.
struct Prepared<D: Attach> {
    plan: D::Plan,
    residence: Option<Residence<D>>,
}

impl<D: Attach> Prepared<D> {
    fn new(
        endpoint: &Endpoint<D>,
        selector: Selector,
        domain: &Arc<Domain<D>>,
        when: When,
    ) -> Result<Self> {
        let (unit, data) = (endpoint.unit().data(), endpoint.data());
        if domain.is_blocked() {
            return Ok(Self {
                plan: match when {
                    When::Now => D::prepare_blocked(unit, data, selector)?,
                    When::Later => D::plan_blocked(unit, data, selector),
                },
                residence: None,
            });
        }
        let residence = domain.reside(endpoint, selector)?;
        let plan = match residence.target() {
            Some(target) => D::prepare(unit, data, selector, target, when)?,
            None => D::plan_blocked(unit, data, selector),
        };
        Ok(Self {
            plan,
            residence: Some(residence),
        })
    }

    fn blocked(endpoint: &Endpoint<D>, selector: Selector) -> Self {
        Self {
            plan: D::plan_blocked(endpoint.unit().data(), endpoint.data(), selector),
            residence: None,
        }
    }
}

/// An address space of a member. The functions get the member's endpoint.
pub(super) struct Space<D: Attach> {
    selector: Selector,
    next: Option<Prepared<D>>,
    /// `None` if the requests are blocked.
    attached: Option<Residence<D>>,
    /// What the end of a claim or a loan commits; only for requests without a PASID.
    prepared_return: Option<Prepared<D>>,
    /// Whether the requests are blocked for a time.
    suspended: bool,
    /// What the end of the suspension commits. It is prepared then or later.
    back: Option<Prepared<D>>,
}

impl<D: Attach> Space<D> {
    /// A space that is blocked.
    pub(super) fn new(selector: Selector) -> Self {
        Self {
            selector,
            next: None,
            attached: None,
            prepared_return: None,
            suspended: false,
            back: None,
        }
    }

    #[inline]
    pub(super) fn selector(&self) -> Selector {
        self.selector
    }

    pub(super) fn attached(&self) -> Option<&Residence<D>> {
        self.attached.as_ref()
    }

    #[inline]
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// First half of an attach: may fail; hardware sees nothing. The core commits the step of a
    /// suspended space when the suspension ends, so that step is for later.
    #[inline]
    pub(super) fn prepare(
        &mut self,
        endpoint: &Endpoint<D>,
        domain: &Arc<Domain<D>>,
        when: When,
    ) -> Result {
        let when = match self.suspended {
            true => When::Later,
            false => when,
        };
        self.next = Some(Prepared::new(endpoint, self.selector, domain, when)?);
        Ok(())
    }

    /// Prepares to block the requests. Cannot fail.
    pub(super) fn prepare_blocked(&mut self, endpoint: &Endpoint<D>) {
        self.next = Some(Prepared::blocked(endpoint, self.selector));
    }

    /// Prepares the return to `domain` at the end of a claim or a loan.
    pub(super) fn prepare_return(
        &mut self,
        endpoint: &Endpoint<D>,
        domain: &Arc<Domain<D>>,
    ) -> Result {
        let back = Prepared::new(endpoint, self.selector, domain, When::Later)?;
        self.prepared_return = Some(back);
        Ok(())
    }

    /// Keeps the prepared step as the return.
    pub(super) fn keep_as_return(&mut self) {
        self.prepared_return = self.next.take();
    }

    /// Makes the prepared return the next step.
    pub(super) fn take_return(&mut self) {
        self.next = self.prepared_return.take();
    }

    /// Drops the prepared step.
    pub(super) fn drop_next(&mut self) {
        self.next = None;
    }

    /// Drops the prepared return.
    pub(super) fn drop_return(&mut self) {
        self.prepared_return = None;
    }

    /// If the space is suspended: keeps the prepared step, if there is one, for the end of the
    /// suspension.
    #[inline]
    pub(super) fn defer_if_suspended(&mut self) {
        if self.suspended {
            if let Some(next) = self.next.take() {
                self.back = Some(next);
            }
        }
    }

    /// Prepares to block the requests for a time, and to attach them to the same domain again. If
    /// the unit has failed they stay blocked.
    pub(super) fn suspend(&mut self, endpoint: &Endpoint<D>, domain: &Arc<Domain<D>>) -> Result {
        let back = match Prepared::new(endpoint, self.selector, domain, When::Later) {
            Err(_) if endpoint.unit().has_failed() => Prepared::blocked(endpoint, self.selector),
            back => back?,
        };
        let plan = D::prepare_blocked(endpoint.unit().data(), endpoint.data(), self.selector)?;
        self.next = Some(Prepared {
            plan,
            residence: None,
        });
        self.back = Some(back);
        self.suspended = true;
        Ok(())
    }

    /// Undoes [`suspend`](Self::suspend), if it was called and nothing was committed since.
    pub(super) fn drop_suspension(&mut self) {
        if self.next.take().is_some() {
            self.back = None;
            self.suspended = false;
        }
    }

    /// Prepares to block the requests for a time, with no prepared return. Cannot fail.
    pub(super) fn cut(&mut self, endpoint: &Endpoint<D>) {
        self.prepare_blocked(endpoint);
        self.suspended = true;
    }

    /// Prepares the return to `domain` at the end of the suspension.
    pub(super) fn prepare_resume(
        &mut self,
        endpoint: &Endpoint<D>,
        domain: &Arc<Domain<D>>,
    ) -> Result {
        let back = Prepared::new(endpoint, self.selector, domain, When::Later)?;
        self.back = Some(back);
        Ok(())
    }

    /// Whether the space is suspended and what the end of the suspension commits is not prepared.
    pub(super) fn is_cut(&self) -> bool {
        self.suspended && self.back.is_none()
    }

    /// Makes what the suspension deferred the next step, if it is prepared.
    pub(super) fn resume(&mut self) {
        if !self.is_cut() {
            self.suspended = false;
            self.next = self.back.take();
        }
    }

    #[inline]
    pub(super) fn is_stepping(&self) -> bool {
        self.next.is_some()
    }

    /// The prepared step: its plan, and what the plan is for.
    #[inline]
    pub(super) fn step(&mut self) -> Option<(&mut D::Plan, Option<Target<'_, D>>)> {
        let Prepared { plan, residence } = self.next.as_mut()?;
        Some((plan, residence.as_ref().and_then(Residence::target)))
    }

    /// After the commit: ends the old residence, since nothing is cached under its tag any more.
    #[inline]
    pub(super) fn finish_step(&mut self) {
        if let Some(Prepared { residence, .. }) = self.next.take() {
            self.attached = residence;
        }
    }
}
