// SPDX-License-Identifier: GPL-2.0

//! Several threads at the same time, each on its own ranges, in tables that all of them share.

use std::{
    iter::successors,
    rc::Rc,
    sync::{Barrier, Mutex},
    thread,
};

use iommu_core_host::{
    addr::{Iova, PhysAddr, Prot},
    cases::{AmdCase, Arm1K16, Arm1K4, Arm1K64, Arm2K16, Arm2K4, Arm2K64, Case, VtdCase, X86Case},
    hardware::{Fault, Hardware, Walker},
    memory::{after_nth_step, chaos, without_steps, HostMemory},
    model::{stretches, Model, Stretch},
    pgtable::{
        armv8::{Granule4K, Stage1},
        vtd_ss::VtdSs,
        Config, DirtyFormat, DirtyMode, Format, Gather, PageTable, TableList,
    },
};

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

const fn page<C: Case>() -> u64 {
    1 << C::Format::GRANULE_LG2
}

const fn large<C: Case>() -> u64 {
    1 << (C::Format::GRANULE_LG2 + C::Format::INDEX_LG2)
}

/// The objects that all threads share. Each thread has its own unit; all units walk from the same
/// top.
struct Bench<C: Case> {
    cfg: Config,
    memory: HostMemory,
    table: PageTable<C::Format, HostMemory>,
    /// The walker and the root that units use.
    told: Mutex<(C::Walker, u64)>,
}

impl<C: Case> Bench<C> {
    fn new(cfg: Config) -> Self {
        let memory = HostMemory::new();
        let table = PageTable::new(&cfg, memory.clone(), ()).unwrap();
        let top = table.top();

        Self {
            told: Mutex::new((C::walker(&cfg, top), top.root.raw())),
            cfg,
            memory,
            table,
        }
    }

    fn unit(&self) -> Hardware<C::Walker> {
        C::hardware(&self.memory, &self.cfg, &self.table)
    }

    fn map(&self, iova: u64, phys: u64, len: u64) -> Gather<HostMemory> {
        let mut gather = Gather::new();
        let result = self.table.map(
            Iova::new(iova),
            PhysAddr::new(phys),
            len,
            RW,
            (),
            &mut gather,
        );

        assert_eq!(result, (len, Ok(())));
        if self.table.has_new_top() {
            // A call that runs at a step inside this section would deadlock on the lock.
            without_steps(|| {
                let mut told = self.told.lock().unwrap();
                let top = self.table.top();

                *told = (C::walker(&self.cfg, top), top.root.raw());
                self.table.acknowledge_top(top);
            });
        }
        gather
    }

    fn access(&self, unit: &mut Hardware<C::Walker>, iova: u64) -> Result<u64, Fault> {
        let (walker, root) = self.told.lock().unwrap().clone();

        unit.set_top(walker, root);
        unit.access(iova, true)
    }
}

/// The base of the pieces: around the boundary of an entry of a high level. A page table that grows
/// must grow for some pieces.
fn base<C: Case>(cfg: &Config) -> u64 {
    let levels = if cfg.iova_bits > 39 && C::Format::GRANULE_LG2 == 12 {
        3
    } else {
        2
    };

    (1 << (C::Format::GRANULE_LG2 + C::Format::INDEX_LG2 * levels)) - 8 * large::<C>()
}

