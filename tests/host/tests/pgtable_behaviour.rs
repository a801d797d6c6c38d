// SPDX-License-Identifier: GPL-2.0

//! The guarantees of the page table, one at a time.

use std::{cell::Cell, rc::Rc};

use iommu_core_host::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    hardware::{Fault, Hardware},
    memory::{before_exchange, writes, HostMemory},
    pgtable::{vtd_ss::VtdSs, Config, DirtyMode, Error, Gather, PageTable, TableList},
};

type Table = PageTable<VtdSs, HostMemory>;

const K4: u64 = 1 << 12;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;
const RW: Prot = Prot::READ.union(Prot::WRITE);
const FLUSHED: u64 = 1 << 52;

const CFG: Config = Config {
    iova_bits: 48,
    levels: 4,
    page_sizes: PageSizes::new(K4 | M2 | G1),
    oa_bits: 46,
    coherent: true,
    split: true,
};

fn new(cfg: &Config) -> (HostMemory, Rc<Table>, Hardware) {
    let memory = HostMemory::new();
    let table = Table::new(cfg, memory.clone(), ()).unwrap();
    let hardware = Hardware::new(&memory, table.root().raw(), cfg.levels, cfg.coherent);

    (memory, Rc::new(table), hardware)
}

fn map(table: &Table, iova: u64, phys: u64, len: u64) -> (u64, Result<(), Error>) {
    let mut gather = Gather::new();
    let result = table.map(
        Iova::new(iova),
        PhysAddr::new(phys),
        len,
        RW,
        (),
        &mut gather,
    );

    assert!(gather.is_empty());
    result
}

fn unmap(table: &Table, iova: u64, len: u64) -> (u64, Gather<HostMemory>) {
    let mut gather = Gather::new();
    let unmapped = table.unmap(Iova::new(iova), len, &mut gather);

    (unmapped, gather)
}

fn sync(hardware: &mut Hardware, gather: &mut Gather<HostMemory>) {
    if let Some((first, last)) = gather.range() {
        hardware.invalidate(first.raw(), last.raw(), gather.tables_changed());
    }
    gather.done();
}

#[test]
fn invalid_shapes_are_refused() {
    let refused = [
        Config { levels: 2, ..CFG },
        Config { levels: 6, ..CFG },
        Config { levels: 0, ..CFG },
        Config {
            iova_bits: 12,
            ..CFG
        },
        Config {
            iova_bits: 49,
            ..CFG
        },
        Config {
            iova_bits: 64,
            ..CFG
        },
        Config {
            iova_bits: 0,
            ..CFG
        },
        Config { oa_bits: 53, ..CFG },
        Config { oa_bits: 12, ..CFG },
        Config {
            page_sizes: PageSizes::NONE,
            ..CFG
        },
        Config {
            page_sizes: PageSizes::new(1 << 16),
            ..CFG
        },
    ];

    for cfg in refused {
        let memory = HostMemory::new();

        assert_eq!(
            Table::new(&cfg, memory.clone(), ()).err(),
            Some(Error::Invalid),
            "{cfg:?}"
        );
        assert_eq!(memory.allocated(), 0);
    }

    let memory = HostMemory::new();
    memory.fail_nth(1);
    assert_eq!(
        Table::new(&CFG, memory.clone(), ()).err(),
        Some(Error::NoMemory)
    );
}

#[test]
fn page_sizes_are_the_common_ones_without_a_gap() {
    for (given, used) in [
        (u64::MAX, K4 | M2 | G1),
        (K4 | M2, K4 | M2),
        // A page of 1 GiB could not be split without pages of 2 MiB.
        (K4 | G1, K4),
        (M2 | G1, M2 | G1),
        (G1, G1),
    ] {
        let cfg = Config {
            page_sizes: PageSizes::new(given),
            ..CFG
        };
        assert_eq!(new(&cfg).1.page_sizes().raw(), used);
    }
}

