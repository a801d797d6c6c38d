// SPDX-License-Identifier: GPL-2.0

//! The guarantees of a page table of every format, as its hardware sees it. `pgtable_behaviour`
//! tests what does not depend on the format.

use std::rc::Rc;

use iommu_core_host::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    cases::{AmdCase, Arm1K16, Arm1K4, Arm1K64, Arm2K16, Arm2K4, Arm2K64, Case, VtdCase, X86Case},
    hardware::{Fault, Hardware, Leaf},
    memory::{before_exchange, writes, HostMemory},
    pgtable::{Config, DirtyFormat, DirtyMode, Error, Format, Gather, PageTable},
};

const RW: Prot = Prot::READ.union(Prot::WRITE);

/// The largest page size to test; AMD's sizes go far beyond it.
const LARGEST: u64 = 1 << 43;

struct Bench<C: Case> {
    cfg: Config,
    memory: HostMemory,
    table: Rc<PageTable<C::Format, HostMemory>>,
    hardware: Hardware<C::Walker>,
}

impl<C: Case> Bench<C> {
    const PAGE: u64 = 1 << C::Format::GRANULE_LG2;

    fn new(cfg: Config) -> Self {
        let memory = HostMemory::new();
        let table = PageTable::new(&cfg, memory.clone(), ()).unwrap();
        let hardware = C::hardware(&memory, &cfg, &table);

        Self {
            cfg,
            memory,
            table: Rc::new(table),
            hardware,
        }
    }

    /// One bench for each shape, coherent and not.
    fn all() -> Vec<Self> {
        C::shapes()
            .into_iter()
            .flat_map(|shape| [true, false].map(|coherent| Self::new(Config { coherent, ..shape })))
            .collect()
    }

    /// All page sizes.
    fn sizes(&self) -> Vec<u64> {
        (0..64)
            .map(|lg2| 1 << lg2)
            .filter(|size| self.table.page_sizes().contains(*size) && *size <= LARGEST)
            .collect()
    }

    /// Makes the unit walk from the current top.
    fn tell(&mut self) {
        let top = self.table.top();

        self.hardware
            .set_top(C::walker(&self.cfg, top), top.root.raw());
        self.table.acknowledge_top(top);
    }

    fn map_with(&mut self, iova: u64, phys: u64, len: u64, prot: Prot) -> (u64, Result<(), Error>) {
        let mut gather = Gather::new();
        let result = self.table.map(
            Iova::new(iova),
            PhysAddr::new(phys),
            len,
            prot,
            (),
            &mut gather,
        );

        if self.table.has_new_top() {
            self.tell();
        }
        self.sync(&mut gather);
        result
    }

    fn map(&mut self, iova: u64, phys: u64, len: u64) -> (u64, Result<(), Error>) {
        self.map_with(iova, phys, len, RW)
    }

    fn unmap(&mut self, iova: u64, len: u64) -> u64 {
        let mut gather = Gather::new();
        let unmapped = self.table.unmap(Iova::new(iova), len, &mut gather);

        self.sync(&mut gather);
        unmapped
    }

    fn sync(&mut self, gather: &mut Gather<HostMemory>) {
        if let Some((first, last)) = gather.range() {
            self.hardware
                .invalidate(first.raw(), last.raw(), gather.tables_changed());
        }
        gather.done();
        if !self.cfg.coherent {
            assert!(self.memory.is_flushed(C::IGNORED));
        }
    }

    fn sizes_of_leaves(&self) -> Vec<u64> {
        self.hardware
            .leaves()
            .iter()
            .map(|leaf| leaf.size)
            .collect()
    }

    fn nothing_left(self) {
        let Self { memory, table, .. } = self;

        drop(table);
        assert_eq!((memory.live(), memory.leaked()), (0, 0));
    }
}

fn invalid_shapes_are_refused<C: Case>() {
    let good = C::shapes()[0];
    let refused = [
        Config { levels: 0, ..good },
        Config { levels: 1, ..good },
        Config { levels: 7, ..good },
        Config {
            levels: C::Format::MAX_LEVELS + 1,
            ..good
        },
        Config {
            iova_bits: 65,
            ..good
        },
        Config {
            iova_bits: 0,
            ..good
        },
        Config {
            iova_bits: C::Format::GRANULE_LG2 as u8,
            ..good
        },
        Config {
            oa_bits: C::Format::MAX_OA_BITS + 1,
            ..good
        },
        Config {
            page_sizes: PageSizes::NONE,
            ..good
        },
        // A run size without the size of a single leaf.
        Config {
            page_sizes: PageSizes::new(1 << (C::Format::GRANULE_LG2 + 4)),
            ..good
        },
    ];

    for cfg in refused {
        let memory = HostMemory::new();
        let error = PageTable::<C::Format, _>::new(&cfg, memory.clone(), ()).err();

        assert_eq!(error, Some(Error::Invalid), "{cfg:?}");
        assert_eq!(memory.allocated(), 0);
    }
}

