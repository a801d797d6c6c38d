// SPDX-License-Identifier: GPL-2.0

//! The command queue (IHI 0070 3.5, 4.7 and 7.1).
//!
//! A [`Batch`] is a number of commands, and a CMD_SYNC at the end, which completes when the
//! commands before it have. A batch always finds the queue empty.
//!
//! The queue's lock is held, with interrupts off, until the CMD_SYNC has completed: a unit needs
//! microseconds. But for a CMD_ATC_INV the unit waits for a device, which may take as long as PCIe
//! allows if the device is broken ([`DEVICE_TIMEOUT`]). The unit executes no later command
//! meanwhile, so every processor with a batch has to wait. They wait without the lock, and with
//! interrupts on if the caller has them on. What the unit works at is in the queue
//! ([`CommandQueue::pending`]), and each processor that finds it there looks whether it is done and
//! handles errors. So none depends on another one, which it may have interrupted.
//!
//! Where unit and platform can do it, the unit writes a message to memory when a CMD_SYNC
//! completes, and the processor polls that; otherwise it polls the queue's consumer index.
//!
//! Some units execute an invalidation only at the second time
//! ([`Quirks::repeat_invalidations`](super::super::records::capability::Quirks)). For them the
//! invalidations of a batch are submitted once more when its CMD_SYNC has completed.
//!
//! # Command errors (7.1)
//!
//! - CERROR_ILL: the unit stopped at a command that it does not understand. The driver replaces the
//!   command by a CMD_SYNC, and invalidates everything after the batch.
//! - CERROR_ABT: the unit could not read a command. The driver has it try again.
//! - CERROR_ATC_INV_SYNC: a device did not answer a CMD_ATC_INV; the unit does not say which one.
//!   The driver has the CMD_SYNC repeated for the others. If one device was asked it is the one.
//!   Otherwise the caller asks the devices one by one: see
//!   [`device_tlb`](super::super::device_tlb).
//!
//! The driver does this a limited number of times. A batch must end within [`TIMEOUT`], or
//! [`DEVICE_TIMEOUT`] if it has a CMD_ATC_INV. Otherwise the queue has failed, and gets no further
//! batch.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{io::Io, prelude::*, processor::cpu_relax, time::Delta};

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
        wait::{soon, Wait},
    },
    ffi::compat::{SpinLockIrq, SpinLockIrqGuard},
    log::log_warn,
    requester::RequesterId,
};

/// Binary logarithm of the commands in the ring, if the unit allows so many: one page.
const MAX_SHIFT: u8 = 8;
/// How long a batch may take if it has no CMD_ATC_INV. A unit that works needs microseconds.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How long a batch with a CMD_ATC_INV may take. The unit decides when a device has taken too long,
/// which PCIe says is after 60 to 90 seconds (10.3.1). A unit that has not decided by then has
/// failed.
const DEVICE_TIMEOUT: Delta = Delta::from_secs(90);
/// After how long a person is told that a device does not answer.
const DEVICE_PATIENCE: Delta = Delta::from_secs(5);
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

/// A CMD_SYNC, and the commands before it, that the unit has not completed yet.
struct InFlight {
    /// The index of the first command.
    first: u32,
    /// The index of the CMD_SYNC.
    sync: u32,
    signal: Signal,
    /// How long it may take.
    limit: Delta,
    /// `None` before the first look that finds it not completed.
    wait: Option<Wait>,
    repairs: usize,
    /// The last command that the unit has reported as illegal; a CMD_SYNC has taken its place.
    refused: Option<(Command, CommandError)>,
    /// The unit invalidates everything in place of a command that it has refused.
    is_second: bool,
    /// The unit has executed the commands before.
    is_repeat: bool,
    /// The CMD_ATC_INV among the commands.
    asked: Option<Asked>,
}

/// The devices that the commands between two CMD_SYNCs ask to invalidate their TLBs.
#[derive(Copy, Clone)]
struct Asked {
    /// The number of the CMD_SYNC among those that wait for devices, from 1 on.
    number: u64,
    /// The stream id, if it is only one.
    alone: Option<u32>,
    /// Whether one has not answered.
    unanswered: bool,
    /// Whether a person was told that it takes long.
    told: bool,
}

