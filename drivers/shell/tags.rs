// SPDX-License-Identifier: GPL-2.0

//! Tags: the scarce names of domains in one unit's caches (VT-d and AMD domain ids, ASIDs, VMIDs).
//!
//! Pure: the caller passes the storage, so the same code runs in the kernel and in host tests.

#![forbid(unsafe_code)]

use core::ops::DerefMut;

const BITS: usize = u64::BITS as usize;

/// Which ids of a unit are in use.
///
/// # Invariants
///
/// Bit i of word w is set if and only if id 64·w + i is in use, reserved, or beyond the last id.
pub struct Tags<S> {
    words: S,
    limit: u32,
    reserved: u32,
    used: u32,
    /// Where the next search starts. A freed id stays unused as long as possible, so that a missing
    /// invalidation causes a fault rather than access to another domain's memory.
    next: usize,
}

impl<S: DerefMut<Target = [u64]>> Tags<S> {
    /// The number of storage words for `limit` ids.
    pub const fn words_for(limit: u32) -> usize {
        (limit as usize).div_ceil(BITS)
    }

    /// Ids `0..limit` (65536 at most), of which the first `reserved` are never allocated.
    ///
    /// `None` if `words` does not have the right length, or if no id would be left.
    pub fn new(mut words: S, limit: u32, reserved: u32) -> Option<Self> {
        if limit > 1 << 16 || reserved >= limit || words.len() != Self::words_for(limit) {
            return None;
        }
        words.fill(0);
        let mut this = Self {
            words,
            limit,
            reserved,
            used: 0,
            next: 0,
        };
        let end = this.words.len() * BITS;
        for id in (0..reserved as usize).chain(limit as usize..end) {
            this.set(id, true);
        }
        // INVARIANT: exactly the bits of the reserved ids and those beyond the last id are set.
        Some(this)
    }

    fn set(&mut self, id: usize, used: bool) {
        if let Some(word) = self.words.get_mut(id / BITS) {
            if used {
                *word |= 1 << (id % BITS);
            } else {
                *word &= !(1 << (id % BITS));
            }
        }
    }

    /// Whether `id` is in use, reserved, or beyond the last id.
    pub fn is_taken(&self, id: u16) -> bool {
        let id = usize::from(id);
        self.words
            .get(id / BITS)
            .is_none_or(|word| word >> (id % BITS) & 1 != 0)
    }

    /// Allocates an id; `None` if all are in use.
    pub fn take(&mut self) -> Option<u16> {
        let count = self.words.len();
        // The loop visits the word where the search starts twice: first the bits from `next` on, at
        // the end the whole word.
        for step in 0..=count {
            let at = (self.next / BITS + step) % count;
            let mut free = !*self.words.get(at)?;
            if step == 0 {
                free &= u64::MAX << (self.next % BITS);
            }
            if free != 0 {
                let id = at * BITS + free.trailing_zeros() as usize;
                self.set(id, true);
                self.used += 1;
                self.next = (id + 1) % (count * BITS);
                return u16::try_from(id).ok();
            }
        }
        None
    }

    /// Frees `id`. Returns whether it was in use; if not, nothing changes.
    #[must_use]
    pub fn give_back(&mut self, id: u16) -> bool {
        if u32::from(id) < self.reserved || u32::from(id) >= self.limit || !self.is_taken(id) {
            return false;
        }
        self.set(usize::from(id), false);
        self.used -= 1;
        true
    }

    /// The number of ids in use, without the reserved ones.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// The number of ids that can be in use at once.
    pub fn capacity(&self) -> u32 {
        self.limit - self.reserved
    }
}
