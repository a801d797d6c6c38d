// SPDX-License-Identifier: GPL-2.0

//! Random operations on page tables of each format. After each step the page table, and what
//! hardware sees of it, are compared with a reference.

use iommu_core_host::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    cases::{AmdCase, Arm1K16, Arm1K4, Arm1K64, Arm2K16, Arm2K4, Arm2K64, Case, VtdCase, X86Case},
    hardware::{Fault, Hardware},
    memory::HostMemory,
    model::{stretches, Model},
    pgtable::{Config, Error, Format, Gather, PageTable},
};
use proptest::{prelude::*, test_runner::TestRunner};

#[derive(Clone, Debug)]
enum Op {
    Map {
        place: usize,
        page: u64,
        pages: u64,
        shift: u64,
        prot: usize,
        undo: bool,
    },
    Unmap {
        place: usize,
        page: u64,
        pages: u64,
        sync: bool,
    },
    /// Unmaps exactly one stretch.
    UnmapAll { which: usize },
    Touch {
        place: usize,
        page: u64,
        write: bool,
    },
}

/// Numbers of pages, for tables of `entries` entries. Run sizes and whole tables are frequent.
fn sizes(entries: u64) -> BoxedStrategy<u64> {
    prop_oneof![
        3 => 1u64..4,
        3 => 1u64..600,
        2 => (0u32..10).prop_map(|lg2| 1 << lg2),
        2 => Just(entries),
        1 => Just(2 * entries),
        1 => 1u64..(3 * entries + entries / 3),
    ]
    .boxed()
}

fn op(entries: u64) -> BoxedStrategy<Op> {
    // Pages near a place. Multiples of tables and runs are frequent, so that large pages occur.
    let page = prop_oneof![
        2 => Just(0u64),
        2 => Just(entries),
        2 => (0u64..32).prop_map(|n| n * 32),
        2 => 0u64..1100,
        1 => 0u64..(2 * entries + entries / 8),
    ];
    let shift = prop_oneof![
        4 => Just(0u64),
        1 => 0u64..600,
        // Aligned to some runs and not to others.
        1 => (0u32..10).prop_map(|lg2| 1 << lg2),
    ];
    let sizes = sizes(entries);

    prop_oneof![
        5 => (0usize..8, page.clone(), sizes.clone(), shift, 0usize..8, any::<bool>())
            .prop_map(|(place, page, pages, shift, prot, undo)| Op::Map {
                place, page, pages, shift, prot, undo
            }),
        3 => (0usize..8, page.clone(), sizes, any::<bool>())
            .prop_map(|(place, page, pages, sync)| Op::Unmap { place, page, pages, sync }),
        1 => any::<usize>().prop_map(|which| Op::UnmapAll { which }),
        2 => (0usize..8, page, any::<bool>())
            .prop_map(|(place, page, write)| Op::Touch { place, page, write }),
    ]
    .boxed()
}

const fn level_size<F: Format>(level: u32) -> u64 {
    1 << (F::GRANULE_LG2 + F::INDEX_LG2 * level)
}

fn config<C: Case>() -> BoxedStrategy<Config> {
    // From the smallest pages alone to all sizes, with and without runs.
    let single = (0..3).fold(0, |sizes, level| sizes | level_size::<C::Format>(level));
    let sizes = prop_oneof![
        1 => Just(level_size::<C::Format>(0)),
        1 => Just(level_size::<C::Format>(0) | level_size::<C::Format>(1)),
        1 => Just(single),
        4 => Just(u64::MAX),
        1 => any::<u64>().prop_map(|sizes| sizes | level_size::<C::Format>(0)),
    ];

    (
        proptest::sample::select(C::shapes()),
        sizes,
        any::<bool>(),
        prop_oneof![5 => Just(true), 1 => Just(false)],
    )
        .prop_map(|(shape, sizes, coherent, split)| Config {
            page_sizes: shape.page_sizes.intersection(PageSizes::new(sizes)),
            coherent,
            split,
            ..shape
        })
        .boxed()
}

struct Bench<C: Case> {
    cfg: Config,
    memory: HostMemory,
    table: PageTable<C::Format, HostMemory>,
    hardware: Hardware<C::Walker>,
    gather: Gather<HostMemory>,
    model: Model,
    places: [u64; 8],
    prots: Vec<Prot>,
}

impl<C: Case> Bench<C> {
    const PAGE: u64 = level_size::<C::Format>(0);

