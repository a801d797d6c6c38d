// SPDX-License-Identifier: GPL-2.0

//! The bits of AMD-Vi host table entries, compared with values derived by hand from section 2.2.3
//! of the specification.

use iommu_core_host::{
    addr::{PhysAddr, Prot},
    pgtable::{amd_v1::AmdV1, Decoded, DirtyFormat, Error, Format},
};

const R: Prot = Prot::READ;
const W: Prot = Prot::WRITE;
const RW: Prot = Prot::READ.union(Prot::WRITE);

#[test]
fn leaves_of_the_default_sizes_have_the_bits_of_the_specification() {
    let table = [
        // level, address, permission, entry
        (0, 0x0000_0000_0000_1000, R, 0x2000_0000_0000_1001),
        (0, 0x0000_0000_0000_1000, W, 0x4000_0000_0000_1001),
        (0, 0x0000_0000_0000_0000, RW, 0x6000_0000_0000_0001),
        (0, 0x000f_ffff_ffff_f000, RW, 0x600f_ffff_ffff_f001),
        (
            0,
            0x0000_0001_2345_6000,
            RW | Prot::FORCE_SNOOP,
            0x7000_0001_2345_6001,
        ),
        (1, 0x0000_0000_0020_0000, RW, 0x6000_0000_0020_0001),
        (2, 0x0000_0000_4000_0000, R, 0x2000_0000_4000_0001),
    ];

    for (level, addr, prot, entry) in table {
        let attrs = AmdV1::attrs(prot).unwrap();

        assert_eq!(AmdV1::leaf(level, addr, attrs), entry);
        assert_eq!(
            AmdV1::decode(level, entry),
            Decoded::Leaf(PhysAddr::new(addr))
        );
        assert_eq!(AmdV1::leaf_attrs(level, entry), attrs);
        assert_eq!(AmdV1::run_lg2(level, entry), 0);
    }
}

#[test]
fn runs_encode_their_size_in_the_address() {
    let table = [
        // level, entries as a power of 2, address, entry
        // 8 KiB: bit 12 is 0. 16 KiB: 01. 32 KiB: 011. And so on.
        (0, 1, 0x0000_0000_0000_2000, 0x6000_0000_0000_2e01),
        (0, 2, 0x0000_0000_0000_4000, 0x6000_0000_0000_5e01),
        (0, 3, 0x0000_0000_0000_8000, 0x6000_0000_0000_be01),
        (0, 4, 0x0000_0000_0001_0000, 0x6000_0000_0001_7e01),
        // 1 MiB.
        (0, 8, 0x0000_0000_0010_0000, 0x6000_0000_0017_fe01),
        (0, 8, 0x0000_0000_0000_0000, 0x6000_0000_0007_fe01),
        // 4 MiB, 16 MiB, 512 MiB.
        (1, 1, 0x0000_0000_0040_0000, 0x6000_0000_005f_fe01),
        (1, 3, 0x0000_0000_0100_0000, 0x6000_0000_017f_fe01),
        (1, 8, 0x0000_0000_2000_0000, 0x6000_0000_2fff_fe01),
        // 2 GiB, 4 GiB, 256 GiB.
        (2, 1, 0x0000_0000_8000_0000, 0x6000_0000_bfff_fe01),
        (2, 2, 0x0000_0001_0000_0000, 0x6000_0001_7fff_fe01),
        (2, 8, 0x0000_0040_0000_0000, 0x6000_005f_ffff_fe01),
    ];
    let attrs = AmdV1::attrs(RW).unwrap();

    for (level, run_lg2, addr, entry) in table {
        assert_eq!(AmdV1::run_leaf(level, run_lg2, addr, attrs), entry);
        assert_eq!(AmdV1::run_lg2(level, entry), run_lg2);
        assert_eq!(
            AmdV1::decode(level, entry),
            Decoded::Leaf(PhysAddr::new(addr))
        );
        assert_eq!(AmdV1::leaf_attrs(level, entry), attrs);
        // All entries of a run are equal.
        assert_eq!(AmdV1::run_step(level), 0);
    }
}

