// SPDX-License-Identifier: GPL-2.0

//! KUnit suites on the kernel's memory. The host tests in tests/host test more thoroughly what does
//! not depend on that memory.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicI64, Ordering::SeqCst};

use kernel::{
    macros::kunit_tests,
    prelude::*,
    sync::{Arc, Completion},
};

mod formats;

use super::{
    kernel_memory::{Gfp, KernelEntry, KernelMemory, KernelTableList},
    vtd_ss::VtdSs,
    Config, DirtyMode, Entry, Error, Format, Gather, PageTable, Table, TableList, TableMemory,
};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    ffi::workqueue,
};

const K4: u64 = 1 << 12;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;
const RW: Prot = Prot::READ.union(Prot::WRITE);

const CFG: Config = Config {
    iova_bits: 48,
    levels: 4,
    page_sizes: PageSizes::new(K4 | M2 | G1),
    oa_bits: 46,
    coherent: true,
    split: true,
};

/// The allocations of one test.
struct Counts {
    live: AtomicI64,
    /// Decremented by each allocation; the allocation that makes it 0 fails.
    fail: AtomicI64,
}

/// The kernel's memory, with allocations counted.
struct Counted {
    memory: KernelMemory,
    counts: Arc<Counts>,
}

impl Counted {
    fn new() -> Result<Self> {
        Ok(Self {
            memory: KernelMemory::new(-1),
            counts: Arc::new(
                Counts {
                    live: AtomicI64::new(0),
                    fail: AtomicI64::new(0),
                },
                GFP_KERNEL,
            )?,
        })
    }
}

/// A list whose tables are subtracted from the count when `Bench::done` frees it.
#[derive(Default)]
struct CountedList {
    list: KernelTableList,
    len: i64,
}

impl TableList for CountedList {
    fn push(&mut self, table: Table) {
        self.list.push(table);
        self.len += 1;
    }

    fn append(&mut self, other: &mut Self) {
        self.list.append(&mut other.list);
        self.len += core::mem::take(&mut other.len);
    }

    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn free(&mut self) {
        self.list.free();
        self.len = 0;
    }
}

impl TableMemory for Counted {
    type Flags = Gfp;
    type Entry = KernelEntry;
    type List = CountedList;

    const ATOMIC: Gfp = Gfp::ATOMIC;

    fn alloc(&self, size: usize, flags: Gfp) -> Option<Table> {
        if self.counts.fail.load(SeqCst) > 0 && self.counts.fail.fetch_sub(1, SeqCst) == 1 {
            return None;
        }
        let table = self.memory.alloc(size, flags)?;

        self.counts.live.fetch_add(1, SeqCst);
        Some(table)
    }

    fn free(&self, table: Table) {
        self.counts.live.fetch_sub(1, SeqCst);
        self.memory.free(table);
    }

    fn entries(&self, table: Table, count: usize) -> &[KernelEntry] {
        self.memory.entries(table, count)
    }

    fn flush(&self, entries: &[KernelEntry]) {
        self.memory.flush(entries);
    }
}

/// The meaning of an entry, decoded from the bits in the specification.
enum Seen {
    Nothing,
    Table(u64),
    /// A page, or a part of a run, with its size in bytes as a power of 2.
    Page(u64, u32),
}

/// A format, and a decoder of its entries as hardware reads them.
trait Seeing: Format {
    /// Decodes an entry of `level`; level 0 is the lowest.
    fn see(level: u32, entry: u64) -> Seen;
}

impl Seeing for VtdSs {
    fn see(level: u32, entry: u64) -> Seen {
        let address = entry & 0x000f_ffff_ffff_f000;

        if entry & 3 == 0 {
            Seen::Nothing
        } else if level == 0 || entry & 0x80 != 0 {
            Seen::Page(address, 12 + 9 * level)
        } else {
            Seen::Table(address)
        }
    }
}

/// A table under test.
struct Bench<F: Format = VtdSs> {
    table: PageTable<F, Counted>,
    counts: Arc<Counts>,
}

impl<F: Seeing> Bench<F> {
    fn new(cfg: &Config) -> Result<Self> {
        let memory = Counted::new()?;
        let counts = memory.counts.clone();

        Ok(Self {
            table: PageTable::new(cfg, memory, Gfp::KERNEL)?,
            counts,
        })
    }

    fn live(&self) -> i64 {
        self.counts.live.load(SeqCst)
    }

    fn map(&self, iova: u64, phys: u64, len: u64) -> (u64, core::result::Result<(), Error>) {
        let mut gather = Gather::new();
        let result = self.table.map(
            Iova::new(iova),
            PhysAddr::new(phys),
            len,
            RW,
            Gfp::KERNEL,
            &mut gather,
        );

        self.done(gather);
        result
    }