#[test]
fn bad_arguments_leave_no_trace() {
    for (levels, iova_bits) in [(3, 39), (4, 48), (5, 57), (4, 40)] {
        let (memory, table, hardware) = new(&Config {
            levels,
            iova_bits,
            ..CFG
        });
        let end = 1u64 << iova_bits;
        let phys_end = 1u64 << 46;

        let invalid = [
            (0, 0, 0),
            (1, 0, K4),
            (0, 1, K4),
            (0, 0, 1),
            (0, 0, K4 + 1),
            (K4 / 2, 0, K4),
        ];
        let out_of_range = [
            (end, 0, K4),
            (end - K4, 0, 2 * K4),
            (0, 0, end + K4),
            (u64::MAX - K4 + 1, 0, K4),
            (u64::MAX - K4 + 1, 0, 2 * K4),
            (K4, 0, u64::MAX - K4 + 1),
            (0, phys_end, K4),
            (0, phys_end - K4, 2 * K4),
            (0, u64::MAX - K4 + 1, K4),
            (0, u64::MAX - K4 + 1, 2 * K4),
        ];
        for (iova, phys, len) in invalid {
            assert_eq!(map(&table, iova, phys, len), (0, Err(Error::Invalid)));
        }
        for (iova, phys, len) in out_of_range {
            assert_eq!(map(&table, iova, phys, len), (0, Err(Error::OutOfRange)));
        }
        for prot in [Prot::NONE, Prot::CACHE] {
            let mut gather = Gather::new();
            let result = table.map(Iova::new(0), PhysAddr::new(0), K4, prot, (), &mut gather);

            assert_eq!(result, (0, Err(Error::Invalid)));
        }
        for (iova, _, len) in invalid.into_iter().chain(out_of_range) {
            if iova != 0 || len % K4 != 0 || len == 0 || len > end {
                let (unmapped, gather) = unmap(&table, iova, len);
                assert!(unmapped == 0 && gather.is_empty());
            }
        }
        for iova in [end, end + 5, u64::MAX] {
            assert_eq!(table.iova_to_phys(Iova::new(iova)), None);
        }
        for (iova, len, error) in [
            (0, 0, Error::Invalid),
            (end, K4, Error::OutOfRange),
            (end - 1, 2, Error::OutOfRange),
            (1, u64::MAX, Error::OutOfRange),
        ] {
            let result = table.read_and_clear_dirty(
                Iova::new(iova),
                len,
                DirtyMode::Clear,
                &mut Gather::new(),
                |_, _| panic!(),
            );
            assert_eq!(result, Err(error));
        }

        assert_eq!(memory.allocated(), 1);
        assert!(hardware.leaves().is_empty());
    }
}

#[test]
fn the_top_of_the_address_space_can_be_mapped() {
    for (levels, iova_bits) in [(3, 39), (4, 48), (5, 57)] {
        let (memory, table, mut hardware) = new(&Config {
            levels,
            iova_bits,
            ..CFG
        });
        let end = 1u64 << iova_bits;

        assert_eq!(table.last_iova().raw(), end - 1);
        for (len, phys) in [(K4, 0), (M2, M2), (G1, G1), (2 * G1 + 3 * M2 + K4, 5 * K4)] {
            let mut gather = Gather::new();
            let result = table.map(
                Iova::new(end - len),
                PhysAddr::new(phys),
                len,
                RW,
                (),
                &mut gather,
            );
            assert_eq!(result, (len, Ok(())));
            sync(&mut hardware, &mut gather);
            assert_eq!(hardware.access(end - 1, true), Ok(phys + len - 1));
            assert_eq!(hardware.access(end - len, false), Ok(phys));
            assert_eq!(hardware.access(end - len - 1, false), Err(Fault::Refused));

            let (unmapped, mut gather) = unmap(&table, end - len, len);
            assert_eq!(unmapped, len);
            sync(&mut hardware, &mut gather);
            assert_eq!(hardware.access(end - 1, true), Err(Fault::Refused));
        }
        assert!(hardware.leaves().is_empty());
        drop(table);
        assert_eq!(memory.live(), 0);
    }
}

#[test]
fn the_whole_address_space_can_be_unmapped_at_once() {
    let (memory, table, mut hardware) = new(&Config {
        levels: 3,
        iova_bits: 39,
        ..CFG
    });

    assert_eq!(map(&table, 0, 0, 1 << 39), (1 << 39, Ok(())));
    assert_eq!(hardware.leaves().len(), 512);
    assert_eq!(memory.live(), 1);
    assert_eq!(unmap(&table, 0, 1 << 39).0, 1 << 39);
    hardware.invalidate_all();
    assert!(hardware.leaves().is_empty());
}

#[test]
fn the_largest_pages_that_fit_are_used() {
    let cases = [
        // sizes, iova, phys, len, leaves, tables
        (K4 | M2 | G1, 0, 0, K4, 1, 3),
        (K4 | M2 | G1, 0, 0, M2, 1, 2),
        (K4 | M2 | G1, 0, 0, G1, 1, 1),
        (K4 | M2 | G1, 0, G1, 3 * G1, 3, 1),
        (K4 | M2, 0, 0, G1, 512, 2),
        (K4, 0, 0, M2, 512, 3),
        // The two addresses are not mutually aligned.
        (K4 | M2 | G1, 0, K4, M2, 512, 3),
        (K4 | M2 | G1, 0, M2, G1, 512, 2),
        (K4 | M2 | G1, M2, 3 * M2, M2, 1, 2),
        // Small pages up to the boundary, then large pages, then small pages.
        (K4 | M2 | G1, M2 - K4, M2 - K4, M2 + 2 * K4, 3, 4),
        (
            K4 | M2 | G1,
            G1 - M2 - K4,
            G1 - M2 - K4,
            G1 + 2 * M2 + 2 * K4,
            5,
            5,
        ),
        (M2 | G1, M2, M2, G1, 512, 3),
    ];

    for (sizes, iova, phys, len, leaves, tables) in cases {
        let (memory, table, mut hardware) = new(&Config {
            page_sizes: PageSizes::new(sizes),
            ..CFG
        });
        let before = writes();

        assert_eq!(map(&table, iova, phys, len), (len, Ok(())));
        assert_eq!(hardware.leaves().len(), leaves, "{iova:#x} {len:#x}");
        assert_eq!(memory.allocated(), 1 + tables);
        // No entry is written twice.
        assert_eq!(writes() - before, leaves as u64 + tables);
        assert_eq!(hardware.access(iova + len - 1, true), Ok(phys + len - 1));
    }
}

