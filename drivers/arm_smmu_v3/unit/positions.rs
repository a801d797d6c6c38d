// SPDX-License-Identifier: GPL-2.0

//! Which commands are in the command queue, and how far the unit is with them.
//!
//! Commands are counted from the first one on, in 64 bits, so that a count never comes again: a
//! *position*. The queue's lock protects [`Positions`]. Processors that wait for the unit read
//! [`Progress`] without the lock.
//!
//! Pure: the caller brings storage and atomic words. The kernel's are in
//! [`command_queue`](super::command_queue); a model checker has its own (tests/host, `smmu_queue`).

#![forbid(unsafe_code)]

use core::ops::DerefMut;

use super::super::records::queue_index::{CommandConsumer, Ring};

/// An atomic word of 64 bits.
pub trait Word {
    /// Reads it (relaxed).
    fn get(&self) -> u64;

    /// Reads it. Later reads of the caller come after this one (acquire).
    fn acquire(&self) -> u64;

    /// Writes it. Earlier writes of the caller come before this one (release).
    fn release(&self, value: u64);
}

/// What the message of a CMD_SYNC says. The word for it says [`not_yet`] before.
#[inline]
pub fn message(position: u64) -> u32 {
    position as u32
}

/// What is in the word for the message of a CMD_SYNC before the message arrives.
#[inline]
pub fn not_yet(position: u64) -> u32 {
    !message(position)
}

/// What [`Positions`] says of how far the unit is, for processors that do not hold the lock. A
/// processor writes it with the lock held.
pub struct Progress<W> {
    ring: Ring,
    /// [`Positions::head`].
    head: W,
    /// The position up to which the unit was told of commands.
    submitted: W,
    /// [`Positions::refusals`].
    refusals: W,
}

impl<W: Word> Progress<W> {
    /// That of an empty queue. `word` makes words that are 0.
    pub fn new(ring: Ring, word: impl Fn() -> W) -> Self {
        Self {
            ring,
            head: word(),
            submitted: word(),
            refusals: word(),
        }
    }

    /// The ring.
    #[inline]
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// The slot of the command at `position`. Also the index of a CMD_SYNC's number in
    /// [`Positions::syncs`].
    #[inline]
    pub fn slot(&self, position: u64) -> usize {
        self.ring.entry(self.ring.index(position))
    }

    /// Whether the command at `position` is before the place where the unit was when `consumer` was
    /// read.
    #[inline]
    pub fn is_before(&self, consumer: CommandConsumer, position: u64) -> bool {
        // In this order, and after the consumer index: see `Ring::has_passed`.
        let submitted = self.submitted.acquire();
        let head = self.head.acquire();
        self.ring.has_passed(head, submitted, consumer, position)
    }

    /// Whether somebody has noticed that the unit has completed the command at `position`.
    #[inline]
    pub fn is_retired(&self, position: u64) -> bool {
        self.head.get() > position
    }

    /// Whether the unit has refused no command since `batch` was submitted. The caller has seen
    /// that the CMD_SYNC of `batch` has completed.
    #[inline]
    pub fn has_refused_none_since(&self, batch: &Submitted) -> bool {
        self.refusals.get() == batch.refusals
    }
}

/// Commands that were handed to the unit together.
#[derive(Copy, Clone)]
pub struct Submitted {
    /// The position of the first.
    pub first: u64,
    /// The position of the CMD_SYNC, which is the last.
    pub sync: u64,
    /// How many commands the unit had refused when they were submitted.
    pub refusals: u64,
}

/// What is in the queue. `L` is storage of as many words as the ring has slots.
///
/// # Invariants
///
/// 1. The unit has completed, or refused, all before `head`, as far as somebody has noticed.
///    `head <= unsubmitted <= producer`, and `producer - head` is at most the number of slots.
/// 2. From `oldest` up to, not including, `issued` are the numbers of the submitted CMD_SYNCs that
///    are not before `head`. `syncs` has their positions, each at the slot of its number.
pub struct Positions<L> {
    head: u64,
    producer: u64,
    /// Where the commands begin that the unit was not told of yet.
    unsubmitted: u64,
    syncs: L,
    oldest: u64,
    issued: u64,
    /// For each slot: the position after that of the last command there that the unit has refused,
    /// or 0.
    refused: L,
    /// How many commands the unit has refused.
    refusals: u64,
}

