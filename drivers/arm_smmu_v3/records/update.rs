// SPDX-License-Identifier: GPL-2.0

//! The order in which the words of an STE are written. A unit that reads the STE meanwhile must see
//! the old STE, the new one, or one that terminates transactions (SMMUv3 IHI 0070, 3.21.3).
//!
//! An STE has eight words. The unit reads each word at once, but different words at different
//! times, and it may cache them until a CMD_CFGI_STE and a CMD_SYNC have completed. So between two
//! syncs it may see any mixture of the words before and after the writes in between.
//!
//! Which words the unit uses depends on the STE: one that bypasses has no page table, for example.
//! The steps depend on how many of the words that the unit uses in both STEs differ:
//!
//! - None: write everything at once.
//! - One: write the words unused by the old STE, then that word, then the rest.
//! - More: write V = 0, then everything but the word with V, then that word. In between the unit
//!   terminates transactions.

#![forbid(unsafe_code)]

use super::{
    bits::{bit, field, mask},
    ste::Words,
};

/// One step: words to write, in any order, and then a CMD_CFGI_STE and a CMD_SYNC.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Step {
    words: Words,
    changed: u8,
}

impl Step {
    /// The words that change, by index. Each must be written with one 64-bit store.
    pub fn writes(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.words
            .iter()
            .copied()
            .enumerate()
            .filter(|(index, _)| self.changed >> index & 1 != 0)
    }

    /// The whole STE after the step. For host tests.
    #[cfg(test)]
    pub const fn result(&self) -> &Words {
        &self.words
    }

    /// The step from `before` to `after`, if they differ.
    fn between(before: &Words, after: &Words) -> Option<Self> {
        let mut changed = 0;
        for index in 0..8 {
            changed |= u8::from(before[index] != after[index]) << index;
        }
        (changed != 0).then_some(Self {
            words: *after,
            changed,
        })
    }

    /// The first step on the way from the STE `old` to the STE `new`; `None` if nothing is left to
    /// change. The STE after it is the next `old`.
    ///
    /// Two bits never make the STE invalid in between. MEV may change at any time, because it only
    /// says how many events the unit records. EATS = 1 may change because ATS is disabled in the
    /// device meanwhile. It is cleared before the new STE is in force and set after that, so that
    /// the unit accepts translated transactions only as one of the two STEs does.
    pub fn first(old: &Words, new: &Words) -> Option<Self> {
        if old == new {
            return None;
        }
        let (old_used, new_used) = (used(old), used(new));
        let mut free = [0; 8];
        free[1] = free_in_word_1(old, new);
        // The old STE, with the bits of the new one where the unit does not use the old ones.
        let mut ahead = *old;
        let mut critical = None;
        let mut different = 0;

        for index in 0..8 {
            // A bit that only one of the two STEs uses changes while it is unused.
            let free = free[index] & old_used[index] & new_used[index];
            let set_last = free & DEVICE_TLB_FULL & !old[index];
            let kept = old_used[index] & !free | set_last;
            ahead[index] = old[index] & kept | new[index] & !kept;
            if (ahead[index] ^ new[index]) & new_used[index] & !free != 0 {
                critical = Some(index);
                different += 1;
            }
        }

        match critical {
            None => Self::between(old, new),
            Some(index) if different == 1 => {
                // The unused bits of that word can wait for its own write.
                ahead[index] = old[index];
                Self::between(old, &ahead).or_else(|| {
                    ahead[index] = new[index];
                    Self::between(old, &ahead)
                })
            }
            Some(_) => {
                let mut invalid = *old;
                invalid[0] = 0;
                Self::between(old, &invalid)
            }
        }
    }
}

/// The most steps from one STE to another.
pub const MAX_STEPS: usize = 3;

/// All steps from the STE `old` to the STE `new`.
pub fn steps(old: &Words, new: &Words) -> impl Iterator<Item = Step> {
    let (mut now, new) = (*old, *new);
    let next = move || {
        let step = Step::first(&now, &new)?;
        now = step.words;
        Some(step)
    };
    core::iter::from_fn(next).take(MAX_STEPS)
}

/// V in word 0.
const VALID: u64 = 1;
/// S2S in word 2.
const STALL2: u64 = 1 << 57;
/// MEV in word 1.
const MERGE: u64 = 1 << 19;
/// S2FWB in word 1.
const FORCE_WRITE_BACK: u64 = 1 << 25;
/// EATS in word 1; 1 is full ATS, 2 is split-stage ATS.
const DEVICE_TLB: u64 = mask(29, 28);
const DEVICE_TLB_FULL: u64 = 1 << 28;
const DEVICE_TLB_SPLIT: u64 = 2 << 28;
/// SHCFG in word 1.
const SHARING: u64 = mask(45, 44);
/// S1Fmt, S1ContextPtr and S1CDMax in word 0.
const CONTEXTS: u64 = mask(5, 4) | mask(51, 6) | mask(63, 59);
/// S1DSS, S1CIR, S1COR, S1CSH, S1STALLD and STRW in word 1.
const CONTEXT_WALK: u64 = mask(7, 0) | 1 << 27 | mask(31, 30);
/// S2VMID in word 2.
const VMID: u64 = mask(15, 0);

/// The bits of an STE that the unit may use: all but those that it is known to ignore (5.2).
fn used(ste: &Words) -> Words {
    if ste[0] & VALID == 0 {
        return [VALID, 0, 0, 0, 0, 0, 0, 0];
    }
    let config = field(ste[0], 3, 1);
    let (stage1, stage2) = (bit(config, 0), bit(config, 1));
    let mut used = [u64::MAX; 8];

    // Abort: the unit ignores the rest. So it does if bit 2 of Config is 0 and others are not, but
    // such values are reserved.
    if config == 0 {
        return [VALID | mask(3, 1), 0, 0, 0, 0, 0, 0, 0];
    }
    if !stage1 {
        used[0] &= !CONTEXTS;
        used[1] &= !CONTEXT_WALK;
    }
    if !stage2 {
        used[1] &= !FORCE_WRITE_BACK;
        // Stage 1 tags what it caches with a VMID.
        used[2] = if stage1 { VMID } else { 0 };
        used[3] = 0;
    }
    if !stage1 && !stage2 {
        used[1] &= !(DEVICE_TLB | MERGE);
    }
    // Stage 1 replaces the shareability of translated transactions (13.5). With S1DSS = 1 those
    // without a substream id bypass it, and keep theirs.
    if stage1 && !stage2 && ste[1] & 3 != 1 {
        used[1] &= !SHARING;
    }
    used
}

/// The bits in word 1 that may change although the unit uses them.
fn free_in_word_1(old: &Words, new: &Words) -> u64 {
    // Full and split-stage ATS are different bits, and both together are reserved. ATS with stalls
    // at stage 2 is not valid either.
    if (old[1] | new[1]) & DEVICE_TLB_SPLIT != 0 || (old[2] | new[2]) & STALL2 != 0 {
        MERGE
    } else {
        MERGE | DEVICE_TLB_FULL
    }
}
