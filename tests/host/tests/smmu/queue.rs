// SPDX-License-Identifier: GPL-2.0

//! The command queue as processors and a unit use it, with what the driver knows of positions
//! (`unit/positions.rs`), and with atomic words and a lock of the caller's.
//!
//! The steps of a processor are those of `unit/command_queue.rs`. The unit takes commands in order
//! (SMMUv3 IHI 0070, 3.5.1), and stops at one that it does not understand until that error is
//! acknowledged (7.1).

use super::{
    records::queue_index::{CommandConsumer, Ring},
    unit::positions::{message, not_yet, Positions, Progress, Submitted, Word},
};

/// Atomic words, and a lock.
pub trait Platform {
    type Word: Atom;
    type Lock;

    fn lock(state: State) -> Self::Lock;
    fn with<R>(lock: &Self::Lock, f: impl FnOnce(&mut State) -> R) -> R;
    /// What the caller reads later comes after what it has read.
    fn fence();
}

/// A word in memory, or a register.
pub trait Atom: Word {
    fn new(value: u64) -> Self;

    /// Writes it, in no order with other words.
    fn put(&self, value: u64);
}

/// A command that the unit executes: it passes the number on.
pub const fn good(number: u32) -> u64 {
    GOOD | number as u64
}

/// A command that the unit does not understand.
pub const BAD: u64 = 1 << 62;
const GOOD: u64 = 1 << 63;
const SYNC: u64 = 1 << 61;
/// The error code of an unknown command (7.1, CERROR_ILL).
const ILLEGAL: u64 = 1;
const ERROR_SHIFT: u32 = 24;

/// What the lock protects.
pub struct State {
    positions: Positions<Vec<u64>>,
    /// The error that was acknowledged last.
    acknowledged: u64,
}

/// The queue, its registers, and what the unit writes.
pub struct Queue<P: Platform> {
    progress: Progress<P::Word>,
    state: P::Lock,
    slots: Vec<P::Word>,
    messages: Vec<P::Word>,
    has_messages: bool,
    producer: P::Word,
    consumer: P::Word,
    error: P::Word,
    acknowledged: P::Word,
}

impl<P: Platform> Queue<P> {
    /// An empty one with 2^`shift` slots. With `has_messages` the unit writes a message for each
    /// CMD_SYNC.
    pub fn new(shift: u8, has_messages: bool) -> Self {
        let ring = Ring::new(shift);
        let count = ring.entries() as usize;
        let word = || P::Word::new(0);
        let words = || (0..count).map(|_| word()).collect::<Vec<_>>();
        Self {
            progress: Progress::new(ring, word),
            state: P::lock(State {
                positions: Positions::new(vec![0; count], vec![0; count]),
                acknowledged: 0,
            }),
            slots: words(),
            messages: words(),
            has_messages,
            producer: word(),
            consumer: word(),
            error: word(),
            acknowledged: word(),
        }
    }

    /// A processor submits commands and a CMD_SYNC, if there is room.
    pub fn submit(&self, commands: &[u64]) -> Option<Submitted> {
        P::with(&self.state, |State { positions, .. }| {
            self.has_room(positions, commands.len() as u64 + 1)
                .then(|| self.fill(positions, commands))
        })
    }

    fn has_room(&self, positions: &mut Positions<Vec<u64>>, needed: u64) -> bool {
        if positions.has_room(&self.progress, needed) {
            return true;
        }
        let consumer = CommandConsumer(self.consumer.acquire() as u32);
        positions.look_for_room(&self.progress, |sync| match self.has_messages {
            true => self.has_message(sync),
            false => self.progress.is_before(consumer, sync),
        });
        // The slots are filled after the unit has read them.
        P::fence();
        positions.has_room(&self.progress, needed)
    }