fn every_page_size_is_used<C: Case>() {
    for mut bench in Bench::<C>::all() {
        let last = bench.table.last_iova().raw();

        for size in bench.sizes() {
            // At an address equal to the size, at the start, and at the end of the aperture.
            for iova in [size, 0, last - (size - 1)] {
                // The first root stays in place when a page table grows.
                let root =
                    C::Format::GRANULE_LG2 + C::Format::INDEX_LG2 * u32::from(bench.cfg.levels);
                let is_root = C::Format::GROWS && iova == 0 && size.ilog2() >= root;

                if iova > last - (size - 1) || is_root {
                    continue;
                }
                let phys = size & ((1 << 45) - 1);

                assert_eq!(bench.map(iova, phys, size), (size, Ok(())));
                assert_eq!(
                    bench.hardware.leaves(),
                    [Leaf {
                        iova,
                        size,
                        phys,
                        prot: C::granted(RW),
                        dirty: bench.hardware.leaves()[0].dirty,
                    }]
                );
                for offset in [0, size / 2, size - 1] {
                    assert_eq!(
                        bench.hardware.access(iova + offset, true),
                        Ok(phys + offset)
                    );
                    assert_eq!(
                        bench.table.iova_to_phys(Iova::new(iova + offset)),
                        Some(PhysAddr::new(phys + offset))
                    );
                }
                for outside in [iova.wrapping_sub(1), (iova + (size - 1)).wrapping_add(1)] {
                    assert_eq!(bench.hardware.access(outside, false), Err(Fault::Refused));
                    assert_eq!(bench.table.iova_to_phys(Iova::new(outside)), None);
                }
                assert_eq!(bench.unmap(iova, size), size);
                assert_eq!(bench.hardware.access(iova, false), Err(Fault::Refused));
                assert!(bench.hardware.leaves().is_empty());
            }
        }
        bench.nothing_left();
    }
}

/// The sizes of the largest pages that fit, from the lowest address on, computed from the
/// definition.
fn largest_first(sizes: &[u64], mut iova: u64, mut phys: u64, mut len: u64) -> Vec<u64> {
    let mut pages = Vec::new();

    while len > 0 {
        let fits = |size: &&u64| iova % **size == 0 && phys % **size == 0 && len >= **size;
        let size = sizes.iter().rev().find(fits).unwrap();

        pages.push(*size);
        iova += size;
        phys += size;
        len -= size;
    }
    pages
}

fn the_largest_pages_that_fit_are_used<C: Case>() {
    let mut x = 1u64;
    let mut random = move |n: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) % n
    };
    let large = 1u64 << (C::Format::GRANULE_LG2 + C::Format::INDEX_LG2);

    for bench in Bench::<C>::all() {
        let sizes = bench.sizes();
        let page = Bench::<C>::PAGE;
        let entries = large / page;

        for _ in 0..60 {
            // Around the boundaries of large pages, mutually aligned to various sizes.
            let iova = 2 * large - random(entries + 40) * page;
            let len = match random(4) {
                0 => 1 + random(40),
                1 => 1 + random(3 * entries),
                2 => entries + random(3) * 16,
                _ => 1 << random(11),
            } * page;
            let mutual = 1 << random(u64::from(C::Format::INDEX_LG2) + 5);
            let phys = 4 * large + iova % (64 * large) + mutual * page * random(2);
            let mut bench = Bench::<C>::new(bench.cfg);
            let before = writes();

            assert_eq!(bench.map(iova, phys, len), (len, Ok(())));
            let expected = largest_first(&sizes, iova, phys, len);
            assert_eq!(bench.sizes_of_leaves(), expected, "{iova:#x} {phys:#x}");
            // Each entry is written once, and no more tables exist than needed.
            if bench.cfg.coherent && !C::Format::GROWS {
                let entries: u64 = expected
                    .iter()
                    .map(|size| {
                        let level = (size.ilog2() - C::Format::GRANULE_LG2) / C::Format::INDEX_LG2;
                        size >> (C::Format::GRANULE_LG2 + C::Format::INDEX_LG2 * level)
                    })
                    .sum();
                assert_eq!(writes() - before, entries + bench.memory.live() - 1);
            }
            assert_eq!(
                bench.hardware.access(iova + len - 1, true),
                Ok(phys + len - 1)
            );
            assert_eq!(bench.unmap(iova, len), len);
            assert!(bench.hardware.leaves().is_empty());
            bench.nothing_left();
        }
    }
}