#[test]
fn an_unlinked_table_is_not_cleared() {
    let (_memory, table, mut hardware) = new(&CFG);

    map(&table, 0, K4, M2).1.unwrap();
    hardware.access(0, true).unwrap();
    let before = writes();
    let (unmapped, mut gather) = unmap(&table, 0, M2);
    assert_eq!(unmapped, M2);
    assert_eq!(writes() - before, 1);
    sync(&mut hardware, &mut gather);
    assert_eq!(hardware.access(0, true), Err(Fault::Refused));

    // With a hole the table stays, and is cleared up to the hole.
    map(&table, 0, K4, M2 - K4).1.unwrap();
    let (unmapped, _gather) = unmap(&table, 0, M2);
    assert_eq!(unmapped, M2 - K4);
    assert!(hardware.leaves().is_empty());
}

#[test]
fn a_hole_in_a_table_that_one_call_has_filled_stops_an_unmap() {
    for coherent in [true, false] {
        for (hole, len) in [(0, K4), (7 * K4, K4), (M2 - K4, K4), (3 * K4, 5 * K4)] {
            let (memory, table, mut hardware) = new(&Config { coherent, ..CFG });
            let mut unmap_and_sync = |iova, len| {
                let (unmapped, mut gather) = unmap(&table, iova, len);
                sync(&mut hardware, &mut gather);
                assert!(coherent || memory.is_flushed(FLUSHED));
                unmapped
            };

            map(&table, 0, K4, 2 * M2).1.unwrap();
            assert_eq!(unmap_and_sync(hole, len), len);
            // The hole is filled by another call, and is there again.
            map(&table, hole, G1, len).1.unwrap();
            assert_eq!(unmap_and_sync(hole, len), len);
            assert_eq!(unmap_and_sync(0, 2 * M2), hole);
            assert_eq!(unmap_and_sync(hole + len, 2 * M2), 2 * M2 - hole - len);
            assert_eq!(unmap_and_sync(0, 2 * M2), 0);
            assert!(hardware.leaves().is_empty());
        }
    }
}

#[test]
fn mapping_over_a_mapping_is_refused_and_changes_nothing() {
    for (old, new_map, mapped) in [
        ((0, K4), (0, K4), 0),
        ((3 * K4, K4), (0, 5 * K4), 3 * K4),
        ((0, M2), (0, K4), 0),
        ((0, M2), (5 * K4, K4), 0),
        ((0, M2), (0, M2), 0),
        ((0, G1), (M2, M2), 0),
        ((7 * K4, K4), (0, M2), 0),
        ((M2 + 7 * K4, K4), (0, 3 * M2), M2),
        ((2 * M2, M2), (0, G1), 0),
        ((G1 + K4, K4), (0, 2 * G1), G1),
        ((G1, G1), (0, 3 * G1), G1),
    ] {
        for coherent in [true, false] {
            let (_memory, table, mut hardware) = new(&Config { coherent, ..CFG });
            let phys = 8 * G1;

            map(&table, old.0, phys + old.0, old.1).1.unwrap();
            let leaves = hardware.leaves();
            assert_eq!(
                map(&table, new_map.0, new_map.0, new_map.1),
                (mapped, Err(Error::InUse)),
                "{old:x?} {new_map:x?}"
            );
            assert_eq!(hardware.access(old.0, true), Ok(phys + old.0));
            if mapped > 0 {
                assert_eq!(unmap(&table, new_map.0, mapped).0, mapped);
            }
            assert_eq!(hardware.leaves(), leaves);
        }
    }
}

#[test]
fn unmapping_stops_at_the_first_hole() {
    let (_memory, table, hardware) = new(&CFG);

    map(&table, 0, 0, 2 * M2).1.unwrap();
    map(&table, 2 * M2 + K4, 0, K4).1.unwrap();
    assert_eq!(unmap(&table, 0, G1).0, 2 * M2);
    assert_eq!(unmap(&table, 0, G1).0, 0);
    assert_eq!(unmap(&table, 2 * M2, 2 * K4).0, 0);
    assert_eq!(unmap(&table, 2 * M2 + K4, M2).0, K4);
    assert!(hardware.leaves().is_empty());
}

