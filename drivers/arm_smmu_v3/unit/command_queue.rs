// SPDX-License-Identifier: GPL-2.0

//! The command queue (IHI 0070 3.5, 4.7 and 7.1).
//!
//! A [`Batch`] is a number of commands, and a CMD_SYNC at the end, which completes when the
//! commands before it have. The queue's lock is held, with interrupts off, until the CMD_SYNC has
//! completed. So a batch always finds the queue empty.
//!
//! Where unit and platform can do it, the unit writes a message to memory when a CMD_SYNC
//! completes, and the processor polls that; otherwise it polls the queue's consumer index.
//!
//! # Command errors (7.1)
//!
//! - CERROR_ILL: the unit stopped at a command that it does not understand. The driver replaces the
//!   command by a CMD_SYNC, and invalidates everything after the batch.
//! - CERROR_ABT: the unit could not read a command. The driver has it try again.
//! - CERROR_ATC_INV_SYNC: a device did not answer a CMD_ATC_INV; the unit does not say which one.
//!   The driver has the CMD_SYNC repeated for the others. The caller, who knows which devices it
//!   asked, looks for the one: see [`device_tlb`](super::super::device_tlb).
//!
//! The driver does this a limited number of times. A batch must end within [`TIMEOUT`], or
//! [`DEVICE_TIMEOUT`] if it has a CMD_ATC_INV. Otherwise the queue has failed, and gets no further
//! batch.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{io::Io, prelude::*, sync::SpinLockIrqGuard, time::Delta};

use super::super::records::{
    capability::Capability,
    command::{self, Command, Signal, COMMAND_WORDS},
    event::{CommandError, GlobalErrors},
    queue_index::{CommandConsumer, Ring},
};
use super::{
    ats_streams::{AtsStream, AtsStreams},
    mmio::Registers,
    regs::{CMDQ_CONS, CMDQ_PROD, GERROR, GERRORN},
};
use crate::{
    drivers::shell::{
        queue::{Number, QueueMemory},
        unit_memory::{Exposed, Off},
        wait::Wait,
    },
    log::log_warn,
};

/// Binary logarithm of the commands in the ring, if the unit allows so many: one page.
const MAX_SHIFT: u8 = 8;
/// How long a batch may take if it has no CMD_ATC_INV. A unit that works needs microseconds.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How long a batch with a CMD_ATC_INV may take. The unit decides when a device has taken too long.
/// PCIe would allow a device more time than this, but interrupts are off meanwhile.
const DEVICE_TIMEOUT: Delta = Delta::from_secs(5);
/// How many command errors of a batch are repaired.
const REPAIRS: usize = 4;
/// How often the memory for messages is polled before the registers are read.
const POLLS: usize = 64;

/// Why the unit cannot be used any more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A batch did not complete in time.
    Timeout {
        /// CMDQ_CONS.
        consumer: u32,
        /// CMDQ_PROD.
        producer: u32,
        /// The global errors that are active.
        errors: u32,
    },
    /// The unit reports one command after the other as illegal.
    Refused {
        /// The last one.
        command: Command,
        /// Why.
        error: CommandError,
    },
    /// The unit is in service failure mode (6.3.16, SFM_ERR).
    OutOfService,
    /// The queue had failed before, or the unit does not know it.
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
            Self::OutOfService => f.write_str("it is in service failure mode"),
            Self::Earlier => f.write_str("its command queue has failed"),
        }
    }
}

/// What the queue has done, for debugfs.
#[derive(Copy, Clone, Default)]
pub struct Counts {
    pub batches: u64,
    pub commands: u64,
    pub illegal: u64,
    pub aborts: u64,
    pub device_timeouts: u64,
}

/// The command queue.
///
/// # Invariants
///
/// While no [`Batch`] exists the unit has executed everything before `producer`, or `failed`.
pub struct CommandQueue {
    memory: Exposed<QueueMemory<COMMAND_WORDS, u32>>,
    ring: Ring,
    /// Whether the unit's accesses snoop the CPUs' caches.
    coherent: bool,
    /// Whether a CMD_SYNC ends with a message.
    messages: bool,
    /// How many commands may follow each other without a CMD_SYNC.
    max_unsynced: usize,
    /// Whether there are caches of EL2 as well.
    has_el2: bool,
    producer: u32,
    /// The data of the last message.
    sequence: u32,
    failed: bool,
    /// Whether the unit is off and caches nothing, so that there is nothing to do.
    asleep: bool,
    counts: Counts,
    /// The devices whose TLBs an invalidation has to reach.
    ats_streams: AtsStreams<KVec<AtsStream>>,
}