fn permissions_are_those_asked_for<C: Case>() {
    for mut bench in Bench::<C>::all() {
        for (n, prot) in C::prots().into_iter().enumerate() {
            for size in bench.sizes() {
                let iova = match size.checked_mul(n as u64 + 1) {
                    Some(iova) if iova <= bench.table.last_iova().raw() - (size - 1) => iova,
                    _ => continue,
                };
                let (mapped, result) = bench.map_with(iova, size % (1 << 45), size, prot);

                assert_eq!((mapped, result), (size, Ok(())));
                let leaf = bench.hardware.leaves()[0];
                assert_eq!(leaf.prot, C::granted(prot));
                // Single pages that were split off have the same permissions.
                assert_eq!(bench.unmap(iova, Bench::<C>::PAGE), Bench::<C>::PAGE);
                for leaf in bench.hardware.leaves() {
                    assert_eq!(leaf.prot, C::granted(prot));
                }
                let rest = size - Bench::<C>::PAGE;
                if rest > 0 {
                    assert_eq!(bench.unmap(iova + Bench::<C>::PAGE, rest), rest);
                }
            }
        }
        bench.nothing_left();
    }
}

fn a_part_of_a_page_is_split_off<C: Case>() {
    for mut bench in Bench::<C>::all() {
        let page = Bench::<C>::PAGE;

        for size in bench.sizes() {
            // Skipped for pages with many tables, which take long and show nothing new.
            if size == page || size > page << (2 * C::Format::INDEX_LG2) {
                continue;
            }
            if 2 * size - 1 > bench.table.last_iova().raw() {
                continue;
            }
            let half = (size / page / 2).max(1) * page;
            for (first, len) in [
                (0, page),
                (page, page),
                (size - page, page),
                (0, size - page),
                (page, size - page),
                (half, page),
                (0, half),
                (half, half),
                (size / page / 3 * page, (size / page / 3).max(1) * page),
            ] {
                let base = size;

                assert_eq!(bench.map(base, size, size), (size, Ok(())));
                // The unit has cached it as one page.
                assert_eq!(bench.hardware.access(base + first, true), Ok(size + first));

                let mut gather = Gather::new();
                let unmapped = bench.table.unmap(Iova::new(base + first), len, &mut gather);
                assert_eq!(unmapped, len);
                let rest: Vec<u64> = [0, first.wrapping_sub(1), first + len, size - 1]
                    .into_iter()
                    .filter(|iova| *iova < size && !(first..first + len).contains(iova))
                    .collect();
                // The rest stays accessible at all times, whether or not a unit has cached the
                // page.
                let mut fresh = C::hardware(&bench.memory, &bench.cfg, &bench.table);
                for iova in &rest {
                    assert_eq!(bench.hardware.access(base + iova, true), Ok(size + iova));
                    assert_eq!(fresh.access(base + iova, true), Ok(size + iova));
                }
                assert_eq!(fresh.access(base + first, true), Err(Fault::Refused));
                // The whole page is invalidated.
                assert_eq!(
                    gather.range(),
                    Some((Iova::new(base), Iova::new(base + size - 1)))
                );
                bench.sync(&mut gather);

                for iova in &rest {
                    assert_eq!(bench.hardware.access(base + iova, true), Ok(size + iova));
                }
                for iova in [first, first + len / 2, first + len - 1] {
                    assert_eq!(
                        bench.hardware.access(base + iova, true),
                        Err(Fault::Refused)
                    );
                }
                let left: u64 = bench.sizes_of_leaves().iter().sum();
                assert_eq!(left, size - len);

                if first > 0 {
                    assert_eq!(bench.unmap(base, first), first);
                }
                if first + len < size {
                    let rest = size - first - len;
                    assert_eq!(bench.unmap(base + first + len, rest), rest);
                }
                assert!(bench.hardware.leaves().is_empty());
            }
        }
        bench.nothing_left();
    }
}