    fn new(cfg: Config) -> Self {
        let memory = HostMemory::new();
        let table = PageTable::new(&cfg, memory.clone(), ()).unwrap();
        let hardware = C::hardware(&memory, &cfg, &table);
        let last = table.last_iova().raw();
        let (page, large, huge) = (
            Self::PAGE,
            level_size::<C::Format>(1),
            level_size::<C::Format>(2),
        );

        Self {
            cfg,
            memory,
            table,
            hardware,
            gather: Gather::new(),
            model: Model::new(Self::PAGE),
            places: [
                0,
                // Just before the boundaries of entries of each level.
                large - 300 * page,
                huge.wrapping_sub(2 * large) & last & !(page - 1),
                // The end of a table of level 2 that is followed by another one.
                (1 << (cfg.iova_bits.min(40) - 1)) - large - 5 * page,
                last / 2 + 1 - large,
                3 * large,
                // The end of the aperture: ranges near it also exceed the aperture.
                last - (4 * large - 1),
                last - ((level_size::<C::Format>(1) / page + 1) * page - 1),
            ],
            prots: C::prots(),
        }
    }

    fn sync(&mut self) {
        if let Some((first, last)) = self.gather.range() {
            self.hardware
                .invalidate(first.raw(), last.raw(), self.gather.tables_changed());
        }
        self.table.splits_are_invalidated(self.gather.take_splits());
        self.gather.done();
    }

    fn is_outside(&self, iova: u64, len: u64) -> bool {
        iova.checked_add(len - 1)
            .is_none_or(|last| last > self.table.last_iova().raw())
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Map {
                place,
                page,
                pages,
                shift,
                prot,
                undo,
            } => {
                let iova = self.places[place].wrapping_add(page * Self::PAGE);
                let phys = (0x1_0000_0000 + (iova & 0xffff_ffff)) + shift * Self::PAGE;
                let prot = self.prots[prot % self.prots.len()];

                self.map(iova, phys, pages * Self::PAGE, prot, undo);
            }
            Op::Unmap {
                place,
                page,
                pages,
                sync,
            } => {
                let iova = self.places[place].wrapping_add(page * Self::PAGE);

                self.unmap(iova, pages * Self::PAGE);
                if sync {
                    self.sync();
                }
            }
            Op::UnmapAll { which } => {
                let all = self.model.stretches();
                if !all.is_empty() {
                    let stretch = all[which % all.len()];
                    self.unmap(stretch.iova, stretch.len);
                }
            }
            Op::Touch { place, page, write } => {
                // Fills the caches. The result is checked only when no invalidation is pending.
                let iova = self.places[place].wrapping_add(page * Self::PAGE + 0x123);
                let got = self.hardware.access(iova, write);

                assert_ne!(got, Err(Fault::FreedTable));
                assert_ne!(got, Err(Fault::Reserved));
            }
        }
    }

    fn map(&mut self, iova: u64, phys: u64, len: u64, prot: Prot, undo: bool) {
        // A map requires no invalidation by itself. But the owner of the range must have
        // invalidated what was mapped there before.
        self.sync();

        let (mapped, result) = self.table.map(
            Iova::new(iova),
            PhysAddr::new(phys),
            len,
            prot,
            (),
            &mut self.gather,
        );
        if self.is_outside(iova, len) {
            assert_eq!((mapped, result), (0, Err(Error::OutOfRange)));
            return;
        }

        let free = self.model.free(iova, len);
        match result {
            Ok(()) => assert_eq!((mapped, free), (len, len)),
            Err(error) => {
                assert_eq!(error, Error::InUse);
                assert!(free < len && mapped <= free && mapped % Self::PAGE == 0);
                // The map stopped where the next page would have been a large page that does not
                // fit, or a page that is in use.
                let size = (0..64)
                    .rev()
                    .map(|lg2| 1 << lg2)
                    .filter(|size| self.table.page_sizes().contains(*size))
                    .find(|size| {
                        (iova + mapped) % size == 0
                            && (phys + mapped) % size == 0
                            && len - mapped >= *size
                    })
                    .unwrap();
                assert!(free - mapped < size, "stopped {size:#x} too early");
            }
        }
        if self.table.has_new_top() {
            let top = self.table.top();

            self.hardware
                .set_top(C::walker(&self.cfg, top), top.root.raw());
            self.table.acknowledge_top(top);
            assert!(!self.table.has_new_top());
        }
        if mapped > 0 {
            self.model.map(iova, phys, mapped, C::granted(prot));
        }
        // The hardware sees the mapping immediately.
        self.sync();
        if mapped > 0 {
            for offset in [0, mapped / 2, mapped - 1] {
                self.check(iova + offset);
            }
        }
        if result.is_err() && undo && mapped > 0 {
            self.unmap(iova, mapped);
        }
    }

    fn unmap(&mut self, iova: u64, len: u64) {
        let unmapped = self.table.unmap(Iova::new(iova), len, &mut self.gather);

        if self.is_outside(iova, len) {
            assert_eq!(unmapped, 0);
            return;
        }

        let mapped = self.model.mapped(iova, len);
        if self.cfg.split {
            assert_eq!(unmapped, mapped);
        } else {
            // The unmap may have stopped before a page of which only a part was to be unmapped.
            assert!(unmapped <= mapped);
        }
        self.model.unmap(iova, unmapped);
        if unmapped > 0 {
            let (first, last) = self.gather.range().unwrap();
            assert!(first.raw() <= iova && last.raw() >= iova + (unmapped - 1));
        }
    }

    /// Checks one address in the page table and, if no invalidation is pending, in the hardware.
    fn check(&mut self, iova: u64) {
        let expected = self.model.lookup(iova);

        assert_eq!(
            self.table.iova_to_phys(Iova::new(iova)),
            expected.map(|(phys, _)| PhysAddr::new(phys))
        );
        for write in [false, true] {
            let allowed = expected
                .filter(|(_, prot)| prot.has(if write { Prot::WRITE } else { Prot::READ }))
                .map(|(phys, _)| phys);

            assert_eq!(
                self.hardware.access(iova, write),
                allowed.ok_or(Fault::Refused),
                "at {iova:#x}"
            );
        }
    }

    fn check_all(&mut self) {
        let expected = self.model.stretches();

        assert_eq!(stretches(&self.hardware.leaves()), expected);
        for leaf in self.hardware.leaves() {
            assert!(self.table.page_sizes().contains(leaf.size));
        }
        if !self.cfg.coherent {
            assert!(self.memory.is_flushed(C::IGNORED));
            assert_eq!(self.memory.flushes().1, 0, "flushed what had not changed");
        }
    }

    fn finish(mut self) {
        self.sync();
        for stretch in self.model.stretches() {
            for iova in [
                stretch.iova.wrapping_sub(1),
                stretch.iova.wrapping_add(stretch.len),
            ] {
                if iova <= self.table.last_iova().raw() {
                    self.check(iova);
                }
            }
        }

        // Unmaps everything; every table must be freed.
        for stretch in self.model.stretches() {
            self.unmap(stretch.iova, stretch.len);
        }
        self.sync();
        if self.cfg.split {
            assert!(self.model.stretches().is_empty());
        }
        self.check_all();
        drop(self.table);
        assert_eq!((self.memory.live(), self.memory.leaked()), (0, 0));
    }
}

