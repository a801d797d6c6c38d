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

/// Invalidates `scope` on a unit whose commands name 2^`max_order` pages at most, or whole domains
/// only (`None`): calls `execute` with what `command` makes of the parts. Returns its result.
#[inline(always)]
pub(crate) fn invalidate<C: Copy, R>(
    scope: Scope,
    max_order: Option<u8>,
    command: impl Fn(Part) -> C,
    execute: impl FnOnce(&[C]) -> R,
) -> R {
    let Scope::Range {
        first,
        last,
        tables,
    } = scope
    else {
        return execute(&[command(Part::Domain)]);
    };
    let (first, last, leaves_only) = (first.raw(), last.raw(), !tables);
    let block = |block| command(Part::Block { block, leaves_only });

    // One block, as in most invalidations.
    match max_order.and_then(|max_order| Block::exactly(first, last, max_order)) {
        Some(exactly) => execute(&[block(exactly)]),
        None => {
            let cover = Cover::new(first, last, max_order);
            invalidate_cover(&cover, command(Part::Domain), block, execute)
        }
    }
}

/// Invalidates the blocks of `cover`, or `domain`.
#[cold]
fn invalidate_cover<C: Copy, R>(
    cover: &Cover,
    domain: C,
    command: impl Fn(Block) -> C,
    execute: impl FnOnce(&[C]) -> R,
) -> R {
    let mut commands = [domain; MAX_BLOCKS];
    let blocks = cover.blocks();
    for (to, &block) in commands.iter_mut().zip(blocks) {
        *to = command(block);
    }
    // Without blocks, the first command is that of the domain.
    execute(&commands[..blocks.len().clamp(1, MAX_BLOCKS)])
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