#[test]
fn a_large_page_replaces_empty_tables() {
    for coherent in [true, false] {
        let (memory, table, mut hardware) = new(&Config { coherent, ..CFG });

        // Each unmap covers only a part of the tables, so the tables stay.
        for iova in [0, M2, 7 * M2 + K4] {
            map(&table, iova, 0, K4).1.unwrap();
            assert_eq!(hardware.access(iova, true), Ok(0));
            let (unmapped, mut gather) = unmap(&table, iova, K4);
            assert_eq!(unmapped, K4);
            assert!(!gather.tables_changed());
            sync(&mut hardware, &mut gather);
        }
        assert_eq!(memory.live(), 6);

        let mut gather = Gather::new();
        let result = table.map(Iova::new(0), PhysAddr::new(G1), G1, RW, (), &mut gather);
        assert_eq!(result, (G1, Ok(())));
        assert_eq!(gather.range(), Some((Iova::new(0), Iova::new(G1 - 1))));
        assert!(gather.tables_changed());
        // The old tables exist until the gather is done, for a walk that has already reached them.
        assert_eq!(memory.live(), 6);
        assert_eq!(hardware.access(K4, true), Err(Fault::Refused));
        sync(&mut hardware, &mut gather);
        assert_eq!(memory.live(), 2);
        assert_eq!(hardware.access(K4, true), Ok(G1 + K4));
        if !coherent {
            assert!(memory.is_flushed(FLUSHED));
        }
    }
}

#[test]
fn a_part_of_a_large_page_is_split_off() {
    for coherent in [true, false] {
        for (large, first, len) in [
            (M2, 0, K4),
            (M2, K4, K4),
            (M2, M2 - K4, K4),
            (M2, 0, M2 - K4),
            (M2, 5 * K4, 99 * K4),
            (G1, 0, K4),
            (G1, 0, M2),
            (G1, M2, 7 * M2),
            (G1, M2 - K4, 2 * K4),
            (G1, G1 - K4, K4),
            (G1, K4, G1 - 2 * K4),
        ] {
            let (memory, table, mut hardware) = new(&Config { coherent, ..CFG });
            let base = 3 * G1;

            map(&table, base, large, large).1.unwrap();
            // The unit has cached the large page.
            assert_eq!(hardware.access(base + first, true), Ok(large + first));

            let (unmapped, mut gather) = unmap(&table, base + first, len);
            assert_eq!(unmapped, len);
            // Until the invalidation nothing has changed for a unit that has cached the page. A
            // unit that has not cached it finds the rest of the page unchanged.
            for iova in [0, first.wrapping_sub(1), first + len, large - 1] {
                if iova < large {
                    assert_eq!(hardware.access(base + iova, true), Ok(large + iova));
                }
            }
            // The whole large page is invalidated, whether or not the unit can invalidate a part of
            // it.
            assert_eq!(
                gather.range(),
                Some((Iova::new(base), Iova::new(base + large - 1)))
            );
            assert!(gather.tables_changed());
            sync(&mut hardware, &mut gather);

            for iova in [0, first.wrapping_sub(1), first + len, large - 1] {
                if iova < large {
                    let expected = match (first..first + len).contains(&iova) {
                        true => Err(Fault::Refused),
                        false => Ok(large + iova),
                    };
                    assert_eq!(hardware.access(base + iova, true), expected);
                }
            }
            assert_eq!(hardware.access(base + first, false), Err(Fault::Refused));
            if !coherent {
                assert!(memory.is_flushed(FLUSHED));
            }
            drop(table);
            assert_eq!(memory.live(), 0);
        }
    }
}

/// What a call on `table` invalidates that unmaps one small page at `iova`.
fn invalidated(table: &Table, iova: u64) -> (u64, u64) {
    let (unmapped, gather) = unmap(table, iova, K4);
    assert_eq!(unmapped, K4);
    assert!(!gather.has_splits());
    let (first, last) = gather.range().unwrap();
    (first.raw(), last.raw())
}

