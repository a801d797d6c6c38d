// SPDX-License-Identifier: GPL-2.0

//! The command queue (IHI 0070 3.5, 4.7 and 7.1).
//!
//! A [`Batch`] is a number of commands and one CMD_SYNC at its end, which is done when everything
//! before it is. The queue's lock is held, with interrupts off, from the first command to the end
//! of the CMD_SYNC, so a batch always finds the queue empty.
//!
//! The end of a CMD_SYNC shows in a message that the unit writes to memory, where unit and platform
//! have that, and otherwise in the queue's consumer index.
//!
//! # When the unit complains (7.1)
//!
//! - *Illegal command*: the unit does not understand a command and has stopped at it. It is
//!   replaced by a CMD_SYNC, and after the batch everything is invalidated instead.
//! - *Abort*: it could not read the command. It tries again.
//! - *Device TLB*: a device did not answer a CMD_ATC_INV, the unit does not say which. The CMD_SYNC
//!   is repeated for all others, and who has asked devices looks for the one: see
//!   [`device_tlb`](super::super::device_tlb).
//!
//! All that happens a bounded number of times. A unit that still has not finished, or that does not
//! finish in [`TIMEOUT`], or in [`DEVICE_TIMEOUT`] if devices are asked, never gets another batch.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    io::Io,
    prelude::*,
    processor::cpu_relax,
    sync::SpinLockIrqGuard,
    time::{Delta, Instant, Monotonic},
};

use super::super::records::{
    capability::Capability,
    command::{self, Command, Signal},
    event::{CommandError, GlobalErrors},
    queue_index::{CommandConsumer, Ring},
};
use super::{
    ats_streams::{Roster, Seat},
    mmio::Registers,
    regs::{CMDQ_CONS, CMDQ_PROD, GERROR, GERRORN},
};
use crate::{
    addr::PhysAddr,
    log::{log_err, log_warn},
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
};

/// Bytes of the page that the unit writes messages to.
const STATUS_BYTES: usize = 4096;
/// Bytes of a command.
const COMMAND_BYTES: usize = 16;
/// Binary logarithm of the commands in the ring, if the unit allows so many: one page.
const MAX_SHIFT: u8 = 8;
/// How long a batch may take that waits for no device: a unit that works needs microseconds.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How long a batch may take that waits for devices. It is the unit that says when one has taken
/// too long; interrupts are off meanwhile, so it does not get as much time as it could have by
/// PCIe.
const DEVICE_TIMEOUT: Delta = Delta::from_secs(5);
/// How often a batch may be repaired.
const REPAIRS: usize = 4;
/// How often memory is polled for each look at the registers.
const POLLS: usize = 64;

/// Why a queue does not work any more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A batch did not complete in time.
    Timeout {
        /// Where the unit has stopped.
        consumer: u32,
        /// What it was given up to.
        producer: u32,
        /// The errors that were active.
        errors: u32,
    },
    /// The unit refuses one command after the other.
    Refused {
        /// The last one.
        command: Command,
        /// Why.
        error: CommandError,
    },
    /// It had failed before, or does not run.
    Earlier,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout {
                consumer,
                producer,
                errors,
            } => write!(
                f,
                "its command queue stands still (consumer {consumer:#x}, producer {producer:#x}, \
                 errors {errors:#x})"
            ),
            Self::Refused { command, error } => write!(
                f,
                "it stops at the command {:#018x} {:#018x} ({}): {}",
                command.0[0],
                command.0[1],
                command::name(command.operation()),
                error.text(),
            ),
            Self::Earlier => f.write_str("its command queue has failed"),
        }
    }
}

/// What the queue has done, for people.
#[derive(Copy, Clone, Default)]
pub struct Counts {
    pub batches: u64,
    pub commands: u64,
    pub illegal: u64,
    pub aborts: u64,
    pub device_timeouts: u64,
}

/// The ring, and where the unit reports to.
///
/// # Invariants
///
/// While no [`Batch`] exists the unit has executed everything before `producer`, or `failed`.
pub struct Queue {
    memory: KernelMemory,
    ring: Ring,
    commands: Table,
    status: Table,
    /// Whether the unit's accesses snoop the CPUs' caches.
    coherent: bool,
    /// Whether a CMD_SYNC ends with a message.
    messages: bool,
    /// Commands that may follow each other without a CMD_SYNC, as the product needs it.
    max_unsynced: usize,
    /// Whether there are caches of EL2 as well.
    has_el2: bool,
    producer: u32,
    /// What the last message is.
    sequence: u32,
    failed: bool,
    /// Whether the unit is off for a while and caches nothing, so that there is nothing to do.
    asleep: bool,
    /// Whether the unit may access ring and status. They are not freed then.
    in_use: bool,
    counts: Counts,
    /// Who is to be asked to forget a domain.
    roster: Roster<KVec<Seat>>,
}

