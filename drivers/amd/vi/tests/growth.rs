// SPDX-License-Identifier: GPL-2.0

//! Tables that grow while endpoints are attached, come and go: through the core, on a unit that is
//! off and so does at once what it is told.

#![forbid(unsafe_code)]

use kernel::{
    impl_has_work,
    macros::kunit_tests,
    new_work,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, Completion,
    },
    time::{delay::fsleep, Delta},
    workqueue::{self, Work, WorkItem},
};

use super::{super::*, hardware, read, unit};
use crate::{
    domain::Domain,
    endpoint::Endpoint,
    group::{Group, Reason},
    id_map::IdMap,
    ownership::Owner,
    registry::Registry,
    unit::Unit,
};

/// The first addresses that take 4, 5 and 6 levels.
const BEYOND: [u64; 3] = [1 << 39, 1 << 48, 1 << 57];

/// A unit, and what a frontend would have made for it.
struct Bench {
    units: [Arc<Unit<AmdVi>>; 1],
    registry: Arc<Registry>,
    blocked: Arc<Domain<AmdVi>>,
    ids: Arc<IdMap<AmdVi>>,
}

type Alone = (Arc<Group<AmdVi>>, Arc<Endpoint<AmdVi>>);

impl Bench {
    fn new() -> Result<Self> {
        let registry = Registry::new()?;
        Ok(Self {
            units: [Unit::new(unit(TableKind::Host)?)?],
            blocked: Domain::blocked(&registry)?,
            ids: IdMap::new()?,
            registry,
        })
    }

    /// A group of one endpoint, which is function 0 of `bus`.
    fn alone(&self, bus: u8) -> Result<Alone> {
        let id = RequesterId::pci(bus, 0);
        let mut ids = KVec::new();
        ids.push(id, GFP_KERNEL)?;
        let endpoint = Endpoint::new(
            &self.units,
            DeviceInfo {
                name: Label::new(format_args!("device {bus}")),
                place: Place::Pci {
                    segment: 0,
                    id,
                    upstream: KVec::new(),
                    class: 0,
                    physical: None,
                },
                ids,
                device_tlb: None,
            },
        )?;
        let group = Group::new("group".into(), &self.blocked, self.ids.clone())?;
        group.join(&endpoint, Reason::Isolated)?;
        Ok((group, endpoint))
    }

    fn read(&self, bus: u8) -> Option<Translation> {
        read(self.units[0].data(), RequesterId::pci(bus, 0))
    }

    /// Levels of the table that an entry leads to, 0 for none.
    fn levels(&self, bus: u8) -> u8 {
        levels(self.units[0].data(), bus)
    }
}

fn levels(unit: &AmdViUnit, bus: u8) -> u8 {
    match read(unit, RequesterId::pci(bus, 0)) {
        Some(Translation::Host { levels, .. }) => levels,
        _ => 0,
    }
}

fn map(domain: &Domain<AmdVi>, iova: u64) -> Result {
    let (mapped, result) = domain.map(
        Iova::new(iova),
        PhysAddr::new(0x1234_5000),
        4096,
        Prot::READ | Prot::WRITE,
        Gfp::KERNEL,
    );
    assert_eq!(mapped, if result.is_ok() { 4096 } else { 0 });
    result
}

/// Maps further and further up.
#[pin_data]
struct Mapper {
    domain: Arc<Domain<AmdVi>>,
    unit: Arc<Unit<AmdVi>>,
    /// Where in a page table of the lowest level.
    offset: u64,
    /// Levels that mappings take which may be used.
    promised: Arc<Promised>,
    wrong: Atomic<u64>,
    #[pin]
    done: Completion,
    #[pin]
    work: Work<Mapper>,
}

struct Promised(Atomic<u32>);

impl_has_work! {
    impl HasWork<Self> for Mapper { self.work }
}

