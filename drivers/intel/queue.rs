// SPDX-License-Identifier: GPL-2.0

//! The invalidation queue (VT-d 6.5.2).
//!
//! A [`Batch`] is a number of descriptors and a wait descriptor at its end. The wait descriptor
//! makes the unit write a number to memory when everything before it is done. Processors submit
//! their batches one after the other, under the ring's lock, and wait for them in parallel, without
//! the lock. All wait descriptors are fences, so the unit executes them in order (6.5.2.8) and the
//! numbers only grow: a batch is done once its number or a later one is in memory. Between two wait
//! descriptors the unit may execute descriptors in any order.
//!
//! # Width
//!
//! In legacy mode a descriptor has 128 bits. In scalable mode it has 256 (6.5.2), of which this
//! driver's descriptors leave the upper half 0. The memory of such a queue has places for 128 bits
//! as well, two for each slot, and every second place is never written.
//!
//! # Errors that the unit reports (6.5.2.10, 6.5.2.11)
//!
//! A processor that waits reads the fault status register now and then. It handles errors under the
//! ring's lock:
//!
//! - *Queue error*: the unit does not understand a descriptor and has stopped at it. A descriptor
//!   of the same kind that invalidates everything replaces it. The processor that waits for it need
//!   not know.
//! - *Time-out*: a device did not answer. The unit has dropped its wait descriptors, so each
//!   processor that still waits invalidates everything instead. No descriptor here is for a device:
//!   a time-out would be the unit's own mistake.
//! - *Completion error*: a device's answer was not expected. It is harmless, and counted.
//!
//! If the kernel's own code has the queue, it handles these errors itself, and says only that a
//! descriptor was refused.
//!
//! Each of these is tried a bounded number of times. A unit that still has not finished, or that
//! does not finish within [`TIMEOUT`], never gets another batch.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
mod tests;

use core::{fmt, mem::take};

use kernel::{io::Io, prelude::*, processor::cpu_relax, time::Delta};

use super::{
    fault_record::FaultStatus,
    invalidation::{ContextScope, Descriptor, Drain, PasidScope},
    mmio::Registers,
    regs::{FSTS, IQERCD_HIGH, IQH, IQT},
};
use crate::{
    drivers::shell::{
        queue::{GivenUp, Index, Number, QueueMemory},
        unit_memory::{Exposed, Off},
        wait::{soon, wait_until, Wait},
    },
    ffi::{
        dmar::SharedUnit,
        raw_spinlock::{new_raw_spinlock, RawSpinLock},
    },
    log::log_warn,
    requester::RequesterId,
};

/// Descriptors in the ring, which is one page. One slot always stays free: with all of them in use,
/// head and tail would be as in an empty ring.
const SLOTS: usize = 256;
/// Bytes of a place for 128 bits, which head and tail register count in.
const PLACE_BYTES: usize = 16;
/// How many descriptors of a batch are submitted at once. Most batches have one.
const PART: usize = 8;
/// How long a batch may take. The unit waits for no device, so it needs microseconds if it works.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How often a batch is repeated after time-outs.
const REPEATS: usize = 4;
/// How often memory is polled for each look at the fault status register.
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
        /// The fault status register.
        status: u32,
    },
    /// The unit refuses one descriptor after the other.
    Refused {
        /// The last one.
        descriptor: Descriptor,
    },
    /// Devices do not answer, again and again.
    Unanswered,
    /// The queue had failed before.
    Earlier,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { head, tail, status } => write!(
                f,
                "its invalidation queue stands still (head {head:#x}, tail {tail:#x}, fault \
                 status {status:#x})"
            ),
            Self::Refused { descriptor } => write!(
                f,
                "it does not understand the invalidation {:#018x} {:#018x}",
                descriptor.0[0], descriptor.0[1]
            ),
            Self::Unanswered => f.write_str("its devices do not answer invalidations"),
            Self::Earlier => f.write_str("its invalidation queue has failed"),
        }
    }
}

