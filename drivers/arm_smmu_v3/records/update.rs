// SPDX-License-Identifier: GPL-2.0

//! In which order the words of an entry are written, so that a unit that reads it meanwhile never
//! sees anything but the old entry, the new one, or one that terminates (SMMUv3 IHI 0070, 3.21.3).
//!
//! An entry has eight words. A unit reads each word as a whole, but the words at different times,
//! and it may keep what it read until a CMD_CFGI command and a CMD_SYNC are done. So between two
//! syncs it may have any mixture of what the words were before and after the writes in between.
//!
//! Which words matter depends on the entry itself: a stream table entry that bypasses does not look
//! at its stage 2 table, for one. That gives three kinds of updates:
//!
//! - No word that both entries look at changes: everything is written at once.
//! - One word does: first all that the old entry does not look at is written, then, with one write,
//!   that word, and at last all that the new entry does not look at.
//! - More than one does: the entry is made invalid first, then the rest is written, then the word
//!   with the valid bit. Transactions in between are terminated.

#![forbid(unsafe_code)]

use super::{
    bits::{bit, field, mask},
    ste::Words,
};

/// One step: some words to write, in any order, and then a sync: a CMD_CFGI command for the entry
/// and a CMD_SYNC.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Step {
    words: Words,
    changed: u8,
}

impl Step {
    /// The words that change: index and value. Each must be written with one 64-bit store.
    pub fn writes(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.words
            .iter()
            .copied()
            .enumerate()
            .filter(|(index, _)| self.changed >> index & 1 != 0)
    }

    /// The whole entry as it is after the step.
    pub const fn result(&self) -> &Words {
        &self.words
    }
}

/// How to get from one entry to another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Update {
    steps: [Step; Self::MAX_STEPS],
    count: usize,
    breaks: bool,
}

impl Update {
    /// No update has more steps.
    pub const MAX_STEPS: usize = 3;

    /// Plans the update of a stream table entry.
    ///
    /// EATS may change at a time of its own: while it does, the device's cache must be switched off
    /// in the device, so that nobody uses it. And MEV only says how much is reported.
    pub fn of_stream(old: &Words, new: &Words) -> Self {
        let mut free = [0; 8];
        free[1] = stream_free(old, new);
        Self::new(old, new, &stream_used(old), &stream_used(new), &free)
    }

    /// Plans the update of a context descriptor.
    pub fn of_context(old: &Words, new: &Words) -> Self {
        Self::new(old, new, &context_used(old), &context_used(new), &[0; 8])
    }

    fn new(old: &Words, new: &Words, old_used: &Words, new_used: &Words, free: &Words) -> Self {
        let mut this = Self {
            steps: [Step {
                words: *old,
                changed: 0,
            }; Self::MAX_STEPS],
            count: 0,
            breaks: false,
        };
        // The new entry in every bit that the old one does not look at.
        let mut ahead = *old;
        let mut critical = None;
        let mut different = 0;

        for index in 0..8 {
            // Bits that only one of the two entries looks at change when nobody does.
            let free = free[index] & old_used[index] & new_used[index];
            let kept = old_used[index] & !free;
            ahead[index] = old[index] & kept | new[index] & !kept;
            if (ahead[index] ^ new[index]) & new_used[index] != 0 {
                critical = Some(index);
                different += 1;
            }
        }

        match critical {
            None => {}
            Some(index) if different == 1 => {
                // Bits of that word that the old entry does not look at can wait for the write
                // that is needed anyway.
                ahead[index] = old[index];
                this.step(&ahead);
                ahead[index] = new[index];
                this.step(&ahead);
            }
            Some(_) => {
                let mut invalid = *old;
                invalid[0] = 0;
                this.breaks = invalid[0] != old[0];
                this.step(&invalid);
                let mut filled = *new;
                filled[0] = 0;
                this.step(&filled);
            }
        }
        this.step(new);
        this
    }

    /// Adds the step to `words`, if that is one.
    fn step(&mut self, words: &Words) {
        let before = match self.count.checked_sub(1) {
            Some(last) => self.steps[last].words,
            None => self.steps[0].words,
        };
        let mut changed = 0;
        for (index, (before, after)) in before.iter().zip(words).enumerate() {
            changed |= u8::from(before != after) << index;
        }
        if changed == 0 {
            return;
        }
        if let Some(step) = self.steps.get_mut(self.count) {
            *step = Step {
                words: *words,
                changed,
            };
            self.count += 1;
        }
    }

