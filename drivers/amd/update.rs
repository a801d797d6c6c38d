// SPDX-License-Identifier: GPL-2.0

//! How a device table entry changes while the unit may read it (AMD-Vi 2.2.2).
//!
//! A unit reads an entry in one transaction of 256 bits: it sees what is in memory at one moment,
//! all of it, and may keep that until it is told to forget it. A CPU stores 64 bits at a time, or
//! 128 with a special instruction. What is in memory between two stores must therefore be an entry
//! that is no worse than the old or the new one: it does what one of them does, or blocks. It must
//! never be invalid (V is 0), because that lets everything pass.
//!
//! After the last store one invalidation of the entry follows, however many stores there were:
//! until it has completed the unit may still use the old entry, as a whole.

#![forbid(unsafe_code)]

use super::entries::Words;

/// One store. Those before it must be visible before.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// Of one word.
    Word {
        /// Which one, 0 to 3.
        index: usize,
        /// The value.
        value: u64,
    },
    /// Of the first two words at once.
    Pair {
        /// Their values.
        values: [u64; 2],
    },
}

/// The stores that make one entry of another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Update {
    stores: [Store; Self::MAX],
    count: usize,
    hitless: bool,
}

impl Update {
    /// Block, two words, the rest of the first two, unblock.
    const MAX: usize = 5;

    /// V without TV: the first word of an entry that blocks.
    const BLOCKED: u64 = 1;
    const VALID: u64 = 1 << 0;
    const TRANSLATION_VALID: u64 = 1 << 1;
    const GUEST: u64 = 1 << 55;
    /// In the third word: the levels of guest tables, which belong to what the first words say.
    const GUEST_LEVELS: u64 = 3 << 54;

    /// The stores that make `new` of `old`, on a CPU that can store 128 bits at once or cannot
    /// (`pairs`).
    ///
    /// It is hitless if possible. Else requests are refused for the time of some stores.
    pub fn new(old: Words, new: Words, pairs: bool) -> Self {
        let mut this = Self {
            stores: [Store::Word { index: 0, value: 0 }; Self::MAX],
            count: 0,
            hitless: true,
        };
        let (first, second) = (old[0] != new[0], old[1] != new[1]);
        let levels = (old[2] ^ new[2]) & Self::GUEST_LEVELS != 0;
        // The words that do not fit one store, although both entries look at all of them.
        let torn = Self::translates(old)
            && Self::translates(new)
            && (first && second && !pairs || levels && Self::is_guest(old) && Self::is_guest(new));
        // While an entry does not translate, what else it says does not matter.
        let lower_first = !torn && levels && Self::is_guest(old);

        if torn {
            this.word(0, Self::BLOCKED);
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
            this.lower([Self::BLOCKED, old[1], new[2], new[3]], new, pairs);
        } else if !lower_first {
            this.lower(old, new, pairs);
        }
        this
    }

    /// Whether what an entry says about translation counts.
    const fn translates(words: Words) -> bool {
        let both = Self::VALID | Self::TRANSLATION_VALID;
        words[0] & both == both
    }

    /// Whether guest tables are walked.
    const fn is_guest(words: Words) -> bool {
        Self::translates(words) && words[0] & Self::GUEST != 0
    }

    /// Stores what differs in the first two words.
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

    /// Whether requests that both entries allow are allowed all the time.
    pub const fn is_hitless(&self) -> bool {
        self.hitless
    }
}