/// The command queue.
///
/// # Invariants
///
/// 1. While no [`Batch`] exists the unit has executed everything before `producer`, or `pending` is
///    what it has not, or `failed`.
/// 2. Commands are appended only while there is no `pending`.
pub struct CommandQueue {
    memory: Exposed<QueueMemory<COMMAND_WORDS, u32>>,
    ring: Ring,
    /// Whether the unit's accesses snoop the CPUs' caches.
    coherent: bool,
    /// Whether a CMD_SYNC ends with a message.
    messages: bool,
    /// How many commands may follow each other without a CMD_SYNC.
    max_unsynced: usize,
    /// Whether the unit executes an invalidation of its caches only at the second time.
    repeats: bool,
    /// Whether there are caches of EL2 as well.
    has_el2: bool,
    producer: u32,
    /// Where the commands begin that the unit was not told of yet.
    unsubmitted: u32,
    /// The data of the last message.
    sequence: u32,
    failed: bool,
    /// Why, until somebody has taken it to declare the unit failed.
    failure: Option<Failure>,
    /// What the unit works at, if it waits for a device.
    pending: Option<InFlight>,
    /// The number of the last CMD_SYNC that waited for devices, and of the last where one did not
    /// answer.
    asked: u64,
    unanswered: u64,
    /// How long the unit may wait for a device.
    device_timeout: Delta,
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
            repeats: capability.quirks.repeat_invalidations,
            has_el2: capability.hypervisor,
            producer: 0,
            unsubmitted: 0,
            sequence: 0,
            failed: false,
            failure: None,
            pending: None,
            asked: 0,
            unanswered: 0,
            device_timeout: DEVICE_TIMEOUT,
            asleep: false,
            counts: Counts::default(),
            ats_streams: AtsStreams::new(KVec::new()),
        })
    }

    /// Tells the unit where the queue is. The caller enables it next.
    pub(super) fn hand_over(&mut self, registers: &Registers) {
        self.producer = 0;
        self.unsubmitted = 0;
        self.failed = false;
        self.failure = None;
        self.pending = None;
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
        self.pending = None;
    }

    /// The unit cannot be used any more. Batches fail at once.
    pub(super) fn give_up(&mut self) {
        self.failed = true;
        self.pending = None;
    }

    /// Changes how long the unit may wait for a device.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn set_device_timeout(&mut self, limit: Delta) {
        self.device_timeout = limit;
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

    /// Appends the invalidations of the unit's caches from index `first` up to `end` once more: the
    /// unit has executed these commands, and they are still in the ring. Returns whether there are
    /// some.
    #[cold]
    fn append_again(&mut self, first: u32, end: u32) -> bool {
        let before = self.producer;
        let mut index = first;
        while index != end {
            // One CMD_SYNC follows the commands, so no slot is overwritten before it is read.
            let command = Command(self.memory.slots.read(self.ring.entry(index)));
            if command.is_for_caches() {
                self.append(command);
            }
            index = self.ring.advance(index, 1);
        }
        self.producer != before
    }

    /// The failure, for the first caller after it, who has to declare the unit failed.
    fn take_failure(&mut self) -> Failure {
        self.failure.take().unwrap_or(Failure::Earlier)
    }

    /// Appends a CMD_SYNC, and hands what is in the queue to the unit.
    fn submit(&mut self, registers: &Registers, limit: Delta, asked: Option<Asked>) -> InFlight {
        self.sequence = self.sequence.next();
        let signal = match self.messages {
            true => Signal::Message {
                address: self.memory.completions.addr().raw(),
                data: self.sequence,
            },
            false => Signal::None,
        };
        let (first, sync) = (self.unsubmitted, self.producer);
        self.append(Command::sync(signal));
        self.unsubmitted = self.producer;
        // The write of a register is ordered after the writes to memory before it.
        registers.io().write_reg(CMDQ_PROD::from(self.producer));
        InFlight {
            first,
            sync,
            signal,
            limit,
            wait: None,
            repairs: 0,
            refused: None,
            is_second: false,
            is_repeat: false,
            asked,
        }
    }

    /// Submits commands that ask devices: the one of stream `alone`, or several. Returns the number
    /// of the CMD_SYNC.
    fn start_asking(&mut self, registers: &Registers, alone: Option<u32>) -> u64 {
        self.asked += 1;
        let asked = Asked {
            number: self.asked,
            alone,
            unanswered: false,
            told: false,
        };
        let flight = self.submit(registers, self.device_timeout, Some(asked));
        self.pending = Some(flight);
        self.asked
    }

    /// Looks whether the unit has completed `flight`, the last that was submitted, and handles
    /// errors. `None` if it has not.
    fn look(
        &mut self,
        registers: &Registers,
        flight: &mut InFlight,
    ) -> Option<Result<(), Failure>> {
        let io = registers.io();
        let read_consumer = || CommandConsumer(registers.read::<CMDQ_CONS>().into());
        let times = match self.messages {
            true => {
                registers.run_emulator();
                POLLS
            }
            false => 1,
        };
        let is_done = || match self.messages {
            true => self.memory.completions.is_done(self.sequence),
            false => {
                let consumer = read_consumer().index();
                self.ring.consumed(self.producer, consumer, flight.sync)
            }
        };
        let Some(wait) = flight.wait else {
            if soon(times, is_done) {
                return self.complete(registers, flight);
            }
            flight.wait = Some(Wait::begin(flight.limit));
            return None;
        };
        let Err(in_vain) = wait.look(times, is_done) else {
            return self.complete(registers, flight);
        };

        // The consumer index says why the unit has stopped, but only if it is read after GERROR:
        // the unit sets the reason, then the error (7.1). A reason that was read before may be that
        // of an earlier error.
        let errors = registers.read::<GERROR>();
        let errors = GlobalErrors::new(errors.into(), io.read(GERRORN).into());
        let consumer = read_consumer();
        if errors.has(GlobalErrors::COMMAND) && flight.repairs < REPAIRS {
            flight.repairs += 1;
            self.repair(flight, consumer);
            acknowledge(registers, GlobalErrors::COMMAND);
        }
        if let Some(asked) = &mut flight.asked {
            if !asked.told && in_vain.has_lasted(DEVICE_PATIENCE) {
                asked.told = true;
                log_slow(asked.alone);
            }
        }
        in_vain.is_late().then(|| {
            Err(match flight.refused {
                Some((command, error)) => Failure::Refused { command, error },
                None => Failure::Timeout {
                    consumer: consumer.0,
                    producer: self.producer,
                    errors: errors.raw(),
                },
            })
        })
    }

    /// Makes the command at which the unit has stopped acceptable. It goes on once the error is
    /// acknowledged.
    fn repair(&mut self, flight: &mut InFlight, consumer: CommandConsumer) {
        let error = CommandError::from_code(consumer.error());
        match error {
            CommandError::None => {}
            CommandError::Abort => self.counts.aborts += 1,
            CommandError::DeviceTlb => {
                self.counts.device_timeouts += 1;
                if let Some(asked) = &mut flight.asked {
                    asked.unanswered = true;
                }
            }
            CommandError::Illegal | CommandError::Unknown(_) => {
                self.counts.illegal += 1;
                let slot = self.ring.entry(consumer.index());
                let command = Command(self.memory.slots.read(slot));
                flight.refused = Some((command, error));
                if let Some(asked) = flight.asked.as_mut().filter(|_| command.is_for_device()) {
                    // The unit has passed no such CMD_ATC_INV on, so no device has answered it.
                    asked.unanswered = true;
                }
                let replacement = match consumer.index() == flight.sync {
                    // The CMD_SYNC that is waited for.
                    true => Command::sync(flight.signal),
                    false => Command::sync(Signal::None),
                };
                self.write_slot(consumer.index(), replacement);
            }
        }
    }

    /// The unit has completed `flight`. If it has to execute invalidations again, or has refused a
    /// command and has to invalidate everything instead, it is not done (`None`).
    fn complete(
        &mut self,
        registers: &Registers,
        flight: &mut InFlight,
    ) -> Option<Result<(), Failure>> {
        if self.repeats && !flight.is_repeat && self.append_again(flight.first, flight.sync) {
            *flight = InFlight {
                is_repeat: true,
                is_second: flight.is_second,
                refused: flight.refused,
                ..self.submit(registers, TIMEOUT, flight.asked)
            };
            return None;
        }
        if let Some((command, error)) = flight.refused {
            if flight.is_second {
                return Some(Err(Failure::Refused { command, error }));
            }
            log_warn!(
                "a unit stopped at the command {:#018x} {:#018x} ({}): {}; everything is \
                 invalidated instead",
                command.0[0],
                command.0[1],
                command::name(command.operation()),
                error.text(),
            );
            // The queue is empty again.
            self.append(Command::invalidate_all_stes());
            self.append(Command::invalidate_el1());
            *flight = InFlight {
                is_second: true,
                ..self.submit(registers, TIMEOUT, flight.asked)
            };
            return None;
        }
        if let Some(asked) = flight.asked.filter(|asked| asked.unanswered) {
            self.unanswered = asked.number;
            if let Some(stream) = asked.alone {
                self.ats_streams.set_silent(stream, asked.number);
            }
        }
        Some(Ok(()))
    }

    /// Looks whether the unit has done what it works at. Returns whether it works at nothing.
    fn is_free(&mut self, registers: &Registers) -> bool {
        let Some(mut flight) = self.pending.take() else {
            return true;
        };
        match self.look(registers, &mut flight) {
            None => {
                self.pending = Some(flight);
                false
            }
            Some(result) => {
                self.end(result);
                true
            }
        }
    }

    /// Remembers a failure.
    fn end(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.failed = true;
            self.failure = Some(failure);
        }
    }
}

