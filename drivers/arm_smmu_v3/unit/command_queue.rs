// SPDX-License-Identifier: GPL-2.0

//! The command queue (IHI 0070 3.5, 4.7 and 7.1).
//!
//! A batch ([`batch`](super::batch)) is a number of commands, and a CMD_SYNC at the end, which
//! completes when all commands before it have, those of other batches included. The queue is
//! locked, with interrupts off, only while a batch is filled and submitted. Processors wait for
//! their batches in parallel, without the lock, and with interrupts on if the caller has them on.
//!
//! For a CMD_ATC_INV the unit waits for a device, which may take as long as PCIe allows if the
//! device is broken ([`DEVICE_TIMEOUT`]). The unit executes no later command meanwhile, so such a
//! batch is the last in the queue until it has ended ([`State::pending`]). Each processor that
//! wants to submit something looks whether it has ended, and handles errors. So none depends on
//! another one, which it may have interrupted.
//!
//! # Completion
//!
//! Each command has a position that never comes again ([`positions`](super::positions)). So a
//! processor that was away while the queue went around can still tell that its CMD_SYNC has
//! completed ([`Ring::has_passed`]).
//!
//! Where unit and platform can do it, the unit writes a message to memory when a CMD_SYNC
//! completes, and the processor polls that; otherwise it polls the queue's consumer index. Each
//! slot has a word of its own for messages: nothing says that those of several CMD_SYNCs arrive in
//! order. A slot is used again only after its message has arrived.
//!
//! # Repeated invalidations
//!
//! Some units execute an invalidation only at the second time
//! ([`Quirks::repeat_invalidations`](super::super::records::capability::Quirks)). For them the
//! invalidations of a batch are submitted once more when its CMD_SYNC has completed. They are read
//! again from the queue, which stays locked until then.
//!
//! # Command errors (7.1)
//!
//! Any processor that waits handles errors, under the lock:
//!
//! - CERROR_ILL: the unit stopped at a command that it does not understand. The driver replaces the
//!   command by a CMD_SYNC before the unit goes on, and notes its position. The processor whose
//!   batch it was finds the note when the batch has completed, and invalidates everything.
//! - CERROR_ABT: the unit could not read a command. The driver has it try again.
//! - CERROR_ATC_INV_SYNC: a device did not answer a CMD_ATC_INV; the unit does not say which one.
//!   The driver has the CMD_SYNC repeated for the others. If one device was asked it is the one.
//!   Otherwise the caller asks the devices one by one: see
//!   [`device_tlb`](super::super::device_tlb).
//!
//! The driver does this a limited number of times at one position. A batch must end within
//! [`TIMEOUT`], or [`DEVICE_TIMEOUT`] if it has a CMD_ATC_INV. Otherwise the queue has failed, and
//! gets no further batch.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::fmt;

use kernel::{
    io::Io,
    prelude::*,
    processor::cpu_relax,
    sync::atomic::{Acquire, Atomic, Full, Relaxed, Release},
    time::Delta,
};