#[test]
fn a_split_leaf_of_a_run_is_marked_in_ignored_bits() {
    let attrs = AmdV1::attrs(RW).unwrap();

    for (level, addr) in [(0, 0x1234_5000), (1, 0x1220_0000), (2, 0x40_0000_0000)] {
        let single = AmdV1::leaf(level, addr, attrs);

        assert_eq!(AmdV1::split_run_lg2(level, single), 0);
        assert_eq!(single & AmdV1::RUN_BITS, 0);
        for run_lg2 in 1..9 {
            let split = AmdV1::split_run_leaf(level, run_lg2, addr, attrs);
            let run = AmdV1::run_leaf(level, run_lg2, 0, attrs);

            // Bits 4:1.
            assert_eq!(split & !0x1e, single);
            assert_eq!(split & !AmdV1::RUN_BITS, single);
            assert_eq!(AmdV1::split_run_lg2(level, split), run_lg2);
            assert_eq!(
                AmdV1::decode(level, split),
                Decoded::Leaf(PhysAddr::new(addr))
            );
            assert_eq!(AmdV1::run_lg2(level, split), 0);
            assert_eq!(AmdV1::leaf_attrs(level, split), attrs);
            assert_eq!(AmdV1::split_run_lg2(level, run), 0);
            assert_ne!(run & AmdV1::RUN_BITS, 0);
        }
    }
}

#[test]
fn all_powers_of_two_up_to_256_gib_are_pages() {
    assert_eq!(AmdV1::PAGE_SIZES.raw(), 0x0000_007f_ffff_f000);
}

#[test]
fn bits_of_the_c_interface_that_the_format_lacks_change_nothing() {
    let more = Prot::CACHE | Prot::NOEXEC | Prot::MMIO | Prot::PRIV | Prot::TRACK_DIRTY;

    assert_eq!(AmdV1::attrs(R | more), Ok(0x2000_0000_0000_0000));
}

#[test]
fn a_mapping_that_permits_nothing_is_refused() {
    assert_eq!(AmdV1::attrs(Prot::NONE), Err(Error::Invalid));
    assert_eq!(AmdV1::attrs(Prot::FORCE_SNOOP), Err(Error::Invalid));
}

#[test]
fn links_contain_the_level_of_their_table_and_permit_everything() {
    let table = PhysAddr::new(0x0000_0012_3456_7000);

    for (level, link) in [
        (1, 0x6000_0012_3456_7201),
        (2, 0x6000_0012_3456_7401),
        (3, 0x6000_0012_3456_7601),
        (4, 0x6000_0012_3456_7801),
        (5, 0x6000_0012_3456_7a01),
    ] {
        assert_eq!(AmdV1::link(level, table), link);
        assert_eq!(AmdV1::decode(level, link), Decoded::Link(table));
        // The accessed bit and the walker's own bit do not matter.
        assert_eq!(
            AmdV1::decode(level, link | 1 << 5 | AmdV1::FLUSHED),
            Decoded::Link(table)
        );
        assert_eq!(AmdV1::decode(level, 0), Decoded::Empty);
    }
    // The walker's own bit is one of the ignored bits 4:1.
    assert_eq!(AmdV1::FLUSHED & !0x1e, 0);
    assert_eq!(AmdV1::FLUSHED.count_ones(), 1);
}

#[test]
fn dirty_is_bit_6() {
    assert!(AmdV1::is_dirty(0x6000_0000_0000_1041));
    assert!(!AmdV1::is_dirty(0x6000_0000_0000_1021));
    assert_eq!(AmdV1::clean(0x6000_0000_0000_1061), 0x6000_0000_0000_1021);
    assert_eq!(
        AmdV1::leaf_attrs(0, 0x7000_0000_0000_1061),
        0x7000_0000_0000_0060
    );
    assert_eq!(
        AmdV1::with_records_of(0x6000_0000_0000_1001, 0x6000_0000_0000_2e61),
        0x6000_0000_0000_1061
    );
}