/// What the queue has done, for debugfs.
#[derive(Copy, Clone, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) descriptors: u64,
    pub(super) queue_errors: u64,
    pub(super) timeouts: u64,
    pub(super) completion_errors: u64,
}

/// A slot of the ring.
type Slot = Index<SLOTS>;

/// Which slots are in use, and by what.
///
/// # Invariants
///
/// 1. The unit has executed all slots but those from `head` up to, not including, `tail`.
/// 2. The unit has executed such a slot once it has written the slot's number in `numbers`.
struct Ring {
    head: Slot,
    tail: Slot,
    numbers: [u32; SLOTS],
    /// The number of the last wait descriptor.
    issued: u32,
    /// Whether the unit takes descriptors. While it does not, it caches nothing, and batches are
    /// done at once.
    is_on: bool,
    /// As [`Queue::failed`], for who holds the lock.
    failed: bool,
    /// How often the unit has dropped its wait descriptors. `Completions` has a copy.
    drops: u32,
    counts: Counts,
}

impl Ring {
    /// Whether `count` slots and one for a wait descriptor are free. `number` returns what the unit
    /// wrote last.
    #[inline(always)]
    fn has_room(&mut self, count: usize, number: impl FnOnce() -> u32) -> bool {
        self.room() > count || {
            self.advance(number());
            self.room() > count
        }
    }

    /// How many slots can be filled.
    #[inline(always)]
    fn room(&self) -> usize {
        SLOTS - 1 - self.head.up_to(self.tail)
    }

    /// Frees the slots that the unit has executed, if it has written `number`.
    #[cold]
    fn advance(&mut self, number: u32) {
        while self.head != self.tail && u32::is_reached(self.numbers[self.head.get()], number) {
            // INVARIANT: By 2. the unit has executed the slot.
            self.head = self.head.next();
        }
    }

    /// Whether the unit may not have executed `slot`.
    fn is_in_flight(&self, slot: Slot) -> bool {
        self.head.up_to(slot) < self.head.up_to(self.tail)
    }
}

/// The invalidation queue of one unit.
#[pin_data]
pub(super) struct Queue {
    memory: Exposed<QueueMemory<2, u32>>,
    /// The requests in flight that the unit can wait for.
    drain: Drain,
    /// Whether a slot has 256 bits, two places.
    is_wide: bool,
    #[pin]
    // The kernel's interrupt layer calls with a raw spin lock held (see `remapping`).
    ring: RawSpinLock<Ring>,
    /// Whether the unit cannot be used any more. Changes under the ring's lock.
    failed: GivenUp,
}

/// Identifies a part of a batch that was submitted.
#[derive(Copy, Clone)]
struct Ticket {
    number: u32,
    /// [`Ring::drops`] when it was submitted.
    drops: u32,
}