/// Says that a device keeps the unit waiting.
#[cold]
fn log_slow(stream: Option<u32>) {
    match stream {
        Some(stream) => log_warn!(
            "{}: the device does not answer an invalidation of its TLB (ATS); its unit waits for it, \
             and no other invalidation is done meanwhile",
            RequesterId::new(stream),
        ),
        None => log_warn!(
            "a device does not answer an invalidation of its TLB (ATS); its unit waits for it, and \
             no other invalidation is done meanwhile"
        ),
    }
}

/// Locks the queue when the unit works at nothing, or has failed.
pub(super) fn lock<'a>(
    queue: &'a SpinLockIrq<CommandQueue>,
    registers: &Registers,
) -> SpinLockIrqGuard<'a, CommandQueue> {
    loop {
        let mut guard = queue.lock();
        if guard.is_free(registers) {
            return guard;
        }
        drop(guard);
        cpu_relax();
    }
}

/// Commands that are executed together.
///
/// The caller must [`run`](Self::run) it: if a batch is dropped, none or some of its commands were
/// executed.
#[must_use]
pub struct Batch<'a> {
    lock: &'a SpinLockIrq<CommandQueue>,
    /// `None` only while the unit waits for a device.
    guard: Option<SpinLockIrqGuard<'a, CommandQueue>>,
    registers: &'a Registers,
    /// Commands since the last CMD_SYNC.
    count: usize,
    /// The devices that are asked by a CMD_ATC_INV among them.
    asks: Asks,
    /// The number of the first CMD_SYNC that waited for devices since the last
    /// [`sync`](Self::sync).
    first: Option<u64>,
    result: Result<(), Failure>,
}

