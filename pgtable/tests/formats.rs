// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of all formats except VT-d's second stage, on the kernel's memory.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicI64, Ordering::SeqCst};

use kernel::{
    macros::kunit_tests,
    prelude::*,
    sync::{Arc, Completion},
};

use super::{random_work, Bench, Counted, Seeing, Seen, CFG, G1, K4, M2, RW};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    ffi::workqueue,
    pgtable::{
        amd_v1::AmdV1,
        armv8::{
            Control, Granule16K, Granule4K, Granule64K, GranuleSize, Shape, Stage, Stage1, Stage2,
            MAIR,
        },
        kernel_memory::Gfp,
        x86_64::X86_64,
        Config, DirtyFormat, DirtyMode, Error, Format, Gather, PageTable, Top,
    },
};

impl Seeing for AmdV1 {
    fn see(level: u32, entry: u64) -> Seen {
        let address = entry & 0x000f_ffff_ffff_f000;

        match (entry & 1, entry >> 9 & 7) {
            (0, _) => Seen::Nothing,
            (_, 0) => Seen::Page(address, 12 + 9 * level),
            (_, 7) => {
                // The lowest clear bit from bit 12 upwards is the highest bit below the size.
                let lg2 = 13 + (address >> 12).trailing_ones();

                Seen::Page(address >> lg2 << lg2, lg2)
            }
            (_, next) if next == u64::from(level) => Seen::Table(address),
            _ => Seen::Nothing,
        }
    }
}

impl Seeing for X86_64 {
    fn see(level: u32, entry: u64) -> Seen {
        let address = entry & 0x000f_ffff_ffff_f000;

        if entry & 5 != 5 {
            Seen::Nothing
        } else if level == 0 || entry & 0x80 != 0 {
            Seen::Page(address, 12 + 9 * level)
        } else {
            Seen::Table(address)
        }
    }
}

/// Decodes descriptors of both stages with 48-bit addresses.
fn see_descriptor(granule_lg2: u32, level: u32, entry: u64) -> Seen {
    let address = entry & 0x0000_ffff_ffff_f000;

    match (entry & 3, level) {
        (3, 0) | (1, 1..) => Seen::Page(address, granule_lg2 + (granule_lg2 - 3) * level),
        (3, _) => Seen::Table(address),
        _ => Seen::Nothing,
    }
}

impl Seeing for Stage1<Granule4K> {
    fn see(level: u32, entry: u64) -> Seen {
        see_descriptor(12, level, entry)
    }
}

impl Seeing for Stage2<Granule16K> {
    fn see(level: u32, entry: u64) -> Seen {
        see_descriptor(14, level, entry)
    }
}

impl Seeing for Stage1<Granule64K> {
    fn see(level: u32, entry: u64) -> Seen {
        see_descriptor(16, level, entry)
    }
}

/// Random operations in several windows, with all page sizes and with the smallest size alone.
fn agrees_with_a_reference<F: Seeing>(cfg: &Config, windows: &[u64]) -> Result {
    for coherent in [true, false] {
        for page_sizes in [u64::MAX, 1 << F::GRANULE_LG2] {
            let cfg = Config {
                page_sizes: cfg.page_sizes.intersection(PageSizes::new(page_sizes)),
                coherent,
                ..*cfg
            };

            for window in windows {
                let seed = window.wrapping_add(0x1234_5678 + u64::from(coherent));
                let wrong = random_work::<F>(&cfg, *window, seed)?;

                if wrong != 0 {
                    pr_err!("seed {seed:#x}, window {window:#x}, {cfg:?}\n");
                }
                assert_eq!(wrong, 0);
            }
        }
    }
    Ok(())
}

