// SPDX-License-Identifier: GPL-2.0

//! Maps and unmaps on several CPUs while groups come and go: law 8 when everything races.

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
/// The devices that do DMA meanwhile.
const IDS: [u32; 2] = [1, 2];

/// Maps, uses and unmaps memory in a part of a domain that is its own.
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
                // Neighbours share tables.
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

    /// Whether one round was as it should be.
    fn round(&self, round: u64) -> bool {
        // Every other time so much that a table ends up empty and is freed.
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
            // Nobody is attached just now.
            Dma::Refused => true,
        });
        // From here on the memory may be somebody else's.
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
        // The first of the workers' large mappings takes another level.
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
                // Both come and go, so that now and then nobody is there.
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
            // A worker lets go of the domain when its work item has ended, which is soon.
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