fn without_splitting_a_part_of_a_page_stays<C: Case>() {
    for shape in C::shapes() {
        let mut bench = Bench::<C>::new(Config {
            split: false,
            ..shape
        });
        let page = Bench::<C>::PAGE;

        for size in bench.sizes() {
            if size == page || 3 * size.min(1 << 60) - 1 > bench.table.last_iova().raw() {
                continue;
            }
            // Small pages, followed by a large page.
            assert_eq!(bench.map(size - page, size - page, page + size).1, Ok(()));
            let leaves = bench.hardware.leaves();
            let before = writes();
            let mut gather = Gather::new();

            for (first, len) in [
                (0, page),
                (page, page),
                (page, size - page),
                (0, size - page),
            ] {
                if len == size {
                    continue;
                }
                let got = bench.table.unmap(Iova::new(size + first), len, &mut gather);
                assert_eq!(got, 0);
                assert!(gather.is_empty());
            }
            assert_eq!(writes(), before);
            assert_eq!(bench.hardware.leaves(), leaves);
            // The unmap stops at the large page; afterwards the large page is unmapped as a whole.
            assert_eq!(bench.unmap(size - page, size), page);
            assert_eq!(bench.hardware.leaves(), leaves[1..]);
            assert_eq!(bench.unmap(size, size), size);
            assert!(bench.hardware.leaves().is_empty());
        }
        bench.nothing_left();
    }
}

/// Before BBML 2 a unit may want an entry cleared and invalidated before a leaf replaces a table.
/// So a table that has become empty stays, and gets the smaller pages.
fn without_splitting_an_empty_table_stays<C: Case>() {
    for shape in C::shapes() {
        let mut bench = Bench::<C>::new(Config {
            split: false,
            ..shape
        });
        let page = Bench::<C>::PAGE;

        for size in bench.sizes() {
            if size == page || 4 * size.min(1 << 60) - 1 > bench.table.last_iova().raw() {
                continue;
            }
            // The table for the second of three large pages has been used.
            assert_eq!(bench.map(2 * size, 0, page).1, Ok(()));
            assert_eq!(bench.unmap(2 * size, page), page);

            let mut gather = Gather::new();
            let (mapped, result) = bench.table.map(
                Iova::new(size),
                PhysAddr::new(size),
                3 * size,
                RW,
                (),
                &mut gather,
            );
            assert_eq!((mapped, result), (3 * size, Ok(())));
            assert!(gather.is_empty() && !gather.tables_changed());

            let leaves = bench.hardware.leaves();
            assert_eq!((leaves[0].iova, leaves[0].size), (size, size));
            let smaller = &leaves[1..leaves.len() - 1];
            assert!(smaller.iter().all(|leaf| leaf.size < size));
            assert_eq!(smaller.iter().map(|leaf| leaf.size).sum::<u64>(), size);
            let last = &leaves[leaves.len() - 1];
            assert_eq!((last.iova, last.size), (3 * size, size));
            for offset in [0, size, 2 * size - page, 2 * size, 3 * size - 1] {
                let iova = Iova::new(size + offset);
                assert_eq!(
                    bench.table.iova_to_phys(iova),
                    Some(PhysAddr::new(iova.raw()))
                );
            }
            // Over a mapping of the table nothing is mapped.
            assert_eq!(bench.map(2 * size, 0, size), (0, Err(Error::InUse)));
            // Nothing keeps the table when all of it is unmapped.
            assert_eq!(bench.unmap(size, 3 * size), 3 * size);
            assert_eq!(bench.map(2 * size, 0, size), (size, Ok(())));
            assert_eq!(bench.sizes_of_leaves(), [size]);
            assert_eq!(bench.unmap(2 * size, size), size);
        }
        bench.nothing_left();
    }
}

/// Without splits, what was mapped in pages can be unmapped in pages: there are no runs of them.
fn without_splitting_there_are_no_runs<C: Case>() {
    let single = |size: u64| (size.ilog2() - C::Format::GRANULE_LG2) % C::Format::INDEX_LG2 == 0;

    for shape in C::shapes() {
        let mut bench = Bench::<C>::new(Config {
            split: false,
            ..shape
        });
        assert!(bench.sizes().into_iter().all(single));
        for size in bench.sizes() {
            let count = 1u64 << (C::Format::INDEX_LG2 - 1);
            let Some(len) = size.checked_mul(count) else {
                continue;
            };
            if 2 * len.min(1 << 60) - 1 > bench.table.last_iova().raw() || len > LARGEST {
                continue;
            }
            assert_eq!(bench.map(len, len, len), (len, Ok(())));
            assert_eq!(bench.unmap(len + size, size), size);
            assert_eq!(bench.hardware.leaves().len() as u64, count - 1);
            assert_eq!(bench.unmap(len, size), size);
            assert_eq!(bench.unmap(len + 2 * size, len - 2 * size), len - 2 * size);
        }
        bench.nothing_left();
    }
}

