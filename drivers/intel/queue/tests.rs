// SPDX-License-Identifier: GPL-2.0

//! The queue between several processors and a unit that the test plays, with memory in place of
//! registers.

#![forbid(unsafe_code)]

use kernel::{
    impl_has_work,
    macros::kunit_tests,
    new_work,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, Completion,
    },
    time::{Instant, Monotonic},
    workqueue::{self, Work, WorkItem},
};

use super::{
    super::invalidation::{Tagged, TlbKind, TlbScope},
    *,
};

const NO_DRAIN: Drain = Drain {
    writes: false,
    reads: false,
};
const WORKERS: u16 = 2;
const ROUNDS: u64 = 150;

/// An invalidation of what is cached of `domain`.
const fn of_domain(domain: u16) -> Descriptor {
    let kind = TlbKind::new(Tagged::ByDomain, NO_DRAIN);
    Descriptor::translations(kind, TlbScope::Domain { domain })
}

/// A queue, and the registers of its unit.
#[pin_data]
struct Bench {
    registers: Registers,
    #[pin]
    queue: Queue,
    /// For each domain id: how many descriptors the unit has executed.
    executed: [Atomic<u64>; WORKERS as usize],
}

impl Bench {
    fn new() -> Result<Arc<Self>> {
        let registers = Registers::dead()?;
        let queue = Queue::new(-1, NO_DRAIN, false)?;
        let bench = Arc::pin_init(
            pin_init!(Self {
                registers,
                queue <- queue,
                executed: [const { Atomic::new(0) }; WORKERS as usize],
            }),
            GFP_KERNEL,
        )?;
        bench.queue.hand_over(&bench.registers);
        Ok(bench)
    }

    fn batch(&self) -> Batch<'_> {
        Batch::new(&self.queue, &self.registers)
    }

    /// Submits a domain-selective invalidation. The unit does not execute it.
    fn put_in(&self, domain: u16) -> Option<Ticket> {
        let descriptor = of_domain(domain);
        self.queue
            .submit(&self.registers, &[descriptor])
            .ok()
            .flatten()
    }

    /// The unit executes one descriptor, if there is one.
    fn step(&self) {
        let io = self.registers.io();
        let head = u32::from(io.read(IQH)) as usize / 16;
        if head == u32::from(io.read(IQT)) as usize / 16 {
            return;
        }
        let Descriptor([low, _]) = self.queue.descriptor(head);
        match low & 0xf {
            // An IOTLB invalidation: the domain id is in bits 31:16.
            2 => {
                if let Some(count) = self.executed.get((low >> 16 & 0xffff) as usize) {
                    count.fetch_add(1, Release);
                }
            }
            // A wait: the number is in bits 63:32.
            5 => self.queue.memory.completions.play(low >> 32),
            _ => {}
        }
        io.write_reg(IQH::from(((head + 1) % SLOTS * 16) as u32));
    }

    /// The unit reports `status` for the descriptor in slot `index`.
    fn complain(&self, index: usize, status: u32) {
        let io = self.registers.io();
        io.write_reg(IQH::from((index * 16) as u32));
        io.write_reg(FSTS::from(status));
    }

    /// Clears the status. A unit does so when 1 is written; memory does not.
    fn is_heard(&self) {
        self.registers.io().write_reg(FSTS::from(0));
    }
}

/// Invalidates its own domain again and again.
#[pin_data]
struct Worker {
    bench: Arc<Bench>,
    domain: u16,
    wrong: Atomic<u64>,
    #[pin]
    done: Completion,
    #[pin]
    work: Work<Worker>,
}

impl_has_work! {
    impl HasWork<Self> for Worker { self.work }
}

impl Worker {
    fn start(bench: &Arc<Bench>, domain: u16) -> Result<Arc<Self>> {
        let worker = Arc::pin_init(
            pin_init!(Self {
                bench: bench.clone(),
                domain,
                wrong: Atomic::new(0),
                done <- Completion::new(),
                work <- new_work!("iommu_core::tests::invalidator"),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(worker.clone());
        Ok(worker)
    }
}

impl WorkItem for Worker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut asked = 0;
        for round in 0..ROUNDS {
            // Some batches fit one part, some do not, and together they go round the ring many
            // times.
            let count = 1 + round % 19;
            let mut batch = this.bench.batch();
            for _ in 0..count {
                batch.push(of_domain(this.domain));
            }
            asked += count;
            let result = batch.run();
            let executed = this.bench.executed[usize::from(this.domain)].load(Acquire);
            if result.is_err() || executed != asked {
                this.wrong.fetch_add(1, Relaxed);
            }
        }
        this.done.complete_all();
    }
}

#[kunit_tests(iommu_core_intel_queue)]
mod suite {
    use super::*;

