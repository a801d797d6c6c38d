// SPDX-License-Identifier: GPL-2.0

//! What the core wants invalidated, as parts that one command each can name.

#![forbid(unsafe_code)]

use super::blocks::{Block, Cover, MAX_BLOCKS};
use crate::{addr::Iova, driver::Scope};

/// What one command invalidates.
#[derive(Copy, Clone)]
pub(crate) enum Part {
    /// All translations of the domain, and its page tables.
    Domain,
    /// The translations of a block of pages, and the page tables above them unless `leaves_only`.
    Block { block: Block, leaves_only: bool },
}

/// The parts of one invalidation.
pub(crate) enum Parts {
    /// One block, as most invalidations are.
    One(Part),
    /// Others.
    Cover { cover: Cover, leaves_only: bool },
}

impl Parts {
    /// The most parts of one invalidation.
    pub(crate) const MAX: usize = MAX_BLOCKS;

    /// The parts that cover `scope`, on a unit whose commands name 2^`max_order` pages at most, or
    /// whole domains only (`None`).
    #[inline]
    pub(crate) fn of(scope: Scope, max_order: Option<u8>) -> Self {
        let Scope::Range {
            first,
            last,
            tables,
        } = scope
        else {
            return Self::One(Part::Domain);
        };
        let (first, last, leaves_only) = (first.raw(), last.raw(), !tables);
        match max_order.and_then(|max_order| Block::exactly(first, last, max_order)) {
            Some(block) => Self::One(Part::Block { block, leaves_only }),
            None => Self::Cover {
                cover: Cover::new(first, last, max_order),
                leaves_only,
            },
        }
    }

    /// Calls `add` with each part.
    #[inline]
    pub(crate) fn for_each(&self, mut add: impl FnMut(Part)) {
        let (cover, leaves_only) = match self {
            Self::One(part) => return add(*part),
            Self::Cover { cover, leaves_only } => (cover, *leaves_only),
        };
        match cover.blocks() {
            [] => add(Part::Domain),
            blocks => {
                for &block in blocks {
                    add(Part::Block { block, leaves_only });
                }
            }
        }
    }
}

/// What a unit that caches absent entries has to forget when `first..=last` was mapped. Absent
/// entries are cached at any level, and the mapping may have added tables.
#[inline]
pub(crate) const fn absent_before(first: Iova, last: Iova) -> Scope {
    Scope::Range {
        first,
        last,
        tables: true,
    }
}
