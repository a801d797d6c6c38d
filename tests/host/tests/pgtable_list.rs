// SPDX-License-Identifier: GPL-2.0

//! A list of pieces of memory, mapped at once, leaves what its pieces leave that are mapped one
//! after the other.

use iommu_core_host::{
    addr::{Iova, PhysAddr, Prot},
    cases::{AmdCase, Arm1K16, Arm1K4, Arm1K64, Arm2K16, Arm2K4, Arm2K64, Case, VtdCase, X86Case},
    memory::HostMemory,
    pgtable::{Config, Error, Format, Gather, PageTable},
};
use proptest::{prelude::*, test_runner::TestRunner};

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// A page table, and its memory.
struct Bench<C: Case> {
    memory: HostMemory,
    table: PageTable<C::Format, HostMemory>,
    config: Config,
}

impl<C: Case> Bench<C> {
    fn new(config: Config) -> Self {
        let memory = HostMemory::new();
        let table = PageTable::new(&config, memory.clone(), ()).unwrap();
        Self {
            memory,
            table,
            config,
        }
    }

    fn map(&self, iova: u64, phys: u64, len: u64) -> (u64, Result<(), Error>) {
        let mut gather = Gather::new();
        let (iova, phys) = (Iova::new(iova), PhysAddr::new(phys));
        let result = self.table.map(iova, phys, len, RW, (), &mut gather);
        gather.done();
        result
    }

    /// The pieces at once.
    fn list(&self, iova: u64, pieces: &[(u64, u64)]) -> (u64, Result<(), Error>) {
        let mut gather = Gather::new();
        let pieces = pieces.iter().map(|&(phys, len)| (PhysAddr::new(phys), len));
        let (mapped, result) = self
            .table
            .map_list(Iova::new(iova), pieces, RW, (), &mut gather);
        gather.done();
        (mapped, result)
    }

    /// The pieces one after the other.
    fn one_by_one(&self, iova: u64, pieces: &[(u64, u64)]) -> (u64, Result<(), Error>) {
        let mut mapped = 0;
        for &(phys, len) in pieces {
            let (done, result) = self.map(iova + mapped, phys, len);
            mapped += done;
            if result.is_err() {
                return (mapped, result);
            }
        }
        (mapped, Ok(()))
    }

    fn leaves(&self) -> Vec<(u64, u64, u64, Prot)> {
        let hardware = C::hardware(&self.memory, &self.config, &self.table);
        let leaves = hardware.leaves().into_iter();
        leaves
            .map(|leaf| (leaf.iova, leaf.phys, leaf.size, leaf.prot))
            .collect()
    }
}

/// What is wrong with a list, if anything.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Nothing,
    /// Something is mapped where its pieces come to lie.
    InUse {
        page: u64,
    },
    /// The address of a piece.
    Odd {
        piece: usize,
    },
    /// A piece is beyond what the page table can hold.
    Beyond {
        piece: usize,
    },
    Empty {
        piece: usize,
    },
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        3 => Just(Wrong::Nothing),
        1 => (0u64..200).prop_map(|page| Wrong::InUse { page }),
        1 => (0usize..150).prop_map(|piece| Wrong::Odd { piece }),
        1 => (0usize..150).prop_map(|piece| Wrong::Beyond { piece }),
        1 => (0usize..150).prop_map(|piece| Wrong::Empty { piece }),
    ]
}

fn a_list_is_its_pieces<C: Case>() {
    let page = 1 << C::Format::GRANULE_LG2;
    let entries = 1u64 << C::Format::INDEX_LG2;
    // Most pieces are one page; some are several, which may be larger pages.
    let piece = (
        1u64..5000,
        prop_oneof![8 => Just(1u64), 1 => 2u64..40, 1 => Just(entries)],
    );
    let input = (
        proptest::sample::select(C::shapes()),
        any::<bool>(),
        any::<bool>(),
        // The list begins near the end of a table.
        0u64..3 * entries,
        proptest::collection::vec(piece, 0..150),
        wrong(),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(400));

    runner
        .run(&input, |(shape, coherent, split, start, pieces, wrong)| {
            let config = Config {
                coherent,
                split,
                ..shape
            };
            let (one, all) = (Bench::<C>::new(config), Bench::<C>::new(config));
            let iova = start * page;
            let mut pieces: Vec<_> = pieces
                .iter()
                .map(|&(at, len)| (at * page, len * page))
                .collect();
            let change = |piece: Option<&mut (u64, u64)>, f: &dyn Fn(&mut (u64, u64))| {
                piece.into_iter().for_each(f);
            };
            match wrong {
                Wrong::Nothing => {}
                Wrong::InUse { page: number } => {
                    for bench in [&one, &all] {
                        bench.map(iova + number * page, 0, page).1.unwrap();
                    }
                }
                Wrong::Odd { piece } => change(pieces.get_mut(piece), &|piece| piece.0 += page / 2),
                Wrong::Beyond { piece } => change(pieces.get_mut(piece), &|piece| {
                    piece.0 = 1 << config.oa_bits;
                }),
                Wrong::Empty { piece } => change(pieces.get_mut(piece), &|piece| piece.1 = 0),
            }

            let expected = one.one_by_one(iova, &pieces);
            prop_assert_eq!(all.list(iova, &pieces), expected);
            prop_assert_eq!(all.leaves(), one.leaves());
            prop_assert_eq!(all.memory.live(), one.memory.live());
            prop_assert!(coherent || all.memory.is_flushed(C::IGNORED));
            Ok(())
        })
        .unwrap();
}

/// Pages in one table of leaves change its entries, of which no other is flushed.
fn each_page_of_a_list_is_flushed_once<C: Case>() {
    let page = 1u64 << C::Format::GRANULE_LG2;

    for shape in C::shapes() {
        let bench = Bench::<C>::new(Config {
            coherent: false,
            ..shape
        });
        // The tables are there.
        bench.map(64 * page, 0, page).1.unwrap();
        let pieces: Vec<_> = (0..64).map(|n| ((2 * n + 1) * page, page)).collect();
        let (before, _) = bench.memory.flushes();
        assert_eq!(bench.list(0, &pieces), (64 * page, Ok(())));
        let (after, needless) = bench.memory.flushes();
        assert_eq!((after - before, needless), (64, 0));
    }
}

macro_rules! for_each_case {
    ($($name:ident: $case:ty,)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn a_list_is_its_pieces() {
                super::a_list_is_its_pieces::<$case>();
            }

            #[test]
            fn each_page_of_a_list_is_flushed_once() {
                super::each_page_of_a_list_is_flushed_once::<$case>();
            }
        })*
    };
}

for_each_case! {
    vtd: VtdCase,
    amd: AmdCase,
    x86: X86Case,
    arm_stage_1_4k: Arm1K4,
    arm_stage_1_16k: Arm1K16,
    arm_stage_1_64k: Arm1K64,
    arm_stage_2_4k: Arm2K4,
    arm_stage_2_16k: Arm2K16,
    arm_stage_2_64k: Arm2K64,
}