    /// Law 8, for processors that share a unit.
    #[test]
    fn a_batch_returns_when_all_of_it_is_done_and_not_before() -> Result {
        let bench = Bench::new()?;
        let mut workers = KVec::new();
        for domain in 0..WORKERS {
            workers.push(Worker::start(&bench, domain)?, GFP_KERNEL)?;
        }
        let asked: u64 = (0..ROUNDS).map(|round| 1 + round % 19).sum();
        let start = Instant::<Monotonic>::now();
        while start.elapsed() < Delta::from_secs(60)
            && bench
                .executed
                .iter()
                .any(|count| count.load(Relaxed) < asked)
        {
            bench.step();
            cpu_relax();
        }
        // Only wait descriptors are left.
        (0..SLOTS).for_each(|_| bench.step());
        for worker in workers.iter() {
            worker.done.wait_for_completion();
            assert_eq!(worker.wrong.load(Relaxed), 0);
        }
        for count in &bench.executed {
            assert_eq!(count.load(Relaxed), asked);
        }
        assert!(!bench.queue.has_failed());
        bench.queue.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn what_the_unit_refuses_becomes_an_invalidation_of_everything() -> Result {
        let bench = Bench::new()?;
        assert!(bench.put_in(5).is_some());
        assert!(bench.put_in(6).is_some());
        // Slots: 5, its wait, 6, its wait.
        bench.complain(2, FaultStatus::QUEUE_ERROR);
        assert_eq!(bench.queue.repair(&bench.registers), Ok(()));
        bench.is_heard();
        // Bits 5:4 are 1 for everything (6.5.2.3).
        assert_eq!(bench.queue.descriptor(2), Descriptor([0x12, 0]));
        assert_eq!(bench.queue.descriptor(0).0[0], 5 << 16 | 0x22);
        assert_eq!(bench.queue.counts().queue_errors, 1);

        // If the unit refuses the global invalidation as well, the queue has failed.
        bench.complain(2, FaultStatus::QUEUE_ERROR);
        assert_eq!(
            bench.queue.repair(&bench.registers),
            Err(Failure::Refused {
                descriptor: Descriptor([0x12, 0])
            })
        );
        bench.is_heard();
        assert!(bench.queue.has_failed());
        bench.queue.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn a_complaint_about_a_slot_that_is_not_in_use_is_final() -> Result {
        let bench = Bench::new()?;
        assert!(bench.put_in(5).is_some());
        bench.complain(100, FaultStatus::QUEUE_ERROR);
        assert!(matches!(
            bench.queue.repair(&bench.registers),
            Err(Failure::Refused { .. })
        ));
        bench.queue.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn who_waits_in_vain_invalidates_everything() -> Result {
        let bench = Bench::new()?;
        let ticket = bench.put_in(5).ok_or(EINVAL)?;
        // The unit has dropped the wait descriptor, and its head is past it.
        bench.complain(2, FaultStatus::TIMEOUT_ERROR);
        assert_eq!(bench.queue.repair(&bench.registers), Ok(()));
        bench.is_heard();
        assert_eq!(bench.queue.counts().timeouts, 1);
        let (head, tail) = {
            let ring = bench.queue.ring.lock();
            (ring.head, ring.tail)
        };
        assert_eq!((head, tail), (Slot::new(2), Slot::new(2)));

        // This unit does not execute the repeated invalidation either.
        assert!(matches!(
            bench.queue.wait(&bench.registers, ticket),
            Err(Failure::Timeout { head: 32, .. })
        ));
        // Bits 3:0 are the type, bits 5:4 are 1 for everything (6.5.2.1, 6.5.2.3); a wait is
        // between.
        assert_eq!(bench.queue.descriptor(2), Descriptor([0x11, 0]));
        assert_eq!(bench.queue.descriptor(4), Descriptor([0x12, 0]));
        bench.queue.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn a_later_batch_that_is_done_does_not_make_up_for_one_that_was_dropped() -> Result {
        let bench = Bench::new()?;
        let dropped = bench.put_in(5).ok_or(EINVAL)?;
        bench.complain(2, FaultStatus::TIMEOUT_ERROR);
        assert_eq!(bench.queue.repair(&bench.registers), Ok(()));
        bench.is_heard();
        let later = bench.put_in(6).ok_or(EINVAL)?;
        (0..2).for_each(|_| bench.step());
        assert_eq!(bench.queue.wait(&bench.registers, later), Ok(()));

        // This unit does not execute the repeated invalidation.
        assert!(matches!(
            bench.queue.wait(&bench.registers, dropped),
            Err(Failure::Timeout { .. })
        ));
        assert_eq!(bench.queue.descriptor(4), Descriptor([0x11, 0]));
        assert_eq!(bench.queue.descriptor(6), Descriptor([0x12, 0]));
        bench.queue.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn a_ring_has_room_for_all_slots_but_one() -> Result {
        let bench = Bench::new()?;
        let room = || {
            let mut ring = bench.queue.ring.lock();
            ring.advance(bench.queue.memory.completions.last());
            ring.room()
        };
        assert_eq!(room(), SLOTS - 1);
        for _ in 0..3 * SLOTS {
            assert!(bench.put_in(0).is_some());
            assert_eq!(room(), SLOTS - 3);
            bench.step();
            // The unit has executed the invalidation, but only the wait descriptor says so.
            assert_eq!(room(), SLOTS - 3);
            bench.step();
            assert_eq!(room(), SLOTS - 1);
        }
        bench.queue.take_back(&Off::observed());
        Ok(())
    }
}
