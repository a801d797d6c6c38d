// SPDX-License-Identifier: GPL-2.0

//! Which entries of an interrupt table are reserved, and for which device.

#![forbid(unsafe_code)]

use core::ops::Range;

use crate::label::Label;

/// Entries in a row that a device has reserved.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The first entry.
    pub first: u16,
    /// How many there are.
    pub count: u16,
    /// The device.
    pub user: Label,
}

impl Reservation {
    const fn end(&self) -> u32 {
        self.first as u32 + self.count as u32
    }

    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = u16> {
        (u32::from(self.first)..self.end()).map(|index| index as u16)
    }
}

/// Where a new reservation fits among `taken`, which are in the order of their entries: its first
/// entry, and its place in the order. The first entry is a multiple of `count` rounded up to a
/// power of two, and the last one is in `allowed`. `None` if there is no such room, or if `count`
/// is 0.
pub fn fit(taken: &[Reservation], count: u16, allowed: Range<u32>) -> Option<(u16, usize)> {
    let align = u32::from(count).next_power_of_two();
    let count = match count {
        0 => return None,
        count => u32::from(count),
    };
    let mut first = allowed.start.next_multiple_of(align);
    for (place, next) in taken.iter().enumerate() {
        if first + count <= u32::from(next.first) {
            return (first + count <= allowed.end).then_some((first as u16, place));
        }
        first = first.max(next.end().next_multiple_of(align));
    }
    (first + count <= allowed.end).then_some((first as u16, taken.len()))
}
