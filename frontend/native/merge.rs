// SPDX-License-Identifier: GPL-2.0

//! One list of the reserved regions of several devices.

#![forbid(unsafe_code)]

/// A region, `first..=last`, of one kind.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
    /// What a device does there, as C writes it.
    pub prot: i32,
    /// What the region is for, as C numbers it.
    pub kind: u32,
}

impl Region {
    /// The place in the list: by address, then by kind.
    fn key(&self) -> (u64, u32) {
        (self.first, self.kind)
    }

    /// Whether `next`, which does not start before this region, overlaps or continues it.
    fn reaches(&self, next: &Self) -> bool {
        self.kind == next.kind && next.first <= self.last.saturating_add(1)
    }
}

/// Puts `regions` in order, and makes those of one kind that overlap or touch each other one.
/// Returns how many are left, at the front.
///
/// Regions of different kinds may overlap: each is listed.
pub fn merge(regions: &mut [Region]) -> usize {
    regions.sort_unstable_by_key(Region::key);
    let mut kept = 0;
    for index in 0..regions.len() {
        let region = regions[index];
        // Regions of other kinds may lie between two that belong together.
        let same = regions[..kept]
            .iter_mut()
            .rev()
            .find(|other| other.kind == region.kind);
        match same {
            Some(other) if other.reaches(&region) => other.last = other.last.max(region.last),
            _ => {
                regions[kept] = region;
                kept += 1;
            }
        }
    }
    kept
}
