// SPDX-License-Identifier: GPL-2.0

//! The command buffer (2.4).
//!
//! A [`Batch`] is a number of commands and one completion wait at its end, which makes the unit
//! store a number to memory when everything before it is done. The numbers only grow, and the unit
//! takes commands in order: a number says that all batches up to that one are done. So the buffer
//! is locked, with interrupts off, only while a batch is put in; while one waits others can follow.
//!
//! # When the unit stops (2.4.1, 2.5.6, 2.5.7)
//!
//! A unit that does not understand a command, or cannot read it, stops there. The command is
//! replaced by one that invalidates everything, which is more than whoever waits for it has asked
//! for, and the unit is told to go on. If it refuses that as well, or a completion wait, or does
//! not finish a batch in [`TIMEOUT`], it never gets another one.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    io::Io,
    prelude::*,
    sync::{new_spinlock_irq, SpinLockIrq, SpinLockIrqGuard},
    time::Delta,
};

use super::{
    commands::{Command, Pages, Space},
    mmio::Registers,
    regs::{COMMAND_HEAD, COMMAND_TAIL, STATUS},
};
use crate::{
    drivers::shell::{
        queue::{Completions, GivenUp, Number, Slots},
        unit_memory::Exposed,
        wait::Wait,
    },
    log::log_warn,
    pgtable::encrypted,
    requester::RequesterId,
};

/// Commands in the buffer, as a power of 2; one place always stays free, since a full buffer looks
/// like an empty one.
const SLOTS_LG2: u32 = 9;
const SLOTS: usize = 1 << SLOTS_LG2;
/// Bytes of a command.
const COMMAND_BYTES: usize = 16;
/// How long a batch may take. No device's answer is waited for, so a unit that works needs
/// microseconds.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How long a unit that was told to take commands may take to do so.
const GRACE: Delta = Delta::from_millis(10);
/// How often memory is polled for each look at the status register.
const POLLS: usize = 256;

/// Why a queue does not work any more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// A batch did not complete in time.
    Timeout {
        /// Where the unit has stopped.
        head: u32,
        /// What it was given up to.
        tail: u32,
        /// The status register.
        status: u32,
    },
    /// The unit refuses a command that everybody has to understand.
    Refused {
        /// The command.
        command: Command,
    },
    /// It had failed before, or does not run.
    Earlier,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { head, tail, status } => write!(
                f,
                "its command buffer stands still (head {head:#x}, tail {tail:#x}, status \
                 {status:#x})"
            ),
            Self::Refused { command } => write!(
                f,
                "it does not understand the command {:#018x} {:#018x}",
                command.0[0], command.0[1]
            ),
            Self::Earlier => f.write_str("its command buffer has failed"),
        }
    }
}

/// What the queue has done, for people.
#[derive(Copy, Clone, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) commands: u64,
    pub(super) repairs: u64,
}

/// What becomes of commands.
#[derive(Copy, Clone, PartialEq, Eq)]
enum State {
    /// The unit does not know the buffer.
    Off,
    /// It is off and caches nothing, or will forget it before it translates: there is nothing to
    /// do.
    Asleep,
    /// It takes them.
    Running,
}

/// The commands that were put in.
///
/// # Invariants
///
/// 1. `tail < SLOTS` and `head < SLOTS`.
/// 2. The unit has taken all commands before `head`.
struct Ring {
    head: usize,
    tail: usize,
    /// What the last completion wait stores.
    sequence: u64,
    state: State,
    counts: Counts,
}

/// The memory that the unit reads commands from and stores numbers to.
struct Shared {
    slots: Slots<2>,
    completions: Completions<u64>,
}

impl Shared {
    fn new(node: i32) -> Result<Self> {
        Ok(Self {
            slots: Slots::new(node, SLOTS)?,
            completions: Completions::new(node)?,
        })
    }
}

/// The command buffer, and where the unit stores numbers to.
#[pin_data]
pub(super) struct Queue {
    shared: Exposed<Shared>,
    /// Whether the unit can be told to forget everything with one command.
    invalidates_all: bool,
    /// Whether the unit never gets another command.
    failed: GivenUp,
    #[pin]
    ring: SpinLockIrq<Ring>,
}

impl Queue {
    /// An empty queue that no unit knows of.
    pub(super) fn new(node: i32, invalidates_all: bool) -> Result<impl PinInit<Self>> {
        let shared = Exposed::new("a command buffer", Shared::new(node)?);
        Ok(pin_init!(Self {
            shared,
            invalidates_all,
            failed: GivenUp::new(),
            ring <- new_spinlock_irq!(Ring {
                head: 0,
                tail: 0,
                sequence: 0,
                state: State::Off,
                counts: Counts::default(),
            }),
        }))
    }

