// SPDX-License-Identifier: GPL-2.0

//! How a range of addresses becomes invalidation commands (SMMUv3 IHI 0070, 4.4.1 and 4.4.1.1).

#![forbid(unsafe_code)]

use super::command::{Command, Extent, Pages, Tag};
use crate::pgtable::armv8::GranuleSize;

/// The most range commands for one range. More would cost more than one command for the whole
/// domain. These are enough for every range of less than 2^20 granules.
pub const MAX_RANGES: u8 = 4;

/// A range to invalidate.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
    /// The granule of the tables.
    pub granule: GranuleSize,
    /// Binary logarithm of the bytes of every leaf entry in the range, or of a contiguous run of
    /// entries that the unit may cache as one; `None` if it is not known, or if they differ.
    pub leaf: Option<u8>,
    /// Whether cached table descriptors may stay, because only leaf entries changed.
    pub leaves_only: bool,
}

impl Range {
    /// The level of its leaf entries, if commands may have it.
    fn level(&self) -> Option<u8> {
        let shift = self.granule.lg2() as u8;
        // A table has 2^(shift - 3) entries, and level 3 has the smallest pages.
        let above = self.leaf?.checked_sub(shift)? / (shift - 3);
        let level = 3u8.checked_sub(above).filter(|level| *level > 0)?;
        // Level 1 has no leaf entries with 16 KiB granules.
        (self.leaves_only && !(self.granule == GranuleSize::K16 && level == 1)).then_some(level)
    }
}

/// How to invalidate a range.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// One command for each page or block.
    Single {
        /// Address in the first one.
        address: u64,
        /// How many.
        count: u64,
        /// Binary logarithm of the bytes of each.
        shift: u8,
        /// Whether cached table descriptors may stay.
        leaves_only: bool,
    },
    /// Range commands for the granules from `address` on.
    Ranges {
        /// Address of the first granule.
        address: u64,
        /// How many granules.
        count: u64,
        /// The granule.
        granule: GranuleSize,
        /// The level of all leaf entries, if it is known.
        level: Option<u8>,
        /// Whether cached table descriptors may stay.
        leaves_only: bool,
    },
    /// The whole domain.
    Domain,
}

impl Plan {
    /// Plans the invalidation of the granules that `range` touches. `ranges` says whether the unit
    /// has range commands (IDR3.RIL).
    ///
    /// - With range commands: these granules, if [`MAX_RANGES`] commands can name them. One granule
    ///   is added if a command would name a single granule of an unknown level.
    /// - Without: one command for each leaf entry, if there are fewer than a table has entries.
    /// - Otherwise the whole domain.
    pub fn new(range: &Range, ranges: bool) -> Self {
        let last = range.last.max(range.first);
        if ranges {
            Self::in_ranges(range, last)
        } else {
            Self::one_by_one(range, last)
        }
    }

    fn one_by_one(range: &Range, last: u64) -> Self {
        let granule = range.granule.lg2() as u8;
        let shift = range.leaf.unwrap_or(granule).clamp(granule, 63);
        let address = range.first >> shift << shift;
        let between = (last >> shift) - (range.first >> shift);
        if between + 1 >= 1 << (granule - 3) {
            return Self::Domain;
        }
        Self::Single {
            address,
            count: between + 1,
            shift,
            leaves_only: range.leaves_only,
        }
    }

    fn in_ranges(range: &Range, last: u64) -> Self {
        let shift = range.granule.lg2();
        let level = range.level();
        // A command with a level needs the address of a leaf entry.
        let inside = match (level, range.leaf) {
            (Some(_), Some(leaf)) => (1 << leaf) - 1,
            _ => 0,
        };
        let (mut first, last) = ((range.first & !inside) >> shift, (last | inside) >> shift);
        // Granule numbers have 52 bits at most.
        let mut count = last - first + 1;
        if count & 31 == 1 && level.is_none() {
            // A range command cannot name one granule of an unknown level (4.4.1.1), and commands
            // without a range have errata on units with range commands. So the range includes the
            // other granule of the aligned pair.
            first &= !1;
            count += 1;
        }
        // SCALE reaches to 31 and NUM has 5 bits, so bit 35 is the highest.
        if count >> 36 != 0 || Groups(count).count() > usize::from(MAX_RANGES) {
            return Self::Domain;
        }
        Self::Ranges {
            address: first << shift,
            count,
            granule: range.granule,
            level,
            leaves_only: range.leaves_only,
        }
    }

    /// The commands, for the domain with this tag.
    pub fn commands(self, tag: Tag) -> impl Iterator<Item = Command> {
        let (single, ranges, domain) = match self {
            Self::Single {
                address,
                count,
                shift,
                leaves_only,
            } => {
                let pages = (0..count).map(move |n| Pages {
                    address: address + (n << shift),
                    extent: Extent::One,
                    leaves_only,
                });
                (Some(pages), None, None)
            }
            Self::Ranges {
                address,
                count,
                granule,
                level,
                leaves_only,
            } => {
                let mut address = address;
                let pages = Groups(count).map(move |(count, scale)| {
                    let pages = Pages {
                        address,
                        extent: Extent::Range {
                            count,
                            scale,
                            granule,
                            level,
                        },
                        leaves_only,
                    };
                    // The range may end at the end of the address space.
                    address = address.wrapping_add(u64::from(count) << scale << granule.lg2());
                    pages
                });
                (None, Some(pages), None)
            }
            Self::Domain => (None, None, Some(Command::invalidate_domain(tag))),
        };

        single
            .into_iter()
            .flatten()
            .chain(ranges.into_iter().flatten())
            .map(move |pages| Command::invalidate_pages(tag, pages))
            .chain(domain)
    }
}

/// A number as a sum of count · 2^scale, with counts of 1 to 31. Iterates over the (count, scale)
/// pairs, the smallest scale first.
#[derive(Clone, Debug)]
struct Groups(u64);

impl Iterator for Groups {
    type Item = (u8, u8);

    fn next(&mut self) -> Option<(u8, u8)> {
        if self.0 == 0 {
            return None;
        }
        let scale = self.0.trailing_zeros();
        let count = self.0 >> scale & 31;
        self.0 -= count << scale;
        Some((count as u8, scale as u8))
    }
}
