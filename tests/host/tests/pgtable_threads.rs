// SPDX-License-Identifier: GPL-2.0

//! Several threads at once, each on ranges of its own, in tables that all of them share.

use std::{
    sync::{Barrier, Mutex},
    thread,
};

use iommu_core_host::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    hardware::{Fault, Hardware},
    memory::{chaos, HostMemory},
    model::{stretches, Model, Stretch},
    pgtable::{vtd_ss::VtdSs, Config, DirtyMode, Gather, PageTable, TableList},
};

const PAGE: u64 = 4096;
const M2: u64 = 1 << 21;
const THREADS: u64 = 4;
const RW: Prot = Prot::READ.union(Prot::WRITE);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// The pieces that belong to a thread: they alternate between threads in each table.
fn piece(thread: u64, n: u64, size: u64) -> u64 {
    (1 << 39) - 8 * M2 + (n * THREADS + thread) * size
}

fn run(seed: u64, coherent: bool, size: u64, pieces: u64) {
    let memory = HostMemory::new();
    let cfg = Config {
        iova_bits: 48,
        levels: 4,
        page_sizes: PageSizes::new(u64::MAX),
        oa_bits: 46,
        coherent,
        split: true,
    };
    let table = PageTable::<VtdSs, _>::new(&cfg, memory.clone(), ()).unwrap();
    let unit = || Hardware::new(&memory, table.root().raw(), 4, coherent);
    let barrier = Barrier::new(THREADS as usize);
    let pending = Mutex::new(Vec::new());

    let models: Vec<Model> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (table, barrier, pending, unit) = (&table, &barrier, &pending, &unit);

                scope.spawn(move || {
                    let mut random = Random(seed * 1000 + thread + 1);
                    let mut model = Model::default();
                    let mut hardware = unit();

                    chaos(seed * 77 + thread + 1);
                    barrier.wait();
                    for _ in 0..120 {
                        let iova = piece(thread, random.below(pieces), size);
                        let part = random.below(size / PAGE) * PAGE;
                        let len = (random.below(size / PAGE) + 1) * PAGE;
                        let len = len.min(size - part);
                        let mut gather = Gather::new();

                        match random.below(4) {
                            0 if model.free(iova, size) == size => {
                                let phys = iova & 0xffff_ffff;
                                let result = table.map(
                                    Iova::new(iova),
                                    PhysAddr::new(phys),
                                    size,
                                    RW,
                                    (),
                                    &mut gather,
                                );
                                assert_eq!(result, (size, Ok(())));
                                model.map(iova, phys, size, RW);
                            }
                            1 if model.free(iova + part, len) == len => {
                                let phys = random.below(1 << 30) * PAGE;
                                let result = table.map(
                                    Iova::new(iova + part),
                                    PhysAddr::new(phys),
                                    len,
                                    RW,
                                    (),
                                    &mut gather,
                                );
                                assert_eq!(result, (len, Ok(())));
                                model.map(iova + part, phys, len, RW);
                            }
                            2 => {
                                let got = table.unmap(Iova::new(iova), size, &mut gather);
                                assert_eq!(got, model.mapped(iova, size));
                                model.unmap(iova, got);
                            }
                            _ => {
                                let got = table.unmap(Iova::new(iova + part), len, &mut gather);
                                assert_eq!(got, model.mapped(iova + part, len));
                                model.unmap(iova + part, got);
                            }
                        }
                        // Its own hardware sees its own range at once.
                        if let Some((first, last)) = gather.range() {
                            hardware.invalidate(first.raw(), last.raw(), gather.tables_changed());
                        }
                        for at in [iova, iova + part, iova + part + len - 1] {
                            let expected = model.lookup(at).map(|(phys, _)| phys);
                            assert_eq!(hardware.access(at, true), expected.ok_or(Fault::Refused));
                            assert_eq!(
                                table.iova_to_phys(Iova::new(at)),
                                expected.map(PhysAddr::new)
                            );
                        }
                        let mut seen = 0;
                        table
                            .read_and_clear_dirty(
                                Iova::new(iova),
                                size,
                                DirtyMode::Clear,
                                &mut gather,
                                |_, len| seen += len,
                            )
                            .unwrap();
                        assert_eq!(seen, 0);

                        // Tables are freed when all hardware is done with them, at the end.
                        pending.lock().unwrap().push(gather.take_tables());
                    }
                    model
                })
            })
            .collect();

        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for mut list in pending.into_inner().unwrap() {
        list.free();
    }

    let hardware = unit();
    let mut expected: Vec<Stretch> = models.iter().flat_map(Model::stretches).collect();
    expected.sort_by_key(|stretch| stretch.iova);
    let mut whole = Model::default();
    for stretch in expected {
        whole.map(stretch.iova, stretch.phys, stretch.len, stretch.prot);
    }
    assert_eq!(stretches(&hardware.leaves()), whole.stretches());
    if !coherent {
        assert!(memory.is_flushed(1 << 52));
    }
    drop(table);
    assert_eq!((memory.live(), memory.leaked()), (0, 0));
}

#[test]
fn small_ranges_in_shared_tables() {
    for seed in 1..24 {
        run(seed, seed % 2 == 0, 16 * PAGE, 60);
    }
}

#[test]
fn ranges_that_end_within_tables() {
    for seed in 1..24 {
        run(seed, seed % 2 == 0, 300 * PAGE, 8);
    }
}

#[test]
fn whole_tables_and_large_pages() {
    for seed in 1..24 {
        run(seed, seed % 2 == 0, M2, 6);
    }
}

#[test]
fn threads_split_one_large_page() {
    for seed in 1..100u64 {
        let memory = HostMemory::new();
        let cfg = Config {
            iova_bits: 39,
            levels: 3,
            page_sizes: PageSizes::new(u64::MAX),
            oa_bits: 46,
            coherent: seed % 2 == 0,
            split: true,
        };
        let table = PageTable::<VtdSs, _>::new(&cfg, memory.clone(), ()).unwrap();
        let size = 1u64 << 30;
        let _ = table.map(
            Iova::new(0),
            PhysAddr::new(0),
            size,
            RW,
            (),
            &mut Gather::new(),
        );

        let barrier = Barrier::new(THREADS as usize);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (table, barrier) = (&table, &barrier);

                scope.spawn(move || {
                    chaos(seed * 5 + thread + 1);
                    barrier.wait();
                    // Every fourth page of the first 2 MiB, and a piece of its own.
                    for n in 0..16 {
                        let iova = Iova::new((n * THREADS + thread) * PAGE);
                        assert_eq!(table.unmap(iova, PAGE, &mut Gather::new()), PAGE);
                    }
                    let iova = Iova::new(size / THREADS * thread + 4 * M2 - PAGE);
                    let mut gather = Gather::new();
                    assert_eq!(table.unmap(iova, 2 * PAGE, &mut gather), 2 * PAGE);
                });
            }
        });

        let hardware = Hardware::new(&memory, table.root().raw(), 3, cfg.coherent);
        let mapped: u64 = hardware.leaves().iter().map(|leaf| leaf.size).sum();
        assert_eq!(mapped, size - THREADS * 18 * PAGE);
        for leaf in hardware.leaves() {
            assert_eq!(leaf.iova, leaf.phys);
        }
        drop(table);
        assert_eq!((memory.live(), memory.leaked()), (0, 0));
    }
}