impl CommandQueue {
    /// An empty queue that no unit knows of.
    pub(super) fn new(node: i32, capability: &Capability) -> Result<Self> {
        let ring = Ring::new(capability.queues.commands.min(MAX_SHIFT));
        let memory = QueueMemory::new(node, ring.entries() as usize)?;
        let room = ring.entries() as usize - 1;
        Ok(Self {
            memory: Exposed::new("a command queue", memory),
            ring,
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
            counts: Counts::default(),
            ats_streams: AtsStreams::new(KVec::new()),
        })
    }

    /// Tells the unit where the queue is. The caller enables it next.
    pub(super) fn hand_over(&mut self, registers: &Registers) {
        self.producer = 0;
        self.failed = false;
        self.asleep = false;
        self.memory.hand_over();
        registers.set_command_queue(self.ring.base(self.memory.slots.addr().raw()));
        let io = registers.io();
        io.write_reg(CMDQ_PROD::from(0));
        io.write_reg(CMDQ_CONS::from(0));
    }

    /// The unit, which is off, does not use the queue any more.
    pub(super) fn take_back(&self, off: &Off) {
        self.memory.take_back(off);
    }

    /// The unit does not use the queue until the next [`hand_over`](Self::hand_over), after which
    /// the caller invalidates everything. Until then batches succeed at once.
    pub(super) fn sleep(&mut self) {
        self.asleep = true;
    }

    /// The unit cannot be used any more. Batches fail at once.
    pub(super) fn give_up(&mut self) {
        self.failed = true;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The devices whose TLBs an invalidation has to reach.
    pub(super) fn ats_streams(&mut self) -> &mut AtsStreams<KVec<AtsStream>> {
        &mut self.ats_streams
    }

    fn works(&self) -> bool {
        self.memory.is_in_use() && !self.failed
    }

    fn write_slot(&self, index: u32, Command(words): Command) {
        let slot = self.ring.entry(index);
        self.memory.slots.write(slot, words);
        if !self.coherent {
            self.memory.slots.flush(slot);
        }
    }

    /// Appends a command. The unit does not see it before CMDQ_PROD is written.
    fn append(&mut self, command: Command) {
        self.write_slot(self.producer, command);
        self.producer = self.ring.advance(self.producer, 1);
        self.counts.commands += 1;
    }
}

/// Commands that are executed together.
///
/// The caller must [`run`](Self::run) it: if a batch is dropped, none or some of its commands were
/// executed.
#[must_use]
pub struct Batch<'a> {
    queue: SpinLockIrqGuard<'a, CommandQueue>,
    registers: &'a Registers,
    /// Commands since the last CMD_SYNC.
    count: usize,
    /// Whether a CMD_ATC_INV is among them.
    asks_device: bool,
    /// Whether a device has not answered since the last [`sync`](Self::sync).
    unanswered: bool,
    result: Result<(), Failure>,
}

impl<'a> Batch<'a> {
    /// An empty batch. The queue is locked until it is run.
    pub(super) fn new(queue: SpinLockIrqGuard<'a, CommandQueue>, registers: &'a Registers) -> Self {
        Self {
            queue,
            registers,
            count: 0,
            asks_device: false,
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
        self.asks_device |= command.is_for_device();
        self.count += 1;
    }

    /// Adds an invalidation of everything that the unit caches.
    pub fn invalidate_everything(&mut self) {
        self.push(Command::invalidate_all_stes());
        if self.queue.has_el2 {
            self.push(Command::invalidate_el2());
        }
        self.push(Command::invalidate_el1());
    }

    /// Executes what was pushed so far, before what is pushed next. Returns whether all devices
    /// have answered their CMD_ATC_INV.
    pub fn sync(&mut self) -> bool {
        self.flush();
        !core::mem::take(&mut self.unanswered)
    }

    /// The devices whose TLBs an invalidation has to reach.
    #[inline]
    pub fn ats_streams(&mut self) -> &mut AtsStreams<KVec<AtsStream>> {
        self.queue.ats_streams()
    }

    /// Executes the batch. When this returns `Ok`, all its commands have completed. An empty batch
    /// costs nothing.
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
        self.asks_device = false;
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
        // The unit passed no such CMD_ATC_INV on, so no device has answered it.
        self.unanswered |= command.is_for_device();
        // The queue is empty again.
        self.queue.append(Command::invalidate_all_stes());
        self.queue.append(Command::invalidate_el1());
        match self.submit_and_wait()? {
            None => Ok(()),
            Some((command, error)) => Err(Failure::Refused { command, error }),
        }
    }