#[test]
fn whole_blocks_are_invalidated_until_a_split_is() {
    let (_, table, _) = new(&CFG);
    let small = 5 * G1;

    for (iova, len) in [(0, M2), (G1, G1)] {
        map(&table, iova, iova, len).1.unwrap();
    }
    for n in 0..8 {
        map(&table, small + n * M2, n * K4, K4).1.unwrap();
    }
    assert_eq!(invalidated(&table, small), (small, small + K4 - 1));

    let (_, mut first) = unmap(&table, 0, K4);
    assert!(first.has_splits());
    let at = small + M2;
    assert_eq!(invalidated(&table, at), (at, at + M2 - 1));

    // This one splits two pages: one of 1 GiB, and one of 2 MiB in it.
    let (_, mut second) = unmap(&table, G1, K4);
    let at = small + 2 * M2;
    assert_eq!(invalidated(&table, at), (small, small + G1 - 1));

    // The size does not decrease before all are invalidated.
    table.splits_are_invalidated(second.take_splits());
    let at = small + 3 * M2;
    assert_eq!(invalidated(&table, at), (small, small + G1 - 1));
    assert!(!second.has_splits());
    table.splits_are_invalidated(first.take_splits());
    let at = small + 4 * M2;
    assert_eq!(invalidated(&table, at), (at, at + K4 - 1));

    // Another split begins anew.
    let (_, mut third) = unmap(&table, K4 * 512 - K4, K4);
    assert!(!third.has_splits());
    map(&table, 3 * G1, 0, M2).1.unwrap();
    (_, third) = unmap(&table, 3 * G1, K4);
    let at = small + 5 * M2;
    assert_eq!(invalidated(&table, at), (at, at + M2 - 1));
    table.splits_are_invalidated(third.take_splits());
    let at = small + 6 * M2;
    assert_eq!(invalidated(&table, at), (at, at + K4 - 1));
}

#[test]
fn a_call_that_loses_the_race_for_a_split_invalidates_the_whole_page() {
    let (_, table, _) = new(&CFG);
    map(&table, 0, 0, M2).1.unwrap();
    let other = table.clone();
    before_exchange(move || {
        let (_, mut gather) = unmap(&other, M2 - K4, K4);
        // The other call invalidates, and its split is not pending any more.
        other.splits_are_invalidated(gather.take_splits());
    });
    let (unmapped, mut gather) = unmap(&table, 0, K4);
    assert_eq!(unmapped, K4);
    assert_eq!(gather.range(), Some((Iova::new(0), Iova::new(M2 - 1))));
    assert_eq!(gather.take_splits(), 1);
}

#[test]
fn splitting_keeps_permissions_and_dirty_bits() {
    for late in [false, true] {
        let (memory, table, hardware) = new(&CFG);
        let mut hardware = hardware.record();
        let prot = Prot::WRITE | Prot::FORCE_SNOOP;
        let (_, result) = table.map(
            Iova::new(0),
            PhysAddr::new(M2),
            M2,
            prot,
            (),
            &mut Gather::new(),
        );

        result.unwrap();
        match late {
            false => assert_eq!(hardware.access(5, true), Ok(M2 + 5)),
            // At the worst moment: when the table that replaces the page has been filled.
            true => {
                let (memory, root) = (memory.clone(), table.root().raw());
                before_exchange(move || {
                    let mut hardware = Hardware::new(&memory, root, 4, true).record();
                    assert_eq!(hardware.access(5, true), Ok(M2 + 5));
                });
            }
        }
        assert_eq!(unmap(&table, K4, K4).0, K4);

        let leaves = hardware.leaves();
        assert_eq!(leaves.len(), 511);
        for leaf in leaves {
            assert_eq!((leaf.prot, leaf.dirty), (prot, true));
        }
    }
}

#[test]
fn two_calls_may_split_the_same_page_at_once() {
    for coherent in [true, false] {
        let (memory, table, mut hardware) = new(&Config { coherent, ..CFG });

        map(&table, 0, 0, M2).1.unwrap();
        let other = table.clone();
        before_exchange(move || {
            assert_eq!(unmap(&other, M2 - K4, K4).0, K4);
        });
        assert_eq!(unmap(&table, 0, K4).0, K4);

        assert_eq!(hardware.access(0, true), Err(Fault::Refused));
        assert_eq!(hardware.access(M2 - K4, true), Err(Fault::Refused));
        assert_eq!(hardware.access(K4, true), Ok(K4));
        assert_eq!(hardware.leaves().len(), 510);
        // The call that lost the race has freed its own table.
        assert_eq!((memory.allocated(), memory.live()), (5, 4));
    }
}

#[test]
fn without_memory_a_page_is_not_split_and_not_lost() {
    let (memory, table, mut hardware) = new(&CFG);

    map(&table, 0, 0, G1 + M2).1.unwrap();
    for n in 1..=2 {
        memory.fail_nth(n);
        let (unmapped, mut gather) = unmap(&table, K4, K4);
        assert_eq!(unmapped, 0);
        sync(&mut hardware, &mut gather);
        assert_eq!(hardware.access(K4, true), Ok(K4));
        assert_eq!(hardware.access(G1 - 1, true), Ok(G1 - 1));
    }
    // The unmap stops there; what comes before is unmapped.
    memory.fail_nth(1);
    let (unmapped, mut gather) = unmap(&table, M2, G1 - M2 + K4);
    assert_eq!(unmapped, G1 - M2);
    sync(&mut hardware, &mut gather);
    assert_eq!(table.iova_to_phys(Iova::new(G1)), Some(PhysAddr::new(G1)));
    memory.fail_nth(0);
    assert_eq!(unmap(&table, G1, K4).0, K4);
    drop(table);
    assert_eq!((memory.live(), memory.leaked()), (0, 0));
}

