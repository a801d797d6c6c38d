// SPDX-License-Identifier: GPL-2.0

//! The command buffer (2.4).
//!
//! A [`Batch`] is a number of commands and one completion wait at its end. The completion wait
//! makes the unit store a number to memory when everything before it is done. The unit takes
//! commands in order and the numbers only grow: a number says that its batch and all earlier ones
//! are done. The buffer is locked, with interrupts off, only while a batch is submitted. While one
//! processor waits others can submit.
//!
//! # When the unit stops (2.4.1, 2.5.6, 2.5.7)
//!
//! A unit that does not understand a command, or cannot read it, stops there. The command is
//! replaced by one that invalidates everything, which includes what the submitter has asked for,
//! and the unit is told to go on. A unit that refuses that as well, or a completion wait, or that
//! does not finish a batch within [`TIMEOUT`], never gets another batch.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{io::Io, prelude::*, time::Delta};

use super::{
    commands::{Command, Pages, Space},
    mmio::Registers,
    regs::{COMMAND_HEAD, COMMAND_TAIL, STATUS},
};
use crate::{
    drivers::shell::{
        queue::{GivenUp, Index, Number, QueueMemory},
        unit_memory::{Exposed, Off},
        wait::{soon, wait_until, Wait},
    },
    ffi::raw_spinlock::{new_raw_spinlock, RawSpinLock, RawSpinLockGuard},
    log::log_warn,
    pgtable::encrypted,
    requester::RequesterId,
};

/// Commands in the buffer, as a power of 2. One slot always stays free: with all of them in use,
/// head and tail would be as in an empty buffer.
const SLOTS_LG2: u32 = 9;
const SLOTS: usize = 1 << SLOTS_LG2;
/// Bytes of a command.
const COMMAND_BYTES: usize = 16;
/// How long a batch may take. The unit waits for no device, so it needs microseconds if it works.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How long a unit may take to invalidate everything, by up to 2^17 commands, after a restart.
const RESTART_TIMEOUT: Delta = Delta::from_secs(4);
/// How long a unit may take to start taking commands after it was told to.
const GRACE: Delta = Delta::from_millis(10);
/// How often memory is polled for each look at the status register.
const POLLS: usize = 256;

/// Why a queue does not work any more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A batch did not complete in time.
    Timeout {
        /// The head register: where the unit has stopped.
        head: u32,
        /// The tail register: the end of what was submitted.
        tail: u32,
        /// The status register.
        status: u32,
    },
    /// The unit refuses a command that every unit has to understand.
    Refused {
        /// The command.
        command: Command,
    },
    /// The queue had failed before, or the unit does not know it.
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

/// What the queue has done, for debugfs.
#[derive(Copy, Clone, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) commands: u64,
    pub(super) repairs: u64,
}

/// What the unit does with the buffer.
#[derive(Copy, Clone, PartialEq, Eq)]
enum BufferState {
    /// The unit does not know the buffer: batches fail.
    Unset,
    /// The unit takes no commands, and everything is invalidated before it translates again:
    /// batches are done at once.
    Stopped,
    /// The unit takes commands.
    Running,
}

/// A slot of the buffer.
type Slot = Index<SLOTS>;

/// The commands that were submitted.
///
/// # Invariants
///
/// The unit has taken all commands but those from `head` up to, not including, `tail`.
struct Ring {
    head: Slot,
    tail: Slot,
    /// The number of the last completion wait.
    sequence: u64,
    state: BufferState,
    counts: Counts,
}

impl Ring {
    /// How many slots are free, as far as is known.
    #[inline]
    fn room(&self) -> usize {
        SLOTS - 1 - self.head.up_to(self.tail)
    }

    /// Tells the unit of all commands up to the tail. Returns what the tail register says.
    #[inline]
    fn tell(&self, registers: &Registers) -> u32 {
        let tail = (self.tail.get() * COMMAND_BYTES) as u32;
        // The kernel orders the write of a register after earlier writes to memory.
        registers.io().write_reg(COMMAND_TAIL::from(tail));
        tail
    }
}

/// The slot that `head` means.
fn slot_at(head: COMMAND_HEAD) -> Slot {
    Slot::new(u32::from(head) as usize / COMMAND_BYTES)
}