fn run<C: Case>(seed: u64, cfg: Config, pages: u64, pieces: u64) {
    let bench = Bench::<C>::new(cfg);
    let barrier = Barrier::new(THREADS as usize);
    let pending = Mutex::new(Vec::new());
    let size = pages * page::<C>();
    // The pieces of a thread: the threads' pieces alternate in each table.
    let piece = |thread, n| base::<C>(&cfg) + (n * THREADS + thread) * size;

    let models: Vec<Model> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (bench, barrier, pending) = (&bench, &barrier, &pending);

                scope.spawn(move || {
                    let mut random = Random(seed * 1000 + thread + 1);
                    let mut model = Model::new(page::<C>());
                    let mut unit = bench.unit();
                    let granted = C::granted(RW);

                    chaos(seed * 77 + thread + 1);
                    barrier.wait();
                    for _ in 0..120 {
                        let iova = piece(thread, random.below(pieces));
                        let part = random.below(pages) * page::<C>();
                        let len = (random.below(pages) + 1) * page::<C>();
                        let len = len.min(size - part);
                        let mut gather = Gather::new();

                        match random.below(4) {
                            0 if model.free(iova, size) == size => {
                                let phys = iova & 0xffff_ffff;

                                gather = bench.map(iova, phys, size);
                                model.map(iova, phys, size, granted);
                            }
                            1 if model.free(iova + part, len) == len => {
                                let phys = random.below(1 << 26) * page::<C>();

                                gather = bench.map(iova + part, phys, len);
                                model.map(iova + part, phys, len, granted);
                            }
                            2 => {
                                let got = bench.table.unmap(Iova::new(iova), size, &mut gather);
                                assert_eq!(got, model.mapped(iova, size));
                                model.unmap(iova, got);
                            }
                            _ => {
                                let iova = iova + part;
                                let got = bench.table.unmap(Iova::new(iova), len, &mut gather);
                                assert_eq!(got, model.mapped(iova, len));
                                model.unmap(iova, got);
                            }
                        }
                        // The thread's own hardware invalidates its range immediately.
                        if let Some((first, last)) = gather.range() {
                            unit.invalidate(first.raw(), last.raw(), gather.tables_changed());
                        }
                        for at in [iova, iova + part, iova + part + len - 1] {
                            let expected = model.lookup(at).map(|(phys, _)| phys);
                            assert_eq!(bench.access(&mut unit, at), expected.ok_or(Fault::Refused));
                            assert_eq!(
                                bench.table.iova_to_phys(Iova::new(at)),
                                expected.map(PhysAddr::new)
                            );
                        }

                        // Tables are freed at the end, when all hardware has invalidated them.
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

    let mut expected: Vec<Stretch> = models.iter().flat_map(Model::stretches).collect();
    expected.sort_by_key(|stretch| stretch.iova);
    let mut whole = Model::new(page::<C>());
    for stretch in expected {
        whole.map(stretch.iova, stretch.phys, stretch.len, stretch.prot);
    }
    assert_eq!(stretches(&bench.unit().leaves()), whole.stretches());
    if !cfg.coherent {
        assert!(bench.memory.is_flushed(C::IGNORED));
    }
    let memory = bench.memory.clone();
    drop(bench);
    assert_eq!((memory.live(), memory.leaked()), (0, 0));
}

/// Pieces of `pages` pages, in page tables of each shape.
fn run_shapes<C: Case>(seeds: u64, pages: u64, pieces: u64) {
    for shape in C::shapes() {
        // The aperture must contain all pieces.
        let top = base::<C>(&shape) + THREADS * pieces * pages * page::<C>();

        if u32::from(shape.iova_bits) < 64 && top > 1 << shape.iova_bits {
            continue;
        }
        for seed in 1..=seeds {
            let cfg = Config {
                coherent: seed % 2 == 0,
                ..shape
            };

            run::<C>(seed, cfg, pages, pieces);
        }
    }
}

macro_rules! for_each_case {
    ($($name:ident: $case:ty;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn small_ranges_in_shared_tables() {
                run_shapes::<$case>(6, 16, 60);
            }

            #[test]
            fn ranges_that_end_within_tables_and_runs() {
                run_shapes::<$case>(6, 300, 8);
            }

            #[test]
            fn whole_tables_and_large_pages() {
                run_shapes::<$case>(4, large::<$case>() / page::<$case>(), 6);
            }

            #[test]
            fn threads_split_one_page() {
                for_each_size::<$case>(split_page::<$case>);
            }

            #[test]
            fn a_page_is_split_by_two_calls_at_each_point() {
                for_each_size::<$case>(split_within::<$case>);
            }

            #[test]
            fn a_neighbour_is_mapped_or_unmapped_in_between() {
                neighbours::<$case>(2);
                neighbours::<$case>(large::<$case>() / page::<$case>());
            }
        })*
    };
}

for_each_case! {
    vtd: VtdCase;
    amd: AmdCase;
    x86: X86Case;
    armv8_stage_1_4k: Arm1K4;
    armv8_stage_1_16k: Arm1K16;
    armv8_stage_2_4k: Arm2K4;
    armv8_stage_2_16k: Arm2K16;
}

/// Tables of 64 KiB take long to fill.
macro_rules! for_large_granule {
    ($($name:ident: $case:ty;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn ranges_that_end_within_tables_and_runs() {
                run_shapes::<$case>(2, 100, 8);
            }

            #[test]
            fn threads_split_one_page() {
                for_each_size::<$case>(split_page::<$case>);
            }

            #[test]
            fn a_page_is_split_by_two_calls_at_each_point() {
                for_each_size::<$case>(split_within::<$case>);
            }

            #[test]
            fn a_neighbour_is_mapped_or_unmapped_in_between() {
                neighbours::<$case>(2);
            }
        })*
    };
}

for_large_granule! {
    armv8_stage_1_64k: Arm1K64;
    armv8_stage_2_64k: Arm2K64;
}

/// Calls `test` with each page size except the smallest, up to a few large leaves.
fn for_each_size<C: Case>(test: fn(Config, u64)) {
    let shape = C::shapes()[0];

    for size_lg2 in C::Format::GRANULE_LG2 + 1..C::Format::GRANULE_LG2 + C::Format::INDEX_LG2 + 5 {
        if shape
            .page_sizes
            .intersection(C::Format::PAGE_SIZES)
            .contains(1 << size_lg2)
        {
            for coherent in [false, true] {
                test(Config { coherent, ..shape }, 1 << size_lg2);
            }
        }
    }
}

/// One call unmaps a part of a page. After each of its steps another call unmaps another part.
fn split_within<C: Case>(cfg: Config, size: u64) {
    let page = page::<C>();

    for (first, second) in [(0, page), (size - page, 0), (size / 2, size / 2 - page)] {
        for n in 1.. {
            let bench = Rc::new(Bench::<C>::new(cfg));
            let mut unit = bench.unit();
            let other = bench.clone();

            let _ = bench.map(size, size, size);
            assert_eq!(bench.access(&mut unit, size), Ok(size));
            let mut unit_of_other = unit.clone();
            let between = move || {
                let mut gather = Gather::new();
                let unmapped = other
                    .table
                    .unmap(Iova::new(size + second), page, &mut gather);

                assert_eq!(unmapped, page, "at {second:#x} of {size:#x}, in between");
                let (first, last) = gather.range().unwrap();
                unit_of_other.invalidate(first.raw(), last.raw(), gather.tables_changed());
                other.table.splits_are_invalidated(gather.take_splits());
                // The part is unmapped, and accesses to the rest of the page do not bring it back
                // into the cache.
                for part in parts(size, page).chain([second]) {
                    let _ = other.access(&mut unit_of_other, size + part);
                }
                let result = other.access(&mut unit_of_other, size + second);
                assert_eq!(
                    result,
                    Err(Fault::Refused),
                    "at {second:#x} of {size:#x}, after step {n} of {cfg:?}"
                );
            };
            after_nth_step(n, Some(Box::new(between)));
            let mut gather = Gather::new();
            let unmapped = bench
                .table
                .unmap(Iova::new(size + first), page, &mut gather);
            // The other call was not made, because `n` exceeds the number of steps.
            if after_nth_step(0, None) {
                break;
            }
            assert_eq!(unmapped, page, "at {first:#x} of {size:#x}, step {n}");

            let leaves = bench.unit().leaves();
            let mapped: u64 = leaves.iter().map(|leaf| leaf.size).sum();
            assert_eq!(mapped, size - 2 * page);
            assert!(leaves.iter().all(|leaf| leaf.phys == leaf.iova));
            for gone in [first, second] {
                let result = bench.access(&mut bench.unit(), size + gone);
                assert_eq!(result, Err(Fault::Refused));
            }
        }
    }
}

/// What a call does with its range.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    Map,
    Unmap,
}