    fn unmap(&self, iova: u64, len: u64) -> u64 {
        let mut gather = Gather::new();
        let unmapped = self.table.unmap(Iova::new(iova), len, &mut gather);

        self.done(gather);
        unmapped
    }

    /// No unit walks these tables, so there is nothing to invalidate.
    fn done(&self, mut gather: Gather<Counted>) {
        let mut tables = gather.take_tables();

        self.counts.live.fetch_sub(tables.len, SeqCst);
        tables.free();
        gather.done();
    }

    /// The translation of an address, as hardware would do it.
    fn walk(&self, iova: u64) -> Option<u64> {
        let memory = KernelMemory::new(-1);
        let top = self.table.top();
        let mut table = top.root;
        let bits = F::GRANULE_LG2 + F::INDEX_LG2 * u32::from(top.levels);

        // The page table has not grown this far.
        if F::GROWS && iova.checked_shr(bits).unwrap_or(0) != 0 {
            return None;
        }
        for level in (0..u32::from(top.levels)).rev() {
            let shift = F::GRANULE_LG2 + F::INDEX_LG2 * level;
            let index = match level + 1 == u32::from(top.levels) {
                // The root may have more or fewer entries than a table.
                true => iova >> shift,
                false => iova >> shift & ((1 << F::INDEX_LG2) - 1),
            } as usize;
            let entry = memory.entries(Table::at(table), index + 1)[index].load();

            match F::see(level, entry) {
                Seen::Nothing => return None,
                Seen::Page(address, lg2) => return Some(address + iova % (1 << lg2)),
                Seen::Table(address) => table = PhysAddr::new(address),
            }
        }
        None
    }

    /// Drops the page table; returns whether all memory was freed.
    fn nothing_left(self) -> bool {
        let Self { table, counts } = self;

        drop(table);
        counts.live.load(SeqCst) == 0
    }
}

/// A random generator with a fixed sequence for each seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Random operations on a window of pages; returns the number of differences between page table and
/// reference.
fn random_work<F: Seeing>(cfg: &Config, window: u64, seed: u64) -> Result<u64> {
    const PAGES: usize = 1600;

    let bench = Bench::<F>::new(cfg)?;
    let size = 1 << F::GRANULE_LG2;
    let mut random = Random(seed);
    let mut model: KVVec<u64> = KVVec::from_elem(0, PAGES, GFP_KERNEL)?;
    let mut wrong = 0;

    for _ in 0..150 {
        let first = match random.below(3) {
            0 => random.below(3) as usize * 512,
            _ => random.below(PAGES as u64) as usize,
        };
        let count = match random.below(3) {
            0 => 512,
            1 => 1 + random.below(4) as usize,
            _ => 1 + random.below(PAGES as u64) as usize,
        };
        let count = count.min(PAGES - first);
        let pages = &mut model[first..first + count];
        let iova = window + first as u64 * size;
        let len = count as u64 * size;

        if random.below(2) == 0 {
            // Mutually aligned at times, so that large pages fit.
            let phys = G1 + first as u64 * size + random.below(2) * size;
            let free = pages.iter().position(|page| *page != 0);
            let (mapped, result) = bench.map(iova, phys, len);

            match (free, result) {
                (None, Ok(())) => wrong += u64::from(mapped != len),
                (Some(free), Err(Error::InUse)) => {
                    wrong += u64::from(mapped > free as u64 * size);
                }
                _ => wrong += 1,
            }
            for (n, page) in pages.iter_mut().enumerate().take((mapped / size) as usize) {
                *page = phys + n as u64 * size;
            }
        } else {
            let mapped = pages.iter().position(|page| *page == 0).unwrap_or(count);

            wrong += u64::from(bench.unmap(iova, len) != mapped as u64 * size);
            pages[..mapped].fill(0);
        }

        for (n, page) in model.iter().enumerate() {
            let iova = window + n as u64 * size + 0x123;
            let expected = match *page {
                0 => None,
                phys => Some(phys + 0x123),
            };

            wrong += u64::from(bench.walk(iova) != expected);
            wrong +=
                u64::from(bench.table.iova_to_phys(Iova::new(iova)) != expected.map(PhysAddr::new));
        }
    }
    wrong += u64::from(!bench.nothing_left());
    Ok(wrong)
}

#[kunit_tests(iommu_core_pgtable)]
mod suite {
    use super::*;