fn mapping_over_a_mapping_is_refused_and_changes_nothing<C: Case>() {
    for mut bench in Bench::<C>::all() {
        let page = Bench::<C>::PAGE;

        for size in bench.sizes() {
            if size == page || 2 * size.min(1 << 60) - 1 > bench.table.last_iova().raw() {
                continue;
            }
            let used = [0, page, size / 2 / page * page, size - page];

            for used in used {
                assert_eq!(bench.map(size + used, 7 * page, page), (page, Ok(())));
                let leaves = bench.hardware.leaves();

                assert_eq!(bench.map(size, size, size), (0, Err(Error::InUse)));
                assert_eq!(bench.hardware.leaves(), leaves);
                assert_eq!(bench.hardware.access(size + used, true), Ok(7 * page));
                assert_eq!(bench.unmap(size + used, page), page);

                // In the opposite order. Empty tables are in the way, and the map removes them.
                assert_eq!(bench.map(size, size, size), (size, Ok(())));
                assert_eq!(bench.sizes_of_leaves(), [size]);
                let taken = (0, Err(Error::InUse));
                assert_eq!(bench.map(size + used, 7 * page, page), taken);
                assert_eq!(bench.map(size, 2 * size, size), taken);
                assert_eq!(bench.hardware.access(size + used, true), Ok(size + used));
                assert_eq!(bench.unmap(size, size), size);
            }
        }
        bench.nothing_left();
    }
}

fn failing_at_any_allocation_leaves_a_consistent_table<C: Case>() {
    for shape in C::shapes() {
        for coherent in [true, false] {
            let mut bench = Bench::<C>::new(Config { coherent, ..shape });
            let page = Bench::<C>::PAGE;
            let large = page << C::Format::INDEX_LG2;
            // Across the end of a table of the next level, if there is one.
            let end = bench.table.last_iova().raw();
            let boundary = (large << C::Format::INDEX_LG2).min(end / 2 + 1);
            let (iova, phys, len) = (boundary - large - 3 * page, 5 * page, 3 * large);

            // A mapping that must survive.
            assert_eq!(bench.map(iova - page, 0, page), (page, Ok(())));
            let mut failures = 0;
            for n in 1.. {
                bench.memory.fail_nth(n);
                let (mapped, result) = bench.map(iova, phys, len);
                bench.memory.fail_nth(0);
                for offset in [0, mapped.saturating_sub(1)] {
                    if offset < mapped {
                        assert_eq!(
                            bench.hardware.access(iova + offset, true),
                            Ok(phys + offset)
                        );
                    }
                }
                assert_eq!(
                    bench.table.iova_to_phys(Iova::new(iova + mapped)),
                    None,
                    "one more than was said"
                );
                assert_eq!(bench.unmap(iova, len), mapped);
                assert_eq!(bench.hardware.leaves().len(), 1);
                match result {
                    Ok(()) => break,
                    Err(error) => assert_eq!(error, Error::NoMemory),
                }
                failures += 1;
            }
            assert!(failures >= 2, "{failures}");
            assert_eq!(bench.hardware.access(iova - 1, true), Ok(page - 1));
            bench.nothing_left();
        }
    }
}

fn without_memory_a_page_is_not_split_and_not_lost<C: Case>() {
    for mut bench in Bench::<C>::all() {
        let page = Bench::<C>::PAGE;

        for size in bench.sizes() {
            if size == page || 2 * size.min(1 << 60) - 1 > bench.table.last_iova().raw() {
                continue;
            }
            assert_eq!(bench.map(size, size, size), (size, Ok(())));
            for n in 1.. {
                bench.memory.fail_nth(n);
                let unmapped = bench.unmap(size + page, page);
                bench.memory.fail_nth(0);

                let others: u64 = bench.sizes_of_leaves().iter().sum();
                assert_eq!(others, size - unmapped);
                assert_eq!(bench.hardware.access(size, true), Ok(size));
                assert_eq!(
                    bench.hardware.access(2 * size - 1, false),
                    match size == 2 * page {
                        true if unmapped > 0 => Err(Fault::Refused),
                        _ => Ok(2 * size - 1),
                    }
                );
                if unmapped > 0 {
                    assert_eq!(unmapped, page);
                    break;
                }
            }
            assert_eq!(bench.unmap(size, page), page);
            if size > 2 * page {
                assert_eq!(
                    bench.unmap(size + 2 * page, size - 2 * page),
                    size - 2 * page
                );
            }
        }
        bench.nothing_left();
    }
}