/// One call maps or unmaps a range of `pages` pages on both sides of the boundary between two
/// tables of a high level. After one of its steps another call works on a page next to the range.
fn neighbours_within<C: Case>(cfg: Config, pages: u64) {
    let page = page::<C>();
    let edge = base::<C>(&cfg) + 8 * large::<C>();
    let (start, size) = (edge - pages * page, 2 * pages * page);
    // Every range is mapped with the smallest pages.
    let phys = move |iova: u64| iova % (1 << 30) + page;

    for (first, second, next) in [
        (Does::Map, Does::Map, start - page),
        (Does::Map, Does::Unmap, start + size),
        (Does::Unmap, Does::Map, start + size),
        (Does::Unmap, Does::Unmap, start - page),
    ] {
        // Every step if there are few. If there are many, most are the same step on another entry,
        // so some are skipped.
        for n in successors(Some(1), |n| Some(n + 1 + n / 16)) {
            let bench = Rc::new(Bench::<C>::new(cfg));

            for (does, iova, len) in [(first, start, size), (second, next, page)] {
                if does == Does::Unmap {
                    let _ = bench.map(iova, phys(iova), len);
                }
            }
            let (other, tables) = (bench.clone(), Rc::new(Mutex::new(Vec::new())));
            let taken_out = tables.clone();
            // A device sees the result of a call when the call has returned.
            let call = move |bench: &Bench<C>, does, iova: u64, len: u64| {
                let mut unit = bench.unit();
                let ends = [iova, iova + len - page];
                let mut gather = match does {
                    Does::Map => bench.map(iova, phys(iova), len),
                    Does::Unmap => {
                        let mut gather = Gather::new();

                        for at in ends {
                            assert!(bench.access(&mut unit, at).is_ok());
                        }
                        assert_eq!(bench.table.unmap(Iova::new(iova), len, &mut gather), len);
                        gather
                    }
                };
                if let Some((first, last)) = gather.range() {
                    unit.invalidate(first.raw(), last.raw(), gather.tables_changed());
                }
                for at in ends {
                    let expected = match does {
                        Does::Map => Ok(phys(iova) + (at - iova)),
                        Does::Unmap => Err(Fault::Refused),
                    };
                    assert_eq!(
                        bench.access(&mut unit, at),
                        expected,
                        "{does:?} at {iova:#x}: {first:?} with {second:?} after step {n}, {cfg:?}"
                    );
                }
                taken_out.lock().unwrap().push(gather.take_tables());
            };
            let call_other = call.clone();
            let between = move || call_other(&other, second, next, page);

            after_nth_step(n, Some(Box::new(between)));
            call(&bench, first, start, size);
            if after_nth_step(0, None) {
                break;
            }
            for mut list in tables.lock().unwrap().drain(..) {
                list.free();
            }

            let mapped = [(first, start, size), (second, next, page)]
                .into_iter()
                .filter(|(does, ..)| *does == Does::Map)
                .map(|(_, _, len)| len)
                .sum();
            let leaves = bench.unit().leaves();
            assert_eq!(leaves.iter().map(|leaf| leaf.size).sum::<u64>(), mapped);
            let memory = bench.memory.clone();
            if !cfg.coherent {
                assert!(memory.is_flushed(C::IGNORED));
            }
            drop(bench);
            assert_eq!((memory.live(), memory.leaked()), (0, 0));
        }
    }
}

