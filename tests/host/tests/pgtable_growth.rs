// SPDX-License-Identifier: GPL-2.0

//! Page tables that get more levels when an address beyond the present ones is mapped.

use std::rc::Rc;

use iommu_core_host::{
    addr::{Iova, PhysAddr, Prot},
    cases::{AmdCase, Case},
    hardware::{amd::Amd, Fault, Hardware},
    memory::{before_exchange, HostMemory},
    pgtable::{amd_v1::AmdV1, Config, DirtyMode, Error, Gather, PageTable, Top},
};

const K4: u64 = 1 << 12;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;
const T1: u64 = 1 << 40;
const RW: Prot = Prot::READ.union(Prot::WRITE);

/// The first address beyond a page table, by its number of levels.
const BEYOND: [u64; 6] = [0, 1 << 21, 1 << 30, 1 << 39, 1 << 48, 1 << 57];

type Table = PageTable<AmdV1, HostMemory>;

fn new(levels: u8) -> (HostMemory, Rc<Table>, Hardware<Amd>) {
    with(levels, true)
}

fn with(levels: u8, coherent: bool) -> (HostMemory, Rc<Table>, Hardware<Amd>) {
    let cfg = Config {
        levels,
        coherent,
        iova_bits: 64,
        ..AmdCase::shapes()[0]
    };
    let memory = HostMemory::new();
    let table = Table::new(&cfg, memory.clone(), ()).unwrap();
    let hardware = AmdCase::hardware(&memory, &cfg, &table);

    assert!(!table.has_new_top());
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

fn tell(table: &Table, hardware: &mut Hardware<Amd>) {
    let top = table.top();

    hardware.set_top(Amd::new(top.levels), top.root.raw());
    table.acknowledge_top(top);
}

#[test]
fn a_table_starts_with_the_levels_that_it_is_given() {
    for levels in 2..=6 {
        let (memory, table, _) = new(levels);

        assert_eq!((table.levels(), memory.live()), (levels, 1));
        assert_eq!(table.top().root, table.root());
        assert_eq!(table.last_iova().raw(), u64::MAX);
    }
}

#[test]
fn a_table_grows_no_more_than_necessary() {
    for start in 2..=5 {
        for end in start..=6 {
            let (memory, table, mut hardware) = new(start);
            let old = table.top();

            // Up to the last address of the page table, and then one page more.
            let last = BEYOND[usize::from(end) - 1] - K4;
            if end > start {
                assert_eq!(map(&table, last, 0, K4), (K4, Ok(())));
                assert_eq!(table.levels(), end - 1);
                tell(&table, &mut hardware);
            }
            let iova = BEYOND[usize::from(end) - 1];
            assert_eq!(map(&table, iova, M2 + K4, K4), (K4, Ok(())));
            assert_eq!(table.levels(), end);
            if end > start {
                assert!(table.has_new_top());
                // Until the unit uses the new top, it sees only the old mappings.
                assert_eq!(hardware.access(iova, true), Err(Fault::Refused));
            }
            tell(&table, &mut hardware);
            assert!(!table.has_new_top());
            assert_eq!(hardware.access(iova, true), Ok(M2 + K4));
            if end > start {
                assert_eq!(hardware.access(last, true), Ok(0));
                assert_ne!(table.top(), old);
            }
            assert_eq!(
                table.iova_to_phys(Iova::new(iova + 5)),
                Some(PhysAddr::new(M2 + K4 + 5))
            );
            drop(table);
            assert_eq!(memory.live(), 0);
        }
    }
}

#[test]
fn mappings_stay_reachable_from_every_root() {
    let (_memory, table, mut first) = new(2);
    let mut second = first.clone();

    assert_eq!(map(&table, 0, M2, K4), (K4, Ok(())));
    assert_eq!(first.access(0, true), Ok(M2));
    assert_eq!(map(&table, T1, G1, K4), (K4, Ok(())));
    assert_eq!(table.levels(), 4);
    tell(&table, &mut second);
    // Within the range of the initial levels, a walk from the old root also sees later mappings.
    assert_eq!(map(&table, 5 * K4, 7 * K4, K4), (K4, Ok(())));
    for unit in [&mut first, &mut second] {
        unit.invalidate_all();
        assert_eq!(unit.access(0, true), Ok(M2));
        assert_eq!(unit.access(5 * K4, true), Ok(7 * K4));
    }
    assert_eq!(second.access(T1, true), Ok(G1));
    assert_eq!(first.access(T1, true), Err(Fault::Refused));
}

#[test]
fn only_mapping_lets_it_grow() {
    let (memory, table, _) = new(3);

    assert_eq!(map(&table, 0, 0, K4), (K4, Ok(())));
    let (top, allocated) = (table.top(), memory.allocated());

    for iova in [1 << 39, 1 << 48, 1 << 57, u64::MAX - (K4 - 1)] {
        let mut gather = Gather::new();

        assert_eq!(table.iova_to_phys(Iova::new(iova)), None);
        assert_eq!(table.unmap(Iova::new(iova), K4, &mut gather), 0);
        assert!(gather.is_empty());
        let mut none = |_, _| panic!();
        let result = table.read_and_clear_dirty(
            Iova::new(iova),
            K4,
            DirtyMode::Clear,
            &mut gather,
            &mut none,
        );
        assert_eq!(result, Ok(()));
    }
    // A range that starts in the present levels and ends beyond them.
    let mut gather = Gather::new();
    assert_eq!(table.unmap(Iova::new(0), T1, &mut gather), K4);
    assert_eq!(
        table.unmap(Iova::new((1 << 39) - K4), 2 * K4, &mut gather),
        0
    );
    let all = u64::MAX - (K4 - 1);
    assert_eq!(map(&table, (1 << 39) - K4, 0, K4), (K4, Ok(())));
    let (top_now, allocated_now) = (table.top(), memory.allocated());
    assert_eq!(
        table.unmap(Iova::new((1 << 39) - K4), all - (1 << 39), &mut gather),
        K4
    );
    let result = table.read_and_clear_dirty(
        Iova::new(0),
        u64::MAX,
        DirtyMode::Clear,
        &mut gather,
        |_, _| panic!(),
    );
    assert_eq!(result, Ok(()));
    gather.done();
    assert_eq!(top_now, top);
    assert_eq!(allocated_now - allocated, 2);
    assert_eq!(memory.allocated(), allocated_now);
    assert!(!table.has_new_top());
}

#[test]
fn a_table_does_not_grow_beyond_the_aperture() {
    let cfg = Config {
        iova_bits: 48,
        levels: 3,
        ..AmdCase::shapes()[0]
    };
    let memory = HostMemory::new();
    let table = Table::new(&cfg, memory.clone(), ()).unwrap();

    assert_eq!(map(&table, 1 << 48, 0, K4), (0, Err(Error::OutOfRange)));
    assert_eq!(
        map(&table, (1 << 48) - K4, 0, 2 * K4),
        (0, Err(Error::OutOfRange))
    );
    assert_eq!((table.levels(), memory.allocated()), (3, 1));
    assert_eq!(map(&table, (1 << 48) - K4, 0, K4), (K4, Ok(())));
    assert_eq!(table.levels(), 4);
}

#[test]
fn the_top_of_the_address_space_can_be_mapped() {
    let (memory, table, mut hardware) = new(3);

    for (len, phys) in [
        (K4, 0),
        (2 * K4, 2 * K4),
        (M2, M2),
        (G1, G1),
        (2 * G1 + M2 + K4, 5 * K4),
    ] {
        let iova = u64::MAX - (len - 1);
        let mut gather = Gather::new();
        let (start, memory) = (Iova::new(iova), PhysAddr::new(phys));

        assert_eq!(
            table.map(start, memory, len, RW, (), &mut gather),
            (len, Ok(()))
        );
        hardware.invalidate_all();
        gather.done();
        tell(&table, &mut hardware);
        assert_eq!(hardware.access(u64::MAX, true), Ok(phys + len - 1));
        assert_eq!(hardware.access(iova, true), Ok(phys));
        assert_eq!(hardware.access(iova - 1, true), Err(Fault::Refused));
        assert_eq!(table.unmap(start, len, &mut gather), len);
        assert_eq!(gather.range(), Some((start, Iova::new(u64::MAX))));
        hardware.invalidate_all();
        gather.done();
        assert!(hardware.leaves().is_empty());
    }
    for iova in [u64::MAX - (K4 - 1), u64::MAX - (2 * K4 - 1)] {
        assert_eq!(map(&table, iova, 0, 4 * K4), (0, Err(Error::OutOfRange)));
    }
    drop(table);
    assert_eq!(memory.live(), 0);
}

#[test]
fn failing_to_grow_changes_nothing() {
    for coherent in [true, false] {
        let (memory, table, mut hardware) = with(2, coherent);

        assert_eq!(map(&table, 0, M2, K4), (K4, Ok(())));
        let (top, live) = (table.top(), memory.live());
        // One of the four new roots cannot be allocated.
        for n in 1..=4 {
            memory.fail_nth(n);
            assert_eq!(map(&table, 1 << 60, 0, K4), (0, Err(Error::NoMemory)));
            assert_eq!((table.top(), memory.live()), (top, live));
            assert!(!table.has_new_top());
            assert_eq!(hardware.access(0, true), Ok(M2));
        }
        // The page table has grown, and a table below the root cannot be allocated.
        memory.fail_nth(5);
        assert_eq!(map(&table, 1 << 60, 0, K4), (0, Err(Error::NoMemory)));
        memory.fail_nth(0);
        assert_eq!((table.levels(), memory.live()), (6, live + 4));
        assert!(table.has_new_top());
        tell(&table, &mut hardware);
        assert_eq!(hardware.access(0, true), Ok(M2));
        assert_eq!(map(&table, 1 << 60, 0, K4), (K4, Ok(())));
        assert_eq!(hardware.access(1 << 60, true), Ok(0));
        assert_eq!(hardware.access(0, true), Ok(M2));
        if !coherent {
            assert!(memory.is_flushed(AmdCase::IGNORED));
        }
        drop(table);
        assert_eq!((memory.live(), memory.leaked()), (0, 0));
    }
}

#[test]
fn the_loser_of_a_race_to_grow_continues_from_the_winners_top() {
    // Another call grows the page table as far, farther, and less far.
    for (mine, others, levels) in [
        (1 << 39, (1 << 39) + M2, 4),
        (1 << 39, 1 << 57, 6),
        (1 << 57, 1 << 39, 6),
        (1 << 48, 1 << 30, 5),
    ] {
        for coherent in [true, false] {
            let (memory, table, mut hardware) = with(2, coherent);

            assert_eq!(map(&table, 0, M2, K4), (K4, Ok(())));
            let other = table.clone();
            before_exchange(move || {
                assert_eq!(map(&other, others, G1, K4), (K4, Ok(())));
            });
            assert_eq!(map(&table, mine, 2 * G1, K4), (K4, Ok(())));
            assert_eq!(table.levels(), levels);
            tell(&table, &mut hardware);
            for (iova, phys) in [(0, M2), (others, G1), (mine, 2 * G1)] {
                assert_eq!(hardware.access(iova, true), Ok(phys));
            }
            assert_eq!(hardware.leaves().len(), 3);
            if !coherent {
                assert!(memory.is_flushed(AmdCase::IGNORED));
            }
            drop(table);
            assert_eq!((memory.live(), memory.leaked()), (0, 0));
        }
    }
}

#[test]
fn a_caller_that_finds_the_table_grown_must_update_the_units_too() {
    let (_memory, table, mut hardware) = new(3);

    assert_eq!(map(&table, T1, 0, K4), (K4, Ok(())));
    let first = table.top();
    // Another caller maps before the first one has updated the unit.
    assert_eq!(map(&table, T1 + K4, K4, K4), (K4, Ok(())));
    assert_eq!(table.top(), first);
    assert!(table.has_new_top());
    tell(&table, &mut hardware);
    assert!(!table.has_new_top());
    assert_eq!(hardware.access(T1 + K4, true), Ok(K4));

    // Updating the units to an older top does not complete the update.
    assert_eq!(map(&table, 1 << 60, 0, K4), (K4, Ok(())));
    table.acknowledge_top(first);
    assert!(table.has_new_top());
    let now = table.top();
    assert_eq!(
        now,
        Top {
            root: table.root(),
            levels: 6
        }
    );
    table.acknowledge_top(now);
    assert!(!table.has_new_top());
    // A late report of an older top does not make the newer top unknown again.
    table.acknowledge_top(first);
    assert!(!table.has_new_top());
}

#[test]
fn a_root_identifies_its_page_table() {
    for coherent in [true, false] {
        let (memory, table, _) = with(2, coherent);
        let other = Table::new(&AmdCase::shapes()[0], memory.clone(), ()).unwrap();
        let mut tops = vec![table.top()];

        for iova in [1 << 30, 1 << 39, 1 << 57] {
            assert_eq!(map(&table, iova, 0, K4), (K4, Ok(())));
            tops.push(table.top());
            for top in &tops {
                assert_eq!(table.top_over(top.root), Some(table.top()));
                assert_eq!(other.top_over(top.root), None);
            }
            assert_eq!(table.top_over(other.root()), None);
            assert_eq!(table.top_over(PhysAddr::new(0)), None);
        }
        // Freeing tables that were never a root changes none of these answers.
        let mut gather = Gather::new();
        assert_eq!(table.unmap(Iova::new(1 << 57), K4, &mut gather), K4);
        gather.done();
        for top in &tops {
            assert_eq!(table.top_over(top.root), Some(table.top()));
        }
    }
}

#[test]
fn roots_stay_when_all_that_they_translate_is_unmapped() {
    for start in [2, 3] {
        let (memory, table, mut hardware) = new(start);
        let mut told = hardware.clone();

        assert_eq!(map(&table, 0, 0, 4 * T1), (4 * T1, Ok(())));
        tell(&table, &mut told);
        assert_eq!(told.access(3 * T1, true), Ok(3 * T1));
        let roots = u64::from(table.levels() - start) + 1;
        let mut gather = Gather::new();
        assert_eq!(table.unmap(Iova::new(0), 4 * T1, &mut gather), 4 * T1);
        hardware.invalidate_all();
        told.invalidate_all();
        gather.done();

        // A unit that still walks from the first root must not reach freed memory.
        for unit in [&mut hardware, &mut told] {
            assert_eq!(unit.access(0, true), Err(Fault::Refused));
            assert_eq!(unit.access(G1 - 1, true), Err(Fault::Refused));
            assert!(unit.leaves().is_empty());
        }
        assert!(memory.live() >= roots);

        // A large page does not replace an old root either.
        for size in [G1, 64 * G1, 256 * G1] {
            assert_eq!(map(&table, 0, 0, size), (size, Ok(())));
            assert_eq!(told.access(size - 1, true), Ok(size - 1));
            if size == G1 || start == 3 {
                assert_eq!(hardware.access(G1 - 1, true), Ok(G1 - 1));
            }
            assert_eq!(table.unmap(Iova::new(0), size, &mut gather), size);
            hardware.invalidate_all();
            told.invalidate_all();
            gather.done();
            assert_eq!(hardware.access(0, true), Err(Fault::Refused));
        }
        drop(table);
        assert_eq!((memory.live(), memory.leaked()), (0, 0));
    }
}