    /// The steps, in order; none if nothing changes.
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.count).unwrap_or_default()
    }

    /// Whether transactions in between are terminated although both entries let them pass.
    pub const fn breaks(&self) -> bool {
        self.breaks
    }
}

/// Valid, in word 0 of a stream table entry.
const STREAM_VALID: u64 = 1;
/// S2S in word 2 of a stream table entry.
const STALL2: u64 = 1 << 57;
/// MEV in word 1 of a stream table entry.
const MERGE: u64 = 1 << 19;
/// S2FWB in word 1 of a stream table entry.
const FORCE_WRITE_BACK: u64 = 1 << 25;
/// EATS in word 1 of a stream table entry; the value 1 gives full use.
const DEVICE_TLB: u64 = mask(29, 28);
const DEVICE_TLB_FULL: u64 = 1 << 28;
const DEVICE_TLB_SPLIT: u64 = 2 << 28;
/// SHCFG in word 1 of a stream table entry.
const SHARING: u64 = mask(45, 44);
/// S1Fmt, S1ContextPtr and S1CDMax in word 0 of a stream table entry.
const CONTEXTS: u64 = mask(5, 4) | mask(51, 6) | mask(63, 59);
/// S1DSS, S1CIR, S1COR, S1CSH, S1STALLD and STRW in word 1 of a stream table entry.
const CONTEXT_WALK: u64 = mask(7, 0) | 1 << 27 | mask(31, 30);
/// S2VMID in word 2 of a stream table entry.
const VMID: u64 = mask(15, 0);

/// The bits of a stream table entry that the unit looks at. A bit that is not known to be ignored
/// counts as one that is looked at (5.2).
fn stream_used(entry: &Words) -> Words {
    if entry[0] & STREAM_VALID == 0 {
        return [STREAM_VALID, 0, 0, 0, 0, 0, 0, 0];
    }
    let config = field(entry[0], 3, 1);
    let (stage1, stage2) = (bit(config, 0), bit(config, 1));
    let mut used = [u64::MAX; 8];

    // Abort: the rest is not looked at. Neither is it when the most significant bit of Config is
    // 0 with other values, but those are reserved.
    if config == 0 {
        return [STREAM_VALID | mask(3, 1), 0, 0, 0, 0, 0, 0, 0];
    }
    if !stage1 {
        used[0] &= !CONTEXTS;
        used[1] &= !CONTEXT_WALK;
    }
    if !stage2 {
        used[1] &= !FORCE_WRITE_BACK;
        // Stage 1 marks what it caches with a VMID.
        used[2] = if stage1 { VMID } else { 0 };
        used[3] = 0;
    }
    if !stage1 && !stage2 {
        used[1] &= !(DEVICE_TLB | MERGE);
    }
    // Stage 1 replaces the shareability of what it translates (13.5), but what it lets pass
    // because it has no substream id keeps it.
    if stage1 && !stage2 && entry[1] & 3 != 1 {
        used[1] &= !SHARING;
    }
    used
}

/// Bits in word 1 of a stream table entry that may change at any time.
fn stream_free(old: &Words, new: &Words) -> u64 {
    // Split use and full use have different bits, and what both together mean is nothing sensible;
    // and full use together with stalls at stage 2 is not a valid entry.
    if (old[1] | new[1]) & DEVICE_TLB_SPLIT != 0 || (old[2] | new[2]) & STALL2 != 0 {
        MERGE
    } else {
        MERGE | DEVICE_TLB_FULL
    }
}

/// Valid, in word 0 of a context descriptor.
const CONTEXT_VALID: u64 = 1 << 31;
/// EPD0 in word 0 of a context descriptor.
const NO_TABLE: u64 = 1 << 14;
/// T0SZ, TG0, IR0, OR0 and SH0 in word 0 of a context descriptor.
const TABLE_FORMAT: u64 = mask(13, 0);
/// TTB0 in word 1 of a context descriptor.
const TABLE: u64 = mask(51, 4);

/// The bits of a context descriptor that the unit looks at. A bit that is not known to be ignored
/// counts as one that is looked at (5.4).
fn context_used(entry: &Words) -> Words {
    if entry[0] & CONTEXT_VALID == 0 {
        return [CONTEXT_VALID, 0, 0, 0, 0, 0, 0, 0];
    }
    let mut used = [u64::MAX; 8];
    if entry[0] & NO_TABLE != 0 {
        used[0] &= !TABLE_FORMAT;
        used[1] &= !TABLE;
    }
    used
}