impl Queue {
    /// An empty queue that no unit knows of.
    pub(super) fn new(node: i32, capability: &Capability) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let ring = Ring::new(capability.queues.commands.min(MAX_SHIFT));
        let bytes = (ring.entries() as usize * COMMAND_BYTES).max(STATUS_BYTES);
        let commands = memory.alloc(bytes, Gfp::KERNEL).ok_or(ENOMEM)?;
        let Some(status) = memory.alloc(STATUS_BYTES, Gfp::KERNEL) else {
            memory.free(commands);
            return Err(ENOMEM);
        };
        let room = ring.entries() as usize - 1;
        Ok(Self {
            memory,
            ring,
            commands,
            status,
            coherent: capability.coherent,
            messages: capability.poll_messages(),
            max_unsynced: match capability.quirks.max_unsynced {
                Some(max) => room.min(usize::from(max)),
                None => room,
            },
            has_el2: capability.hypervisor,
            producer: 0,
            sequence: 0,
            failed: false,
            asleep: false,
            in_use: false,
            counts: Counts::default(),
            roster: Roster::new(KVec::new()),
        })
    }

    /// Tells the unit where the queue is; it is to be enabled next.
    pub(super) fn hand_over(&mut self, registers: &Registers) {
        self.producer = 0;
        self.failed = false;
        self.asleep = false;
        self.in_use = true;
        registers.set_command_queue(self.ring.base(self.commands.addr().raw()));
        let io = registers.io();
        io.write_reg(CMDQ_PROD::from(0));
        io.write_reg(CMDQ_CONS::from(0));
    }

    /// The unit does not use the queue any more.
    pub(super) fn take_back(&mut self) {
        self.in_use = false;
    }

    /// The unit does not use the queue until the next [`hand_over`](Self::hand_over), and then
    /// everything is invalidated: batches are done at once.
    pub(super) fn sleep(&mut self) {
        self.asleep = true;
    }

    /// The unit cannot be used any more: batches fail at once.
    pub(super) fn give_up(&mut self) {
        self.failed = true;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Which devices have TLBs of their own.
    pub(super) fn roster(&mut self) -> &mut Roster<KVec<Seat>> {
        &mut self.roster
    }

    fn works(&self) -> bool {
        self.in_use && !self.failed
    }

    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn slot(&self, index: u32) -> &[KernelEntry] {
        let words = self
            .memory
            .entries(self.commands, self.ring.entries() as usize * 2);
        let at = self.ring.entry(index) * 2;
        &words[at..at + 2]
    }

    fn read_slot(&self, index: u32) -> Command {
        let slot = self.slot(index);
        Command([slot[0].load(), slot[1].load()])
    }

    fn write_slot(&self, index: u32, Command(words): Command) {
        let slot = self.slot(index);
        slot[0].store(words[0]);
        slot[1].store(words[1]);
        if !self.coherent {
            self.memory.flush(slot);
        }
    }

    /// Appends a command, which the unit does not look at yet.
    fn append(&mut self, command: Command) {
        self.write_slot(self.producer, command);
        self.producer = self.ring.advance(self.producer, 1);
        self.counts.commands += 1;
    }

    fn status_word(&self) -> &KernelEntry {
        &self.memory.entries(self.status, 1)[0]
    }

    /// Where messages go.
    fn status_address(&self) -> PhysAddr {
        self.status.addr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.in_use {
            log_err!("a command queue is leaked: a unit may still access it");
            return;
        }
        self.memory.free(self.commands);
        self.memory.free(self.status);
    }
}

/// Commands that are executed together.
///
/// A batch that is dropped without [`run`](Self::run) has done nothing, or an unknown part of it;
/// none of the driver's functions does that.
#[must_use]
pub struct Batch<'a> {
    queue: SpinLockIrqGuard<'a, Queue>,
    registers: &'a Registers,
    /// Commands since the last CMD_SYNC.
    count: usize,
    /// Whether one of them waits for a device.
    asks: bool,
    /// Whether a device has not answered since [`sync`](Self::sync).
    unanswered: bool,
    result: Result<(), Failure>,
}

impl<'a> Batch<'a> {
    /// An empty batch. The queue is locked until it is run.
    pub(super) fn new(queue: SpinLockIrqGuard<'a, Queue>, registers: &'a Registers) -> Self {
        Self {
            queue,
            registers,
            count: 0,
            asks: false,
            unanswered: false,
            result: Ok(()),
        }
    }

    /// Adds a command.
    #[inline]
    pub fn push(&mut self, command: Command) {
        if self.count == self.queue.max_unsynced {
            self.flush();
        }
        if !self.queue.asleep {
            self.queue.append(command);
        }
        self.asks |= command.is_for_device();
        self.count += 1;
    }

    /// Adds what makes the unit forget everything.
    pub fn forget_everything(&mut self) {
        self.push(Command::forget_configuration());
        if self.queue.has_el2 {
            self.push(Command::forget_el2());
        }
        self.push(Command::forget_el1());
    }

    /// Executes what was pushed so far, before what is pushed next. Says whether all devices have
    /// answered that were asked.
    pub fn sync(&mut self) -> bool {
        self.flush();
        !core::mem::take(&mut self.unanswered)
    }

    /// Which devices have TLBs of their own.
    #[inline]
    pub fn roster(&mut self) -> &mut Roster<KVec<Seat>> {
        self.queue.roster()
    }

