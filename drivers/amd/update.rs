// SPDX-License-Identifier: GPL-2.0

//! How a device table entry changes while the unit may read it (AMD-Vi 2.2.2).
//!
//! A unit reads an entry in one transaction of 256 bits. It sees the whole entry as it is in memory
//! at one moment, and may cache it until the entry is invalidated. A CPU stores 64 bits at a time,
//! or 128 with a special instruction. So between two stores memory must hold an entry that does
//! what the old or the new one does, or that blocks. V = 0 passes all DMA, so every DTE keeps V =
//! 1.
//!
//! After the last store one invalidation of the entry follows, however many stores there were.
//! Until it has completed the unit may use the old entry, as a whole.

#![forbid(unsafe_code)]

use super::entries::{DeviceEntry, Words};

/// One store. The unit must see all earlier stores before it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// A store of one word.
    Word {
        /// The index of the word, 0 to 3.
        index: usize,
        /// The value.
        value: u64,
    },
    /// A store of the first two words at once.
    Pair {
        /// Their values.
        values: [u64; 2],
    },
}

/// The stores that change one entry into another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Update {
    stores: [Store; Self::MAX],
    count: usize,
    hitless: bool,
}

impl Update {
    /// Block, two words, the rest of the first two, unblock.
    const MAX: usize = 5;

    const VALID: u64 = 1 << 0;
    const TRANSLATION_VALID: u64 = 1 << 1;
    const GUEST: u64 = 1 << 55;
    /// In the third word: the levels of guest tables. They belong to the GCR3 table in the first
    /// two words.
    const GUEST_LEVELS: u64 = 3 << 54;

    /// The stores that change `old` into `new`. `pairs` says whether the CPU can store 128 bits at
    /// once.
    ///
    /// The update is hitless if possible. Otherwise the unit refuses requests between some stores.
    pub fn new(old: Words, new: Words, pairs: bool) -> Self {
        let mut this = Self {
            stores: [Store::Word { index: 0, value: 0 }; Self::MAX],
            count: 0,
            hitless: true,
        };
        let (first, second) = (old[0] != new[0], old[1] != new[1]);
        let levels = (old[2] ^ new[2]) & Self::GUEST_LEVELS != 0;
        // The unit uses all of the changed words in both entries, and they do not fit one store.
        let torn = Self::translates(old)
            && Self::translates(new)
            && (first && second && !pairs || levels && Self::is_guest(old) && Self::is_guest(new));
        // If the old entry has guest tables and the new one does not, the levels change once the
        // entry has no guest tables any more.
        let lower_first = !torn && levels && Self::is_guest(old);

        // V without TV. The old and the new entry treat system management messages the same.
        let blocked = DeviceEntry::blocked(old[1]);
        if torn {
            this.word(0, blocked);
            this.hitless = false;
        }
        if lower_first {
            this.lower(old, new, pairs);
        }
        for index in 2..4 {
            if old[index] != new[index] {
                this.word(index, new[index]);
            }
        }
        if torn {
            this.lower([blocked, old[1], new[2], new[3]], new, pairs);
        } else if !lower_first {
            this.lower(old, new, pairs);
        }
        this
    }

    /// Whether the unit uses what an entry says about translation.
    const fn translates(words: Words) -> bool {
        let both = Self::VALID | Self::TRANSLATION_VALID;
        words[0] & both == both
    }

    /// Whether the unit walks guest tables.
    const fn is_guest(words: Words) -> bool {
        Self::translates(words) && words[0] & Self::GUEST != 0
    }

    /// Adds the stores of the first two words, as far as they differ.
    fn lower(&mut self, old: Words, new: Words, pairs: bool) {
        match (old[0] != new[0], old[1] != new[1]) {
            (false, false) => {}
            (true, false) => self.word(0, new[0]),
            (false, true) => self.word(1, new[1]),
            (true, true) if pairs => self.push(Store::Pair {
                values: [new[0], new[1]],
            }),
            (true, true) if Self::translates(old) => {
                self.word(0, new[0]);
                self.word(1, new[1]);
            }
            (true, true) => {
                self.word(1, new[1]);
                self.word(0, new[0]);
            }
        }
    }

    fn word(&mut self, index: usize, value: u64) {
        self.push(Store::Word { index, value });
    }

    fn push(&mut self, store: Store) {
        if let Some(slot) = self.stores.get_mut(self.count) {
            *slot = store;
            self.count += 1;
        }
    }

    /// The stores, in their order; none if the entries are the same.
    pub fn stores(&self) -> &[Store] {
        self.stores.get(..self.count).unwrap_or_default()
    }

    /// Whether the unit allows, at all times, requests that both entries allow.
    // The host tests' model of a unit relies on it.
    #[allow(dead_code)]
    pub const fn is_hitless(&self) -> bool {
        self.hitless
    }
}
