// SPDX-License-Identifier: GPL-2.0

//! Tags: the scarce names of domains in one unit's caches (VT-d and AMD domain ids, ASIDs, VMIDs).
//!
//! Pure: the storage comes from outside, so the same code runs in the kernel and in host tests.

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
    /// Where the next search starts: a freed id stays unused as long as possible, so that a
    /// mistake in an invalidation shows as a fault rather than as another domain's memory.
    next: usize,
}

impl<S: DerefMut<Target = [u64]>> Tags<S> {
    /// Words of storage for `limit` ids.
    pub const fn words_for(limit: u32) -> usize {
        (limit as usize).div_ceil(BITS)
    }

    /// Ids `0..limit` (65536 at most), of which the first `reserved` are never given out.
    ///
    /// `None` if `words` is not of the right length, or there would be no id.
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
        // INVARIANT: exactly the reserved bits and those beyond the limit are set.
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

    /// Whether `id` is in use, reserved, or none at all.
    pub fn is_taken(&self, id: u16) -> bool {
        let id = usize::from(id);
        self.words
            .get(id / BITS)
            .is_none_or(|word| word >> (id % BITS) & 1 != 0)
    }

    /// Takes an id; `None` if all are in use.
    pub fn take(&mut self) -> Option<u16> {
        let count = self.words.len();
        // The word where the search starts comes up twice: first above `next`, last as a whole.
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

    /// Gives `id` back. Returns whether it was in use; if not, nothing changes.
    #[must_use]
    pub fn give_back(&mut self, id: u16) -> bool {
        if u32::from(id) < self.reserved || u32::from(id) >= self.limit || !self.is_taken(id) {
            return false;
        }
        self.set(usize::from(id), false);
        self.used -= 1;
        true
    }

    /// Ids in use, the reserved ones not counted.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Ids that can be in use at once.
    pub fn capacity(&self) -> u32 {
        self.limit - self.reserved
    }
}
