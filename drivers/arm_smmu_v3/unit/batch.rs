// SPDX-License-Identifier: GPL-2.0

//! Commands that are executed together, and the devices that they ask. How processors share the
//! queue is in [`command_queue`](super::command_queue).

#![forbid(unsafe_code)]

use kernel::prelude::*;

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use super::command_queue::InFlight;
use super::{
    super::records::command::Command,
    ats_streams::{AtsStream, AtsStreams},
    command_queue::{CommandQueue, Failure, State, ROOM_FOR_ONE},
    mmio::Registers,
};
use crate::ffi::compat::SpinLockIrqGuard;

/// Commands that are executed together.
///
/// The caller must [`run`](Self::run) it: if a batch is dropped, none or some of its commands were
/// executed.
#[must_use]
pub struct Batch<'a> {
    queue: &'a CommandQueue,
    /// `None` after a wait.
    guard: Option<SpinLockIrqGuard<'a, State>>,
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

/// Whether the queue is locked while a processor waits.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Waits {
    Unlocked,
    Locked,
}

impl<'a> Batch<'a> {
    /// An empty batch. The queue is locked until commands are executed.
    #[inline]
    pub(super) fn new(queue: &'a CommandQueue, registers: &'a Registers) -> Self {
        Self {
            queue,
            guard: Some(queue.lock(registers)),
            registers,
            count: 0,
            asks: Asks::None,
            first: None,
            result: Ok(()),
        }
    }

    #[inline]
    fn state(&mut self) -> &mut State {
        let (queue, registers) = (self.queue, self.registers);
        self.guard.get_or_insert_with(|| queue.lock(registers))
    }

    /// Locks the queue when it has room for a command and a CMD_SYNC, or takes no commands. What
    /// was pushed so far may be executed meanwhile.
    #[inline]
    fn state_with_room(&mut self) -> &mut State {
        let (queue, registers) = (self.queue, self.registers);
        if self.count == queue.max_unsynced {
            self.flush(Waits::Unlocked);
        }
        while {
            let state = self.state();
            state.open && !queue.has_room(registers, state, ROOM_FOR_ONE)
        } {
            self.wait_for_room();
        }
        self.state()
    }

    /// The queue is full. Waits, without the lock, until that may have changed.
    #[cold]
    fn wait_for_room(&mut self) {
        if self.count > 0 {
            return self.flush(Waits::Unlocked);
        }
        let queue = self.queue;
        let state = self.state();
        let oldest = queue.oldest(state);
        self.guard = None;
        self.result = queue.wait(self.registers, oldest);
    }

    /// Adds a command.
    #[inline]
    pub fn push(&mut self, command: Command) {
        let queue = self.queue;
        let state = self.state_with_room();
        if state.open {
            queue.append(state, command);
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
        if self.queue.has_el2 {
            self.push(Command::invalidate_el2());
        }
        self.push(Command::invalidate_el1());
    }

    /// Executes what was pushed so far, before what is pushed next. Returns `None` if all devices
    /// have answered their CMD_ATC_INV. Otherwise [`is_silent`](Self::is_silent) tells which one
    /// has not, if it was the only one.
    ///
    /// The queue was unlocked meanwhile: other batches may have been executed, and the list of ATS
    /// streams may have changed.
    pub fn sync(&mut self) -> Option<Unanswered> {
        self.flush(Waits::Unlocked);
        let first = self.first.take()?;
        // If a device did not answer another processor, in between, this one asks it once more.
        (self.state().unanswered >= first).then_some(Unanswered(first))
    }

    /// As [`sync`](Self::sync), but the queue stays locked until the unit has executed what was
    /// pushed, unless that asks a device: for what others must not see half done.
    #[cold]
    pub fn sync_locked(&mut self) {
        self.flush(Waits::Locked);
    }

    /// Whether the device of `stream` has not answered since, when it was asked alone.
    pub fn is_silent(&mut self, stream: u32, Unanswered(since): Unanswered) -> bool {
        self.ats_streams().is_silent(stream, since)
    }

    /// Locks the queue, if it is not, until commands are executed.
    pub fn lock(&mut self) {
        self.state();
    }

    /// The devices whose TLBs an invalidation has to reach.
    #[inline]
    pub fn ats_streams(&mut self) -> &AtsStreams<KVec<AtsStream>> {
        &self.state().ats_streams
    }

    /// Calls `f` with the list of these devices, to change it.
    pub fn change_ats_streams<R>(
        &mut self,
        f: impl FnOnce(&mut AtsStreams<KVec<AtsStream>>) -> R,
    ) -> R {
        let queue = self.queue;
        queue.change_ats_streams(self.state(), f)
    }

    /// Executes the batch. When this returns `Ok`, all its commands have completed. An empty batch
    /// costs nothing.
    #[inline]
    pub fn run(mut self) -> Result<(), Failure> {
        self.flush(Waits::Unlocked);
        self.result
    }

    /// Hands what was pushed, which asks one device, to the unit, and does not wait: as a processor
    /// that is away for long.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn go_away(mut self) {
        let Asks::One(stream) = self.asks else { return };
        let (queue, registers) = (self.queue, self.registers);
        queue.start_asking(self.state(), registers, Some(stream));
    }

    /// Hands what was pushed, which asks no device, to the unit, for which somebody waits later.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn begin(mut self) -> InFlight {
        let (queue, registers) = (self.queue, self.registers);
        let state = self.state();
        queue.start(state, registers)
    }

    /// Executes what was pushed so far.
    #[inline]
    fn flush(&mut self, waits: Waits) {
        let count = core::mem::take(&mut self.count);
        let asks = core::mem::replace(&mut self.asks, Asks::None);
        if count == 0 || self.result.is_err() {
            return;
        }
        let queue = self.queue;
        let state = self.state();
        if !state.open {
            if !queue.works() {
                self.result = Err(state.take_failure());
            }
            return;
        }
        state.counts.batches += 1;
        self.result = match asks {
            Asks::None => self.execute(waits),
            Asks::One(stream) => self.ask(Some(stream)),
            Asks::Several => self.ask(None),
        };
    }

    #[inline]
    fn execute(&mut self, waits: Waits) -> Result<(), Failure> {
        let (queue, registers) = (self.queue, self.registers);
        let state = self.state();
        let flight = queue.start(state, registers);
        if queue.repeats || waits == Waits::Locked {
            return queue.wait_locked(state, registers, flight);
        }
        self.guard = None;
        queue.wait(registers, flight)
    }

    /// As [`execute`](Self::execute), for commands that ask devices: the one of stream `alone`, or
    /// several.
    fn ask(&mut self, alone: Option<u32>) -> Result<(), Failure> {
        let (queue, registers) = (self.queue, self.registers);
        let number = queue.start_asking(self.state(), registers, alone);
        self.first = self.first.or(Some(number));
        // Another processor may see the end of it, and submit something else.
        self.guard = None;
        let state = self.state();
        match queue.has_failed() {
            false => Ok(()),
            true => Err(state.take_failure()),
        }
    }
}

/// A device has not answered a CMD_ATC_INV.
#[derive(Copy, Clone)]
pub struct Unanswered(u64);