fn random_work<C: Case>(cases: u32, most: usize) {
    let entries = level_size::<C::Format>(1) / level_size::<C::Format>(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let ops = proptest::collection::vec(op(entries), 1..most);

    runner
        .run(&(config::<C>(), ops), |(cfg, ops)| {
            let mut bench = Bench::<C>::new(cfg);

            for op in &ops {
                bench.run(op);
                bench.check_all();
            }
            bench.finish();
            Ok(())
        })
        .unwrap();
}

#[test]
fn vtd_second_stage_agrees_with_the_reference() {
    random_work::<VtdCase>(800, 50);
}

#[test]
fn amd_v1_agrees_with_the_reference() {
    random_work::<AmdCase>(800, 50);
}

#[test]
fn x86_64_agrees_with_the_reference() {
    random_work::<X86Case>(200, 50);
}

#[test]
fn armv8_stage_1_with_4k_agrees_with_the_reference() {
    random_work::<Arm1K4>(400, 50);
}

#[test]
fn armv8_stage_1_with_16k_agrees_with_the_reference() {
    random_work::<Arm1K16>(60, 40);
}

#[test]
fn armv8_stage_1_with_64k_agrees_with_the_reference() {
    random_work::<Arm1K64>(20, 30);
}

#[test]
fn armv8_stage_2_with_4k_agrees_with_the_reference() {
    random_work::<Arm2K4>(200, 50);
}

#[test]
fn armv8_stage_2_with_16k_agrees_with_the_reference() {
    random_work::<Arm2K16>(60, 40);
}

#[test]
fn armv8_stage_2_with_64k_agrees_with_the_reference() {
    random_work::<Arm2K64>(20, 30);
}