impl Queue {
    /// An empty queue that no unit uses, for a unit in scalable mode or in legacy mode.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(node: i32, drain: Drain, scalable: bool) -> Result<impl PinInit<Self>> {
        let places = QueueMemory::new(node, SLOTS << u32::from(scalable))?;
        let memory = Exposed::new("an invalidation queue", places);
        Ok(pin_init!(Self {
            memory,
            drain,
            is_wide: scalable,
            ring <- new_raw_spinlock!(Ring {
                head: Slot::FIRST,
                tail: Slot::FIRST,
                numbers: [0; SLOTS],
                issued: 0,
                is_on: false,
                failed: false,
                drops: 0,
                counts: Counts::default(),
            }),
            failed: GivenUp::new(),
        }))
    }

    /// Tells the unit where the queue is. The caller enables it next.
    pub(super) fn hand_over(&self, registers: &Registers) {
        let mut ring = self.ring.lock();
        ring.head = Slot::FIRST;
        ring.tail = Slot::FIRST;
        ring.is_on = true;
        ring.failed = false;
        self.failed.clear();
        self.memory.hand_over();
        registers.io().write_reg(IQT::from(0));
        registers.set_queue(self.memory.slots.addr(), self.is_wide);
    }

    /// Batches go through the queue of the kernel's own code from now on. The caller invalidates
    /// everything.
    pub(super) fn join(&self) {
        let mut ring = self.ring.lock();
        ring.is_on = true;
        ring.failed = false;
        self.failed.clear();
    }

    /// The unit, which is off, does not use the queue any more.
    pub(super) fn take_back(&self, off: &Off) {
        self.ring.lock().is_on = false;
        self.memory.take_back(off);
    }

    /// Waits until the unit has finished, and calls `switch_off`, which makes the unit stop using
    /// the queue. Batches are done at once until the next [`hand_over`](Self::hand_over), after
    /// which the caller invalidates everything.
    ///
    /// # Errors
    ///
    /// Those of `switch_off`. The queue is then as it was.
    pub(super) fn sleep(&self, switch_off: impl FnOnce() -> Result) -> Result {
        let mut ring = self.ring.lock();
        if ring.is_on && !self.has_failed() {
            // If the unit does not finish, each processor that waits for it finds out by itself.
            let _ = wait_until(TIMEOUT, || self.memory.completions.is_done(ring.issued));
        }
        switch_off()?;
        ring.is_on = false;
        Ok(())
    }

    /// Has a unit whose queue was given up, and is off, execute `descriptors` one after the other
    /// with a queue that starts from the beginning. `switch_on` switches the queue on. The queue
    /// stays given up: nobody else submits anything.
    ///
    /// # Errors
    ///
    /// Those of `switch_on`; `ETIMEDOUT`.
    pub(super) fn execute_anew(
        &self,
        registers: &Registers,
        descriptors: &[Descriptor],
        switch_on: impl FnOnce() -> Result,
    ) -> Result {
        let mut ring = self.ring.lock();
        ring.head = Slot::FIRST;
        ring.tail = Slot::FIRST;
        registers.io().write_reg(IQT::from(0));
        registers.set_queue(self.memory.slots.addr(), self.is_wide);
        registers
            .io()
            .write_reg(FSTS::from(FaultStatus::QUEUE_ERROR));
        switch_on()?;
        let mut last = ring.issued;
        for descriptor in descriptors {
            last = self.append(&mut ring, registers, &[*descriptor]).number;
        }
        wait_until(TIMEOUT, || {
            registers.play();
            self.memory.completions.is_done(last)
        })
    }

    /// Batches fail at once from now on, for `reason`. Returns `reason`, or [`Failure::Earlier`] if
    /// the queue had failed before.
    pub(super) fn give_up(&self, reason: Failure) -> Failure {
        self.fail(&mut self.ring.lock(), reason)
    }

    fn fail(&self, ring: &mut Ring, reason: Failure) -> Failure {
        ring.failed = true;
        self.failed.set(reason, Failure::Earlier)
    }

    /// The requests in flight that the unit can wait for.
    pub(super) fn drain(&self) -> Drain {
        self.drain
    }

    /// The descriptor in slot `index` of the ring.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn descriptor(&self, index: usize) -> Descriptor {
        self.read_slot(Slot::new(index))
    }

    /// The index of the first place of `slot`.
    #[inline(always)]
    fn place(&self, slot: Slot) -> usize {
        slot.get() << u32::from(self.is_wide)
    }

    fn read_slot(&self, slot: Slot) -> Descriptor {
        Descriptor(self.memory.slots.read(self.place(slot)))
    }

    #[inline(always)]
    fn write_slot(&self, slot: Slot, Descriptor(words): Descriptor) {
        self.memory.slots.write(self.place(slot), words);
    }

    /// The slot that `head` means.
    fn slot_at(&self, head: IQH) -> Slot {
        Slot::new(u32::from(head) as usize / PLACE_BYTES >> u32::from(self.is_wide))
    }

    pub(super) fn counts(&self) -> Counts {
        self.ring.lock().counts
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_set()
    }

    /// Executes `descriptors`, [`PART`] at most. When this returns `Ok`, they are done.
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
        descriptors: &[Descriptor],
    ) -> Result<(), Failure> {
        match self.submit(registers, descriptors)? {
            Some(ticket) => self.wait(registers, ticket),
            None => Ok(()),
        }
    }

    /// Submits `descriptors`, [`PART`] at most, and a wait descriptor. `None` if there is nothing
    /// to wait for.
    #[inline]
    fn submit(
        &self,
        registers: &Registers,
        descriptors: &[Descriptor],
    ) -> Result<Option<Ticket>, Failure> {
        let mut ring = self.ring.lock();
        let is_own = registers.shared().is_none() && ring.is_on && !ring.failed;
        match is_own && ring.has_room(descriptors.len(), || self.memory.completions.last()) {
            true => Ok(Some(self.append(&mut ring, registers, descriptors))),
            false => {
                drop(ring);
                self.submit_or_wait(registers, descriptors)
            }
        }
    }

    /// As [`submit`](Self::submit), whatever there is to wait for.
    #[cold]
    fn submit_or_wait(
        &self,
        registers: &Registers,
        descriptors: &[Descriptor],
    ) -> Result<Option<Ticket>, Failure> {
        let mut wait = None;
        loop {
            let mut ring = self.ring.lock();
            if ring.failed {
                return Err(Failure::Earlier);
            }
            if !ring.is_on {
                return Ok(None);
            }
            if let Some(unit) = registers.shared() {
                ring.counts.batches += 1;
                ring.counts.descriptors += descriptors.len() as u64 + 1;
                drop(ring);
                return self.share(unit, descriptors).map(|()| None);
            }
            if ring.has_room(descriptors.len(), || self.memory.completions.last()) {
                return Ok(Some(self.append(&mut ring, registers, descriptors)));
            }
            drop(ring);
            // The ring is full of batches that other processors wait for.
            let wait = wait.get_or_insert_with(|| Wait::begin(TIMEOUT));
            self.look(registers, wait)?;
            cpu_relax();
        }
    }

    /// Executes `descriptors` in the queue of the kernel's own code.
    #[inline(never)]
    fn share(&self, unit: &SharedUnit, descriptors: &[Descriptor]) -> Result<(), Failure> {
        if unit.execute(descriptors.iter().map(|d| d.0)).is_ok() {
            return Ok(());
        }
        self.ring.lock().counts.queue_errors += 1;
        let wider = |d: &Descriptor| d.widest(self.drain).unwrap_or(*d).0;
        unit.execute(descriptors.iter().map(wider)).map_err(|_| {
            self.give_up(Failure::Refused {
                descriptor: descriptors.first().copied().unwrap_or(Descriptor::NONE),
            })
        })
    }

    /// Fills slots, of which enough are free, and tells the unit.
    #[inline(always)]
    fn append(&self, ring: &mut Ring, registers: &Registers, descriptors: &[Descriptor]) -> Ticket {
        let number = ring.issued.next();
        ring.issued = number;
        let mut put = |descriptor| {
            self.write_slot(ring.tail, descriptor);
            ring.numbers[ring.tail.get()] = number;
            // INVARIANT: The slot has its number.
            ring.tail = ring.tail.next();
        };
        descriptors.iter().for_each(|&descriptor| put(descriptor));
        let address = self.memory.completions.addr().raw();
        put(Descriptor::wait(address, number));
        ring.counts.batches += 1;
        ring.counts.descriptors += descriptors.len() as u64 + 1;
        // The kernel orders the write of a register after earlier writes to memory.
        let tail = self.place(ring.tail) * PLACE_BYTES;
        registers.io().write_reg(IQT::from(tail as u32));
        Ticket {
            number: ring.issued,
            drops: ring.drops,
        }
    }

    /// Returns when the unit has done everything up to `ticket`.
    #[inline]
    fn wait(&self, registers: &Registers, ticket: Ticket) -> Result<(), Failure> {
        match soon(POLLS, || self.is_done(ticket)) {
            true => Ok(()),
            false => self.wait_long(registers, ticket),
        }
    }

    /// Whether the unit has done everything up to `ticket`.
    #[inline]
    fn is_done(&self, ticket: Ticket) -> bool {
        let completions = &self.memory.completions;
        completions.is_done_since(ticket.drops, ticket.number)
    }

    #[cold]
    fn wait_long(&self, registers: &Registers, mut ticket: Ticket) -> Result<(), Failure> {
        let mut repeats = 0;
        let mut wait = Wait::begin(TIMEOUT);
        loop {
            let Err(in_vain) = wait.look(POLLS, || self.is_done(ticket)) else {
                return Ok(());
            };
            if self.memory.completions.drops() != ticket.drops {
                if repeats == REPEATS {
                    return Err(self.give_up(Failure::Unanswered));
                }
                repeats += 1;
                let context = Descriptor::context(ContextScope::Global);
                let iotlb = Descriptor::all_translations(self.drain);
                let pasids = Descriptor::pasid_cache(PasidScope::Global);
                let entries = [context, pasids];
                let first = self.submit(registers, &entries[..1 + usize::from(self.is_wide)])?;
                let (Some(first), Some(last)) = (first, self.submit(registers, &[iotlb])?) else {
                    return Ok(());
                };
                ticket = Ticket {
                    drops: first.drops,
                    ..last
                };
                wait = Wait::begin(TIMEOUT);
            } else {
                self.repair(registers)?;
                if in_vain.is_late() {
                    return self.time_out(registers);
                }
            }
        }
    }

    /// Handles what the unit reports while a processor waits for room in the ring.
    fn look(&self, registers: &Registers, wait: &Wait) -> Result<(), Failure> {
        let completions = &self.memory.completions;
        let before = completions.last();
        let Err(in_vain) = wait.look(POLLS, || completions.last() != before) else {
            return Ok(());
        };
        self.repair(registers)?;
        match in_vain.is_late() {
            true => self.time_out(registers),
            false => Ok(()),
        }
    }

    /// The unit has not finished in time. That is no failure if it was switched off meanwhile: then
    /// it has nothing cached.
    fn time_out(&self, registers: &Registers) -> Result<(), Failure> {
        let io = registers.io();
        let mut ring = self.ring.lock();
        if !ring.is_on {
            return Ok(());
        }
        let failure = Failure::Timeout {
            head: io.read(IQH).into(),
            tail: io.read(IQT).into(),
            status: io.read(FSTS).into(),
        };
        Err(self.fail(&mut ring, failure))
    }

    /// Handles the errors that the unit reports.
    ///
    /// # Errors
    ///
    /// Why the unit cannot be used any more.
    fn repair(&self, registers: &Registers) -> Result<(), Failure> {
        const ERRORS: u32 =
            FaultStatus::QUEUE_ERROR | FaultStatus::TIMEOUT_ERROR | FaultStatus::COMPLETION_ERROR;
        let io = registers.io();
        let status = FaultStatus(registers.read::<FSTS>().into());
        if status.is_gone() {
            return self.time_out(registers);
        }
        if status.0 & ERRORS == 0 {
            return match self.has_failed() {
                true => Err(Failure::Earlier),
                false => Ok(()),
            };
        }

        let mut ring = self.ring.lock();
        // Another processor may have handled them meanwhile.
        let status = FaultStatus(io.read(FSTS).into());
        let mut refused = None;
        let mut silent_device = None;
        if status.has(FaultStatus::QUEUE_ERROR) {
            ring.counts.queue_errors += 1;
            let slot = self.slot_at(io.read(IQH));
            let descriptor = self.read_slot(slot);
            let wider = descriptor
                .widest(self.drain)
                .filter(|wider| *wider != descriptor && ring.is_in_flight(slot));
            refused = Some((descriptor, wider));
            if let Some(wider) = wider {
                self.write_slot(slot, wider);
                io.write_reg(FSTS::from(FaultStatus::QUEUE_ERROR));
            }
        }
        if status.has(FaultStatus::TIMEOUT_ERROR) {
            ring.counts.timeouts += 1;
            silent_device = Some(io.read(IQERCD_HIGH).timeout_source().get());
            ring.drops = ring.drops.wrapping_add(1);
            self.memory.completions.note_drops(ring.drops);
            // The unit never writes the numbers of what it has dropped.
            let next = self.slot_at(io.read(IQH));
            if next == ring.tail || ring.is_in_flight(next) {
                // INVARIANT: The unit is past all slots before `next`.
                ring.head = next;
            }
            io.write_reg(FSTS::from(FaultStatus::TIMEOUT_ERROR));
        }
        if status.has(FaultStatus::COMPLETION_ERROR) {
            ring.counts.completion_errors += 1;
            io.write_reg(FSTS::from(FaultStatus::COMPLETION_ERROR));
        }
        drop(ring);

        match silent_device {
            None => {}
            Some(0) => log_warn!("a device did not answer an invalidation in time"),
            Some(source) => log_warn!(
                "{}: the device did not answer an invalidation in time",
                RequesterId::new(source),
            ),
        }
        match refused {
            None => Ok(()),
            Some((descriptor, None)) => Err(self.give_up(Failure::Refused { descriptor })),
            Some((descriptor, Some(_))) => {
                log_warn!(
                    "a unit does not understand the invalidation {:#018x} {:#018x}; everything is \
                     invalidated instead",
                    descriptor.0[0],
                    descriptor.0[1],
                );
                Ok(())
            }
        }
    }
}

