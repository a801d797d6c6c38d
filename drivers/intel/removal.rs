// SPDX-License-Identifier: GPL-2.0

//! Context entries that are taken out, and what the unit has to forget with them.
//!
//! While one of the entries is cached the unit may walk through it and cache what it finds under
//! the entry's domain id. So what is cached of a domain is invalidated only when no entry is left
//! that leads there (VT-d 6.2.2.1), and a fence keeps the unit from doing it earlier (6.5.2.8).

#![forbid(unsafe_code)]

use super::{
    entries::ContextEntry,
    hardware::Hardware,
    invalidation::{ContextScope, TlbScope},
    queue::{Batch, Failure},
    tables::Tables,
};
use crate::requester::RequesterId;

/// Domain ids that are remembered one by one. The endpoints of a group come from one domain, but
/// for those that were blocked alone.
const FEW: usize = 4;

/// Takes entries out.
#[must_use]
pub(super) struct Removal<'a> {
    tables: &'a Tables,
    batch: Batch<'a>,
    domains: [u16; FEW],
    count: usize,
    /// There are more domains than fit, or an entry does not say which one.
    everything: bool,
}

impl<'a> Removal<'a> {
    pub(super) fn new(hardware: &'a Hardware) -> Self {
        Self {
            tables: &hardware.tables,
            batch: hardware.batch(),
            domains: [0; FEW],
            count: 0,
            everything: false,
        }
    }

    /// Blocks `id`, if it is not.
    pub(super) fn remove(&mut self, id: RequesterId) {
        let old = self.tables.read(id);
        if old == ContextEntry::BLOCKED {
            return;
        }
        self.tables.clear(id);
        match ContextEntry::decode(old) {
            Some(ContextEntry { domain, .. }) => {
                let source = id.raw() as u16;
                self.batch.context(ContextScope::Device { domain, source });
                self.add(domain);
            }
            None => {
                self.batch.context(ContextScope::Global);
                self.everything = true;
            }
        }
    }

    fn add(&mut self, domain: u16) {
        if self.domains[..self.count].contains(&domain) {
            return;
        }
        match self.domains.get_mut(self.count) {
            Some(place) => {
                *place = domain;
                self.count += 1;
            }
            None => self.everything = true,
        }
    }

    /// Invalidates what was cached of the entries and their domains; returns when done.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.batch.fence();
        if self.everything {
            self.batch.iotlb(TlbScope::Global);
        } else {
            for &domain in &self.domains[..self.count] {
                self.batch.iotlb(TlbScope::Domain { domain });
            }
        }
        self.batch.run()
    }
}