impl Mapper {
    fn start(
        bench: &Bench,
        domain: &Arc<Domain<AmdVi>>,
        number: u64,
        promised: &Arc<Promised>,
    ) -> Result<Arc<Self>> {
        let mapper = Arc::pin_init(
            pin_init!(Self {
                domain: domain.clone(),
                unit: bench.units[0].clone(),
                offset: number * 4096,
                promised: promised.clone(),
                wrong: Atomic::new(0),
                done <- Completion::new(),
                work <- new_work!("iommu_core::tests::mapper"),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(mapper.clone());
        Ok(mapper)
    }
}

impl WorkItem for Mapper {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        for (above, first) in BEYOND.iter().enumerate() {
            let needs = above as u8 + 4;
            let mapped = map(&this.domain, first + this.offset).is_ok();
            // Device 1 is attached all the time, and may use what was mapped from now on.
            if !mapped || levels(this.unit.data(), 1) < needs {
                this.wrong.fetch_add(1, Relaxed);
            }
            this.promised.raise(u32::from(needs));
        }
        this.done.complete_all();
    }
}

impl Promised {
    fn raise(&self, levels: u32) {
        let mut now = self.0.load(Relaxed);
        while now < levels {
            match self.0.cmpxchg(now, levels, Release) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }
}

#[kunit_tests(iommu_core_amd_growth)]
mod suite {
    use super::*;

    /// The entries of all that is attached follow, and nobody else's.
    #[test]
    fn entries_follow() -> Result {
        let bench = Bench::new()?;
        let (first, a) = bench.alone(1)?;
        let (second, b) = bench.alone(2)?;
        let (third, c) = bench.alone(3)?;
        let domain = Domain::paging(&bench.registry, &a)?;
        let other = Domain::paging(&bench.registry, &a)?;
        first.set_default(&domain)?;
        second.set_default(&domain)?;
        third.set_default(&other)?;

        map(&domain, 0x1000)?;
        assert_eq!([1, 2, 3].map(|bus| bench.levels(bus)), [3, 3, 3]);
        let others = bench.read(3);
        map(&domain, BEYOND[0])?;
        assert_eq!([1, 2, 3].map(|bus| bench.levels(bus)), [4, 4, 3]);
        let top = bench.read(1);
        assert_eq!(bench.read(2), top);
        assert_eq!(bench.read(3), others);
        // A mapping that takes no more levels is nothing to be told.
        map(&domain, BEYOND[0] + 0x1000)?;
        assert_eq!(bench.read(1), top);
        // What was blocked meanwhile does not come back.
        second.set_default(&bench.blocked)?;
        map(&domain, BEYOND[1])?;
        assert_eq!([1, 2, 3].map(|bus| bench.levels(bus)), [5, 0, 3]);
        assert_eq!(bench.read(2), Some(Translation::Blocked));
        // Who comes later comes to the top.
        second.set_default(&domain)?;
        assert_eq!(bench.read(2), bench.read(1));
        first.leave(&a);
        map(&domain, BEYOND[2])?;
        assert_eq!([1, 2, 3].map(|bus| bench.levels(bus)), [0, 6, 3]);

        second.leave(&b);
        third.leave(&c);
        drop((domain, other, first, second, third, a, b, c));
        AmdVi::release(bench.units[0].data());
        Ok(())
    }

    /// A way back that was prepared before the table has grown leads to its top.
    #[test]
    fn plans_are_not_for_one_top() -> Result {
        let bench = Bench::new()?;
        let (group, endpoint) = bench.alone(1)?;
        let domain = Domain::paging(&bench.registry, &endpoint)?;
        group.set_default(&domain)?;
        let claim = group.claim(Owner {
            token: 1,
            name: "owner".into(),
        })?;
        assert_eq!(bench.read(1), Some(Translation::Blocked));
        map(&domain, BEYOND[1])?;
        assert_eq!(bench.read(1), Some(Translation::Blocked));
        drop(claim);
        assert_eq!(bench.levels(1), 5);

        group.leave(&endpoint);
        drop((domain, group, endpoint));
        AmdVi::release(bench.units[0].data());
        Ok(())
    }

    /// When several map, and others attach and detach, whoever is attached walks from the top when
    /// a mapping may be used that needs it.
    #[test]
    fn growth_and_attaches_race() -> Result {
        const ROUNDS: usize = 100;

        let bench = Bench::new()?;
        let (first, a) = bench.alone(1)?;
        let (second, b) = bench.alone(2)?;
        let mut wrong = 0;
        for _ in 0..ROUNDS {
            let domain = Domain::paging(&bench.registry, &a)?;
            first.set_default(&domain)?;
            let promised = Arc::new(Promised(Atomic::new(0)), GFP_KERNEL)?;
            let mut mappers = KVec::new();
            for number in 0..2 {
                let mapper = Mapper::start(&bench, &domain, number, &promised)?;
                mappers.push(mapper, GFP_KERNEL)?;
            }
            loop {
                let levels = promised.0.load(Acquire);
                second.set_default(&domain)?;
                if u32::from(bench.levels(2)) < levels {
                    wrong += 1;
                }
                second.set_default(&bench.blocked)?;
                if bench.read(2) != Some(Translation::Blocked) {
                    wrong += 1;
                }
                if levels == 6 {
                    break;
                }
            }
            for mapper in mappers.iter() {
                mapper.done.wait_for_completion();
                wrong += mapper.wrong.load(Relaxed);
            }
            first.set_default(&bench.blocked)?;
        }
        assert_eq!(wrong, 0);
        first.leave(&a);
        second.leave(&b);
        drop((first, second, a, b));
        // A mapper lets go of the domain when its work item has ended, which is soon.
        let left = || {
            let (allocated, freed) = bench.registry.counts();
            allocated - freed
        };
        while left() > 1 {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(hardware(bench.units[0].data())?.ids.lock().used(), 0);
        AmdVi::release(bench.units[0].data());
        Ok(())
    }
}
