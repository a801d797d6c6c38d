// SPDX-License-Identifier: GPL-2.0

//! Random work on page tables, compared after each step with a reference, as hardware sees it.

use iommu_core_host::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    hardware::{Fault, Hardware},
    memory::HostMemory,
    model::{stretches, Model},
    pgtable::{vtd_ss::VtdSs, Config, Error, Gather, PageTable},
};
use proptest::prelude::*;

const PAGE: u64 = 4096;
const FLUSHED: u64 = 1 << 52;

#[derive(Clone, Debug)]
enum Op {
    Map {
        place: usize,
        page: u64,
        pages: u64,
        shift: u64,
        prot: u8,
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

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 1u64..4,
        3 => 1u64..600,
        2 => Just(512u64),
        1 => Just(1024u64),
        1 => 1u64..1700,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    // Pages near a place; multiples of 2 MiB often, so that large pages happen.
    let page = prop_oneof![Just(0u64), Just(512), 0u64..1100];

    prop_oneof![
        5 => (0usize..8, page.clone(), sizes(), prop_oneof![3 => Just(0u64), 1 => 0u64..600], 0u8..6, any::<bool>())
            .prop_map(|(place, page, pages, shift, prot, undo)| Op::Map {
                place, page, pages, shift, prot, undo
            }),
        3 => (0usize..8, page.clone(), sizes(), any::<bool>())
            .prop_map(|(place, page, pages, sync)| Op::Unmap { place, page, pages, sync }),
        1 => any::<usize>().prop_map(|which| Op::UnmapAll { which }),
        2 => (0usize..8, page, any::<bool>())
            .prop_map(|(place, page, write)| Op::Touch { place, page, write }),
    ]
}

fn prot(n: u8) -> Prot {
    match n {
        0 => Prot::READ,
        1 => Prot::WRITE,
        2 => Prot::READ | Prot::WRITE | Prot::FORCE_SNOOP,
        _ => Prot::READ | Prot::WRITE,
    }
}

fn config() -> impl Strategy<Value = Config> {
    let shape = prop_oneof![
        Just((3u8, 39u8)),
        Just((4, 48)),
        Just((5, 57)),
        Just((4, 46)),
        Just((5, 52)),
    ];
    let sizes = prop_oneof![
        Just(PageSizes::SZ_4K),
        Just(PageSizes::SZ_4K | PageSizes::SZ_2M),
        Just(PageSizes::SZ_4K | PageSizes::SZ_2M | PageSizes::SZ_1G),
        Just(PageSizes::new(u64::MAX)),
    ];

    (shape, sizes, any::<bool>()).prop_map(|((levels, iova_bits), page_sizes, coherent)| Config {
        iova_bits,
        levels,
        page_sizes,
        oa_bits: 46,
        coherent,
        split: true,
    })
}

struct Bench {
    cfg: Config,
    memory: HostMemory,
    table: PageTable<VtdSs, HostMemory>,
    hardware: Hardware,
    gather: Gather<HostMemory>,
    model: Model,
    places: [u64; 8],
}

impl Bench {
    fn new(cfg: Config) -> Self {
        let memory = HostMemory::new();
        let table = PageTable::new(&cfg, memory.clone(), ()).unwrap();
        let hardware = Hardware::new(&memory, table.root().raw(), cfg.levels, cfg.coherent);
        let end = 1u64 << cfg.iova_bits;

        Self {
            cfg,
            memory,
            table,
            hardware,
            gather: Gather::new(),
            model: Model::default(),
            places: [
                0,
                // Before the boundaries of entries of each level.
                (1 << 21) - (300 << 12),
                (1 << 30) - (2 << 21),
                // The end of level 2's tables, where there is something after it.
                (1 << (cfg.iova_bits.min(40) - 1)) - (1 << 21) - (5 << 12),
                end / 2 - (1 << 21),
                3 << 30,
                // The top: ranges near it also run out of the aperture.
                end - (4 << 21),
                end - (513 << 12),
            ],
        }
    }

    fn sync(&mut self) {
        if let Some((first, last)) = self.gather.range() {
            self.hardware
                .invalidate(first.raw(), last.raw(), self.gather.tables_changed());
        }
        self.gather.done();
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Map {
                place,
                page,
                pages,
                shift,
                prot: p,
                undo,
            } => {
                let iova = self.places[place] + page * PAGE;
                let phys = (0x1_0000_0000 + (iova & 0xffff_ffff)).wrapping_add(shift * PAGE);
                self.map(iova, phys, pages * PAGE, prot(p), undo);
            }
            Op::Unmap {
                place,
                page,
                pages,
                sync,
            } => {
                self.unmap(self.places[place] + page * PAGE, pages * PAGE);
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
                // Fills the caches. What comes of it counts only when nothing is pending.
                let iova = self.places[place] + page * PAGE + 0x123;
                let got = self.hardware.access(iova, write);

                assert_ne!(got, Err(Fault::FreedTable));
                assert_ne!(got, Err(Fault::Reserved));
            }
        }
    }

    fn map(&mut self, iova: u64, phys: u64, len: u64, prot: Prot, undo: bool) {
        // Mapping anew needs nothing invalidated before, only that what was there is gone from the
        // caches, as the owner of the range sees to.
        self.sync();

        let (mapped, result) = self.table.map(
            Iova::new(iova),
            PhysAddr::new(phys),
            len,
            prot,
            (),
            &mut self.gather,
        );
        if iova + (len - 1) > self.table.last_iova().raw() {
            assert_eq!((mapped, result), (0, Err(Error::OutOfRange)));
            return;
        }

        let free = self.model.free(iova, len);
        match result {
            Ok(()) => assert_eq!((mapped, free), (len, len)),
            Err(error) => {
                assert_eq!(error, Error::InUse);
                assert!(free < len && mapped <= free && mapped % PAGE == 0);
                // It went as far as it could: what follows would have been a large page that does
                // not fit, or the page that is used.
                let size = [1 << 30, 1 << 21, PAGE]
                    .into_iter()
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
        if mapped > 0 {
            self.model.map(iova, phys, mapped, prot);
        }
        // The hardware sees it at once.
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

        if iova + (len - 1) > self.table.last_iova().raw() {
            assert_eq!(unmapped, 0);
            return;
        }
        assert_eq!(unmapped, self.model.mapped(iova, len));
        self.model.unmap(iova, unmapped);
        if unmapped > 0 {
            let (first, last) = self.gather.range().unwrap();
            assert!(first.raw() <= iova && last.raw() >= iova + (unmapped - 1));
        }
    }

    /// Checks one address as the table and, with nothing pending, the hardware see it.
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
        if !self.cfg.coherent {
            assert!(self.memory.is_flushed(FLUSHED));
            assert_eq!(self.memory.flushes().1, 0, "flushed what had not changed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_work_agrees_with_the_reference(
        cfg in config(),
        ops in proptest::collection::vec(op(), 1..50),
    ) {
        let mut bench = Bench::new(cfg);

        for op in &ops {
            bench.run(op);
            bench.check_all();
        }

        bench.sync();
        for stretch in bench.model.stretches() {
            for iova in [stretch.iova.wrapping_sub(1), stretch.iova + stretch.len] {
                if iova <= bench.table.last_iova().raw() {
                    bench.check(iova);
                }
            }
        }

        // Everything goes, and every table with it.
        for stretch in bench.model.stretches() {
            bench.unmap(stretch.iova, stretch.len);
        }
        bench.sync();
        bench.check_all();
        drop(bench.table);
        prop_assert_eq!(bench.memory.live(), 0);
        prop_assert_eq!(bench.memory.leaked(), 0);
    }
}