/// Unmaps a part of a page of `size` bytes; the rest must stay mapped to the same memory.
fn is_split<F: Seeing>(cfg: &Config, size: u64) -> Result {
    let page = 1 << F::GRANULE_LG2;

    for coherent in [true, false] {
        let bench = Bench::<F>::new(&Config { coherent, ..*cfg })?;

        assert_eq!(bench.map(size, 2 * size, size), (size, Ok(())));
        assert_eq!(bench.unmap(size + page, page), page);
        assert_eq!(bench.walk(size), Some(2 * size));
        assert_eq!(bench.walk(size + page), None);
        for iova in [size + 2 * page, 2 * size - 1] {
            let expected = (size > 2 * page).then_some(iova + size);

            assert_eq!(bench.walk(iova), expected);
        }
        assert!(bench.nothing_left());
    }

    // A page table that must not split pages has no runs, and leaves large pages as they are.
    let bench = Bench::<F>::new(&Config {
        split: false,
        ..*cfg
    })?;
    let largest = 1 << (bench.table.page_sizes().raw() & (2 * size - 1)).ilog2();
    assert_eq!(bench.map(size, 2 * size, size), (size, Ok(())));
    if largest > page {
        assert_eq!(bench.unmap(size + page, page), 0);
        assert_eq!(bench.walk(size + page), Some(2 * size + page));
        assert_eq!(bench.unmap(size, size), size);
    } else {
        assert_eq!(bench.unmap(size + page, page), page);
        assert_eq!(bench.unmap(size, page), page);
        let rest = size - 2 * page;
        assert!(rest == 0 || bench.unmap(size + 2 * page, rest) == rest);
    }
    assert!(bench.nothing_left());
    Ok(())
}

/// Reading dirty pages must find `expected` bytes of them, and none the second time.
fn finds_dirty<F: DirtyFormat>(table: &PageTable<F, Counted>, last: u64, expected: u64) -> Result {
    for expected in [expected, 0] {
        let mut found = 0;
        let mut gather = Gather::new();

        table.read_and_clear_dirty(
            Iova::new(0),
            last,
            DirtyMode::Clear,
            &mut gather,
            |_, len| found += len,
        )?;
        assert_eq!(found, expected);
        gather.done();
    }
    Ok(())
}

#[kunit_tests(iommu_core_pgtable_amd_v1)]
mod amd_v1 {
    use super::*;

    const AMD: Config = Config {
        iova_bits: 64,
        levels: 3,
        page_sizes: PageSizes::new(u64::MAX),
        ..CFG
    };

    #[test]
    fn random_work_agrees_with_a_reference() -> Result {
        // Within the range of the first root, across its end, and at the last address.
        let windows = [G1 - M2, (1 << 39) - 2 * M2, 0u64.wrapping_sub(1600 * K4)];

        agrees_with_a_reference::<AmdV1>(&AMD, &windows)
    }

    #[test]
    fn pages_of_any_power_of_two_are_split() -> Result {
        for size_lg2 in 13..32 {
            is_split::<AmdV1>(&AMD, 1 << size_lg2)?;
        }
        Ok(())
    }

    #[test]
    fn a_table_grows_and_its_roots_stay() -> Result {
        let bench = Bench::<AmdV1>::new(&Config { levels: 2, ..AMD })?;
        let first = bench.table.top();

        assert_eq!(bench.map(0, G1, K4), (K4, Ok(())));
        assert!(!bench.table.has_new_top());
        assert_eq!(bench.table.iova_to_phys(Iova::new(1 << 40)), None);
        assert_eq!(bench.unmap(1 << 40, K4), 0);
        assert_eq!(bench.table.top(), first);

        // Without memory the page table stays as it is.
        let live = bench.live();
        for n in 1..=2 {
            bench.counts.fail.store(n, SeqCst);
            assert_eq!(bench.map(1 << 40, 0, K4), (0, Err(Error::NoMemory)));
            assert_eq!((bench.table.top(), bench.live()), (first, live));
        }
        bench.counts.fail.store(0, SeqCst);

        assert_eq!(bench.map(1 << 40, M2, K4), (K4, Ok(())));
        let second = bench.table.top();
        assert_eq!(
            second,
            Top {
                root: bench.table.root(),
                levels: 4
            }
        );
        assert_ne!(second.root, first.root);
        assert!(bench.table.has_new_top());
        bench.table.acknowledge_top(second);
        assert!(!bench.table.has_new_top());
        assert_eq!(bench.walk(0), Some(G1));
        assert_eq!(bench.walk(1 << 40), Some(M2));

        // The first root stays below the newer ones, even if everything is unmapped.
        assert_eq!(bench.unmap(0, 1 << 39), K4);
        assert_eq!(bench.map(0, 0, 4 * G1), (4 * G1, Ok(())));
        assert_eq!(bench.unmap(0, 1 << 39), 4 * G1);
        assert_eq!(bench.map(0, G1, K4), (K4, Ok(())));
        assert_eq!(bench.table.top(), second);
        assert!(bench.nothing_left());
        Ok(())
    }

