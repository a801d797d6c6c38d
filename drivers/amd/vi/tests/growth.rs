// SPDX-License-Identifier: GPL-2.0

//! Tables that grow while endpoints are attached and detached through the core, on a unit that is
//! off and so carries out every batch at once.

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
    label::Label,
    ownership::Owner,
    registry::Registry,
    unit::Unit,
};

/// The first addresses that take 4, 5 and 6 levels.
const BEYOND: [u64; 3] = [1 << 39, 1 << 48, 1 << 57];

/// A unit, and the objects that a frontend makes for it.
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
                    vendor: 0,
                    device: 0,
                    class: 0,
                    physical: None,
                    has_pasids: false,
                    trusted: true,
                },
                ids,
                ids_kept: true,
                device_tlb: None,
                pasids: None,
            },
        )?;
        let group = Group::new("group".into(), &self.blocked, self.ids.clone())?;
        group.join(&endpoint, Reason::Isolated)?;
        Ok((group, endpoint))
    }

    fn read(&self, bus: u8) -> Option<Translation> {
        read(self.units[0].data(), RequesterId::pci(bus, 0))
    }

    /// How many levels the table of an entry has; 0 if it has none.
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

/// Maps at higher and higher addresses.
#[pin_data]
struct Mapper {
    domain: Arc<Domain<AmdVi>>,
    unit: Arc<Unit<AmdVi>>,
    /// Where it maps within a page table of the lowest level.
    offset: u64,
    /// How many levels the mappings need that devices may use.
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
            // Device 1 is attached all the time, and may use the mapping from now on.
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

    /// The entries of all attached endpoints follow, and no others.
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
        // A mapping that needs no more levels changes no entry.
        map(&domain, BEYOND[0] + 0x1000)?;
        assert_eq!(bench.read(1), top);
        // An endpoint that was blocked meanwhile stays blocked.
        second.set_default(&bench.blocked)?;
        map(&domain, BEYOND[1])?;
        assert_eq!([1, 2, 3].map(|bus| bench.levels(bus)), [5, 0, 3]);
        assert_eq!(bench.read(2), Some(Translation::Blocked));
        // An endpoint that is attached later gets the current top.
        second.set_default(&domain)?;
        assert_eq!(bench.read(2), bench.read(1));
        first.leave(&a);
        map(&domain, BEYOND[2])?;
        assert_eq!([1, 2, 3].map(|bus| bench.levels(bus)), [0, 6, 3]);

        second.leave(&b);
        third.leave(&c);
        drop((domain, other, first, second, third, a, b, c));
        AmdVi::release(bench.units[0].data())?;
        Ok(())
    }

    /// A plan that was prepared before the table grew writes the current top.
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
        AmdVi::release(bench.units[0].data())?;
        Ok(())
    }

    /// While several threads map, and others attach and detach: before a mapping may be used, the
    /// unit walks from a top that covers it, for all attached endpoints.
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
        // A mapper drops its domain soon, when its work item has ended.
        let left = || {
            let (allocated, freed) = bench.registry.counts();
            allocated - freed
        };
        while left() > 1 {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(hardware(bench.units[0].data())?.ids.lock().used(), 0);
        AmdVi::release(bench.units[0].data())?;
        Ok(())
    }
}
