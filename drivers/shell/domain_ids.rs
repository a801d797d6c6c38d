// SPDX-License-Identifier: GPL-2.0

//! Domain ids: 16-bit names of domains in one unit's caches.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{Mutex, MutexGuard},
};

use super::tags::Tags;
use crate::{driver::Tag, label::Label, log::log_warn};

/// The name of a domain in a unit's caches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DomainId(pub u16);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain id {}", self.0)
    }
}

impl Tag for DomainId {
    #[inline]
    fn pack(self) -> u64 {
        self.0.into()
    }

    #[inline]
    fn unpack(number: u64) -> Self {
        Self(number as u16)
    }
}

/// Which domain ids of a unit are in use.
#[pin_data]
pub(crate) struct DomainIds {
    #[pin]
    tags: Mutex<Tags<KVec<u64>>>,
}

impl DomainIds {
    /// Ids `0..limit` (65536 at most), of which the first `reserved` are never given out.
    pub(crate) fn new(limit: u32, reserved: u32) -> Result<impl PinInit<Self>> {
        let words = KVec::from_elem(0, Tags::<KVec<u64>>::words_for(limit), GFP_KERNEL)?;
        let tags = Tags::new(words, limit, reserved).ok_or(EINVAL)?;
        Ok(pin_init!(Self { tags <- new_mutex!(tags) }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Tags<KVec<u64>>> {
        self.tags.lock()
    }

    /// Takes an id of the unit called `name`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if all are in use (logged).
    pub(crate) fn take(&self, name: Label) -> Result<DomainId> {
        let id = self.lock().take();
        id.map(DomainId).ok_or_else(|| {
            log_warn!(
                "{}: all {} domain ids of the unit are in use; free a domain and try again",
                name,
                self.capacity(),
            );
            ENOSPC
        })
    }

    /// Gives `id` back.
    pub(crate) fn give_back(&self, id: DomainId) {
        let was_taken = self.lock().give_back(id.0);
        debug_assert!(was_taken);
    }

    /// How many ids can be in use at once.
    pub(crate) fn capacity(&self) -> u32 {
        self.lock().capacity()
    }

    /// Writes a line for debugfs.
    pub(crate) fn show(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let (used, capacity) = {
            let tags = self.lock();
            (tags.used(), tags.capacity())
        };
        writeln!(f, "domain ids: {used} of {capacity} in use")
    }
}