    #[test]
    fn several_cpus_grow_a_table() -> Result {
        const WORKERS: u64 = 4;

        for coherent in [true, false] {
            for round in 0..20 {
                let cfg = Config {
                    levels: 2,
                    coherent,
                    ..AMD
                };
                let bench = Arc::new(Bench::<AmdV1>::new(&cfg)?, GFP_KERNEL)?;
                let wrong = Arc::new(AtomicI64::new(0), GFP_KERNEL)?;
                let running = Arc::new(AtomicI64::new(WORKERS as i64), GFP_KERNEL)?;
                let finished = Arc::pin_init(Completion::new(), GFP_KERNEL)?;

                for worker in 0..WORKERS {
                    let (bench, wrong) = (bench.clone(), wrong.clone());
                    let (running, finished) = (running.clone(), finished.clone());

                    workqueue::any_cpu().try_spawn(GFP_KERNEL, move || {
                        for n in 0..WORKERS {
                            // Each worker grows the page table to different heights in its own
                            // order.
                            let height = 30 + 9 * ((n + worker + round) % WORKERS);
                            let iova = (1 << height) + worker * 16 * M2;
                            let mapped = bench.map(iova, iova % G1, 4 * M2);
                            let right = mapped == (4 * M2, Ok(()))
                                && bench.walk(iova) == Some(iova % G1)
                                && bench.unmap(iova + M2, M2) == M2
                                && bench.walk(iova + M2).is_none()
                                && bench.walk(iova + 2 * M2) == Some(iova % G1 + 2 * M2);

                            wrong.fetch_add(i64::from(!right), SeqCst);
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
                assert_eq!(bench.table.levels(), 6);
                for worker in 0..WORKERS {
                    for height in [30, 39, 48, 57] {
                        let iova = (1 << height) + worker * 16 * M2;

                        assert_eq!(bench.walk(iova), Some(iova % G1));
                        assert_eq!(bench.walk(iova + M2), None);
                    }
                }

                let counts = bench.counts.clone();
                drop(bench);
                assert_eq!(counts.live.load(SeqCst), 0);
            }
        }
        Ok(())
    }

    #[test]
    fn nothing_is_dirty_that_was_not_written() -> Result {
        let bench = Bench::<AmdV1>::new(&AMD)?;

        assert_eq!(bench.map(0, 0, 16 * K4), (16 * K4, Ok(())));
        finds_dirty(&bench.table, u64::MAX, 0)?;
        assert!(bench.nothing_left());
        Ok(())
    }
}

#[kunit_tests(iommu_core_pgtable_x86_64)]
mod x86_64 {
    use super::*;

    #[test]
    fn random_work_agrees_with_a_reference() -> Result {
        for (levels, iova_bits) in [(4, 47), (5, 56)] {
            let cfg = Config {
                levels,
                iova_bits,
                ..CFG
            };
            let top = (1 << iova_bits) - 1600 * K4;

            agrees_with_a_reference::<X86_64>(&cfg, &[G1 - M2, top])?;
        }
        Ok(())
    }

    #[test]
    fn large_pages_are_split() -> Result {
        let cfg = Config {
            iova_bits: 47,
            ..CFG
        };

        is_split::<X86_64>(&cfg, M2)?;
        is_split::<X86_64>(&cfg, G1)
    }

    #[test]
    fn pages_are_dirty_from_the_start_unless_they_are_tracked() -> Result {
        let bench = Bench::<X86_64>::new(&Config {
            iova_bits: 47,
            ..CFG
        })?;
        let mut gather = Gather::new();
        let prot = RW | Prot::TRACK_DIRTY;
        let (iova, phys) = (Iova::new(M2), PhysAddr::new(0));

        assert_eq!(bench.map(0, 0, K4), (K4, Ok(())));
        let mapped = bench
            .table
            .map(iova, phys, K4, prot, Gfp::KERNEL, &mut gather);
        assert_eq!(mapped, (K4, Ok(())));
        assert!(gather.is_empty());
        finds_dirty(&bench.table, G1, K4)?;
        assert!(bench.nothing_left());
        Ok(())
    }
}

#[kunit_tests(iommu_core_pgtable_armv8)]
mod armv8 {
    use super::*;

    fn config(stage: Stage, granule: GranuleSize, bits: u8) -> Result<Config> {
        Ok(Shape::new(stage, granule, bits, 48)?.config(true, true))
    }

    #[test]
    fn random_work_agrees_with_a_reference() -> Result {
        let cfg = config(Stage::One, GranuleSize::K4, 48)?;
        let windows = [G1 - M2, (1 << 48) - 1600 * K4];
        agrees_with_a_reference::<Stage1<Granule4K>>(&cfg, &windows)?;

        // The root is two concatenated tables.
        let cfg = config(Stage::Two, GranuleSize::K16, 48)?;
        let windows = [(1 << 47) - (1 << 20), (1 << 48) - (1600 << 14)];
        agrees_with_a_reference::<Stage2<Granule16K>>(&cfg, &windows)?;

        // The root has 64 entries.
        let cfg = config(Stage::One, GranuleSize::K64, 48)?;
        let windows = [(1 << 42) - (1 << 20), (1 << 48) - (1600 << 16)];
        agrees_with_a_reference::<Stage1<Granule64K>>(&cfg, &windows)
    }

    #[test]
    fn blocks_and_contiguous_runs_are_split() -> Result {
        let cfg = config(Stage::One, GranuleSize::K4, 48)?;
        for size in [16 * K4, M2, 16 * M2, G1, 16 * G1] {
            is_split::<Stage1<Granule4K>>(&cfg, size)?;
        }

        let cfg = config(Stage::Two, GranuleSize::K16, 48)?;
        for size in [M2, 16 * M2, G1] {
            is_split::<Stage2<Granule16K>>(&cfg, size)?;
        }

        let cfg = config(Stage::One, GranuleSize::K64, 48)?;
        for size in [M2, 256 * M2, 16 * G1] {
            is_split::<Stage1<Granule64K>>(&cfg, size)?;
        }
        Ok(())
    }

    #[test]
    fn pages_are_dirty_from_the_start_if_they_are_tracked() -> Result {
        let cfg = config(Stage::One, GranuleSize::K4, 39)?;
        let bench = Bench::<Stage1<Granule4K>>::new(&cfg)?;
        let mut gather = Gather::new();
        let prot = RW | Prot::TRACK_DIRTY;
        let (iova, phys) = (Iova::new(M2), PhysAddr::new(0));

        assert_eq!(bench.map(0, 0, K4), (K4, Ok(())));
        let mapped = bench
            .table
            .map(iova, phys, 17 * K4, prot, Gfp::KERNEL, &mut gather);
        assert_eq!(mapped, (17 * K4, Ok(())));
        assert!(gather.is_empty());
        finds_dirty(&bench.table, G1, 17 * K4)?;
        assert!(bench.nothing_left());
        Ok(())
    }

    #[test]
    fn units_are_told_what_the_architecture_says() -> Result {
        let shape = Shape::new(Stage::Two, GranuleSize::K4, 40, 40)?;
        let told = Control {
            t0sz: 24,
            sl0: 1,
            tg: 0,
            sh: 3,
            irgn: 1,
            orgn: 1,
            ps: 2,
        };
        assert_eq!((shape.start_level(), shape.control(true)), (1, told));

        let shape = Shape::new(Stage::One, GranuleSize::K64, 48, 48)?;
        let told = Control {
            t0sz: 16,
            sl0: 0,
            tg: 1,
            sh: 2,
            irgn: 0,
            orgn: 0,
            ps: 5,
        };
        assert_eq!((shape.start_level(), shape.control(false)), (1, told));
        assert_eq!(MAIR, 0xf404_ff44);
        // The formats have the page sizes that the shape states.
        let sizes = shape.page_sizes();
        let has = Stage1::<Granule64K>::PAGE_SIZES;
        assert_eq!(sizes.intersection(has), sizes);
        assert!(Shape::new(Stage::Two, GranuleSize::K4, 48, 40).is_err());
        Ok(())
    }
}
