// SPDX-License-Identifier: GPL-2.0

//! Page tables on a machine with encrypted memory. The expected bits are those that the C driver
//! writes: the entries of a plain page table with the C-bit in the address of every table and of
//! every page except device memory.
//!
//! The C-bit is set once per process, as in a kernel, so this is one test.

use iommu_core_host::{
    addr::{Iova, PhysAddr, Prot},
    cases::{AmdCase, Case},
    memory::HostMemory,
    pgtable::{
        amd_v1::AmdV1,
        encrypted::{mask, plain, seen, set_mask, Encrypted},
        x86_64::X86_64,
        Config, Decoded, Format, Gather, PageTable,
    },
};

const RW: Prot = Prot::READ.union(Prot::WRITE);
const DEVICE: Prot = RW.union(Prot::MMIO);

/// One entry of each kind: a link at level 1, a leaf, a leaf for device memory, a leaf of 2 MiB.
fn entries<F: Format>() -> [u64; 4] {
    let leaf = |level, paddr, prot| F::leaf(level, paddr, F::attrs(prot).unwrap());
    [
        F::link(1, PhysAddr::new(0x1234_5000)),
        leaf(0, 0x1234_5000, RW),
        leaf(0, 0x1234_5000, DEVICE),
        leaf(1, 0x1220_0000, RW),
    ]
}

fn addresses<F: Format>(entries: [u64; 4]) {
    let page = |address| Decoded::Leaf(PhysAddr::new(address));
    let [link, leaf, device, large] = entries;
    assert_eq!(
        F::decode(1, link),
        Decoded::Link(PhysAddr::new(0x1234_5000))
    );
    assert_eq!(F::decode(0, leaf), page(0x1234_5000));
    assert_eq!(F::decode(0, device), page(0x1234_5000));
    assert_eq!(F::decode(1, large), page(0x1220_0000));
    assert_eq!(F::decode(0, 0), Decoded::Empty);
    // The attributes from which a split creates leaves again.
    for (level, leaf, paddr) in [(0, leaf, 0x1234_5000), (0, device, 0x1234_5000)] {
        assert_eq!(F::leaf(level, paddr, F::leaf_attrs(level, leaf)), leaf);
    }
}

#[test]
fn every_address_except_device_memory_has_the_c_bit() {
    let amd = |c: u64| {
        [
            0x6000_0000_1234_5201 | c,
            0x6000_0000_1234_5001 | c,
            0x6000_0000_1234_5001,
            0x6000_0000_1220_0001 | c,
        ]
    };
    let x86 = |c: u64| {
        [
            0x1234_5027 | c,
            0x1234_5067 | c,
            0x1234_5067,
            0x1220_00e7 | c,
        ]
    };

    for bit in [47, 51] {
        let c = 1u64 << bit;
        set_mask(c);
        assert_eq!(mask(), c);
        assert_eq!(seen(PhysAddr::new(0x1000)).raw(), 0x1000 | c);
        assert_eq!(plain(PhysAddr::new(0x1000 | c)).raw(), 0x1000);
        assert_eq!(entries::<Encrypted<AmdV1>>(), amd(c));
        addresses::<Encrypted<AmdV1>>(amd(c));
        assert_eq!(entries::<Encrypted<X86_64>>(), x86(c));
        addresses::<Encrypted<X86_64>>(x86(c));

        // A run of 16 pages: the address bits below the size encode the size.
        type Runs = Encrypted<AmdV1>;
        let run = Runs::run_leaf(0, 4, 0x1234_0000, Runs::attrs(RW).unwrap());
        assert_eq!(run, 0x6000_0000_1234_7e01 | c);
        assert_eq!(Runs::run_lg2(0, run), 4);
        assert_eq!(
            Runs::decode(0, run),
            Decoded::Leaf(PhysAddr::new(0x1234_0000))
        );

        let split = Runs::split_run_leaf(0, 4, 0x1234_1000, Runs::attrs(RW).unwrap());
        assert_eq!(Runs::split_run_lg2(0, split), 4);
        assert_eq!(split & !Runs::RUN_BITS, 0x6000_0000_1234_1001 | c);

        whole_table(c);
    }
    set_mask(0);
    assert_eq!(entries::<Encrypted<AmdV1>>(), amd(0));
    assert_eq!(entries::<Encrypted<AmdV1>>()[..2], entries::<AmdV1>()[..2]);
}

/// A walk from the root finds the C-bit in every address, while the functions of the page table
/// return addresses without it.
fn whole_table(c: u64) {
    let memory = HostMemory::new();
    let cfg = Config {
        levels: 3,
        oa_bits: c.trailing_zeros() as u8,
        ..AmdCase::shapes()[0]
    };
    let table = PageTable::<Encrypted<AmdV1>, _>::new(&cfg, memory.clone(), ()).unwrap();
    let mut gather = Gather::new();
    let map = |iova, phys, len, gather: &mut Gather<HostMemory>| {
        table.map(Iova::new(iova), PhysAddr::new(phys), len, RW, (), gather)
    };
    assert_eq!(map(0x1000, 0x5000, 0x1000, &mut gather), (0x1000, Ok(())));
    // Beyond three levels: a link from the new root to the old one.
    assert_eq!(map(1 << 39, 0x6000, 0x1000, &mut gather), (0x1000, Ok(())));
    assert_eq!(table.levels(), 4);
    assert!(gather.is_empty());
    // An output address that contains the C-bit is out of range.
    assert!(map(0x2000, 0x7000 | c, 0x1000, &mut gather).1.is_err());

    let mut at = table.root();
    for index in [0, 0, 0] {
        let link = memory.hardware_read(at.raw(), index, true).unwrap();
        assert_eq!(link & c, c);
        at = PhysAddr::new(link & 0x7fff_ffff_f000 & !c);
    }
    let leaf = memory.hardware_read(at.raw(), 1, true).unwrap();
    assert_eq!(leaf, 0x6000_0000_0000_5001 | c);
    assert_eq!(
        table.iova_to_phys(Iova::new(0x1234)),
        Some(PhysAddr::new(0x5234))
    );
    for iova in [0x1000, 1 << 39] {
        assert_eq!(table.unmap(Iova::new(iova), 0x1000, &mut gather), 0x1000);
    }
    gather.done();
    drop(table);
    assert_eq!((memory.live(), memory.leaked()), (0, 0));
}