use super::super::records::{
    capability::Capability,
    command::{self, Command, Signal, COMMAND_WORDS},
    event::{CommandError, GlobalErrors},
    queue_index::{CommandConsumer, Ring},
};
use super::{
    ats_streams::{AtsStream, AtsStreams},
    mmio::Registers,
    positions::{message, not_yet, Positions, Progress, Submitted, Word},
    regs::{CMDQ_CONS, CMDQ_PROD, GERROR, GERRORN},
};
use crate::{
    drivers::shell::{
        queue::{GivenUp, Slots},
        unit_memory::{Exposed, Off},
        wait::{soon, Wait},
    },
    ffi::compat::{dma_mb, new_spinlock_irq, SpinLockIrq, SpinLockIrqGuard},
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
/// How many command errors at one position are repaired.
const REPAIRS: usize = 4;
/// How often the memory for messages is polled before the registers are read.
const POLLS: usize = 64;
/// Free slots that a batch needs for its next command: one for it, and one for the CMD_SYNC.
pub(super) const ROOM_FOR_ONE: u64 = 2;
/// Free slots that it takes to invalidate everything.
const ROOM_FOR_ALL: u64 = 3;

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
pub(super) struct InFlight {
    batch: Submitted,
    /// How long it may take.
    limit: Delta,
    /// `None` before the first look that finds it not completed.
    wait: Option<Wait>,
    /// A command that the unit has reported as illegal; a CMD_SYNC has taken its place.
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

/// The memory of the queue.
struct Memory {
    slots: Slots<COMMAND_WORDS>,
    /// For each slot: where the unit writes when it completes a CMD_SYNC that is there.
    messages: Slots<1>,
}

/// What is in the queue.
///
/// # Invariants
///
/// Commands are appended only while there is no `pending`.
pub(super) struct State {
    positions: Positions<KVec<u64>>,
    /// The last command that the unit has refused.
    last_refused: Option<(Command, CommandError)>,
    /// Where the last error was, and how many were there.
    repaired: (Option<u64>, usize),
    /// Why the queue has failed, until somebody has taken it to declare the unit failed.
    failure: Option<Failure>,
    /// What the unit works at, if it waits for a device.
    pending: Option<InFlight>,
    /// The number of the last CMD_SYNC that waited for devices, and of the last where one did not
    /// answer.
    asked: u64,
    pub(super) unanswered: u64,
    /// How long a batch may take, and one that waits for a device.
    timeout: Delta,
    device_timeout: Delta,
    /// Whether the unit is off and caches nothing, so that there is nothing to do.
    asleep: bool,
    /// Whether commands reach the unit: it knows the queue, which works and is not asleep.
    pub(super) open: bool,
    pub(super) counts: Counts,
    /// The devices whose TLBs an invalidation has to reach.
    pub(super) ats_streams: AtsStreams<KVec<AtsStream>>,
}

impl State {
    /// The failure, for the first caller after it, who has to declare the unit failed.
    pub(super) fn take_failure(&mut self) -> Failure {
        self.failure.take().unwrap_or(Failure::Earlier)
    }
}

/// The command queue.
#[pin_data]
pub struct CommandQueue {
    memory: Exposed<Memory>,
    /// Whether the unit's accesses snoop the CPUs' caches.
    coherent: bool,
    /// Whether a CMD_SYNC ends with a message.
    messages: bool,
    /// How many commands may follow each other without a CMD_SYNC.
    pub(super) max_unsynced: usize,
    /// Whether the unit executes an invalidation of its caches only at the second time.
    pub(super) repeats: bool,
    /// Whether there are caches of EL2 as well.
    pub(super) has_el2: bool,
    /// Whether the unit never gets another command. Changes under the lock, as what follows.
    failed: GivenUp,
    progress: Progress<Atomic<u64>>,
    /// Whether a stream is listed in [`State::ats_streams`].
    has_ats_streams: Atomic<bool>,
    #[pin]
    state: SpinLockIrq<State>,
}

impl Word for Atomic<u64> {
    #[inline]
    fn get(&self) -> u64 {
        self.load(Relaxed)
    }

    #[inline]
    fn acquire(&self) -> u64 {
        self.load(Acquire)
    }

    #[inline]
    fn release(&self, value: u64) {
        self.store(value, Release);
    }
}

impl CommandQueue {
    /// An empty queue that no unit knows of.
    pub(super) fn new(node: i32, capability: &Capability) -> Result<impl PinInit<Self>> {
        let ring = Ring::new(capability.queues.commands.min(MAX_SHIFT));
        let entries = ring.entries() as usize;
        let memory = Memory {
            slots: Slots::new(node, entries)?,
            messages: Slots::new(node, entries)?,
        };
        let room = entries - 1;
        let list = || KVec::from_elem(0, entries, GFP_KERNEL);
        let state = State {
            positions: Positions::new(list()?, list()?),
            last_refused: None,
            repaired: (None, 0),
            failure: None,
            pending: None,
            asked: 0,
            unanswered: 0,
            timeout: TIMEOUT,
            device_timeout: DEVICE_TIMEOUT,
            asleep: false,
            open: false,
            counts: Counts::default(),
            ats_streams: AtsStreams::new(KVec::new()),
        };
        let max_unsynced = match capability.quirks.max_unsynced {
            Some(max) => room.min(usize::from(max)),
            None => room,
        };
        let (coherent, messages) = (capability.coherent, capability.poll_messages());
        let (repeats, has_el2) = (
            capability.quirks.repeat_invalidations,
            capability.hypervisor,
        );
        Ok(pin_init!(Self {
            memory: Exposed::new("a command queue", memory),
            coherent,
            messages,
            max_unsynced,
            repeats,
            has_el2,
            failed: GivenUp::new(),
            progress: Progress::new(ring, || Atomic::new(0)),
            has_ats_streams: Atomic::new(false),
            state <- new_spinlock_irq!(state),
        }))
    }

    /// Tells the unit where the queue is. The caller enables it next.
    pub(super) fn hand_over(&self, registers: &Registers) {
        let mut state = self.state.lock();
        self.forget(&mut state);
        self.failed.clear();
        state.failure = None;
        state.asleep = false;
        self.memory.hand_over();
        state.open = true;
        let ring = self.progress.ring();
        registers.set_command_queue(ring.base(self.memory.slots.addr().raw()));
        let io = registers.io();
        let index = ring.index(state.positions.producer());
        io.write_reg(CMDQ_PROD::from(index));
        io.write_reg(CMDQ_CONS::from(index));
    }

    /// The unit, which is off, does not use the queue any more.
    pub(super) fn take_back(&self, off: &Off) {
        self.state.lock().open = false;
        self.memory.take_back(off);
    }

    /// Calls `switch_off`, which makes the unit stop using the queue until the next
    /// [`hand_over`](Self::hand_over), after which the caller invalidates everything. Until then
    /// batches succeed at once, those that somebody waits for as well.
    ///
    /// # Errors
    ///
    /// Those of `switch_off`. The queue is then as it was.
    pub(super) fn sleep(&self, switch_off: impl FnOnce() -> Result) -> Result {
        let mut state = self.state.lock();
        switch_off()?;
        state.asleep = true;
        state.open = false;
        self.forget(&mut state);
        Ok(())
    }

    /// The unit cannot be used any more. Batches fail at once.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        let _ = self.fail(&mut state, Failure::Earlier);
        state.pending = None;
    }

    /// The queue gets no further batch, for `reason`. Returns `reason`, or [`Failure::Earlier`] if
    /// the queue had failed before.
    #[cold]
    fn fail(&self, state: &mut State, reason: Failure) -> Failure {
        state.open = false;
        self.failed.set(reason, Failure::Earlier)
    }

    /// What was submitted counts as completed.
    fn forget(&self, state: &mut State) {
        state.pending = None;
        state.positions.forget(&self.progress);
    }

    /// Changes how long a batch may take.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    fn set_timeout(&self, limit: Delta) {
        self.state.lock().timeout = limit;
    }

    /// Changes how long the unit may wait for a device.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn set_device_timeout(&self, limit: Delta) {
        self.state.lock().device_timeout = limit;
    }

    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    #[inline]
    pub fn has_failed(&self) -> bool {
        self.failed.is_set()
    }

    /// Whether devices have TLBs that an invalidation may have to reach. To be asked after what the
    /// unit has cached was invalidated: a device that is listed later, for a domain, cannot get an
    /// old translation of it any more.
    #[inline]
    pub(super) fn has_ats_streams(&self) -> bool {
        self.has_ats_streams.load(Acquire)
    }

    /// Calls `f` with the devices whose TLBs an invalidation has to reach. The queue is locked
    /// meanwhile.
    pub(super) fn with_ats_streams<R>(
        &self,
        f: impl FnOnce(&mut AtsStreams<KVec<AtsStream>>) -> R,
    ) -> R {
        self.change_ats_streams(&mut self.state.lock(), f)
    }

    pub(super) fn change_ats_streams<R>(
        &self,
        state: &mut State,
        f: impl FnOnce(&mut AtsStreams<KVec<AtsStream>>) -> R,
    ) -> R {
        let result = f(&mut state.ats_streams);
        self.has_ats_streams
            .store(!state.ats_streams.is_empty(), Release);
        result
    }

    /// Whether the unit knows the queue, and the queue has not failed.
    pub(super) fn works(&self) -> bool {
        self.memory.is_in_use() && !self.failed.is_set()
    }

    #[inline]
    fn write_slot(&self, position: u64, Command(words): Command) {
        let slot = self.progress.slot(position);
        self.memory.slots.write(slot, words);
        if !self.coherent {
            self.memory.slots.flush(slot);
        }
    }

    fn read_slot(&self, position: u64) -> Command {
        Command(self.memory.slots.read(self.progress.slot(position)))
    }

    /// How the CMD_SYNC at a position signals that it has completed.
    #[inline]
    fn signal(&self, position: u64) -> Signal {
        match self.messages {
            true => Signal::Message {
                address: self.memory.messages.addr().raw()
                    + self.progress.slot(position) as u64 * 8,
                data: message(position),
            },
            false => Signal::None,
        }
    }

    /// Whether the message of the CMD_SYNC at `position` has arrived, which nobody has noticed yet.
    #[inline]
    fn has_message(&self, position: u64) -> bool {
        let [word] = self.memory.messages.read(self.progress.slot(position));
        word as u32 == message(position)
    }

    /// Whether the unit has completed the CMD_SYNC at `position`. What the caller reads from memory
    /// afterwards, it reads after the unit has done so.
    #[inline]
    fn is_done(&self, registers: &Registers, position: u64) -> bool {
        if !self.messages {
            let consumer = CommandConsumer(registers.read::<CMDQ_CONS>().into());
            return self.progress.is_before(consumer, position);
        }
        registers.run_emulator();
        let is_done = self.has_message(position) || self.progress.is_retired(position);
        if is_done {
            dma_mb(Full);
        }
        is_done
    }

    /// How often to look before the clock is read.
    #[inline]
    fn polls(&self) -> usize {
        match self.messages {
            true => POLLS,
            false => 1,
        }
    }

    /// Whether `needed` slots are free.
    #[inline]
    pub(super) fn has_room(&self, registers: &Registers, state: &mut State, needed: u64) -> bool {
        let is_free = state.positions.has_room(&self.progress, needed);
        is_free || {
            self.look_for_room(registers, state);
            state.positions.has_room(&self.progress, needed)
        }
    }

    /// Frees the slots of what the unit has completed.
    #[cold]
    fn look_for_room(&self, registers: &Registers, state: &mut State) {
        let progress = &self.progress;
        if self.messages {
            let has_message = |sync| self.has_message(sync);
            state.positions.look_for_room(progress, has_message);
        } else {
            let consumer = CommandConsumer(registers.read::<CMDQ_CONS>().into());
            let is_before = |sync| progress.is_before(consumer, sync);
            state.positions.look_for_room(progress, is_before);
        }
    }

    /// Appends a command, for which there is room. The unit does not see it before CMDQ_PROD is
    /// written.
    #[inline]
    pub(super) fn append(&self, state: &mut State, command: Command) {
        self.write_slot(state.positions.producer(), command);
        state.positions.append();
        state.counts.commands += 1;
    }

    /// Appends the invalidations of the unit's caches in `batch` once more: the unit has executed
    /// these commands, and they are still in the ring. Returns whether there are some.
    #[cold]
    fn append_again(&self, state: &mut State, batch: &Submitted) -> bool {
        let before = state.positions.producer();
        for position in batch.first..batch.sync {
            // One CMD_SYNC follows the commands, so no slot is overwritten before it is read.
            let command = self.read_slot(position);
            if command.is_for_caches() {
                self.append(state, command);
            }
        }
        state.positions.producer() != before
    }

    /// Appends a CMD_SYNC, for which there is room, and hands what is in the queue to the unit.
    #[inline]
    fn submit(&self, state: &mut State, registers: &Registers, asked: Option<Asked>) -> InFlight {
        let sync = state.positions.producer();
        if self.messages {
            let word = u64::from(not_yet(sync));
            let slot = self.progress.slot(sync);
            self.memory.messages.write(slot, [word]);
        }
        self.append(state, Command::sync(self.signal(sync)));
        let batch = state.positions.submit(&self.progress);
        // The write of a register is ordered after the writes to memory before it.
        let index = self.progress.ring().index(state.positions.producer());
        registers.io().write_reg(CMDQ_PROD::from(index));
        Self::in_flight(state, batch, asked)
    }

    #[inline]
    fn in_flight(state: &State, batch: Submitted, asked: Option<Asked>) -> InFlight {
        InFlight {
            batch,
            limit: state.timeout,
            wait: None,
            refused: None,
            is_second: false,
            is_repeat: false,
            asked,
        }
    }

    /// Submits commands that ask no device.
    #[inline]
    pub(super) fn start(&self, state: &mut State, registers: &Registers) -> InFlight {
        self.submit(state, registers, None)
    }

    /// The oldest batch that the unit works at, which is another processor's. There is one.
    pub(super) fn oldest(&self, state: &State) -> InFlight {
        InFlight {
            is_repeat: true,
            // That processor looks after its commands.
            ..Self::in_flight(state, state.positions.oldest(&self.progress), None)
        }
    }

    /// Submits commands that ask devices: the one of stream `alone`, or several. Returns the number
    /// of the CMD_SYNC.
    pub(super) fn start_asking(
        &self,
        state: &mut State,
        registers: &Registers,
        alone: Option<u32>,
    ) -> u64 {
        state.asked += 1;
        let asked = Asked {
            number: state.asked,
            alone,
            unanswered: false,
            told: false,
        };
        let flight = self.submit(state, registers, Some(asked));
        state.pending = Some(InFlight {
            limit: state.device_timeout,
            ..flight
        });
        state.asked
    }

    /// Looks whether the unit has completed `flight`, and handles errors. `None` if it has not.
    fn look(
        &self,
        state: &mut State,
        registers: &Registers,
        flight: &mut InFlight,
    ) -> Option<Result<(), Failure>> {
        let is_done = || self.is_done(registers, flight.batch.sync);
        let Some(wait) = flight.wait else {
            if soon(self.polls(), is_done) {
                return self.complete(state, registers, flight);
            }
            flight.wait = Some(Wait::begin(flight.limit));
            return None;
        };
        let Err(in_vain) = wait.look(self.polls(), is_done) else {
            return self.complete(state, registers, flight);
        };
        if self.has_failed() {
            // Another processor has seen it.
            return Some(Err(Failure::Earlier));
        }

        // The consumer index says why the unit has stopped, but only if it is read after GERROR:
        // the unit sets the reason, then the error (7.1). A reason that was read before may be that
        // of an earlier error.
        let errors = errors(registers);
        let consumer = CommandConsumer(registers.read::<CMDQ_CONS>().into());
        if errors.has(GlobalErrors::COMMAND) && self.repair(state, flight, consumer) {
            acknowledge(registers, GlobalErrors::COMMAND);
        }
        if let Some(asked) = &mut flight.asked {
            if !asked.told && in_vain.has_lasted(DEVICE_PATIENCE) {
                asked.told = true;
                log_slow(asked.alone);
            }
        }
        in_vain.is_late().then(|| {
            self.note_refused(state, flight);
            let failure = match flight.refused {
                Some((command, error)) => Failure::Refused { command, error },
                None => Failure::Timeout {
                    consumer: consumer.0,
                    producer: self.progress.ring().index(state.positions.producer()),
                    errors: errors.raw(),
                },
            };
            Err(self.fail(state, failure))
        })
    }

    /// Makes the command at which the unit has stopped acceptable. Returns whether the unit may go
    /// on, which it does once the error is acknowledged. `flight` is what the caller waits for.
    fn repair(&self, state: &mut State, flight: &mut InFlight, consumer: CommandConsumer) -> bool {
        let position = state.positions.position_of(&self.progress, consumer);
        if state.repaired.0 != position {
            state.repaired = (position, 0);
        }
        if state.repaired.1 == REPAIRS {
            return false;
        }
        state.repaired.1 += 1;

        // Only one CMD_SYNC in the queue can be for devices.
        let pending = state.pending.as_mut();
        let asker = match flight.asked.is_some() {
            true => Some(&mut *flight),
            false => pending,
        };
        let asked = asker.and_then(|asker| asker.asked.as_mut());
        let error = CommandError::from_code(consumer.error());
        match error {
            CommandError::None => {}
            CommandError::Abort => state.counts.aborts += 1,
            CommandError::DeviceTlb => {
                state.counts.device_timeouts += 1;
                if let Some(asked) = asked {
                    asked.unanswered = true;
                }
            }
            CommandError::Illegal | CommandError::Unknown(_) => {
                // The unit has stopped where nothing is.
                let Some(position) = position else {
                    return false;
                };
                state.counts.illegal += 1;
                let command = self.read_slot(position);
                state.last_refused = Some((command, error));
                state.positions.refuse(&self.progress, position);
                if let Some(asked) = asked.filter(|_| command.is_for_device()) {
                    // The unit has passed no such CMD_ATC_INV on, so no device has answered it.
                    asked.unanswered = true;
                }
                // It may be a CMD_SYNC that somebody waits for. If not, nobody looks at the
                // message.
                self.write_slot(position, Command::sync(self.signal(position)));
            }
        }
        true
    }

    /// Finds out whether the unit has refused a command of `flight`.
    fn note_refused(&self, state: &State, flight: &mut InFlight) {
        let (batch, progress) = (&flight.batch, &self.progress);
        if flight.refused.is_none() && state.positions.may_be_refused(progress, batch) {
            flight.refused = state.last_refused;
        }
    }

    /// The unit has completed `flight`. If it has to execute invalidations again, or has refused a
    /// command and has to invalidate everything instead, it is not done (`None`).
    fn complete(
        &self,
        state: &mut State,
        registers: &Registers,
        flight: &mut InFlight,
    ) -> Option<Result<(), Failure>> {
        let sync = flight.batch.sync;
        state.positions.retire(&self.progress, sync + 1);
        self.note_refused(state, flight);
        if self.repeats && !flight.is_repeat && self.append_again(state, &flight.batch) {
            *flight = InFlight {
                is_repeat: true,
                is_second: flight.is_second,
                refused: flight.refused,
                ..self.submit(state, registers, flight.asked)
            };
            return None;
        }
        if let Some((command, error)) = flight.refused {
            if flight.is_second {
                let failure = Failure::Refused { command, error };
                return Some(Err(self.fail(state, failure)));
            }
            // If the unit waits for a device, or the ring is full, this has to wait as well.
            if !self.is_free(state, registers) {
                return None;
            }
            if self.has_failed() {
                return Some(Err(Failure::Earlier));
            }
            if state.asleep {
                return Some(Ok(()));
            }
            if !self.has_room(registers, state, ROOM_FOR_ALL) {
                return None;
            }
            log_warn!(
                "a unit stopped at the command {:#018x} {:#018x} ({}): {}; everything is \
                 invalidated instead",
                command.0[0],
                command.0[1],
                command::name(command.operation()),
                error.text(),
            );
            self.append(state, Command::invalidate_all_stes());
            self.append(state, Command::invalidate_el1());
            *flight = InFlight {
                is_second: true,
                ..self.submit(state, registers, flight.asked)
            };
            return None;
        }
        if let Some(asked) = flight.asked.filter(|asked| asked.unanswered) {
            state.unanswered = asked.number;
            if let Some(stream) = asked.alone {
                state.ats_streams.set_silent(stream, asked.number);
            }
        }
        Some(Ok(()))
    }

    /// Looks whether the unit has done what it works at. Returns whether it waits for no device.
    fn is_free(&self, state: &mut State, registers: &Registers) -> bool {
        let Some(mut flight) = state.pending.take() else {
            return true;
        };
        match self.look(state, registers, &mut flight) {
            None => {
                state.pending = Some(flight);
                false
            }
            Some(result) => {
                if let Err(failure) = result {
                    if failure != Failure::Earlier {
                        state.failure = Some(failure);
                    }
                }
                true
            }
        }
    }

    /// Locks the queue when the unit waits for no device, or has failed.
    #[inline]
    pub(super) fn lock(&self, registers: &Registers) -> SpinLockIrqGuard<'_, State> {
        loop {
            let mut state = self.state.lock();
            if self.is_free(&mut state, registers) {
                return state;
            }
            drop(state);
            cpu_relax();
        }
    }

    /// Returns when the unit has completed `flight`. The caller does not hold the lock.
    #[inline]
    pub(super) fn wait(&self, registers: &Registers, flight: InFlight) -> Result<(), Failure> {
        let is_done = soon(self.polls(), || self.is_done(registers, flight.batch.sync));
        match is_done && self.progress.has_refused_none_since(&flight.batch) {
            true => Ok(()),
            false => self.wait_long(registers, flight),
        }
    }

    #[cold]
    fn wait_long(&self, registers: &Registers, mut flight: InFlight) -> Result<(), Failure> {
        loop {
            let result = self.look(&mut self.state.lock(), registers, &mut flight);
            if let Some(result) = result {
                return result;
            }
            // Until there may be something to do, the others can have the lock.
            while let Some(Err(in_vain)) = flight
                .wait
                .map(|wait| wait.look(self.polls(), || self.is_done(registers, flight.batch.sync)))
            {
                let has_error = || errors(registers).has(GlobalErrors::COMMAND);
                if self.has_failed() || in_vain.is_late() || has_error() {
                    break;
                }
            }
            cpu_relax();
        }
    }

    /// Returns when `flight` has completed. The lock is held meanwhile.
    #[cold]
    pub(super) fn wait_locked(
        &self,
        state: &mut State,
        registers: &Registers,
        mut flight: InFlight,
    ) -> Result<(), Failure> {
        loop {
            if let Some(result) = self.look(state, registers, &mut flight) {
                return result;
            }
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

/// The errors that are active.
fn errors(registers: &Registers) -> GlobalErrors {
    let errors = registers.read::<GERROR>();
    GlobalErrors::new(errors.into(), registers.io().read(GERRORN).into())
}

/// Acknowledges the errors in `mask` that are active. The caller holds the queue's lock: GERRORN
/// has one bit for each error, and more than one writer.
fn acknowledge(registers: &Registers, mask: u32) {
    let io = registers.io();
    let (active, seen): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
    io.write_reg(GERRORN::from(seen ^ ((active ^ seen) & mask)));
}

impl CommandQueue {
    /// Reads and acknowledges the active errors but for CMDQ_ERR, which whoever waits handles.
    pub(super) fn take_errors(&self, registers: &Registers) -> GlobalErrors {
        let _state = self.state.lock();
        let io = registers.io();
        let (active, seen): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
        let mask = !GlobalErrors::COMMAND;
        acknowledge(registers, mask);
        GlobalErrors::new((active ^ seen) & mask, 0)
    }
}
