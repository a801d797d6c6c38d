// SPDX-License-Identifier: GPL-2.0

//! Maps and unmaps on several CPUs while groups attach and detach: law 8 under concurrency.

#![forbid(unsafe_code)]

use kernel::{
    impl_has_work,
    macros::kunit_tests,
    new_work,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Completion,
    },
    time::{delay::fsleep, Delta},
    workqueue::{self, Work, WorkItem},
};

use crate::{
    addr::Iova,
    domain::Domain,
    drivers::mock::{
        machine::{map, unmap, Machine, PAGE},
        Dma, Mock, Options,
    },
    log::log_err,
    requester::RequesterId,
    unit::Unit,
};

const WORKERS: u64 = 3;
const ROUNDS: u64 = 1500;
/// The ids of the devices that do DMA at the same time.
const IDS: [u32; 2] = [1, 2];

/// A worker that maps, uses and unmaps memory in its own part of a domain.
#[pin_data]
struct Worker {
    domain: Arc<Domain<Mock>>,
    unit: Arc<Unit<Mock>>,
    first: u64,
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
    fn start(machine: &Machine, domain: &Arc<Domain<Mock>>, number: u64) -> Result<Arc<Self>> {
        let worker = Arc::pin_init(
            pin_init!(Self {
                domain: domain.clone(),
                unit: machine.units[0].clone(),
                // Neighbouring workers share page-table pages.
                first: number * 8 * PAGE,
                wrong: Atomic::new(0),
                done <- Completion::new(),
                work <- new_work!("iommu_core::tests::worker"),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(worker.clone());
        Ok(worker)
    }

    fn reaches(&self, id: u32, iova: u64) -> Dma {
        let hardware = self.unit.data();
        hardware.dma(RequesterId::new(id), Iova::new(iova), false)
    }

    /// Runs one round; returns whether everything was as expected.
    fn round(&self, round: u64) -> bool {
        // Every fourth round maps so much that the unmap empties a page-table page and frees it.
        let (iova, len) = match round % 4 {
            0 => ((self.first / PAGE + 1) << 30, 512 * PAGE),
            other => (self.first + other * PAGE, PAGE),
        };
        let phys = (round % 1000 + 1) << 22;
        if map(&self.domain, iova, phys, len).is_err() {
            return false;
        }
        let good = IDS.iter().all(|&id| match self.reaches(id, iova) {
            Dma::At(at) => at.raw() == phys,
            // No group is attached at this moment.
            Dma::Refused => true,
        });
        // From here on the memory may belong to another user.
        let gone = unmap(&self.domain, iova, len) == len;
        good && gone && IDS.iter().all(|&id| self.reaches(id, iova) == Dma::Refused)
    }
}

impl WorkItem for Worker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        for round in 0..ROUNDS {
            if !this.round(round) {
                this.wrong.fetch_add(1, Relaxed);
            }
        }
        this.done.complete_all();
    }
}

#[kunit_tests(iommu_core_concurrent)]
mod suite {
    use super::*;

    #[test]
    fn law_8_holds_while_groups_attach_and_detach() -> Result {
        let caching = Options {
            caches_absent: true,
            ..Options::default()
        };
        // The first large mapping of any worker makes the page table grow by a level.
        let growing = Options {
            grows: true,
            ..Options::default()
        };
        for options in [Options::default(), caching, growing] {
            let machine = Machine::new(&[options])?;
            let (first, a) = machine.alone(IDS[0])?;
            let (second, b) = machine.alone(IDS[1])?;
            let domain = machine.paging(&a, &[])?;
            let other = machine.paging(&a, &[])?;
            first.set_default(&domain)?;
            let mut workers = KVec::new();
            for number in 0..WORKERS {
                workers.push(Worker::start(&machine, &domain, number)?, GFP_KERNEL)?;
            }
            for _ in 0..ROUNDS / 3 {
                // Both groups attach and detach, so that at times no group is attached.
                second.set_default(&domain)?;
                first.set_default(&other)?;
                second.set_default(&machine.blocked)?;
                first.set_default(&domain)?;
                first.set_default(&machine.blocked)?;
                first.set_default(&domain)?;
            }
            let mut wrong = 0;
            for worker in workers.iter() {
                worker.done.wait_for_completion();
                wrong += worker.wrong.load(Relaxed);
            }
            if wrong > 0 {
                log_err!("{wrong} rounds went wrong");
            }
            assert_eq!(wrong, 0);
            assert_eq!(domain.record().mapped(), 0);
            // A worker drops its reference to the domain when its work item has ended, which
            // happens soon.
            drop(workers);
            first.leave(&a);
            second.leave(&b);
            drop((domain, other, a, b, first, second));
            while machine.domains() > 1 {
                fsleep(Delta::from_millis(1));
            }
            machine.finish()?;
        }
        Ok(())
    }
}