/// A page whose tables exist changes one entry, and flushes that if walks do not snoop.
fn a_page_is_one_write<C: Case>() {
    let variants = [(true, true), (true, false), (false, true), (false, false)];

    for shape in C::shapes() {
        for (coherent, split) in variants {
            let mut bench = Bench::<C>::new(Config {
                coherent,
                split,
                ..shape
            });
            let room = 1u64 << shape.iova_bits.min(shape.oa_bits).min(62);

            for size in bench.sizes() {
                let lg2 = size.trailing_zeros() - C::Format::GRANULE_LG2;
                if lg2 % C::Format::INDEX_LG2 != 0 || 4 * size > room {
                    continue;
                }
                // The neighbour keeps the tables.
                let (iova, phys) = (2 * size, 3 * size);
                assert_eq!(bench.map(3 * size, 0, size), (size, Ok(())));

                let (before, flushed) = (writes(), bench.memory.flushes());
                assert_eq!(bench.map(iova, phys, size), (size, Ok(())));
                assert_eq!(writes() - before, 1);
                let end = Iova::new(iova + size - 1);
                assert_eq!(
                    bench.table.iova_to_phys(end),
                    Some(PhysAddr::new(phys + size - 1))
                );
                assert_eq!(bench.hardware.access(iova, true), Ok(phys));
                // Again, and elsewhere.
                assert_eq!(bench.map(iova, phys, size), (0, Err(Error::InUse)));
                assert_eq!(bench.map(iova, 0, size), (0, Err(Error::InUse)));
                assert_eq!(writes() - before, 1);

                assert_eq!(bench.unmap(iova, size), size);
                assert_eq!(writes() - before, 2);
                assert_eq!(bench.unmap(iova, size), 0);
                assert!(bench.hardware.access(iova, false).is_err());
                assert_eq!(bench.hardware.access(3 * size, true), Ok(0));
                assert_eq!(writes() - before, 2);

                let (now, needless) = bench.memory.flushes();
                assert_eq!(now - flushed.0, if coherent { 0 } else { 2 });
                assert_eq!(needless, flushed.1);
                assert_eq!(bench.unmap(3 * size, size), size);
            }
            bench.nothing_left();
        }
    }
}

macro_rules! for_each_case {
    ($($name:ident: $case:ty;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn invalid_shapes_are_refused() {
                super::invalid_shapes_are_refused::<$case>();
            }

            #[test]
            fn every_page_size_is_used() {
                super::every_page_size_is_used::<$case>();
            }

            #[test]
            fn a_page_is_one_write() {
                super::a_page_is_one_write::<$case>();
            }

            #[test]
            fn the_largest_pages_that_fit_are_used() {
                super::the_largest_pages_that_fit_are_used::<$case>();
            }

            #[test]
            fn permissions_are_those_asked_for() {
                super::permissions_are_those_asked_for::<$case>();
            }

            #[test]
            fn a_part_of_a_page_is_split_off() {
                super::a_part_of_a_page_is_split_off::<$case>();
            }

            #[test]
            fn without_splitting_a_part_of_a_page_stays() {
                super::without_splitting_a_part_of_a_page_stays::<$case>();
            }

            #[test]
            fn mapping_over_a_mapping_is_refused_and_changes_nothing() {
                super::mapping_over_a_mapping_is_refused_and_changes_nothing::<$case>();
            }

            #[test]
            fn failing_at_any_allocation_leaves_a_consistent_table() {
                super::failing_at_any_allocation_leaves_a_consistent_table::<$case>();
            }

            #[test]
            fn without_memory_a_page_is_not_split_and_not_lost() {
                super::without_memory_a_page_is_not_split_and_not_lost::<$case>();
            }
        })*
    };
}

macro_rules! for_each_arm_case {
    ($($name:ident: $case:ty;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn without_splitting_an_empty_table_stays() {
                super::without_splitting_an_empty_table_stays::<$case>();
            }

            #[test]
            fn without_splitting_there_are_no_runs() {
                super::without_splitting_there_are_no_runs::<$case>();
            }
        })*
    };
}

for_each_arm_case! {
    bbml_stage_1_4k: Arm1K4;
    bbml_stage_1_16k: Arm1K16;
    bbml_stage_1_64k: Arm1K64;
    bbml_stage_2_4k: Arm2K4;
    bbml_stage_2_16k: Arm2K16;
    bbml_stage_2_64k: Arm2K64;
}

for_each_case! {
    vtd: VtdCase;
    amd: AmdCase;
    x86: X86Case;
    armv8_stage_1_4k: Arm1K4;
    armv8_stage_1_16k: Arm1K16;
    armv8_stage_1_64k: Arm1K64;
    armv8_stage_2_4k: Arm2K4;
    armv8_stage_2_16k: Arm2K16;
    armv8_stage_2_64k: Arm2K64;
}

/// Runs `action` just before the `n`-th exchange from now on.
fn before_nth_exchange(n: u64, action: impl FnOnce() + 'static) {
    match n {
        0 => before_exchange(action),
        _ => before_exchange(move || before_nth_exchange(n - 1, action)),
    }
}

