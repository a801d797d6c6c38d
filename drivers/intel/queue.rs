// SPDX-License-Identifier: GPL-2.0

//! The invalidation queue (VT-d 6.5.2).
//!
//! A [`Batch`] is a number of descriptors and one wait descriptor at its end, which makes the unit
//! write a number to memory when everything before it is done. The queue's lock is held, with
//! interrupts off, from the first descriptor to that write, so a batch always finds the queue empty
//! and its place in the ring is where the last one ended.
//!
//! # When the unit complains (6.5.2.10, 6.5.2.11)
//!
//! - *Queue error*: the unit does not understand a descriptor and has stopped at it. It is replaced
//!   by one that does nothing, and after the batch everything is invalidated instead.
//! - *Time-out*: a device did not answer. The wait descriptor was aborted with it; the batch is put
//!   in again. No descriptor here is for a device, so this would be the unit's own mistake.
//! - *Completion error*: an answer that was not expected. It harms nothing; it is counted.
//!
//! All that happens a bounded number of times. A unit that still has not finished, or that does not
//! finish in [`TIMEOUT`], never gets another batch.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{
    io::Io,
    prelude::*,
    processor::cpu_relax,
    sync::SpinLockIrqGuard,
    time::{Delta, Instant, Monotonic},
};

use super::{
    fault_record::FaultStatus,
    invalidation::{ContextScope, Descriptor, Drain, TlbScope},
    mmio::Registers,
    regs::{FSTS, IQERCD_HIGH, IQH, IQT},
};
use crate::{
    addr::PhysAddr,
    log::{log_err, log_warn},
    pgtable::{
        kernel_memory::{Gfp, KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    requester::RequesterId,
};

/// Bytes of the ring, and of the page that the unit writes status to.
const BYTES: usize = 4096;
/// Descriptors in the ring; one always stays free, since a full ring looks like an empty one.
const SLOTS: usize = BYTES / 16;
/// How long a batch may take. No device's answer is waited for, so a unit that works needs
/// microseconds.
const TIMEOUT: Delta = Delta::from_secs(1);
/// How often a batch may be repaired.
const REPAIRS: usize = 4;
/// How often memory is polled for each look at the fault status register.
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
    /// It had failed before, or does not run.
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

/// What the queue has done, for people.
#[derive(Copy, Clone, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) descriptors: u64,
    pub(super) queue_errors: u64,
    pub(super) timeouts: u64,
    pub(super) completion_errors: u64,
}

/// The ring, and where the unit reports to.
///
/// # Invariants
///
/// 1. While no [`Batch`] exists the unit has executed everything before `tail`, or `failed`.
/// 2. `tail < SLOTS`.
pub(super) struct Queue {
    memory: KernelMemory,
    ring: Table,
    status: Table,
    /// Requests in flight that the unit can wait for.
    drain: Drain,
    tail: usize,
    /// What the last wait descriptor writes.
    sequence: u32,
    failed: bool,
    /// Whether the unit is off for a while and caches nothing, so that there is nothing to do.
    asleep: bool,
    /// Whether the unit may access ring and status. They are not freed then.
    in_use: bool,
    counts: Counts,
}

impl Queue {
    /// An empty queue that no unit knows of.
    pub(super) fn new(node: i32, drain: Drain) -> Result<Self> {
        let memory = KernelMemory::new(node);
        let ring = memory.alloc(BYTES, Gfp::KERNEL).ok_or(ENOMEM)?;
        let Some(status) = memory.alloc(BYTES, Gfp::KERNEL) else {
            memory.free(ring);
            return Err(ENOMEM);
        };
        Ok(Self {
            memory,
            ring,
            status,
            drain,
            tail: 0,
            sequence: 0,
            failed: false,
            asleep: false,
            in_use: false,
            counts: Counts::default(),
        })
    }

    /// Tells the unit where the queue is; it is to be enabled next.
    pub(super) fn hand_over(&mut self, registers: &Registers) {
        self.tail = 0;
        self.failed = false;
        self.asleep = false;
        self.in_use = true;
        registers.io().write_reg(IQT::from(0));
        registers.set_queue(self.ring.addr());
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

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn works(&self) -> bool {
        self.in_use && !self.failed
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    fn slot(&self, index: usize) -> &[KernelEntry] {
        let words = self.memory.entries(self.ring, SLOTS * 2);
        &words[index * 2..index * 2 + 2]
    }

    fn read_slot(&self, index: usize) -> Descriptor {
        let slot = self.slot(index);
        Descriptor([slot[0].load(), slot[1].load()])
    }

    fn write_slot(&self, index: usize, Descriptor(words): Descriptor) {
        let slot = self.slot(index);
        slot[0].store(words[0]);
        slot[1].store(words[1]);
    }

    /// Appends a descriptor, which the unit does not look at yet.
    fn append(&mut self, descriptor: Descriptor) {
        self.write_slot(self.tail, descriptor);
        // INVARIANT: The remainder is below `SLOTS`.
        self.tail = (self.tail + 1) % SLOTS;
        self.counts.descriptors += 1;
    }

    fn status_word(&self) -> &KernelEntry {
        &self.memory.entries(self.status, 1)[0]
    }

    /// A place for writes that nobody waits for.
    fn scratch(&self) -> PhysAddr {
        PhysAddr::new(self.status.addr().raw() + 8)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.in_use {
            log_err!("an invalidation queue is leaked: a unit may still access it");
            return;
        }
        self.memory.free(self.ring);
        self.memory.free(self.status);
    }
}

/// How a part of a batch ended.
enum End {
    Done,
    /// Done, but a descriptor was left out because the unit refused it.
    Skipped(Descriptor),
    /// Not done: devices did not answer.
    Aborted,
}

/// Invalidations that are executed together.
///
/// A batch that is dropped without [`run`](Self::run) has done nothing, or an unknown part of it;
/// none of the driver's functions does that.
#[must_use]
pub(super) struct Batch<'a> {
    queue: SpinLockIrqGuard<'a, Queue>,
    registers: &'a Registers,
    /// First slot of the batch.
    start: usize,
    /// Descriptors since `start`.
    count: usize,
    result: Result<(), Failure>,
}

impl<'a> Batch<'a> {
    /// Descriptors between two wait descriptors at most: the wait itself and the slot that stays
    /// free are left.
    const MAX: usize = SLOTS - 2;

    /// An empty batch. The queue is locked until it is run.
    pub(super) fn new(queue: SpinLockIrqGuard<'a, Queue>, registers: &'a Registers) -> Self {
        let start = queue.tail;
        Self {
            queue,
            registers,
            start,
            count: 0,
            result: Ok(()),
        }
    }

    /// Adds an invalidation of the context cache.
    pub(super) fn context(&mut self, scope: ContextScope) {
        self.push(Descriptor::context(scope));
    }

    /// Adds an invalidation of the IOTLB.
    pub(super) fn iotlb(&mut self, scope: TlbScope) {
        let drain = self.queue.drain;
        self.push(Descriptor::iotlb(scope, drain));
    }

    fn push(&mut self, descriptor: Descriptor) {
        if self.count == Self::MAX {
            self.flush();
        }
        self.queue.append(descriptor);
        self.count += 1;
    }

    /// Executes the batch; everything in it is done when this returns `Ok`. An empty one costs
    /// nothing.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        if self.count > 0 && !self.queue.works() {
            return Err(Failure::Earlier);
        }
        self.flush();
        self.result
    }

    /// Executes what was pushed so far.
    fn flush(&mut self) {
        if self.queue.asleep {
            // The descriptors are forgotten.
            self.queue.tail = self.start;
        } else if self.count > 0 && self.result.is_ok() && self.queue.works() {
            self.queue.counts.batches += 1;
            self.result = self.execute();
            self.queue.failed = self.result.is_err();
        }
        self.start = self.queue.tail;
        self.count = 0;
    }

    fn execute(&mut self) -> Result<(), Failure> {
        let mut replaced = false;

        for _ in 0..REPAIRS {
            match self.submit_and_wait()? {
                End::Done => return Ok(()),
                End::Skipped(descriptor) if replaced => {
                    return Err(Failure::Refused { descriptor });
                }
                End::Skipped(descriptor) => {
                    log_warn!(
                        "a unit does not understand the invalidation {:#018x} {:#018x}; \
                         everything is invalidated instead",
                        descriptor.0[0],
                        descriptor.0[1],
                    );
                    replaced = true;
                    self.start = self.queue.tail;
                    self.count = 0;
                    self.context(ContextScope::Global);
                    self.iotlb(TlbScope::Global);
                }
                End::Aborted => {
                    self.drain()?;
                    self.repeat();
                }
            }
        }
        Err(Failure::Unanswered)
    }

    /// Waits until the unit has taken all that it was given, after a part of it was aborted.
    fn drain(&mut self) -> Result<(), Failure> {
        let io = self.registers.io();
        let tail = (self.queue.tail * 16) as u32;
        let start = Instant::<Monotonic>::now();

        loop {
            let late = start.elapsed() >= TIMEOUT;
            let head = u32::from(io.read(IQH));
            if head == tail {
                return Ok(());
            }
            if late {
                let status = io.read(FSTS).into();
                return Err(Failure::Timeout { head, tail, status });
            }
            cpu_relax();
        }
    }

    /// Appends the batch once more. The ring is empty.
    fn repeat(&mut self) {
        let (start, count) = (self.start, self.count);

        // The first copy goes behind the wait descriptor. Even if batch and copy together are
        // longer than the ring, a descriptor is read before its slot is written.
        self.start = self.queue.tail;
        self.count = 0;
        for step in 0..count {
            let descriptor = self.queue.read_slot((start + step) % SLOTS);
            self.queue.append(descriptor);
            self.count += 1;
        }
    }

    /// Hands the batch and a wait descriptor to the unit, and waits.
    fn submit_and_wait(&mut self) -> Result<End, Failure> {
        let queue = &mut *self.queue;
        // 0 is what the status page starts with.
        queue.sequence = queue.sequence.checked_add(1).unwrap_or(1);
        let wait = Descriptor::wait(queue.status.addr().raw(), queue.sequence);
        queue.append(wait);

        let io = self.registers.io();
        // The write of a register is ordered after the writes to memory before it.
        io.write_reg(IQT::from((queue.tail * 16) as u32));

        let start = Instant::<Monotonic>::now();
        let mut skipped = None;
        let mut repairs = 0;
        loop {
            // Before the poll: if the time is over and the poll still finds nothing, nothing has
            // come in time. The other way round a processor that is away for long in between
            // would blame the unit.
            let late = start.elapsed() >= TIMEOUT;
            for _ in 0..POLLS {
                if queue.status_word().load() as u32 == queue.sequence {
                    return Ok(match skipped {
                        Some(descriptor) => End::Skipped(descriptor),
                        None => End::Done,
                    });
                }
                cpu_relax();
            }

            let status = FaultStatus(io.read(FSTS).into());
            if status.has(FaultStatus::QUEUE_ERROR) && repairs < REPAIRS {
                repairs += 1;
                queue.counts.queue_errors += 1;
                let head = u32::from(io.read(IQH)) as usize / 16 % SLOTS;
                skipped = Some(queue.read_slot(head));
                queue.write_slot(head, Descriptor::wait(queue.scratch().raw(), 0));
                io.write_reg(FSTS::from(FaultStatus::QUEUE_ERROR));
            } else if status.has(FaultStatus::TIMEOUT_ERROR) {
                queue.counts.timeouts += 1;
                let source = io.read(IQERCD_HIGH).timeout_source().get();
                io.write_reg(FSTS::from(FaultStatus::TIMEOUT_ERROR));
                match source {
                    0 => log_warn!("a device did not answer an invalidation in time"),
                    source => log_warn!(
                        "{}: the device did not answer an invalidation in time",
                        RequesterId::new(source),
                    ),
                }
                return Ok(End::Aborted);
            } else if status.has(FaultStatus::COMPLETION_ERROR) {
                queue.counts.completion_errors += 1;
                io.write_reg(FSTS::from(FaultStatus::COMPLETION_ERROR));
            }
            if late {
                return Err(match skipped {
                    Some(descriptor) => Failure::Refused { descriptor },
                    None => Failure::Timeout {
                        head: io.read(IQH).into(),
                        tail: io.read(IQT).into(),
                        status: status.0,
                    },
                });
            }
        }
    }
}