/// `neighbours_within` in page tables of each shape.
fn neighbours<C: Case>(pages: u64) {
    for shape in C::shapes() {
        let end = base::<C>(&shape) + 10 * large::<C>();

        if u32::from(shape.iova_bits) < 64 && end > 1 << shape.iova_bits {
            continue;
        }
        for coherent in [false, true] {
            neighbours_within::<C>(Config { coherent, ..shape }, pages);
        }
    }
}

/// Some addresses of a page, including its start and its end.
fn parts(size: u64, page: u64) -> impl Iterator<Item = u64> {
    let step = page.max(size / 16);

    (0..size).step_by(step as usize).chain([size - page])
}

/// Threads unmap parts of one page.
fn split_page<C: Case>(cfg: Config, size: u64) {
    for seed in 1..5 {
        split_page_by_threads::<C>(seed, cfg, size);
    }
}

fn split_page_by_threads<C: Case>(seed: u64, cfg: Config, size: u64) {
    let page = page::<C>();
    let bench = Bench::<C>::new(cfg);
    let barrier = Barrier::new(THREADS as usize);
    // The pages of the threads alternate. Each thread's unit has cached the large page.
    let pages = (size / page / THREADS).min(24);

    let _ = bench.map(size, size, size);
    assert_eq!(bench.unit().leaves().len(), 1);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (bench, barrier) = (&bench, &barrier);

            scope.spawn(move || {
                let mut unit = bench.unit();

                chaos(seed * 5 + thread + 1);
                assert_eq!(bench.access(&mut unit, size), Ok(size));
                barrier.wait();
                for n in 0..pages {
                    let iova = size + (n * THREADS + thread) * page;
                    let mut gather = Gather::new();

                    assert_eq!(bench.access(&mut unit, iova), Ok(iova));
                    assert_eq!(bench.table.unmap(Iova::new(iova), page, &mut gather), page);
                    let (first, last) = gather.range().unwrap();
                    unit.invalidate(first.raw(), last.raw(), gather.tables_changed());
                    for part in parts(size, page) {
                        let _ = bench.access(&mut unit, size + part);
                    }
                    assert_eq!(
                        bench.access(&mut unit, iova),
                        Err(Fault::Refused),
                        "page {n} of thread {thread}, of {size:#x}, seed {seed}, {cfg:?}"
                    );
                    // Maps something else there.
                    if n % 2 == 1 {
                        let _ = bench.map(iova, iova + size, page);
                        assert_eq!(bench.access(&mut unit, iova), Ok(iova + size));
                    }
                }
            });
        }
    });

    let leaves = bench.unit().leaves();
    let mapped: u64 = leaves.iter().map(|leaf| leaf.size).sum();
    assert_eq!(mapped, size - pages.div_ceil(2) * THREADS * page);
    for leaf in leaves {
        let again = (leaf.iova - size) / page / THREADS % 2 == 1
            && (leaf.iova - size) / page < pages * THREADS;

        assert_eq!(leaf.phys, leaf.iova + if again { size } else { 0 });
    }
    let memory = bench.memory.clone();
    drop(bench);
    assert_eq!((memory.live(), memory.leaked()), (0, 0));
}

