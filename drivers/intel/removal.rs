// SPDX-License-Identifier: GPL-2.0

//! Removes the entries of ids, and invalidates what the unit has cached of them; `change` says in
//! which order.

#![forbid(unsafe_code)]

use super::{
    change::{forget_context, forget_pasid, forget_translations, CacheTag},
    hardware::Hardware,
    invalidation::{ContextScope, PasidScope},
    queue::{Batch, Failure},
    tables::CachedEntry,
};
use crate::requester::RequesterId;

/// How many domains are remembered one by one, by PASID. The endpoints of a group come from one
/// domain, except those that were blocked alone, and those that were attached for several PASIDs.
const MAX_DOMAINS: usize = 4;

/// Removes the entries of one commit.
#[must_use]
pub(super) struct Removal<'a> {
    hardware: &'a Hardware,
    batch: Batch<'a>,
    /// The first `count` of them.
    domains: [CacheTag; MAX_DOMAINS],
    count: usize,
    /// There are more domains than [`MAX_DOMAINS`], or an entry that this driver has not written.
    everything: bool,
}

impl<'a> Removal<'a> {
    pub(super) fn new(hardware: &'a Hardware) -> Self {
        Self {
            hardware,
            batch: hardware.batch(),
            domains: [CacheTag::NONE; MAX_DOMAINS],
            count: 0,
            everything: false,
        }
    }

    /// Blocks requests of `id` with `pasid` (0 for those without one), unless they are blocked.
    pub(super) fn remove(&mut self, id: RequesterId, pasid: u32) {
        let tables = &self.hardware.tables;
        let cached = tables.cached(id, pasid);
        if cached == CachedEntry::Nothing {
            return;
        }
        let context = tables.clear(id, pasid);
        match cached {
            CachedEntry::Under(tag) => {
                if context {
                    self.batch.push(forget_context(id.raw() as u16, tag.domain));
                }
                self.add(tag);
            }
            CachedEntry::Unknown | CachedEntry::Nothing => {
                self.batch.context(ContextScope::Global);
                self.everything = true;
            }
        }
    }

    fn add(&mut self, tag: CacheTag) {
        if self.domains[..self.count].contains(&tag) {
            return;
        }
        match self.domains.get_mut(self.count) {
            Some(place) => {
                *place = tag;
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
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let drain = self.hardware.queue().drain();
        let tags = self.domains.into_iter().take(self.count);
        if self.hardware.mode().is_scalable() {
            if self.everything {
                self.batch.pasid_cache(PasidScope::Global);
            } else {
                for tag in tags.clone() {
                    self.batch.push(forget_pasid(tag.domain, tag.pasid));
                }
            }
        }
        self.batch.fence();
        if self.everything {
            self.batch.all_translations();
        } else {
            for tag in tags {
                self.batch.push(forget_translations(tag, drain));
            }
        }
        self.batch.run()
    }
}