#[test]
fn tables_are_freed_only_when_the_gather_is_done() {
    let (memory, table, mut hardware) = new(&CFG);

    map(&table, 0, K4, G1).1.unwrap();
    for iova in (0..G1).step_by(M2 as usize) {
        hardware.access(iova, true).unwrap();
    }
    let live = memory.live();
    assert_eq!(live, 2 + 1 + 512);

    let (unmapped, mut gather) = unmap(&table, 0, G1);
    assert_eq!(unmapped, G1);
    assert_eq!(memory.live(), live);
    // A walk with stale cached entries reaches tables that still exist, and sees the old mappings.
    assert_eq!(hardware.access(K4, true), Ok(2 * K4));

    sync(&mut hardware, &mut gather);
    assert_eq!(memory.live(), 2);
    assert!(gather.is_empty() && !gather.tables_changed());
    assert_eq!(hardware.access(K4, true), Err(Fault::Refused));
}

#[test]
fn hardware_that_is_not_invalidated_is_caught() {
    // Shows that the test hardware detects a missing invalidation.
    let (_memory, table, mut hardware) = new(&CFG);

    map(&table, 0, K4, M2).1.unwrap();
    hardware.access(0, true).unwrap();
    let (_, mut gather) = unmap(&table, 0, M2);
    let (first, last) = gather.range().unwrap();
    hardware.invalidate(first.raw(), last.raw(), false);
    gather.done();
    assert_eq!(hardware.access(0, true), Err(Fault::FreedTable));
}

#[test]
fn tables_can_be_taken_out_and_freed_later() {
    let (memory, table, _hardware) = new(&CFG);

    map(&table, 0, K4, 4 * M2).1.unwrap();
    let (_, mut gather) = unmap(&table, 0, 4 * M2);
    let mut later = gather.take_tables();
    assert_eq!(later.count(), 4);
    assert!(gather.range().is_some() && gather.tables_changed());
    gather.done();
    assert_eq!(memory.live(), 2 + 1 + 4);
    later.free();
    assert!(later.is_empty());
    assert_eq!(memory.live(), 2 + 1);
}

#[test]
fn a_gather_that_is_dropped_leaks_rather_than_frees() {
    let (memory, table, _hardware) = new(&CFG);

    map(&table, 0, K4, M2).1.unwrap();
    drop(unmap(&table, 0, M2).1);
    assert_eq!(memory.leaked(), 1);
    assert_eq!(memory.live(), 2 + 1 + 1);
}

#[test]
fn a_table_with_other_mappings_stays() {
    let (memory, table, mut hardware) = new(&CFG);

    map(&table, 0, 0, K4).1.unwrap();
    map(&table, K4, K4, K4).1.unwrap();
    map(&table, M2, M2, M2).1.unwrap();
    // Covers a part of the table of level 1's first entry, and all of the second.
    let (unmapped, mut gather) = unmap(&table, K4, K4);
    assert_eq!(unmapped, K4);
    assert!(!gather.tables_changed());
    sync(&mut hardware, &mut gather);
    assert_eq!(memory.live(), 4);
    assert_eq!(hardware.access(0, true), Ok(0));
    assert_eq!(unmap(&table, M2, M2).0, M2);
    assert_eq!(hardware.access(0, true), Ok(0));
}

#[test]
fn failing_at_any_allocation_leaves_a_consistent_table() {
    for coherent in [true, false] {
        let (memory, table, mut hardware) = new(&Config { coherent, ..CFG });
        let (iova, phys, len) = ((1 << 39) - M2 - 3 * K4, 5 * K4, 3 * M2);

        // A mapping that must survive.
        map(&table, iova - K4, 0, K4).1.unwrap();
        let mut failures = 0;
        for n in 1.. {
            memory.fail_nth(n);
            let (mapped, result) = map(&table, iova, phys, len);
            memory.fail_nth(0);
            for offset in [0, mapped.saturating_sub(1)] {
                if offset < mapped {
                    assert_eq!(hardware.access(iova + offset, true), Ok(phys + offset));
                }
            }
            assert_eq!(
                table.iova_to_phys(Iova::new(iova + mapped)),
                None,
                "one more than was said"
            );
            let (unmapped, mut gather) = unmap(&table, iova, len);
            assert_eq!(unmapped, mapped);
            sync(&mut hardware, &mut gather);
            assert_eq!(hardware.leaves().len(), 1);
            if !coherent {
                assert!(memory.is_flushed(FLUSHED));
            }
            match result {
                Ok(()) => break,
                Err(error) => assert_eq!(error, Error::NoMemory),
            }
            failures += 1;
        }
        assert!(failures >= 3, "{failures}");
        assert_eq!(hardware.access(iova - 1, true), Ok(K4 - 1));
        drop(table);
        assert_eq!((memory.live(), memory.leaked()), (0, 0));
    }
}