impl<L: DerefMut<Target = [u64]>> Positions<L> {
    /// Those of an empty queue. The words of both lists are 0.
    pub fn new(syncs: L, refused: L) -> Self {
        Self {
            head: 0,
            producer: 0,
            unsubmitted: 0,
            syncs,
            oldest: 0,
            issued: 0,
            refused,
            refusals: 0,
        }
    }

    /// The position of the next command.
    #[inline]
    pub fn producer(&self) -> u64 {
        self.producer
    }

    /// Whether `needed` slots are free.
    #[inline]
    pub fn has_room<W: Word>(&self, progress: &Progress<W>, needed: u64) -> bool {
        let entries = u64::from(progress.ring.entries());
        self.producer - self.head + needed <= entries
    }

    /// Frees the slots of what the unit has completed. `is_done` says whether it has completed the
    /// CMD_SYNC at a position, which nobody has noticed yet.
    pub fn look_for_room<W: Word>(
        &mut self,
        progress: &Progress<W>,
        is_done: impl Fn(u64) -> bool,
    ) {
        while self.oldest != self.issued {
            let sync = self.oldest_sync(progress);
            if !is_done(sync) {
                break;
            }
            self.retire(progress, sync + 1);
        }
    }

    /// The caller has filled the slot of the next command, which is free.
    #[inline]
    pub fn append(&mut self) {
        self.producer += 1;
    }

    /// The last command that was appended is a CMD_SYNC, and the unit is about to be told of it and
    /// of all before it.
    #[inline]
    pub fn submit<W: Word>(&mut self, progress: &Progress<W>) -> Submitted {
        let (first, sync) = (self.unsubmitted, self.producer - 1);
        let number = progress.slot(self.issued);
        self.syncs[number] = sync;
        // INVARIANT: The list has the CMD_SYNC.
        self.issued += 1;
        self.unsubmitted = self.producer;
        progress.submitted.release(self.producer);
        Submitted {
            first,
            sync,
            refusals: self.refusals,
        }
    }

    /// The oldest CMD_SYNC that nobody has seen completed, without the commands before it. There is
    /// one.
    pub fn oldest<W: Word>(&self, progress: &Progress<W>) -> Submitted {
        let sync = self.oldest_sync(progress);
        Submitted {
            first: sync + 1,
            sync,
            refusals: self.refusals,
        }
    }

    fn oldest_sync<W: Word>(&self, progress: &Progress<W>) -> u64 {
        self.syncs[progress.slot(self.oldest)]
    }

    /// The position of the command at which the unit is; `None` if it is not one that was
    /// submitted.
    pub fn position_of<W: Word>(
        &self,
        progress: &Progress<W>,
        consumer: CommandConsumer,
    ) -> Option<u64> {
        progress
            .ring
            .position(self.head, self.unsubmitted, consumer)
    }

    /// The unit has completed all before `end`.
    pub fn retire<W: Word>(&mut self, progress: &Progress<W>, end: u64) {
        while self.oldest != self.issued && self.oldest_sync(progress) < end {
            self.oldest += 1;
        }
        if end > self.head {
            // INVARIANT: All CMD_SYNCs before `end` are out of the list.
            self.head = end;
            progress.head.release(end);
        }
    }

    /// What was submitted counts as completed.
    pub fn forget<W: Word>(&mut self, progress: &Progress<W>) {
        // INVARIANT: Nothing is between the two, and no CMD_SYNC is in the list.
        self.head = self.producer;
        self.unsubmitted = self.producer;
        self.oldest = self.issued;
        progress.head.release(self.producer);
        progress.submitted.release(self.producer);
    }

    /// The unit has refused the command at `position`. Whoever sees its batch complete sees that
    /// there was a refusal, because the unit goes on only afterwards.
    pub fn refuse<W: Word>(&mut self, progress: &Progress<W>, position: u64) {
        self.refused[progress.slot(position)] = position + 1;
        self.refusals += 1;
        progress.refusals.release(self.refusals);
    }

    /// Whether the unit may have refused a command of `batch`. A later command in the same slot may
    /// have been refused as well. Then it is not known.
    pub fn may_be_refused<W: Word>(&self, progress: &Progress<W>, batch: &Submitted) -> bool {
        self.refusals != batch.refusals
            && (batch.first..batch.sync + 1)
                .any(|position| self.refused[progress.slot(position)] > position)
    }
}