    /// Tells the unit, which takes no commands now, where the buffer is. Until
    /// [`run`](Self::run) batches are done at once.
    pub(super) fn hand_over(&self, registers: &Registers) {
        let mut ring = self.ring.lock();
        // INVARIANT: The unit starts at the beginning.
        ring.head = 0;
        ring.tail = 0;
        ring.state = State::Asleep;
        self.failed.clear();
        self.shared.hand_over();
        registers.set_commands(self.shared.slots.addr(), SLOTS_LG2);
        registers.io().write_reg(COMMAND_HEAD::from(0));
        registers.io().write_reg(COMMAND_TAIL::from(0));
    }

    /// Has the unit take commands, and what is put in from now on carried out.
    pub(super) fn run(&self, registers: &Registers) {
        let mut ring = self.ring.lock();
        registers.control(|control| control.with_commands(true));
        ring.state = State::Running;
    }

    /// Lets the unit finish what it was given, and has it take no more. Batches are done at once
    /// until the next [`run`](Self::run), and then everything is invalidated.
    ///
    /// # Errors
    ///
    /// If it does not finish.
    pub(super) fn sleep(&self, registers: &Registers) -> Result<(), Failure> {
        let mut ring = self.ring.lock();
        let result = match ring.state {
            State::Running if !self.has_failed() => {
                let last = ring.sequence;
                self.poll(registers, last, || None)
            }
            _ => Ok(()),
        };
        registers.control(|control| control.with_commands(false));
        ring.state = State::Asleep;
        result
    }

    /// The unit does not use the buffer any more.
    pub(super) fn take_back(&self) {
        self.ring.lock().state = State::Off;
        self.shared.take_back();
    }

    /// The unit cannot be used any more, for `reason`: batches fail at once. Returns the reason, or
    /// that there was one before.
    pub(super) fn give_up(&self, reason: Failure) -> Failure {
        self.failed.set(reason, Failure::Earlier)
    }

    pub(super) fn counts(&self) -> Counts {
        self.ring.lock().counts
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_set()
    }

    /// An empty batch. The buffer is locked, and interrupts are off, until it is run.
    pub(super) fn batch<'a>(&'a self, registers: &'a Registers) -> Batch<'a> {
        let ring = self.ring.lock();
        let result = match ring.state {
            State::Off => Err(Failure::Earlier),
            _ if self.has_failed() => Err(Failure::Earlier),
            _ => Ok(()),
        };
        Batch {
            ring,
            queue: self,
            registers,
            count: 0,
            result,
        }
    }

    /// Waits until the unit has done all batches up to number `sequence`. Calls `repair` when it
    /// has stopped; that says whether it is past help.
    fn poll(
        &self,
        registers: &Registers,
        sequence: u64,
        mut repair: impl FnMut() -> Option<Failure>,
    ) -> Result<(), Failure> {
        let io = registers.io();
        let wait = Wait::begin(TIMEOUT);
        loop {
            let is_done = || self.shared.completions.is_done(sequence);
            let Err(in_vain) = wait.look(POLLS, is_done) else {
                return Ok(());
            };
            if self.has_failed() {
                // Somebody else has seen it fail.
                return Err(Failure::Earlier);
            }
            let status = io.read(STATUS);
            if !status.commands() && in_vain.has_lasted(GRACE) {
                if let Some(failure) = repair() {
                    return Err(self.give_up(failure));
                }
            }
            if in_vain.is_late() {
                return Err(self.give_up(Failure::Timeout {
                    head: io.read(COMMAND_HEAD).into(),
                    tail: io.read(COMMAND_TAIL).into(),
                    status: status.into(),
                }));
            }
        }
    }

    /// Replaces the command that the unit has stopped at, and has it go on. Says whether it is past
    /// help.
    fn repair(&self, ring: &mut Ring, registers: &Registers) -> Option<Failure> {
        let io = registers.io();
        if io.read(STATUS).commands() {
            // Somebody else was here first.
            return None;
        }
        let head = u32::from(io.read(COMMAND_HEAD)) as usize / COMMAND_BYTES % SLOTS;
        let command = Command(self.shared.slots.read(head));
        if head != ring.tail {
            let is_vital =
                command == Command::all() || command.0[0] >> 60 == Command::wait(0, 0).0[0] >> 60;
            if is_vital || !self.invalidates_all {
                return Some(Failure::Refused { command });
            }
            log_warn!(
                "a unit does not understand the command {:#018x} {:#018x}; everything is \
                 invalidated instead",
                command.0[0],
                command.0[1],
            );
            self.shared.slots.write(head, Command::all().0);
        }
        ring.counts.repairs += 1;
        registers.control(|control| control.with_commands(false));
        registers.control(|control| control.with_commands(true));
        None
    }
}