#[test]
fn the_loser_of_a_race_to_install_a_table_uses_the_winners_table() {
    for coherent in [true, false] {
        for missing in 1..=2 {
            let (memory, table, mut hardware) = new(&Config { coherent, ..CFG });

            // The number of tables that are missing above the first pages.
            map(&table, if missing == 1 { M2 } else { G1 }, 0, K4)
                .1
                .unwrap();
            let other = table.clone();
            let (allocated, live) = (memory.allocated(), memory.live());
            before_exchange(move || {
                assert_eq!(map(&other, 9 * K4, 9 * K4, K4), (K4, Ok(())));
            });
            assert_eq!(map(&table, 3 * K4, 3 * K4, K4), (K4, Ok(())));
            assert_eq!(memory.live() - live, missing);
            assert_eq!(memory.allocated() - allocated, missing + 1);
            assert_eq!(hardware.access(3 * K4, true), Ok(3 * K4));
            assert_eq!(hardware.access(9 * K4, true), Ok(9 * K4));
        }
    }
}

#[test]
fn an_entry_whose_installer_has_not_flushed_it_is_flushed_by_the_finder() {
    let (memory, table, mut hardware) = new(&Config {
        coherent: false,
        ..CFG
    });

    map(&table, M2, 0, K4).1.unwrap();
    // The installing call is interrupted between its exchange and the end of its flush. Another
    // call sees this in the middle of the exchange that marks the entry as flushed.
    let other = table.clone();
    let flushes = Rc::new(Cell::new(0));
    let (count, seen) = (flushes.clone(), memory.clone());
    before_exchange(move || {
        before_exchange(move || {
            let before = seen.flushes().0;
            assert_eq!(map(&other, K4, K4, K4), (K4, Ok(())));
            count.set(seen.flushes().0 - before);
        });
    });
    assert_eq!(map(&table, 0, 0, K4), (K4, Ok(())));
    // The entry that points to the table, and its own entry.
    assert_eq!(flushes.get(), 2);
    assert_eq!(hardware.access(K4, true), Ok(K4));
    assert_eq!(hardware.access(0, true), Ok(0));

    // Later calls need not flush the entry.
    let before = memory.flushes().0;
    assert_eq!(map(&table, 2 * K4, 2 * K4, K4), (K4, Ok(())));
    assert_eq!(memory.flushes().0 - before, 1);
}

#[test]
fn exactly_the_changed_entries_are_flushed() {
    let (memory, table, _hardware) = new(&Config {
        coherent: false,
        ..CFG
    });
    let root = memory.flushes().0;
    assert_eq!(root, 512);
    let flushed = |before: u64| (memory.flushes().0 - before, memory.flushes().1);

    // Three new tables, the entries that point to them, and the leaves.
    map(&table, 0, K4, 7 * K4).1.unwrap();
    assert_eq!(flushed(root), (3 * 512 + 3 + 7, 0));

    let before = memory.flushes().0;
    map(&table, 7 * K4, 8 * K4, M2).1.unwrap();
    assert_eq!(flushed(before), (512 + 1 + 512, 0));

    // A part of a table: each leaf is flushed.
    let before = memory.flushes().0;
    assert_eq!(unmap(&table, 0, 5 * K4).0, 5 * K4);
    assert_eq!(flushed(before), (5, 0));

    // Two large pages, one of which is split: the new table, the entry that points to it, one leaf
    // in it, and the other large page.
    map(&table, G1, 0, 2 * M2).1.unwrap();
    let before = memory.flushes().0;
    assert_eq!(unmap(&table, G1 + M2 - K4, M2 + K4).0, M2 + K4);
    assert_eq!(flushed(before), (512 + 1 + 1 + 1, 0));

    // A whole table: the entry that pointed to it is flushed.
    map(&table, 2 * G1, K4, M2).1.unwrap();
    let before = memory.flushes().0;
    assert_eq!(unmap(&table, 2 * G1, M2).0, M2);
    assert_eq!(flushed(before), (1, 0));
    assert!(memory.is_flushed(FLUSHED));
}