/// Invalidations that are executed together.
///
/// If a batch is dropped without [`run`](Self::run), the unit executes an unknown part of it. No
/// function of the driver does that.
#[must_use]
pub(super) struct Batch<'a> {
    queue: &'a Queue,
    registers: &'a Registers,
    part: [Descriptor; PART],
    count: usize,
    /// The last part that was submitted.
    last: Option<Ticket>,
    result: Result<(), Failure>,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    #[inline]
    pub(super) fn new(queue: &'a Queue, registers: &'a Registers) -> Self {
        Self {
            queue,
            registers,
            part: [Descriptor::NONE; PART],
            count: 0,
            last: None,
            result: Ok(()),
        }
    }

    /// Adds an invalidation of the context cache.
    pub(super) fn context(&mut self, scope: ContextScope) {
        self.push(Descriptor::context(scope));
    }

    /// Adds an invalidation of the PASID cache, which only a unit in scalable mode has.
    pub(super) fn pasid_cache(&mut self, scope: PasidScope) {
        self.push(Descriptor::pasid_cache(scope));
    }

    /// Adds an invalidation of the whole IOTLB.
    pub(super) fn all_translations(&mut self) {
        self.push(Descriptor::all_translations(self.queue.drain));
    }

    /// The unit executes what was added so far before what is added next.
    pub(super) fn fence(&mut self) {
        self.submit();
    }

    /// Adds `descriptor`.
    pub(super) fn push(&mut self, descriptor: Descriptor) {
        if self.count == PART {
            self.submit();
        }
        self.part[self.count] = descriptor;
        self.count += 1;
    }

    /// Executes the batch. When this returns `Ok`, everything in it is done. An empty batch costs
    /// nothing. The batch stays in its place, because a move copies all its descriptors.
    ///
    /// Context: any; does not sleep.
    ///
    /// # Errors
    ///
    /// Why the unit did not execute it.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        self.submit();
        self.result?;
        match self.last.take() {
            Some(ticket) => self.queue.wait(self.registers, ticket),
            None => Ok(()),
        }
    }

    fn submit(&mut self) {
        let count = take(&mut self.count);
        if count == 0 || self.result.is_err() {
            return;
        }
        match self.queue.submit(self.registers, &self.part[..count]) {
            Ok(Some(ticket)) => {
                // `wait` waits for the last part only. If the unit drops its wait descriptor, it
                // may have dropped earlier ones as well: count from the first part on.
                let drops = self.last.map_or(ticket.drops, |first| first.drops);
                self.last = Some(Ticket { drops, ..ticket });
            }
            Ok(None) => self.last = None,
            Err(failure) => self.result = Err(failure),
        }
    }
}