/// Which devices are asked by a CMD_ATC_INV.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Asks {
    None,
    One(u32),
    Several,
}

impl<'a> Batch<'a> {
    /// An empty batch. The queue is locked until it is run, but for waits for devices.
    pub(super) fn new(lock: &'a SpinLockIrq<CommandQueue>, registers: &'a Registers) -> Self {
        Self {
            lock,
            guard: Some(self::lock(lock, registers)),
            registers,
            count: 0,
            asks: Asks::None,
            first: None,
            result: Ok(()),
        }
    }

    #[inline]
    fn queue(&mut self) -> &mut CommandQueue {
        let (lock, registers) = (self.lock, self.registers);
        self.guard
            .get_or_insert_with(|| self::lock(lock, registers))
    }

    /// Adds a command.
    #[inline]
    pub fn push(&mut self, command: Command) {
        if self.count == self.queue().max_unsynced {
            self.flush();
        }
        if !self.queue().asleep {
            self.queue().append(command);
        }
        if command.is_for_device() {
            let stream = command.stream();
            self.asks = match self.asks {
                Asks::None => Asks::One(stream),
                Asks::One(same) if same == stream => self.asks,
                _ => Asks::Several,
            };
        }
        self.count += 1;
    }

    /// Adds an invalidation of everything that the unit caches.
    pub fn invalidate_everything(&mut self) {
        self.push(Command::invalidate_all_stes());
        if self.queue().has_el2 {
            self.push(Command::invalidate_el2());
        }
        self.push(Command::invalidate_el1());
    }

