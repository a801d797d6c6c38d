// SPDX-License-Identifier: GPL-2.0

//! The bits of x86-64 entries, compared with values derived by hand from section 4.5 of the Intel
//! SDM's volume 3 and section 9.7 of the VT-d specification.

use iommu_core_host::{
    addr::{PhysAddr, Prot},
    memory::HostMemory,
    pgtable::{x86_64::X86_64, Config, Decoded, DirtyFormat, Error, Format, PageTable},
};

const R: Prot = Prot::READ;
const W: Prot = Prot::WRITE;
const RW: Prot = Prot::READ.union(Prot::WRITE);

#[test]
fn leaves_have_the_bits_of_the_specification() {
    let table = [
        // level, address, permission, entry
        // P, U/S, A.
        (0, 0x0000_0000_0000_1000, R, 0x0000_0000_0000_1025),
        // And R/W, D.
        (0, 0x0000_0000_0000_1000, W, 0x0000_0000_0000_1067),
        (0, 0x0000_0000_0000_0000, RW, 0x0000_0000_0000_0067),
        (0, 0x000f_ffff_ffff_f000, RW, 0x000f_ffff_ffff_f067),
        // Only hardware sets D.
        (
            0,
            0x0000_0000_0000_1000,
            RW | Prot::TRACK_DIRTY,
            0x0000_0000_0000_1027,
        ),
        // XD.
        (
            0,
            0x0000_0001_2345_6000,
            RW | Prot::NOEXEC,
            0x8000_0001_2345_6067,
        ),
        // PS.
        (1, 0x0000_0000_0020_0000, R, 0x0000_0000_0020_00a5),
        (1, 0x0000_007f_ffe0_0000, RW, 0x0000_007f_ffe0_00e7),
        (2, 0x0000_0000_4000_0000, RW, 0x0000_0000_4000_00e7),
        (
            2,
            0x000f_ffff_c000_0000,
            R | Prot::NOEXEC,
            0x800f_ffff_c000_00a5,
        ),
    ];

    for (level, addr, prot, entry) in table {
        let attrs = X86_64::attrs(prot).unwrap();

        assert_eq!(X86_64::leaf(level, addr, attrs), entry);
        assert_eq!(
            X86_64::decode(level, entry),
            Decoded::Leaf(PhysAddr::new(addr))
        );
        assert_eq!(X86_64::leaf_attrs(level, entry), attrs);
    }
}

#[test]
fn bits_of_the_c_interface_that_the_format_lacks_change_nothing() {
    let more = Prot::CACHE | Prot::MMIO | Prot::PRIV | Prot::FORCE_SNOOP;

    assert_eq!(X86_64::attrs(R | more), Ok(0x24));
}

#[test]
fn a_mapping_that_permits_nothing_is_refused() {
    for prot in [Prot::NONE, Prot::CACHE, Prot::NOEXEC, Prot::TRACK_DIRTY] {
        assert_eq!(X86_64::attrs(prot), Err(Error::Invalid));
    }
}

#[test]
fn links_permit_everything_and_differ_from_leaves() {
    let table = PhysAddr::new(0x0000_0012_3456_7000);
    let link = X86_64::link(1, table);

    // P, R/W, U/S, A.
    assert_eq!(link, 0x0000_0012_3456_7027);
    for level in 1..=4 {
        assert_eq!(X86_64::link(level, table), link);
        assert_eq!(X86_64::decode(level, link), Decoded::Link(table));
        assert_eq!(
            X86_64::decode(level, link | X86_64::FLUSHED),
            Decoded::Link(table)
        );
        assert_eq!(X86_64::decode(level, 0), Decoded::Empty);
    }
    // The walker's own bit is one of the ignored bits 62:52.
    assert_eq!(X86_64::FLUSHED & !0x7ff0_0000_0000_0000, 0);
    assert_eq!(X86_64::FLUSHED.count_ones(), 1);
}

#[test]
fn dirty_is_bit_6() {
    assert!(X86_64::is_dirty(0x1067));
    assert!(!X86_64::is_dirty(0x1027));
    assert_eq!(X86_64::clean(0x1067), 0x1027);
    assert_eq!(
        X86_64::leaf_attrs(0, 0x8000_0000_0000_1067),
        0x8000_0000_0000_0066
    );
}

#[test]
fn devices_use_the_lower_half() {
    let new = |levels, iova_bits| {
        let cfg = Config {
            iova_bits,
            levels,
            page_sizes: X86_64::PAGE_SIZES,
            oa_bits: 52,
            coherent: true,
            split: true,
        };

        PageTable::<X86_64, _>::new(&cfg, HostMemory::new(), ())
            .map(|table| table.last_iova().raw())
    };

    assert_eq!(new(4, 47), Ok(0x0000_7fff_ffff_ffff));
    assert_eq!(new(4, 48), Err(Error::Invalid));
    assert_eq!(new(5, 56), Ok(0x00ff_ffff_ffff_ffff));
    assert_eq!(new(5, 57), Err(Error::Invalid));
    assert_eq!(new(3, 38), Err(Error::Invalid));
}
