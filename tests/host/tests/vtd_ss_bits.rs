// SPDX-License-Identifier: GPL-2.0

//! The bits of VT-d second-stage entries, compared with values derived by hand from section 9.8 of
//! the specification.

use iommu_core_host::{
    addr::{PhysAddr, Prot},
    pgtable::{vtd_ss::VtdSs, Decoded, DirtyFormat, Error, Format},
};

const R: Prot = Prot::READ;
const W: Prot = Prot::WRITE;

#[test]
fn leaves_have_the_bits_of_the_specification() {
    let snoop = Prot::FORCE_SNOOP;
    let table = [
        // level, address, permission, entry
        (0, 0x0000_0000_0000_1000, R, 0x0000_0000_0000_1001),
        (0, 0x0000_0000_0000_1000, W, 0x0000_0000_0000_1002),
        (0, 0x0000_0000_0000_0000, R | W, 0x0000_0000_0000_0003),
        (0, 0x000f_ffff_ffff_f000, R | W, 0x000f_ffff_ffff_f003),
        (
            0,
            0x0000_0001_2345_6000,
            R | W | snoop,
            0x0000_0001_2345_6803,
        ),
        (1, 0x0000_0000_0020_0000, R, 0x0000_0000_0020_0081),
        (1, 0x0000_007f_ffe0_0000, R | W, 0x0000_007f_ffe0_0083),
        (1, 0x0000_0000_0020_0000, W | snoop, 0x0000_0000_0020_0882),
        (2, 0x0000_0000_4000_0000, R | W, 0x0000_0000_4000_0083),
        (2, 0x000f_ffff_c000_0000, R | snoop, 0x000f_ffff_c000_0881),
    ];

    for (level, addr, prot, entry) in table {
        let attrs = VtdSs::attrs(prot).unwrap();

        assert_eq!(VtdSs::leaf(level, addr, attrs), entry);
        assert_eq!(
            VtdSs::decode(level, entry),
            Decoded::Leaf(PhysAddr::new(addr))
        );
        assert_eq!(VtdSs::leaf_attrs(level, entry), attrs);
    }
}

#[test]
fn bits_of_the_c_interface_that_the_format_lacks_change_nothing() {
    let attrs = VtdSs::attrs(R | Prot::CACHE | Prot::NOEXEC | Prot::MMIO | Prot::PRIV);

    assert_eq!(attrs, Ok(0x1));
}

#[test]
fn a_mapping_that_permits_nothing_is_refused() {
    assert_eq!(VtdSs::attrs(Prot::NONE), Err(Error::Invalid));
    assert_eq!(VtdSs::attrs(Prot::CACHE), Err(Error::Invalid));
    assert_eq!(VtdSs::attrs(Prot::FORCE_SNOOP), Err(Error::Invalid));
}

#[test]
fn links_permit_everything_and_differ_from_leaves() {
    let table = PhysAddr::new(0x0000_0012_3456_7000);
    let link = VtdSs::link(1, table);

    assert_eq!(link, 0x0000_0012_3456_7003);
    for level in 1..=4 {
        assert_eq!(VtdSs::decode(level, link), Decoded::Link(table));
        // The accessed bit and the walker's own bit do not matter.
        assert_eq!(
            VtdSs::decode(level, link | 1 << 8 | VtdSs::FLUSHED),
            Decoded::Link(table)
        );
        assert_eq!(VtdSs::decode(level, 0), Decoded::Empty);
    }
    assert_eq!(VtdSs::decode(0, 0), Decoded::Empty);
    // The walker's own bit is one of the ignored bits 62:52.
    assert_eq!(VtdSs::FLUSHED & !0x7ff0_0000_0000_0000, 0);
    assert_eq!(VtdSs::FLUSHED.count_ones(), 1);
}

#[test]
fn dirty_is_bit_9() {
    assert!(VtdSs::is_dirty(0x1203));
    assert!(!VtdSs::is_dirty(0x1103));
    assert_eq!(VtdSs::clean(0x1303), 0x1103);
    assert_eq!(VtdSs::leaf_attrs(0, 0x1303), 0x303);
    assert_eq!(VtdSs::leaf_attrs(1, 0x0020_0b83), 0xb03);
}
