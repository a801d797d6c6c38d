// SPDX-License-Identifier: GPL-2.0

//! The list of all domains, for debugfs and messages.
//!
//! It holds records, not domains, so a listed domain is not kept alive.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};

use crate::counter::Counter;

/// What debugfs and messages show of one domain.
pub struct DomainRecord {
    id: u64,
    kind: &'static str,
    driver: &'static str,
    /// Groups attached to the domain.
    groups: Atomic<i64>,
    mapped: Counter,
}

impl DomainRecord {
    /// The domain's number; never reused while the module is loaded.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// `paging`, `identity` or `blocked`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The vendor driver's name.
    pub fn driver(&self) -> &'static str {
        self.driver
    }

    /// Groups attached to the domain.
    pub fn groups(&self) -> i64 {
        self.groups.load(Relaxed)
    }

    /// Bytes mapped.
    pub fn mapped(&self) -> i64 {
        self.mapped.sum()
    }

    pub(crate) fn group_attached(&self) {
        self.groups.add(1, Relaxed);
    }

    pub(crate) fn group_detached(&self) {
        self.groups.add(-1, Relaxed);
    }

    /// The full barrier in this counter also orders two steps of a map: the page-table entry is
    /// written before the map reads the list of units that need a call.
    #[inline]
    pub(crate) fn count_mapped(&self, bytes: u64) {
        self.mapped.add(bytes as i64);
    }

    #[inline]
    pub(crate) fn count_unmapped(&self, bytes: u64) {
        self.mapped.add(-(bytes as i64));
    }
}

impl fmt::Display for DomainRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} domain {}", self.kind, self.id)
    }
}

/// All domains. `allocated` is the last id given out. It only grows, under the lock of `domains`.
#[pin_data]
pub struct Registry {
    #[pin]
    domains: Mutex<RBTree<u64, Arc<DomainRecord>>>,
    allocated: Atomic<u64>,
    freed: Atomic<u64>,
}

impl Registry {
    /// Creates an empty list.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                domains <- new_mutex!(RBTree::new()),
                allocated: Atomic::new(0),
                freed: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a new domain to the list for as long as the [`Listing`] lives.
    pub(crate) fn list(
        registry: &Arc<Self>,
        kind: &'static str,
        driver: &'static str,
    ) -> Result<Listing> {
        let mut domains = registry.domains.lock();
        let id = registry.allocated.load(Relaxed) + 1;
        let record = Arc::init(
            init!(DomainRecord {
                id,
                kind,
                driver,
                groups: Atomic::new(0),
                mapped <- Counter::new(),
            }),
            GFP_KERNEL,
        )?;
        domains.try_create_and_insert(id, record.clone(), GFP_KERNEL)?;
        registry.allocated.store(id, Relaxed);
        Ok(Listing {
            record,
            registry: registry.clone(),
        })
    }

    /// Domains allocated and freed since the module was loaded.
    pub fn counts(&self) -> (u64, u64) {
        (self.allocated.load(Relaxed), self.freed.load(Relaxed))
    }

    /// Calls `f` for each domain in the order of allocation, until `f` fails.
    pub fn for_each_domain<E>(
        &self,
        mut f: impl FnMut(&DomainRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        self.domains
            .lock()
            .values()
            .try_for_each(|record| f(record))
    }
}

/// A domain's entry in the list. Dropping it removes the entry.
pub(crate) struct Listing {
    record: Arc<DomainRecord>,
    registry: Arc<Registry>,
}

impl Listing {
    #[inline]
    pub(crate) fn record(&self) -> &DomainRecord {
        &self.record
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        let listed = self.registry.domains.lock().remove(&self.record.id);
        self.registry.freed.fetch_add(1, Relaxed);
        drop(listed);
    }
}