/// Hardware that has cached a page as one page writes somewhere in it, before each exchange of the
/// split.
fn splitting_keeps_what_was_written<C: Case>()
where
    C::Format: DirtyFormat,
{
    let page = Bench::<C>::PAGE;
    let shape = C::shapes()[0];

    for size in Bench::<C>::new(shape).sizes() {
        if size == page || size > page << (C::Format::INDEX_LG2 + 1) {
            continue;
        }
        let mut last = false;
        for n in 0.. {
            let mut bench = Bench::<C>::new(shape);
            let entries = size / page;
            let (found, cleared) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
            let read = |bench: &Bench<C>, mode, count: &std::cell::Cell<u64>| {
                count.set(0);
                bench
                    .table
                    .read_and_clear_dirty(
                        Iova::new(size),
                        size,
                        mode,
                        &mut Gather::new(),
                        |_, len| count.set(count.get() + len),
                    )
                    .unwrap();
            };

            let (_, result) = bench.map_with(size, size, size, RW | Prot::TRACK_DIRTY);
            result.unwrap();
            read(&bench, DirtyMode::Clear, &cleared);
            read(&bench, DirtyMode::Keep, &found);
            assert_eq!(found.get(), 0);

            // It writes to the first or the last page that stays. The entry of that page may or may
            // not have been split already.
            let happened = Rc::new(std::cell::Cell::new(false));
            let mut unit = C::hardware(&bench.memory, &bench.cfg, &bench.table).record();
            let seen = happened.clone();
            let place = if n % 2 == 0 { 2 * size - page } else { size };
            before_nth_exchange(n / 2, move || {
                assert_eq!(unit.access(place, true), Ok(place));
                // A second write through the cached page, if the unit still has it as one page.
                let again = size + (entries - 1) / 2 * page;
                if again != size + page {
                    assert_eq!(unit.access(again, true), Ok(again));
                }
                seen.set(true);
            });
            assert_eq!(bench.unmap(size + page, page), page);
            // If `n` is one more than the number of exchanges, the action has not run.
            if !happened.get() {
                before_exchange(|| {});
                if n % 2 == 1 {
                    last = true;
                }
            } else {
                let leaves = bench.hardware.leaves();
                let is_dirty = |iova: u64| {
                    leaves
                        .iter()
                        .any(|leaf| leaf.dirty && leaf.iova <= iova && iova - leaf.iova < leaf.size)
                };
                let again = size + (entries - 1) / 2 * page;

                for written in [place, again] {
                    if written != size + page {
                        assert!(is_dirty(written), "{size:#x} {n}: {written:#x}");
                    }
                }
            }
            if last {
                break;
            }
        }
    }
}

#[test]
fn splitting_keeps_what_was_written_to_pages_of_every_size() {
    splitting_keeps_what_was_written::<VtdCase>();
    splitting_keeps_what_was_written::<AmdCase>();
    splitting_keeps_what_was_written::<X86Case>();
    splitting_keeps_what_was_written::<Arm1K4>();
    splitting_keeps_what_was_written::<Arm1K16>();
}