#[test]
fn dirty_pages_are_read_and_cleared() {
    let (_memory, table, hardware) = new(&CFG);
    let mut hardware = hardware.record();
    let mut gather = Gather::new();
    let dirty = |gather: &mut Gather<HostMemory>, iova, len, mode| {
        let mut found = Vec::new();
        table
            .read_and_clear_dirty(Iova::new(iova), len, mode, gather, |iova, len| {
                found.push((iova.raw(), len));
            })
            .unwrap();
        found
    };

    map(&table, 0, 0, 16 * K4).1.unwrap();
    map(&table, 3 * M2, 0, 2 * M2).1.unwrap();
    map(&table, G1, 0, G1).1.unwrap();
    let end = 1 << 48;
    assert_eq!(dirty(&mut gather, 0, end, DirtyMode::Clear), []);

    for iova in [K4, 3 * K4 + 5, 3 * M2 + 7 * K4, G1 + 5 * M2] {
        hardware.access(iova, true).unwrap();
    }
    // A read does not set the dirty bit.
    hardware.access(5 * K4, false).unwrap();
    hardware.access(4 * M2, false).unwrap();

    let all = [(K4, K4), (3 * K4, K4), (3 * M2, M2), (G1, G1)];
    assert_eq!(dirty(&mut gather, 0, end, DirtyMode::Keep), all);
    assert!(gather.is_empty());
    // A part of the range, whose start and end are in the middle of pages.
    assert_eq!(dirty(&mut gather, 2 * K4, M2, DirtyMode::Keep), all[1..2]);
    assert_eq!(
        dirty(&mut gather, 3 * M2 + K4, K4, DirtyMode::Keep),
        all[2..3]
    );
    assert_eq!(dirty(&mut gather, G1 + 7, G1, DirtyMode::Keep), all[3..]);
    assert_eq!(dirty(&mut gather, 5 * M2, G1 - 5 * M2, DirtyMode::Keep), []);

    assert_eq!(dirty(&mut gather, 0, end, DirtyMode::Clear), all);
    assert_eq!(gather.range(), Some((Iova::new(K4), Iova::new(2 * G1 - 1))));
    assert!(!gather.tables_changed());
    assert_eq!(dirty(&mut gather, 0, end, DirtyMode::Clear), []);
    sync(&mut hardware, &mut gather);

    // Hardware records writes again after the invalidation.
    hardware.access(K4, true).unwrap();
    assert_eq!(dirty(&mut gather, 0, end, DirtyMode::Clear), all[..1]);
}

#[test]
fn a_page_that_is_split_while_its_dirty_bit_is_read_is_not_missed() {
    let (_memory, table, hardware) = new(&CFG);
    let mut hardware = hardware.record();

    map(&table, 0, 0, M2).1.unwrap();
    hardware.access(0, true).unwrap();
    let other = table.clone();
    before_exchange(move || {
        assert_eq!(unmap(&other, K4, K4).0, K4);
    });
    let mut found = 0;
    table
        .read_and_clear_dirty(
            Iova::new(0),
            M2,
            DirtyMode::Clear,
            &mut Gather::new(),
            |_, len| found += len,
        )
        .unwrap();
    assert_eq!(found, M2 - K4);
    assert!(hardware.leaves().iter().all(|leaf| !leaf.dirty));
}

#[test]
fn a_dirty_bit_is_not_lost_to_another_bit_that_hardware_sets() {
    let (memory, table, hardware) = new(&CFG);

    map(&table, 0, 0, K4).1.unwrap();
    let mut lowest = table.root().raw();
    for _ in 0..3 {
        lowest = memory.hardware_read(lowest, 0, true).unwrap() & 0x000f_ffff_ffff_f000;
    }
    let (dirty, accessed) = (1 << 9, 1 << 8);
    assert!(memory.hardware_set(lowest, 0, 3, dirty));
    before_exchange({
        let memory = memory.clone();
        move || assert!(memory.hardware_set(lowest, 0, 3 | dirty, accessed))
    });

    let mut found = 0;
    table
        .read_and_clear_dirty(
            Iova::new(0),
            K4,
            DirtyMode::Clear,
            &mut Gather::new(),
            |_, len| found += len,
        )
        .unwrap();
    assert_eq!(found, K4);
    assert_eq!(memory.hardware_read(lowest, 0, true), Some(3 | accessed));
    assert!(!hardware.leaves()[0].dirty);
}

#[test]
fn output_addresses_are_limited_by_the_configuration() {
    for oa_bits in [36, 39, 46, 52] {
        let (_memory, table, mut hardware) = new(&Config { oa_bits, ..CFG });
        let end = 1u64 << oa_bits;

        assert_eq!(map(&table, 0, end - K4, K4), (K4, Ok(())));
        assert_eq!(hardware.access(1, true), Ok(end - K4 + 1));
        assert_eq!(map(&table, M2, end - M2, M2), (M2, Ok(())));
        assert_eq!(map(&table, G1, end - M2, 2 * M2).1, Err(Error::OutOfRange));
    }
}
