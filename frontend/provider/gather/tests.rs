// SPDX-License-Identifier: GPL-2.0

//! What goes into C's gather comes out again.

use core::ptr;

use kernel::{bindings, macros::kunit_tests, prelude::*};

use super::{add, take};
use crate::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        vtd_ss::VtdSs,
        Config, Gather, PageTable, TableList,
    },
};

const PAGE: u64 = 1 << 12;
/// What one table of leaves translates.
const TABLE: u64 = 512 * PAGE;

/// C's gather on the stack.
struct CGather(bindings::iommu_iotlb_gather);

impl CGather {
    /// Runs `f` with an empty one, which does not move meanwhile.
    fn with<T>(f: impl FnOnce(*mut bindings::iommu_iotlb_gather) -> T) -> T {
        let mut gather = Self(pin_init::zeroed());
        gather.0.start = usize::MAX;
        let list = &raw mut gather.0.freelist.pages;
        // SAFETY: The list is a part of the gather.
        unsafe {
            (*list).next = list;
            (*list).prev = list;
        }
        let result = f(&raw mut gather.0);
        // SAFETY: As above.
        assert!(unsafe { ptr::eq((*list).next, list) });
        result
    }
}

fn table() -> Result<PageTable<VtdSs, KernelMemory>> {
    let config = Config {
        iova_bits: 39,
        levels: 3,
        page_sizes: PageSizes::SZ_4K,
        oa_bits: 46,
        coherent: true,
        split: true,
    };
    Ok(PageTable::new(&config, KernelMemory::new(-1), Gfp::KERNEL)?)
}

/// Maps and unmaps, which leaves a gather.
fn unmapped(
    table: &PageTable<VtdSs, KernelMemory>,
    iova: u64,
    len: u64,
) -> Result<Gather<KernelMemory>> {
    let mut gather = Gather::new();
    let (iova, phys) = (Iova::new(iova), PhysAddr::new(0x10_0000));
    let (_, result) = table.map(
        iova,
        phys,
        len,
        Prot::READ | Prot::WRITE,
        Gfp::KERNEL,
        &mut gather,
    );
    result?;
    assert!(gather.is_empty());
    assert_eq!(table.unmap(iova, len, &mut gather), len);
    Ok(gather)
}

#[kunit_tests(iommu_core_provider_gather)]
mod suite {
    use super::*;

    #[test]
    fn law_8_tables_come_back_with_the_range_that_leads_to_them() -> Result {
        let table = table()?;
        let mut first = unmapped(&table, TABLE, TABLE)?;
        let mut second = unmapped(&table, 4 * TABLE, TABLE)?;
        let mut back = CGather::with(|c| {
            for gather in [&mut first, &mut second] {
                let tables = gather.take_tables();
                assert!(!tables.is_empty());
                // SAFETY: The gather is there and initialised.
                unsafe { add(c, gather, tables) };
            }
            // SAFETY: As above.
            unsafe { take(c) }
        });
        assert_eq!(
            back.range(),
            Some((Iova::new(TABLE), Iova::new(5 * TABLE - 1)))
        );
        assert!(back.tables_changed());
        let mut tables = back.take_tables();
        assert!(!tables.is_empty());
        tables.free();
        Ok(())
    }

    #[test]
    fn leaves_alone_are_a_range() -> Result {
        let table = table()?;
        // What stays mapped keeps the table.
        let mut gather = Gather::new();
        let (_, result) = table.map(
            Iova::new(0),
            PhysAddr::new(0x10_0000),
            PAGE,
            Prot::READ,
            Gfp::KERNEL,
            &mut gather,
        );
        result?;
        let mut gather = unmapped(&table, 8 * PAGE, 2 * PAGE)?;
        let back = CGather::with(|c| {
            let tables = gather.take_tables();
            // SAFETY: The gather is there and initialised.
            unsafe {
                add(c, &gather, tables);
                take(c)
            }
        });
        assert_eq!(
            back.range(),
            Some((Iova::new(8 * PAGE), Iova::new(10 * PAGE - 1)))
        );
        assert!(!back.tables_changed());
        assert_eq!(table.unmap(Iova::new(0), PAGE, &mut gather), PAGE);
        gather.done();
        Ok(())
    }

    #[test]
    fn nothing_unmapped_is_nothing_to_invalidate() {
        // SAFETY: The gather is there and initialised.
        let back = CGather::with(|c| unsafe { take(c) });
        assert!(back.is_empty());
        assert!(!back.tables_changed());
    }
}