/// Commands that are executed together.
///
/// A batch that is dropped without [`run`](Self::run) has done an unknown part of it; none of the
/// driver's functions does that.
#[must_use]
pub(super) struct Batch<'a> {
    ring: SpinLockIrqGuard<'a, Ring>,
    queue: &'a Queue,
    registers: &'a Registers,
    count: usize,
    result: Result<(), Failure>,
}

impl Batch<'_> {
    /// Adds an invalidation of the device table entry of `id`.
    pub(super) fn entry(&mut self, id: RequesterId) {
        self.push(Command::device_entry(id.raw() as u16));
    }

    /// Adds an invalidation of translations under `domain`.
    pub(super) fn pages(&mut self, domain: u16, space: Space, pages: Pages, leaves_only: bool) {
        self.push(Command::pages(domain, space, pages, leaves_only));
    }

    /// Has what is added from now on wait for what was added before.
    pub(super) fn fence(&mut self) {
        self.push(Command::fence());
    }

    /// Adds an invalidation of everything; the unit has to know the command.
    pub(super) fn all(&mut self) {
        self.push(Command::all());
    }

    fn push(&mut self, command: Command) {
        self.count += 1;
        self.put(command);
    }

    fn put(&mut self, Command(words): Command) {
        if self.result.is_err() || self.ring.state != State::Running {
            return;
        }
        self.result = self.make_room();
        if self.result.is_err() {
            return;
        }
        let ring = &mut *self.ring;
        self.queue.shared.slots.write(ring.tail, words);
        // INVARIANT: The remainder is below `SLOTS`.
        ring.tail = (ring.tail + 1) % SLOTS;
        ring.counts.commands += 1;
    }

    /// Has the unit look at what was put in.
    fn ring_doorbell(&self) {
        // The write of a register is ordered after the writes to memory before it.
        let tail = (self.ring.tail * COMMAND_BYTES) as u32;
        self.registers.io().write_reg(COMMAND_TAIL::from(tail));
    }

    /// Waits until there is a free place.
    fn make_room(&mut self) -> Result<(), Failure> {
        let next = (self.ring.tail + 1) % SLOTS;
        if next != self.ring.head {
            return Ok(());
        }
        let io = self.registers.io();
        let wait = Wait::begin(TIMEOUT);
        self.ring_doorbell();
        loop {
            let mut head = next;
            let has_room = || {
                head = u32::from(io.read(COMMAND_HEAD)) as usize / COMMAND_BYTES % SLOTS;
                next != head
            };
            let Err(in_vain) = wait.look(1, has_room) else {
                // INVARIANT: The unit says so.
                self.ring.head = head;
                return Ok(());
            };
            let status = io.read(STATUS);
            let failure = match !status.commands() && in_vain.has_lasted(GRACE) {
                true => self.queue.repair(&mut self.ring, self.registers),
                false => None,
            };
            let failure = failure.or_else(|| {
                in_vain.is_late().then(|| Failure::Timeout {
                    head: (head * COMMAND_BYTES) as u32,
                    tail: io.read(COMMAND_TAIL).into(),
                    status: status.into(),
                })
            });
            if let Some(failure) = failure {
                return Err(self.queue.give_up(failure));
            }
        }
    }

    /// Executes the batch; everything in it is done when this returns `Ok`. An empty one costs
    /// nothing.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        if self.count == 0 {
            return Ok(());
        }
        if self.ring.state == State::Asleep {
            return self.result;
        }
        self.result?;
        let sequence = self.ring.sequence.next();
        self.ring.sequence = sequence;
        self.ring.counts.batches += 1;
        let status = encrypted::seen(self.queue.shared.completions.addr()).raw();
        self.put(Command::wait(status, sequence));
        self.result?;
        self.ring_doorbell();

        let Self {
            ring,
            queue,
            registers,
            ..
        } = self;
        drop(ring);
        queue.poll(registers, sequence, || {
            queue.repair(&mut queue.ring.lock(), registers)
        })
    }
}
