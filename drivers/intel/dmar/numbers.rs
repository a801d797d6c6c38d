// SPDX-License-Identifier: GPL-2.0

//! Sets of named devices, by their numbers (8.8).

#![forbid(unsafe_code)]

/// A set of named devices: number n is bit n % 64 of word n / 64.
#[derive(Copy, Clone, Debug)]
pub struct Numbers([u64; 4]);

impl Numbers {
    /// The empty set.
    pub const NONE: Self = Self([0; 4]);

    /// Adds a device.
    pub fn add(&mut self, number: u8) {
        if let Some(word) = self.0.get_mut(usize::from(number / 64)) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether the device is in the set.
    pub fn has(&self, number: u8) -> bool {
        self.0
            .get(usize::from(number / 64))
            .is_some_and(|word| word & 1 << (number % 64) != 0)
    }
}