    /// Hands what is in the queue and a CMD_SYNC to the unit, and waits. Returns the last command
    /// that the unit reported as illegal, if there was one; a CMD_SYNC has taken its place.
    fn submit_and_wait(&mut self) -> Result<Option<(Command, CommandError)>, Failure> {
        let queue = &mut *self.queue;
        queue.sequence = queue.sequence.next();
        let signal = match queue.messages {
            true => Signal::Message {
                address: queue.memory.completions.addr().raw(),
                data: queue.sequence,
            },
            false => Signal::None,
        };
        let sync = queue.producer;
        queue.append(Command::sync(signal));

        let io = self.registers.io();
        // The write of a register is ordered after the writes to memory before it.
        io.write_reg(CMDQ_PROD::from(queue.producer));

        let wait = Wait::begin(match self.asks_device {
            true => DEVICE_TIMEOUT,
            false => TIMEOUT,
        });
        let mut refused = None;
        let mut repairs = 0;
        let read_consumer = || CommandConsumer(self.registers.read::<CMDQ_CONS>().into());
        loop {
            let looked = match queue.messages {
                true => {
                    self.registers.run_emulator();
                    wait.look(POLLS, || queue.memory.completions.is_done(queue.sequence))
                }
                false => wait.look(1, || {
                    let consumer = read_consumer().index();
                    queue.ring.consumed(queue.producer, consumer, sync)
                }),
            };
            let Err(in_vain) = looked else {
                return Ok(refused);
            };

            // The consumer index says why the unit has stopped, but only if it is read after
            // GERROR: the unit sets the reason, then the error (7.1). A reason that was read before
            // may be that of an earlier error.
            let errors = self.registers.read::<GERROR>();
            let errors = GlobalErrors::new(errors.into(), io.read(GERRORN).into());
            let consumer = read_consumer();
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
                        let slot = queue.ring.entry(consumer.index());
                        refused = Some((Command(queue.memory.slots.read(slot)), error));
                        let replacement = match consumer.index() == sync {
                            // The CMD_SYNC that is waited for.
                            true => Command::sync(signal),
                            false => Command::sync(Signal::None),
                        };
                        queue.write_slot(consumer.index(), replacement);
                    }
                }
                acknowledge(self.registers, GlobalErrors::COMMAND);
            }
            if in_vain.is_late() {
                return Err(match refused {
                    Some((command, error)) => Failure::Refused { command, error },
                    None => Failure::Timeout {
                        consumer: consumer.0,
                        producer: queue.producer,
                        errors: errors.raw(),
                    },
                });
            }
        }
    }
}

/// Acknowledges the errors in `mask` that are active. The caller holds the queue's lock: GERRORN
/// has one bit for each error, and more than one writer.
fn acknowledge(registers: &Registers, mask: u32) {
    let io = registers.io();
    let (active, seen): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
    io.write_reg(GERRORN::from(seen ^ ((active ^ seen) & mask)));
}

/// Reads and acknowledges the active errors but for CMDQ_ERR, which a batch handles. `_queue` shows
/// that the caller holds the queue's lock.
pub(super) fn take_errors(_queue: &CommandQueue, registers: &Registers) -> GlobalErrors {
    let io = registers.io();
    let (active, seen): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
    let mask = !GlobalErrors::COMMAND;
    acknowledge(registers, mask);
    GlobalErrors::new((active ^ seen) & mask, 0)
}