    #[test]
    fn random_work_agrees_with_a_reference() -> Result {
        for (levels, iova_bits) in [(3, 39), (4, 48), (5, 57)] {
            for coherent in [true, false] {
                let cfg = Config {
                    levels,
                    iova_bits,
                    coherent,
                    ..CFG
                };
                let seed = 0x1234_5678 + u64::from(levels) * 2 + u64::from(coherent);

                // Across the boundary between two tables of level 2, and up to the last address.
                for window in [G1 - M2, (1 << iova_bits) - 1600 * K4] {
                    let wrong = random_work::<VtdSs>(&cfg, window, seed)?;
                    if wrong != 0 {
                        pr_err!("seed {seed:#x}, {levels} levels, window {window:#x}\n");
                    }
                    assert_eq!(wrong, 0);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn large_pages_are_used_and_split() -> Result {
        for coherent in [true, false] {
            let bench = Bench::<VtdSs>::new(&Config { coherent, ..CFG })?;

            assert_eq!(bench.map(0, G1, 2 * G1), (2 * G1, Ok(())));
            // The root and one table: pages of 1 GiB.
            assert_eq!(bench.live(), 2);
            assert_eq!(bench.unmap(G1 - K4, 2 * K4), 2 * K4);
            assert_eq!(bench.live(), 2 + 4);
            assert_eq!(bench.walk(G1 - K4), None);
            assert_eq!(bench.walk(G1), None);
            assert_eq!(bench.walk(G1 - 2 * K4), Some(2 * G1 - 2 * K4));
            assert_eq!(bench.walk(G1 + K4), Some(2 * G1 + K4));
            assert_eq!(bench.walk(2 * G1 - 1), Some(3 * G1 - 1));
            assert!(bench.nothing_left());
        }
        Ok(())
    }

    #[test]
    fn a_large_page_replaces_empty_tables() -> Result {
        let bench = Bench::<VtdSs>::new(&CFG)?;

        assert_eq!(bench.map(5 * K4, 0, K4), (K4, Ok(())));
        assert_eq!(bench.unmap(5 * K4, K4), K4);
        assert_eq!(bench.live(), 4);
        assert_eq!(bench.map(0, G1, G1), (G1, Ok(())));
        assert_eq!(bench.live(), 2);
        assert_eq!(bench.walk(5 * K4), Some(G1 + 5 * K4));
        assert!(bench.nothing_left());
        Ok(())
    }

    #[test]
    fn mapping_over_a_mapping_is_refused_and_changes_nothing() -> Result {
        let bench = Bench::<VtdSs>::new(&CFG)?;

        assert_eq!(bench.map(M2 + 3 * K4, G1, K4), (K4, Ok(())));
        assert_eq!(bench.map(M2 + 3 * K4, 0, K4), (0, Err(Error::InUse)));
        assert_eq!(bench.map(0, 0, 2 * M2), (M2, Err(Error::InUse)));
        assert_eq!(bench.map(0, 0, G1), (0, Err(Error::InUse)));
        assert_eq!(bench.walk(M2 + 3 * K4), Some(G1));
        assert_eq!(bench.unmap(0, 2 * M2), M2);
        assert!(bench.nothing_left());
        Ok(())
    }

    #[test]
    fn bad_arguments_are_refused() -> Result {
        let bench = Bench::<VtdSs>::new(&CFG)?;
        let end = 1 << 48;

        assert_eq!(bench.map(0, 0, 0), (0, Err(Error::Invalid)));
        assert_eq!(bench.map(1, 0, K4), (0, Err(Error::Invalid)));
        assert_eq!(bench.map(0, 0x800, K4), (0, Err(Error::Invalid)));
        assert_eq!(bench.map(end, 0, K4), (0, Err(Error::OutOfRange)));
        assert_eq!(bench.map(end - K4, 0, M2), (0, Err(Error::OutOfRange)));
        assert_eq!(bench.map(0, 1 << 46, K4), (0, Err(Error::OutOfRange)));
        assert_eq!(
            bench.map(0u64.wrapping_sub(K4), 0, 2 * K4),
            (0, Err(Error::OutOfRange))
        );
        assert_eq!(bench.unmap(end, K4), 0);
        assert_eq!(bench.unmap(0, 0), 0);
        assert_eq!(bench.live(), 1);
        assert!(bench.nothing_left());
        Ok(())
    }

    #[test]
    fn failing_at_any_allocation_leaves_a_consistent_table() -> Result {
        let bench = Bench::<VtdSs>::new(&CFG)?;
        let iova = (1 << 39) - M2 - K4;

        for n in 1.. {
            bench.counts.fail.store(n, SeqCst);
            let (mapped, result) = bench.map(iova, K4, 3 * M2);
            bench.counts.fail.store(0, SeqCst);
            assert_eq!(bench.walk(iova + mapped), None);
            assert_eq!(bench.unmap(iova, 3 * M2), mapped);
            if result.is_ok() {
                assert!(n > 3);
                break;
            }
            assert_eq!(result, Err(Error::NoMemory));
        }
        assert!(bench.nothing_left());

        let memory = Counted::new()?;
        memory.counts.fail.store(1, SeqCst);
        assert_eq!(
            PageTable::<VtdSs, _>::new(&CFG, memory, Gfp::KERNEL).err(),
            Some(Error::NoMemory)
        );
        Ok(())
    }

    #[test]
    fn law_8_tables_wait_for_the_invalidation() -> Result {
        let bench = Bench::<VtdSs>::new(&CFG)?;
        let mut gather = Gather::new();

        assert_eq!(bench.map(0, K4, 8 * M2), (8 * M2, Ok(())));
        assert_eq!(bench.live(), 3 + 8);
        let unmapped = bench.table.unmap(Iova::new(0), 8 * M2, &mut gather);
        assert_eq!(unmapped, 8 * M2);
        assert_eq!(bench.live(), 3 + 8);
        assert!(gather.tables_changed());
        assert_eq!(gather.range(), Some((Iova::new(0), Iova::new(8 * M2 - 1))));
        assert_eq!(bench.walk(0), None);
        bench.done(gather);
        assert_eq!(bench.live(), 3);
        assert!(bench.nothing_left());
        Ok(())
    }

    #[test]
    fn dirty_bits_are_read_and_cleared() -> Result {
        let bench = Bench::<VtdSs>::new(&CFG)?;
        let memory = KernelMemory::new(-1);

        assert_eq!(bench.map(0, 0, M2), (M2, Ok(())));
        // Sets the bit that hardware would set: bit 9 of the leaf, which is in the third table.
        let mut table = bench.table.root();
        for _ in 0..2 {
            let link = memory.entries(Table::at(table), 512)[0].load();
            table = PhysAddr::new(link & 0x000f_ffff_ffff_f000);
        }
        let leaf = &memory.entries(Table::at(table), 512)[0];
        leaf.store(leaf.load() | 1 << 9);

        for (mode, expected) in [
            (DirtyMode::Keep, M2),
            (DirtyMode::Clear, M2),
            (DirtyMode::Clear, 0),
        ] {
            let mut found = 0;
            let mut gather = Gather::new();
            bench
                .table
                .read_and_clear_dirty(Iova::new(0), G1, mode, &mut gather, |_, len| found += len)?;
            assert_eq!(found, expected);
            assert_eq!(
                gather.range().is_some(),
                mode == DirtyMode::Clear && expected != 0
            );
            bench.done(gather);
        }
        assert!(bench.nothing_left());
        Ok(())
    }

    #[test]
    fn several_cpus_work_on_ranges_of_their_own() -> Result {
        const WORKERS: u64 = 4;

        for coherent in [true, false] {
            let bench = Arc::new(
                Bench::<VtdSs>::new(&Config { coherent, ..CFG })?,
                GFP_KERNEL,
            )?;
            let wrong = Arc::new(AtomicI64::new(0), GFP_KERNEL)?;
            let running = Arc::new(AtomicI64::new(WORKERS as i64), GFP_KERNEL)?;
            let finished = Arc::pin_init(Completion::new(), GFP_KERNEL)?;

            for worker in 0..WORKERS {
                let (bench, wrong) = (bench.clone(), wrong.clone());
                let (running, finished) = (running.clone(), finished.clone());

                workqueue::any_cpu().try_spawn(GFP_KERNEL, move || {
                    for round in 0..200 {
                        // Pages of all workers alternate in the same tables.
                        for n in 0..16 {
                            let iova = G1 - 32 * K4 + (n * WORKERS + worker) * K4;
                            let mapped = bench.map(iova, iova + round * M2, K4);
                            let walked = bench.walk(iova);
                            let right = mapped == (K4, Ok(())) && walked == Some(iova + round * M2);

                            wrong.fetch_add(i64::from(!right), SeqCst);
                        }
                        // Each worker also uses its own tables, which are created and freed.
                        let iova = 2 * G1 + worker * 4 * M2;
                        let right = bench.map(iova, K4, 4 * M2) == (4 * M2, Ok(()))
                            && bench.unmap(iova, 4 * M2) == 4 * M2;
                        wrong.fetch_add(i64::from(!right), SeqCst);

                        for n in 0..16 {
                            let iova = G1 - 32 * K4 + (n * WORKERS + worker) * K4;

                            wrong.fetch_add(i64::from(bench.unmap(iova, K4) != K4), SeqCst);
                        }
                    }
                    // The last reference is dropped before the completion is signalled.
                    drop(bench);
                    if running.fetch_sub(1, SeqCst) == 1 {
                        finished.complete_all();
                    }
                })?;
            }
            finished.wait_for_completion();
            assert_eq!(wrong.load(SeqCst), 0);

            let counts = bench.counts.clone();
            drop(bench);
            assert_eq!(counts.live.load(SeqCst), 0);
        }
        Ok(())
    }
}