/// Some threads write to memory as devices do, some read and clear dirty bits, and some split the
/// pages. Every write must be found eventually.
fn nothing_written_is_missed<C: Case>(seed: u64, size: u64)
where
    C::Format: DirtyFormat,
{
    let page = page::<C>();
    let prot = RW | Prot::TRACK_DIRTY;
    let shape = C::shapes()[0];
    let bench = Bench::<C>::new(shape);
    let _ = bench.table.map(
        Iova::new(size),
        PhysAddr::new(size),
        size,
        prot,
        (),
        &mut Gather::new(),
    );
    let clear = |found: &mut Vec<(u64, u64)>| {
        let mut gather = Gather::new();

        bench
            .table
            .read_and_clear_dirty(
                Iova::new(size),
                size,
                DirtyMode::Clear,
                &mut gather,
                |iova, len| found.push((iova.raw(), len)),
            )
            .unwrap();
        gather.range()
    };
    // On Arm a page counts as written when it is mapped.
    let mut found = Vec::new();
    clear(&mut found);

    // The last page is unmapped; the others are written and checked.
    let pages = size / page - 1;
    let barrier = Barrier::new(3);
    let (written, found) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut unit = bench.unit().record();
            let mut random = Random(seed);
            let mut written = Vec::new();

            chaos(seed * 3 + 1);
            barrier.wait();
            // The unit's cache contains pages whose dirty bits are being cleared. So each write is
            // to a page that was not written before, or is invalidated at the end like the others.
            for _ in 0..4 {
                let iova = size + random.below(pages) * page;

                assert_eq!(unit.access(iova, true), Ok(iova));
                written.push(iova);
            }
            written
        });
        let reader = scope.spawn(|| {
            let mut found = Vec::new();

            chaos(seed * 3 + 2);
            barrier.wait();
            for _ in 0..2 {
                // Only reads dirty bits: a cleared page must be invalidated before new writes are
                // recorded.
                bench
                    .table
                    .read_and_clear_dirty(
                        Iova::new(size),
                        size,
                        DirtyMode::Keep,
                        &mut Gather::new(),
                        |iova, len| found.push((iova.raw(), len)),
                    )
                    .unwrap();
            }
            found
        });
        scope.spawn(|| {
            chaos(seed * 3 + 3);
            barrier.wait();
            let last = Iova::new(2 * size - page);
            assert_eq!(bench.table.unmap(last, page, &mut Gather::new()), page);
        });

        (writer.join().unwrap(), reader.join().unwrap())
    });
    let mut found = found;
    clear(&mut found);

    for iova in written {
        assert!(
            found
                .iter()
                .any(|(at, len)| (*at..at + len).contains(&iova)),
            "a write to {iova:#x} was missed"
        );
    }
    found.clear();
    clear(&mut found);
    assert!(found.is_empty());
}