    fn fill(&self, positions: &mut Positions<Vec<u64>>, commands: &[u64]) -> Submitted {
        for command in commands {
            self.slot(positions.producer()).put(*command);
            positions.append();
        }
        let sync = positions.producer();
        self.message(sync).put(not_yet(sync).into());
        self.slot(sync).put(SYNC | u64::from(message(sync)));
        positions.append();
        let submitted = positions.submit(&self.progress);
        let index = self.progress.ring().index(positions.producer());
        self.producer.release(index.into());
        submitted
    }

    fn slot(&self, position: u64) -> &P::Word {
        &self.slots[self.progress.slot(position)]
    }

    fn message(&self, position: u64) -> &P::Word {
        &self.messages[self.progress.slot(position)]
    }

    fn has_message(&self, position: u64) -> bool {
        self.message(position).get() == message(position).into()
    }

    fn is_done(&self, position: u64) -> bool {
        if !self.has_messages {
            let consumer = CommandConsumer(self.consumer.acquire() as u32);
            return self.progress.is_before(consumer, position);
        }
        let is_done = self.has_message(position) || self.progress.is_retired(position);
        if is_done {
            P::fence();
        }
        is_done
    }

    /// A processor looks whether the unit has completed `batch`. Returns whether the unit has
    /// refused a command of it; `None` if it has not completed it.
    pub fn look(&self, batch: &Submitted) -> Option<bool> {
        if !self.is_done(batch.sync) {
            self.handle_error();
            return None;
        }
        if self.progress.has_refused_none_since(batch) {
            return Some(false);
        }
        Some(P::with(&self.state, |State { positions, .. }| {
            positions.retire(&self.progress, batch.sync + 1);
            positions.may_be_refused(&self.progress, batch)
        }))
    }

    /// If the unit has stopped at a command, a CMD_SYNC replaces the command, and the unit goes on.
    fn handle_error(&self) {
        let error = self.error.acquire();
        if error != 0 {
            P::with(&self.state, |state| self.repair(state, error));
        }
    }

    fn repair(&self, state: &mut State, error: u64) {
        if error == state.acknowledged {
            return;
        }
        let consumer = CommandConsumer(self.consumer.acquire() as u32);
        let position = state.positions.position_of(&self.progress, consumer);
        let position = position.expect("the unit stops where a command is");
        state.positions.refuse(&self.progress, position);
        self.slot(position).put(SYNC | u64::from(message(position)));
        state.acknowledged = error;
        self.acknowledged.release(error);
    }

    /// The lock.
    pub fn lock(&self) -> &P::Lock {
        &self.state
    }
}

/// A unit, and how far it is.
#[derive(Default)]
pub struct Unit {
    at: u64,
    /// How many errors it has reported. Software acknowledges an error by its number.
    errors: u64,
    /// Whether it waits for that.
    is_stopped: bool,
}

impl Unit {
    /// Executes the next command, and passes its number to `execute`. Returns whether there was one
    /// that the unit understands.
    pub fn step<P: Platform>(&mut self, queue: &Queue<P>, execute: impl FnOnce(u32)) -> bool {
        let (ring, at) = (queue.progress.ring(), self.at);
        if self.is_stopped && queue.acknowledged.acquire() != self.errors {
            return false;
        }
        self.is_stopped = false;
        if queue.producer.acquire() == ring.index(at).into() {
            return false;
        }
        let command = queue.slot(at).get();
        match command & (GOOD | SYNC | BAD) {
            GOOD => execute(command as u32),
            SYNC if queue.has_messages => queue.message(at).release(u64::from(command as u32)),
            SYNC => {}
            BAD => {
                let reason = ILLEGAL << ERROR_SHIFT | u64::from(ring.index(at));
                queue.consumer.release(reason);
                self.errors += 1;
                queue.error.release(self.errors);
                self.is_stopped = true;
                return false;
            }
            _ => panic!("the unit finds {command:#x} at {at}"),
        }
        queue.consumer.release(ring.index(at + 1).into());
        self.at = at + 1;
        true
    }
}
