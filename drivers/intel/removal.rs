// SPDX-License-Identifier: GPL-2.0

//! Removes context entries, and invalidates what the unit has cached of them.
//!
//! As long as the unit has an entry cached, it may walk the domain's page table and cache
//! translations under the domain's id. So the IOTLB of a domain is invalidated after all entries
//! that lead to the domain (VT-d 6.2.2.1), and a fence keeps the unit from reordering the two
//! (6.5.2.8).

#![forbid(unsafe_code)]

use super::{
    entries::ContextEntry,
    hardware::Hardware,
    invalidation::{ContextScope, TlbScope},
    queue::{Batch, Failure},
    tables::Tables,
};
use crate::requester::RequesterId;

/// How many domain ids are remembered one by one. The endpoints of a group come from one domain,
/// except those that were blocked alone.
const MAX_DOMAINS: usize = 4;

/// Removes the entries of one commit.
#[must_use]
pub(super) struct Removal<'a> {
    tables: &'a Tables,
    batch: Batch<'a>,
    domains: [u16; MAX_DOMAINS],
    count: usize,
    /// There are more domains than [`MAX_DOMAINS`], or an entry that this driver has not written.
    everything: bool,
}

impl<'a> Removal<'a> {
    pub(super) fn new(hardware: &'a Hardware) -> Self {
        Self {
            tables: &hardware.tables,
            batch: hardware.batch(),
            domains: [0; MAX_DOMAINS],
            count: 0,
            everything: false,
        }
    }

    /// Blocks `id`, unless it is blocked.
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

    /// Invalidates what the unit has cached of the entries and their domains. Returns when that is
    /// done.
    ///
    /// # Errors
    ///
    /// Why the unit did not do it.
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