#[test]
fn writes_during_a_split_are_found() {
    for seed in 1..60 {
        for size_lg2 in [13, 15, 16, 18, 20, 21, 22, 24] {
            nothing_written_is_missed::<AmdCase>(seed, 1 << size_lg2);
        }
        nothing_written_is_missed::<VtdCase>(seed, 1 << 21);
        nothing_written_is_missed::<X86Case>(seed, 1 << 21);
        for size_lg2 in [16, 21, 25] {
            nothing_written_is_missed::<Arm1K4>(seed, 1 << size_lg2);
        }
        nothing_written_is_missed::<Arm1K16>(seed, 1 << 21);
    }
}

/// A page has been split but not invalidated yet when another call clears the dirty bit of a part.
fn written_after_a_split_is_found<C: Case>(size: u64)
where
    C::Format: DirtyFormat,
{
    let bench = Bench::<C>::new(C::shapes()[0]);
    let mut unit = bench.unit().record();
    let map = bench.table.map(
        Iova::new(size),
        PhysAddr::new(size),
        size,
        RW | Prot::TRACK_DIRTY,
        (),
        &mut Gather::new(),
    );
    let clear = |unit: &mut Hardware<C::Walker>| {
        let (mut gather, mut found) = (Gather::new(), false);
        let first = Iova::new(size);

        bench
            .table
            .read_and_clear_dirty(
                first,
                page::<C>(),
                DirtyMode::Clear,
                &mut gather,
                |iova, _| found |= iova == first,
            )
            .unwrap();
        if let Some((first, last)) = gather.range() {
            unit.invalidate(first.raw(), last.raw(), false);
        }
        found
    };

    assert_eq!(map, (size, Ok(())));
    assert_eq!(unit.access(size, true), Ok(size));
    let last = Iova::new(2 * size - page::<C>());
    let mut not_yet = Gather::new();
    assert_eq!(
        bench.table.unmap(last, page::<C>(), &mut not_yet),
        page::<C>()
    );
    assert!(clear(&mut unit));
    assert_eq!(unit.access(size, true), Ok(size));
    assert!(clear(&mut unit), "written to after it was cleared");
}

#[test]
fn writes_after_a_split_by_another_call_are_found() {
    written_after_a_split_is_found::<AmdCase>(1 << 18);
    written_after_a_split_is_found::<AmdCase>(1 << 21);
    written_after_a_split_is_found::<VtdCase>(1 << 21);
    written_after_a_split_is_found::<X86Case>(1 << 21);
    written_after_a_split_is_found::<Arm1K4>(1 << 16);
    written_after_a_split_is_found::<Arm1K4>(1 << 21);
}

#[test]
fn dirty_pages_outside_of_the_range_do_not_matter() {
    // Two owners share a table, and one of them reads dirty bits all the time.
    fn run<F: DirtyFormat, W: Walker, C: Case<Format = F, Walker = W>>(seed: u64) {
        let page = page::<C>();
        let bench = Bench::<C>::new(C::shapes()[0]);
        let barrier = Barrier::new(2);

        let _ = bench.map(0, 0, 3 * page);
        thread::scope(|scope| {
            scope.spawn(|| {
                chaos(seed);
                barrier.wait();
                for _ in 0..40 {
                    bench
                        .table
                        .read_and_clear_dirty(
                            Iova::new(0),
                            3 * page,
                            DirtyMode::Clear,
                            &mut Gather::new(),
                            |iova, len| assert!(iova.raw() + len <= 3 * page),
                        )
                        .unwrap();
                }
            });
            scope.spawn(|| {
                chaos(seed + 1);
                barrier.wait();
                for _ in 0..40 {
                    let _ = bench.map(3 * page, 0, 30 * page);
                    let mut gather = Gather::new();
                    let len = 30 * page;
                    assert_eq!(
                        bench.table.unmap(Iova::new(3 * page), len, &mut gather),
                        len
                    );
                }
            });
        });
    }

    for seed in 1..40 {
        run::<VtdSs, _, VtdCase>(seed);
        run::<_, _, AmdCase>(seed);
        run::<Stage1<Granule4K>, _, Arm1K4>(seed);
    }
}
