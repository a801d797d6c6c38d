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
    processor::cpu_relax,
    sync::{
        atomic::{Atomic, Relaxed},
        new_spinlock_irq, SpinLockIrq, SpinLockIrqGuard,
    },
    time::{Delta, Instant, Monotonic},
};

use super::{
    commands::{Command, Pages, Space},
    mmio::Registers,
    regs::{COMMAND_HEAD, COMMAND_TAIL, STATUS},
};
use crate::{
    log::{log_err, log_warn},
    pgtable::{
        encrypted,
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    requester::RequesterId,
};

/// Commands in the buffer, as a power of 2; one place always stays free, since a full buffer looks
/// like an empty one.
const SLOTS_LG2: u32 = 9;
const SLOTS: usize = 1 << SLOTS_LG2;
/// Bytes of a command.
const COMMAND_BYTES: usize = 16;
/// Bytes of the page that the unit stores numbers to.
const STATUS_BYTES: usize = 4096;
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

/// Memory that the unit accesses.
struct Shared {
    memory: KernelMemory,
    buffer: Table,
    status: Table,
    /// Whether the unit may access it. It is not freed then.
    in_use: Atomic<bool>,
}

impl Shared {
    fn new(node: i32) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let buffer = memory
            .alloc(SLOTS * COMMAND_BYTES, Gfp::KERNEL)
            .ok_or(ENOMEM)?;
        let Some(status) = memory.alloc(STATUS_BYTES, Gfp::KERNEL) else {
            memory.free(buffer);
            return Err(ENOMEM);
        };
        Ok(Self {
            memory,
            buffer,
            status,
            in_use: Atomic::new(false),
        })
    }

    fn slot(&self, index: usize) -> &[KernelEntry] {
        let words = self.memory.entries(self.buffer, SLOTS * 2);
        &words[index * 2..index * 2 + 2]
    }

    fn read_slot(&self, index: usize) -> Command {
        let slot = self.slot(index);
        Command([slot[0].load(), slot[1].load()])
    }

    fn write_slot(&self, index: usize, Command(words): Command) {
        let slot = self.slot(index);
        slot[0].store(words[0]);
        slot[1].store(words[1]);
    }

    /// The number that the unit has stored last.
    #[inline]
    fn done(&self) -> u64 {
        self.memory.entries(self.status, 1)[0].load()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.in_use.load(Relaxed) {
            log_err!("a command buffer is leaked: a unit may still access it");
            return;
        }
        self.memory.free(self.buffer);
        self.memory.free(self.status);
    }
}

/// The command buffer, and where the unit stores numbers to.
#[pin_data]
pub(super) struct Queue {
    shared: Shared,
    /// Whether the unit can be told to forget everything with one command.
    invalidates_all: bool,
    /// Whether the unit never gets another command.
    failed: Atomic<bool>,
    #[pin]
    ring: SpinLockIrq<Ring>,
}

impl Queue {
    /// An empty queue that no unit knows of.
    pub(super) fn new(node: i32, invalidates_all: bool) -> Result<impl PinInit<Self>> {
        let shared = Shared::new(node)?;
        Ok(pin_init!(Self {
            shared,
            invalidates_all,
            failed: Atomic::new(false),
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
        self.failed.store(false, Relaxed);
        self.shared.in_use.store(true, Relaxed);
        registers.set_commands(self.shared.buffer.addr(), SLOTS_LG2);
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
        self.shared.in_use.store(false, Relaxed);
    }

    /// The unit cannot be used any more: batches fail at once.
    pub(super) fn give_up(&self) {
        self.failed.store(true, Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        self.ring.lock().counts
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
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

    /// Whether the unit has done all batches up to number `sequence`.
    #[inline]
    fn is_done(&self, sequence: u64) -> bool {
        let done = self.shared.done();
        // The numbers go round some day.
        done.wrapping_sub(sequence) as i64 >= 0
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
        let start = Instant::<Monotonic>::now();
        loop {
            // Before the poll: if the time is over and the poll still finds nothing, nothing has
            // come in time. The other way round a processor that is away for long in between
            // would blame the unit.
            let waited = start.elapsed();
            let late = waited >= TIMEOUT;
            for _ in 0..POLLS {
                if self.is_done(sequence) {
                    return Ok(());
                }
                cpu_relax();
            }
            if self.has_failed() {
                // Somebody else has seen it fail.
                return Err(Failure::Earlier);
            }
            let status = io.read(STATUS);
            if !status.commands() && waited >= GRACE {
                if let Some(failure) = repair() {
                    self.failed.store(true, Relaxed);
                    return Err(failure);
                }
            }
            if late {
                self.failed.store(true, Relaxed);
                return Err(Failure::Timeout {
                    head: io.read(COMMAND_HEAD).into(),
                    tail: io.read(COMMAND_TAIL).into(),
                    status: status.into(),
                });
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
        let command = self.shared.read_slot(head);
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
            self.shared.write_slot(head, Command::all());
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

    fn put(&mut self, command: Command) {
        if self.result.is_err() || self.ring.state != State::Running {
            return;
        }
        self.result = self.make_room();
        if self.result.is_err() {
            return;
        }
        let ring = &mut *self.ring;
        self.queue.shared.write_slot(ring.tail, command);
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
        let start = Instant::<Monotonic>::now();
        self.ring_doorbell();
        loop {
            let waited = start.elapsed();
            let late = waited >= TIMEOUT;
            let head = u32::from(io.read(COMMAND_HEAD)) as usize / COMMAND_BYTES % SLOTS;
            if next != head {
                // INVARIANT: The unit says so.
                self.ring.head = head;
                return Ok(());
            }
            let status = io.read(STATUS);
            let failure = match !status.commands() && waited >= GRACE {
                true => self.queue.repair(&mut self.ring, self.registers),
                false => None,
            };
            let failure = failure.or_else(|| {
                late.then(|| Failure::Timeout {
                    head: (head * COMMAND_BYTES) as u32,
                    tail: io.read(COMMAND_TAIL).into(),
                    status: status.into(),
                })
            });
            if let Some(failure) = failure {
                self.queue.give_up();
                return Err(failure);
            }
            cpu_relax();
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
        let sequence = self.ring.sequence.wrapping_add(1);
        self.ring.sequence = sequence;
        self.ring.counts.batches += 1;
        let status = encrypted::seen(self.queue.shared.status.addr()).raw();
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