fn dirty_pages_are_read_and_cleared<C: Case>()
where
    C::Format: DirtyFormat,
{
    let page = Bench::<C>::PAGE;

    for mut bench in Bench::<C>::all() {
        if !bench.cfg.coherent {
            continue;
        }
        bench.hardware = bench.hardware.clone().record();
        for size in bench.sizes() {
            if 3 * size.min(1 << 60) - 1 > bench.table.last_iova().raw() {
                continue;
            }
            let dirty = |bench: &Bench<C>, iova, len, mode, gather: &mut Gather<HostMemory>| {
                let mut found = Vec::new();
                bench
                    .table
                    .read_and_clear_dirty(Iova::new(iova), len, mode, gather, |iova, len| {
                        found.push((iova.raw(), len));
                    })
                    .unwrap();
                found
            };
            let mut none = Gather::new();
            let all = bench.table.last_iova().raw();

            // A whole page, and a page with a hole.
            let prot = RW | Prot::TRACK_DIRTY;
            assert_eq!(bench.map_with(size, size, size, prot).1, Ok(()));
            let _ = dirty(&bench, 0, all, DirtyMode::Clear, &mut none);
            none.done();
            bench.hardware.invalidate_all();
            assert_eq!(dirty(&bench, 0, all, DirtyMode::Keep, &mut none), []);

            for place in [0, page, size / 2, size - page] {
                let place = place % size;

                // A read does not set the dirty bit.
                assert_eq!(bench.hardware.access(size + place, false), Ok(size + place));
                assert_eq!(dirty(&bench, 0, all, DirtyMode::Keep, &mut none), []);
                assert_eq!(bench.hardware.access(size + place, true), Ok(size + place));

                // The whole page is reported, whichever part of it is queried.
                let whole = [(size, size)];
                assert_eq!(dirty(&bench, 0, all, DirtyMode::Keep, &mut none), whole);
                assert_eq!(dirty(&bench, size, page, DirtyMode::Keep, &mut none), whole);
                let last = 2 * size - page;
                assert_eq!(dirty(&bench, last, page, DirtyMode::Keep, &mut none), whole);
                assert_eq!(
                    dirty(&bench, last + 5, 1, DirtyMode::Keep, &mut none),
                    whole
                );
                assert_eq!(dirty(&bench, 0, size, DirtyMode::Keep, &mut none), []);
                assert_eq!(
                    dirty(&bench, 2 * size, size, DirtyMode::Keep, &mut none),
                    []
                );
                assert!(none.is_empty());

                let mut gather = Gather::new();
                assert_eq!(
                    dirty(&bench, last, page, DirtyMode::Clear, &mut gather),
                    whole
                );
                assert_eq!(
                    gather.range(),
                    Some((Iova::new(size), Iova::new(2 * size - 1)))
                );
                bench.sync(&mut gather);
                assert_eq!(dirty(&bench, 0, all, DirtyMode::Keep, &mut none), []);
            }
            assert_eq!(bench.unmap(size, size), size);
        }
        bench.nothing_left();
    }
}

#[test]
fn dirty_pages_of_every_size_are_read_and_cleared() {
    dirty_pages_are_read_and_cleared::<VtdCase>();
    dirty_pages_are_read_and_cleared::<AmdCase>();
    dirty_pages_are_read_and_cleared::<X86Case>();
    dirty_pages_are_read_and_cleared::<Arm1K4>();
    dirty_pages_are_read_and_cleared::<Arm1K16>();
    dirty_pages_are_read_and_cleared::<Arm1K64>();
}

/// Before each exchange of a split, another call unmaps another part of the page and maps something
/// else there.
fn two_split_one_page<C: Case>() {
    let page = Bench::<C>::PAGE;

    for coherent in [true, false] {
        let shape = Config {
            coherent,
            ..C::shapes()[0]
        };
        for size in Bench::<C>::new(shape).sizes() {
            if size < 4 * page || size > page << (C::Format::INDEX_LG2 + 1) {
                continue;
            }
            for n in (0..).map(|n| if n < 6 { n } else { (n - 5) * 7 }) {
                let mut bench = Bench::<C>::new(shape);
                let (first, other) = (size + page, 2 * size - 2 * page);
                let happened = Rc::new(std::cell::Cell::new(false));

                assert_eq!(bench.map(size, size, size), (size, Ok(())));
                let (table, seen) = (bench.table.clone(), happened.clone());
                before_nth_exchange(n, move || {
                    let unmapped = table.unmap(Iova::new(other), 2 * page, &mut Gather::new());
                    assert_eq!(unmapped, 2 * page);
                    let (_, result) = table.map(
                        Iova::new(other),
                        PhysAddr::new(6 * size),
                        2 * page,
                        RW,
                        (),
                        &mut Gather::new(),
                    );
                    result.unwrap();
                    seen.set(true);
                });
                assert_eq!(bench.unmap(first, page), page);
                if !happened.get() {
                    before_exchange(|| {});
                    break;
                }
                assert_eq!(bench.hardware.access(first, true), Err(Fault::Refused));
                assert_eq!(bench.hardware.access(size, true), Ok(size));
                assert_eq!(
                    bench.hardware.access(other - 1, true),
                    if other - page == first {
                        Err(Fault::Refused)
                    } else {
                        Ok(other - 1)
                    }
                );
                assert_eq!(bench.hardware.access(other, true), Ok(6 * size));
                assert_eq!(
                    bench.hardware.access(2 * size - 1, true),
                    Ok(6 * size + 2 * page - 1)
                );
                let left: u64 = bench.sizes_of_leaves().iter().sum();
                assert_eq!(left, size - page);
                if !coherent {
                    assert!(bench.memory.is_flushed(C::IGNORED));
                }
                bench.nothing_left();
            }
        }
    }
}

#[test]
fn two_calls_may_split_a_page_of_any_size_at_once() {
    two_split_one_page::<VtdCase>();
    two_split_one_page::<AmdCase>();
    two_split_one_page::<Arm1K4>();
    two_split_one_page::<Arm2K16>();
}