/// The command buffer of one unit.
#[pin_data]
pub(super) struct Queue {
    memory: Exposed<QueueMemory<2, u64>>,
    /// Whether the unit has the command that invalidates everything.
    invalidates_all: bool,
    /// Whether the unit never gets another command.
    failed: GivenUp,
    /// The kernel's interrupt layer calls with a raw spin lock held (see `interrupt_table`).
    #[pin]
    ring: RawSpinLock<Ring>,
}

impl Queue {
    /// An empty queue that no unit uses.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(node: i32, invalidates_all: bool) -> Result<impl PinInit<Self>> {
        let memory = Exposed::new("a command buffer", QueueMemory::new(node, SLOTS)?);
        Ok(pin_init!(Self {
            memory,
            invalidates_all,
            failed: GivenUp::new(),
            ring <- new_raw_spinlock!(Ring {
                head: Slot::FIRST,
                tail: Slot::FIRST,
                sequence: 0,
                state: BufferState::Unset,
                counts: Counts::default(),
            }),
        }))
    }

    /// Tells the unit, which takes no commands now, where the buffer is. Batches are done at once
    /// until [`run`](Self::run).
    pub(super) fn hand_over(&self, registers: &Registers) {
        let mut ring = self.ring.lock();
        // INVARIANT: The unit starts at the beginning.
        ring.head = Slot::FIRST;
        ring.tail = Slot::FIRST;
        ring.state = BufferState::Stopped;
        self.failed.clear();
        self.place(registers);
    }

    /// Tells the unit, which takes no commands now, where the buffer is. It starts at the
    /// beginning.
    fn place(&self, registers: &Registers) {
        self.memory.hand_over();
        registers.set_commands(self.memory.slots.addr(), SLOTS_LG2);
        registers.io().write_reg(COMMAND_HEAD::from(0));
        registers.io().write_reg(COMMAND_TAIL::from(0));
    }

    /// Has the unit, whose queue has failed, start the buffer anew with `commands` and nothing
    /// else. Returns when they are done. Batches go on to fail. The buffer is locked meanwhile,
    /// with interrupts off.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the unit does not answer.
    pub(super) fn restart(
        &self,
        registers: &Registers,
        commands: impl Iterator<Item = Command>,
    ) -> Result {
        let mut guard = self.ring.lock();
        let ring = &mut *guard;
        registers.control(|control| control.with_commands(false));
        wait_until(TIMEOUT, || !registers.read::<STATUS>().commands())?;
        self.place(registers);
        // INVARIANT: The unit starts at the beginning.
        ring.head = Slot::FIRST;
        ring.tail = Slot::FIRST;
        registers.control(|control| control.with_commands(true));
        ring.state = BufferState::Running;

        let last = self.completion_wait(ring);
        let mut commands = Iterator::chain(commands, [last]).peekable();
        let wait = Wait::begin(RESTART_TIMEOUT);
        // The buffer is filled again each time that the unit has emptied it.
        while commands.peek().is_some() {
            for command in commands.by_ref().take(SLOTS - 1) {
                self.put(ring, command);
            }
            let tail = ring.tell(registers);
            wait.until(|| u32::from(registers.read::<COMMAND_HEAD>()) == tail)?;
            // INVARIANT: The head register says that the unit has taken all.
            ring.head = ring.tail;
        }
        wait.until(|| self.memory.completions.is_done(ring.sequence))
    }

    /// Makes the unit take commands from now on.
    pub(super) fn run(&self, registers: &Registers) {
        let mut ring = self.ring.lock();
        registers.control(|control| control.with_commands(true));
        ring.state = BufferState::Running;
    }

    /// Waits until the unit has finished, and makes it take no more commands. Batches are done at
    /// once until the next [`run`](Self::run), after which the caller invalidates everything.
    ///
    /// # Errors
    ///
    /// Why the unit did not finish.
    pub(super) fn sleep(&self, registers: &Registers) -> Result<(), Failure> {
        let mut ring = self.ring.lock();
        let result = match ring.state {
            BufferState::Running if !self.has_failed() => {
                let last = ring.sequence;
                self.poll(registers, last, || None)
            }
            _ => Ok(()),
        };
        registers.control(|control| control.with_commands(false));
        ring.state = BufferState::Stopped;
        result
    }

    /// The unit, which is off, does not use the buffer any more.
    pub(super) fn take_back(&self, off: &Off) {
        self.ring.lock().state = BufferState::Unset;
        self.memory.take_back(off);
    }

    /// Batches fail at once from now on, for `reason`. Returns `reason`, or [`Failure::Earlier`] if
    /// the queue had failed before.
    pub(super) fn give_up(&self, reason: Failure) -> Failure {
        self.failed.set(reason, Failure::Earlier)
    }

    pub(super) fn counts(&self) -> Counts {
        self.ring.lock().counts
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_set()
    }

    /// An empty batch. The buffer is locked, and interrupts are off, until the batch is run.
    pub(super) fn batch<'a>(&'a self, registers: &'a Registers) -> Batch<'a> {
        let ring = self.ring.lock();
        let result = match ring.state {
            BufferState::Unset => Err(Failure::Earlier),
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

    /// Executes `commands`, of which there are a few. When this returns `Ok`, they are done.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// Why the unit did not execute them.
    #[inline]
    pub(super) fn execute(
        &self,
        registers: &Registers,
        commands: &[Command],
    ) -> Result<(), Failure> {
        let mut ring = self.ring.lock();
        if ring.state == BufferState::Running && ring.room() > commands.len() && !self.has_failed()
        {
            commands
                .iter()
                .for_each(|&command| self.put(&mut ring, command));
            let last = self.completion_wait(&mut ring);
            self.put(&mut ring, last);
            ring.counts.batches += 1;
            ring.tell(registers);
            let sequence = Some(ring.sequence);
            drop(ring);
            return Submitted {
                queue: self,
                registers,
                sequence,
            }
            .wait();
        }
        drop(ring);
        self.execute_batch(registers, commands)
    }

    /// As [`execute`](Self::execute), if there may be no room, or the unit takes no commands.
    #[cold]
    fn execute_batch(&self, registers: &Registers, commands: &[Command]) -> Result<(), Failure> {
        let mut batch = self.batch(registers);
        commands.iter().for_each(|&command| batch.push(command));
        batch.run()
    }

    /// Fills a slot, which is free.
    #[inline]
    fn put(&self, ring: &mut Ring, Command(words): Command) {
        self.memory.slots.write(ring.tail.get(), words);
        ring.tail = ring.tail.next();
        ring.counts.commands += 1;
    }

    /// The command at the end of the next batch. The unit writes the number of the batch,
    /// [`Ring::sequence`], when it executes the command.
    #[inline]
    fn completion_wait(&self, ring: &mut Ring) -> Command {
        ring.sequence = ring.sequence.next();
        let status = encrypted::seen(self.memory.completions.addr()).raw();
        Command::wait(status, ring.sequence)
    }

    /// Waits until the unit has done all batches up to number `sequence`. Calls `repair` when the
    /// unit has stopped, which returns a failure if the unit cannot go on.
    ///
    /// # Errors
    ///
    /// Why the unit did not finish.
    fn poll(
        &self,
        registers: &Registers,
        sequence: u64,
        mut repair: impl FnMut() -> Option<Failure>,
    ) -> Result<(), Failure> {
        let is_done = || self.memory.completions.is_done(sequence);
        if soon(POLLS, is_done) {
            return Ok(());
        }
        let io = registers.io();
        let wait = Wait::begin(TIMEOUT);
        loop {
            let Err(in_vain) = wait.look(POLLS, is_done) else {
                return Ok(());
            };
            if self.has_failed() {
                // Another processor has seen the unit fail.
                return Err(Failure::Earlier);
            }
            let status: STATUS = registers.read();
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

    /// As a processor that waits for the unit does.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn repair_now(&self, registers: &Registers) -> Option<Failure> {
        self.repair(&mut self.ring.lock(), registers)
    }

    /// Replaces the command that the unit has stopped at, and makes the unit go on. Returns a
    /// failure if it cannot.
    fn repair(&self, ring: &mut Ring, registers: &Registers) -> Option<Failure> {
        let io = registers.io();
        if registers.read::<STATUS>().commands() || ring.state != BufferState::Running {
            // Another processor has repaired it, or switched the unit off.
            return None;
        }
        let head = slot_at(io.read(COMMAND_HEAD));
        let command = Command(self.memory.slots.read(head.get()));
        if head != ring.tail {
            let must_be_known =
                command == Command::all() || command.0[0] >> 60 == Command::wait(0, 0).0[0] >> 60;
            if must_be_known || !self.invalidates_all {
                return Some(Failure::Refused { command });
            }
            log_warn!(
                "a unit does not understand the command {:#018x} {:#018x}; everything is \
                 invalidated instead",
                command.0[0],
                command.0[1],
            );
            self.memory.slots.write(head.get(), Command::all().0);
        }
        ring.counts.repairs += 1;
        registers.control(|control| control.with_commands(false));
        registers.control(|control| control.with_commands(true));
        None
    }
}

/// Commands that are executed together.
///
/// If a batch is dropped without [`run`](Self::run), the unit executes an unknown part of it. No
/// function of the driver does that.
#[must_use]
pub(super) struct Batch<'a> {
    ring: RawSpinLockGuard<'a, Ring>,
    queue: &'a Queue,
    registers: &'a Registers,
    count: usize,
    result: Result<(), Failure>,
}

impl<'a> Batch<'a> {
    /// Adds an invalidation of the device table entry of `id`.
    pub(super) fn entry(&mut self, id: RequesterId) {
        self.push(Command::device_entry(id.raw() as u16));
    }

    /// Adds an invalidation of what is cached of the interrupt table of `id`.
    pub(super) fn interrupt_table(&mut self, id: RequesterId) {
        self.push(Command::interrupt_table(id.raw() as u16));
    }

    /// Adds an invalidation of translations under `domain`.
    pub(super) fn pages(&mut self, domain: u16, space: Space, pages: Pages, leaves_only: bool) {
        self.push(Command::pages(domain, space, pages, leaves_only));
    }

    /// The unit executes what was added so far before what is added next.
    pub(super) fn fence(&mut self) {
        self.push(Command::fence());
    }

    /// Adds a command.
    pub(super) fn push(&mut self, command: Command) {
        self.count += 1;
        self.put(command);
    }

    fn put(&mut self, command: Command) {
        if self.result.is_err() || self.ring.state != BufferState::Running {
            return;
        }
        self.result = self.make_room();
        if self.result.is_err() {
            return;
        }
        self.queue.put(&mut self.ring, command);
    }

    /// Waits until a slot is free.
    ///
    /// # Errors
    ///
    /// Why the unit did not free one.
    fn make_room(&mut self) -> Result<(), Failure> {
        if self.ring.room() > 0 {
            return Ok(());
        }
        let next = self.ring.tail.next();
        let io = self.registers.io();
        let wait = Wait::begin(TIMEOUT);
        self.ring.tell(self.registers);
        loop {
            let mut head = next;
            let has_room = || {
                head = slot_at(self.registers.read());
                next != head
            };
            let Err(in_vain) = wait.look(1, has_room) else {
                // INVARIANT: The head register says that the unit has taken all before it.
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
                    head: (head.get() * COMMAND_BYTES) as u32,
                    tail: io.read(COMMAND_TAIL).into(),
                    status: status.into(),
                })
            });
            if let Some(failure) = failure {
                return Err(self.queue.give_up(failure));
            }
        }
    }

    /// Executes the batch. When this returns `Ok`, everything in it is done. An empty batch costs
    /// nothing.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// Why the unit did not execute it.
    #[inline]
    pub(super) fn run(self) -> Result<(), Failure> {
        self.submit()?.wait()
    }

    /// First half of [`run`](Self::run): has the unit begin, and unlocks the queue.
    ///
    /// # Errors
    ///
    /// Why the unit does not begin.
    #[inline]
    pub(super) fn submit(mut self) -> Result<Submitted<'a>, Failure> {
        let (queue, registers) = (self.queue, self.registers);
        let submitted = |sequence| Submitted {
            queue,
            registers,
            sequence,
        };
        if self.count == 0 {
            return Ok(submitted(None));
        }
        self.result?;
        if self.ring.state == BufferState::Stopped {
            return Ok(submitted(None));
        }
        let last = self.queue.completion_wait(&mut self.ring);
        self.ring.counts.batches += 1;
        self.put(last);
        self.result?;
        self.ring.tell(self.registers);

        Ok(submitted(Some(self.ring.sequence)))
    }
}

/// A batch that the unit executes.
#[must_use]
pub(super) struct Submitted<'a> {
    queue: &'a Queue,
    registers: &'a Registers,
    /// The number of its completion wait; `None` if there is nothing to wait for.
    sequence: Option<u64>,
}

impl Submitted<'_> {
    /// Second half of [`run`](Batch::run): returns when the unit is done.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// Why the unit did not execute the batch.
    #[inline]
    pub(super) fn wait(self) -> Result<(), Failure> {
        let Self {
            queue, registers, ..
        } = self;
        match self.sequence {
            None => Ok(()),
            Some(sequence) => queue.poll(registers, sequence, || {
                queue.repair(&mut queue.ring.lock(), registers)
            }),
        }
    }
}