    /// Executes what was pushed so far, before what is pushed next. Returns `None` if all devices
    /// have answered their CMD_ATC_INV. Otherwise [`is_silent`](Self::is_silent) tells which one
    /// has not, if it was the only one.
    ///
    /// If a device was asked, the queue was unlocked meanwhile: other batches may have been
    /// executed, and the list of ATS streams may have changed.
    pub fn sync(&mut self) -> Option<Unanswered> {
        self.flush();
        let first = self.first.take()?;
        // If a device did not answer another processor, in between, this one asks it once more.
        (self.queue().unanswered >= first).then_some(Unanswered(first))
    }

    /// Whether the device of `stream` has not answered since, when it was asked alone.
    pub fn is_silent(&mut self, stream: u32, Unanswered(since): Unanswered) -> bool {
        self.ats_streams().is_silent(stream, since)
    }

    /// The devices whose TLBs an invalidation has to reach.
    #[inline]
    pub fn ats_streams(&mut self) -> &mut AtsStreams<KVec<AtsStream>> {
        self.queue().ats_streams()
    }

    /// Executes the batch. When this returns `Ok`, all its commands have completed. An empty batch
    /// costs nothing.
    pub fn run(mut self) -> Result<(), Failure> {
        self.flush();
        self.result
    }

    /// Hands what was pushed to the unit, and does not wait: as a processor that is away for long.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn go_away(mut self) {
        let Asks::One(stream) = self.asks else { return };
        let registers = self.registers;
        let queue = self.queue();
        queue.start_asking(registers, Some(stream));
    }

    /// Executes what was pushed so far.
    fn flush(&mut self) {
        let count = core::mem::take(&mut self.count);
        let asks = core::mem::replace(&mut self.asks, Asks::None);
        let queue = self.queue();
        let (works, asleep) = (queue.works(), queue.asleep);
        if count == 0 || self.result.is_err() {
            return;
        }
        if !works {
            self.result = Err(self.queue().take_failure());
            return;
        }
        if asleep {
            return;
        }
        self.queue().counts.batches += 1;
        self.result = match asks {
            Asks::None => self.execute(),
            Asks::One(stream) => self.ask(Some(stream)),
            Asks::Several => self.ask(None),
        };
    }

    fn execute(&mut self) -> Result<(), Failure> {
        let registers = self.registers;
        let queue = self.queue();
        let mut flight = queue.submit(registers, TIMEOUT, None);
        let result = loop {
            if let Some(result) = queue.look(registers, &mut flight) {
                break result;
            }
        };
        queue.failed = result.is_err();
        result
    }

    /// As [`execute`](Self::execute), for commands that ask devices: the one of stream `alone`, or
    /// several.
    fn ask(&mut self, alone: Option<u32>) -> Result<(), Failure> {
        let registers = self.registers;
        let number = self.queue().start_asking(registers, alone);
        self.first = self.first.or(Some(number));
        // Another processor may see the end of it, and submit something else.
        self.guard = None;
        let queue = self.queue();
        match queue.failed {
            false => Ok(()),
            true => Err(queue.take_failure()),
        }
    }
}

/// A device has not answered a CMD_ATC_INV.
#[derive(Copy, Clone)]
pub struct Unanswered(u64);

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