    /// Executes the batch; everything in it is done when this returns `Ok`. An empty one costs
    /// nothing.
    pub fn run(mut self) -> Result<(), Failure> {
        if self.count > 0 && !self.queue.works() {
            return Err(Failure::Earlier);
        }
        self.flush();
        self.result
    }

    /// Executes what was pushed so far.
    fn flush(&mut self) {
        if self.count > 0 && self.result.is_ok() && self.queue.works() && !self.queue.asleep {
            self.queue.counts.batches += 1;
            self.result = self.execute();
            self.queue.failed = self.result.is_err();
        }
        self.count = 0;
        self.asks = false;
    }

    fn execute(&mut self) -> Result<(), Failure> {
        let Some((command, error)) = self.submit_and_wait()? else {
            return Ok(());
        };
        log_warn!(
            "a unit stopped at the command {:#018x} {:#018x} ({}): {}; everything is invalidated \
             instead",
            command.0[0],
            command.0[1],
            command::name(command.operation()),
            error.text(),
        );
        // What the unit does not pass on is not answered.
        self.unanswered |= command.is_for_device();
        // By now the queue is empty again.
        self.queue.append(Command::forget_configuration());
        self.queue.append(Command::forget_el1());
        match self.submit_and_wait()? {
            None => Ok(()),
            Some((command, error)) => Err(Failure::Refused { command, error }),
        }
    }

    /// Hands what is in the queue and a CMD_SYNC to the unit, and waits. Returns a command that it
    /// refused and that was left out.
    fn submit_and_wait(&mut self) -> Result<Option<(Command, CommandError)>, Failure> {
        let queue = &mut *self.queue;
        // 0 is what the status page starts with.
        queue.sequence = queue.sequence.checked_add(1).unwrap_or(1);
        let signal = match queue.messages {
            true => Signal::Message {
                address: queue.status_address().raw(),
                data: queue.sequence,
            },
            false => Signal::None,
        };
        let sync = queue.producer;
        queue.append(Command::sync(signal));

        let io = self.registers.io();
        // The write of a register is ordered after the writes to memory before it.
        io.write_reg(CMDQ_PROD::from(queue.producer));

        let start = Instant::<Monotonic>::now();
        let limit = match self.asks {
            true => DEVICE_TIMEOUT,
            false => TIMEOUT,
        };
        let mut refused = None;
        let mut repairs = 0;
        loop {
            // Before the poll: if the time is over and the poll still finds nothing, nothing has
            // come in time. The other way round a processor that is away for long in between
            // would blame the unit.
            let late = start.elapsed() >= limit;
            if queue.messages {
                for _ in 0..POLLS {
                    if queue.status_word().load() as u32 == queue.sequence {
                        return Ok(refused);
                    }
                    cpu_relax();
                }
            }
            let consumer = CommandConsumer(io.read(CMDQ_CONS).into());
            if !queue.messages && queue.ring.consumed(queue.producer, consumer.index(), sync) {
                return Ok(refused);
            }

            let errors = GlobalErrors::new(io.read(GERROR).into(), io.read(GERRORN).into());
            if errors.has(GlobalErrors::COMMAND) && repairs < REPAIRS {
                repairs += 1;
                let error = CommandError::from_code(consumer.error());
                match error {
                    CommandError::None => {}
                    CommandError::Abort => queue.counts.aborts += 1,
                    CommandError::DeviceTlb => {
                        queue.counts.device_timeouts += 1;
                        self.unanswered = true;
                    }
                    CommandError::Illegal | CommandError::Unknown(_) => {
                        queue.counts.illegal += 1;
                        refused = Some((queue.read_slot(consumer.index()), error));
                        let replacement = match consumer.index() == sync {
                            // The one that is waited for: without a message.
                            true => Command::sync(signal),
                            false => Command::sync(Signal::None),
                        };
                        queue.write_slot(consumer.index(), replacement);
                    }
                }
                acknowledge(self.registers, GlobalErrors::COMMAND);
            }
            if late {
                return Err(match refused {
                    Some((command, error)) => Failure::Refused { command, error },
                    None => Failure::Timeout {
                        consumer: consumer.0,
                        producer: queue.producer,
                        errors: errors.raw(),
                    },
                });
            }
            self.registers.relax();
        }
    }
}

/// Says that software has seen the errors in `mask` that are active. The queue's lock is held: the
/// register has one bit for each error, and more than one writer.
fn acknowledge(registers: &Registers, mask: u32) {
    let io = registers.io();
    let (active, seen): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
    io.write_reg(GERRORN::from(seen ^ ((active ^ seen) & mask)));
}

/// Reads the errors that are active, but for that of the command queue, which a batch looks after,
/// and acknowledges them. `_queue` keeps batches off.
pub(super) fn take_errors(_queue: &Queue, registers: &Registers) -> GlobalErrors {
    let io = registers.io();
    let (active, seen): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
    let mask = !GlobalErrors::COMMAND;
    acknowledge(registers, mask);
    GlobalErrors::new((active ^ seen) & mask, 0)
}
