// SPDX-License-Identifier: GPL-2.0

//! The bits of Armv8-A descriptors and of the fields that configure units for them, compared with
//! values derived by hand from the Arm ARM's sections D8.2 and D8.3, and with what the kernel's C
//! code writes.

use iommu_core_host::{
    addr::{PhysAddr, Prot},
    memory::HostMemory,
    pgtable::{
        armv8::{
            Control, Granule16K, Granule4K, Granule64K, GranuleSize, Shape, Stage, Stage1, Stage2,
            MAIR,
        },
        Config, Decoded, DirtyFormat, Error, Format, PageTable,
    },
};

const R: Prot = Prot::READ;
const W: Prot = Prot::WRITE;
const RW: Prot = Prot::READ.union(Prot::WRITE);
const K4: GranuleSize = GranuleSize::K4;
const K16: GranuleSize = GranuleSize::K16;
const K64: GranuleSize = GranuleSize::K64;

fn check<F: Format>(level: u8, addr: u64, prot: Prot, entry: u64) {
    let attrs = F::attrs(prot).unwrap();

    assert_eq!(F::leaf(level, addr, attrs), entry, "{addr:#x} {prot:?}");
    assert_eq!(F::decode(level, entry), Decoded::Leaf(PhysAddr::new(addr)));
    assert_eq!(F::leaf_attrs(level, entry), attrs);
    assert_eq!(F::run_lg2(level, entry), 0);
}

#[test]
fn leaves_of_stage_1_have_the_bits_of_the_specification() {
    for (level, addr, prot, entry) in [
        // nG, AF, inner shareable, unprivileged, MAIR index 1, page.
        (0, 0x1000, RW | Prot::CACHE, 0x0000_0000_0000_1f47),
        // Outer shareable, MAIR index 0; read only.
        (0, 0x1000, R, 0x0000_0000_0000_1ec3),
        (0, 0x1000, RW, 0x0000_0000_0000_1e43),
        // Write permission implies read permission.
        (0, 0x1000, W, 0x0000_0000_0000_1e43),
        // MAIR index 2.
        (0, 0x1000, RW | Prot::MMIO, 0x0000_0000_0000_1e4b),
        (
            0,
            0x1000,
            RW | Prot::MMIO | Prot::CACHE,
            0x0000_0000_0000_1f4b,
        ),
        // Not for unprivileged accesses.
        (
            0,
            0x1000,
            RW | Prot::CACHE | Prot::PRIV,
            0x0000_0000_0000_1f07,
        ),
        // UXN, PXN.
        (
            0,
            0x1000,
            RW | Prot::CACHE | Prot::NOEXEC,
            0x0060_0000_0000_1f47,
        ),
        // DBM, and written.
        (
            0,
            0x1000,
            RW | Prot::CACHE | Prot::TRACK_DIRTY,
            0x0008_0000_0000_1f47,
        ),
        // Writes to a read-only page are not recorded.
        (
            0,
            0x1000,
            R | Prot::CACHE | Prot::TRACK_DIRTY,
            0x0000_0000_0000_1fc7,
        ),
        (
            0,
            0x0000_ffff_ffff_f000,
            RW | Prot::CACHE,
            0x0000_ffff_ffff_ff47,
        ),
        // Blocks.
        (1, 0x0020_0000, RW | Prot::CACHE, 0x0000_0000_0020_0f45),
        (2, 0x4000_0000, R | Prot::CACHE, 0x0000_0000_4000_0fc5),
    ] {
        check::<Stage1<Granule4K>>(level, addr, prot, entry);
    }
    check::<Stage1<Granule16K>>(0, 0x4000, RW | Prot::CACHE, 0x4f47);
    check::<Stage1<Granule16K>>(1, 0x0200_0000, RW | Prot::CACHE, 0x0200_0f45);
    check::<Stage1<Granule64K>>(0, 0x1_0000, RW | Prot::CACHE, 0x1_0f47);
    check::<Stage1<Granule64K>>(1, 0x2000_0000, RW | Prot::CACHE, 0x2000_0f45);
    check::<Stage1<Granule64K>>(2, 0x0400_0000_0000, RW | Prot::CACHE, 0x0400_0000_0f45);
}

#[test]
fn leaves_of_stage_2_have_the_bits_of_the_specification() {
    for (level, addr, prot, entry) in [
        // AF, inner shareable, S2AP, MemAttr 15, page.
        (0, 0x1000, RW | Prot::CACHE, 0x0000_0000_0000_17ff),
        // Outer shareable, MemAttr 5.
        (0, 0x1000, R, 0x0000_0000_0000_1657),
        (0, 0x1000, W, 0x0000_0000_0000_1697),
        // MemAttr 1.
        (0, 0x1000, RW | Prot::MMIO, 0x0000_0000_0000_16c7),
        // XN[1:0] 2: not executable at any exception level.
        (
            0,
            0x1000,
            RW | Prot::CACHE | Prot::NOEXEC,
            0x0040_0000_0000_17ff,
        ),
        // Stage 2 has no such bits.
        (
            0,
            0x1000,
            RW | Prot::CACHE | Prot::PRIV | Prot::TRACK_DIRTY,
            0x0000_0000_0000_17ff,
        ),
        (1, 0x0020_0000, RW | Prot::CACHE, 0x0000_0000_0020_07fd),
        (2, 0x4000_0000, R | Prot::CACHE, 0x0000_0000_4000_077d),
    ] {
        check::<Stage2<Granule4K>>(level, addr, prot, entry);
    }
}

#[test]
fn with_64k_the_highest_bits_of_addresses_are_in_bits_15_to_12() {
    let addr = 0x000a_1234_5678_0000;

    check::<Stage1<Granule64K>>(0, addr, RW | Prot::CACHE, 0x0000_1234_5678_af47);
    check::<Stage2<Granule64K>>(0, addr, RW | Prot::CACHE, 0x0000_1234_5678_a7ff);
    check::<Stage1<Granule64K>>(
        1,
        0x000f_ffff_e000_0000,
        RW | Prot::CACHE,
        0x0000_ffff_e000_ff45,
    );
    let link = Stage1::<Granule64K>::link(1, PhysAddr::new(addr));
    assert_eq!(link, 0x0000_1234_5678_a003);
    assert_eq!(
        Stage1::<Granule64K>::decode(1, link),
        Decoded::Link(PhysAddr::new(addr))
    );
}

#[test]
fn runs_have_the_contiguous_bit_in_each_entry() {
    fn check<F: Format>(level: u8, run_lg2: u32, size_lg2: u32) {
        let attrs = F::attrs(RW | Prot::CACHE).unwrap();
        let addr = 3 << (size_lg2 + run_lg2);
        let mut entry = F::run_leaf(level, run_lg2, addr, attrs);

        assert_eq!(entry, F::leaf(level, addr, attrs) | 1 << 52);
        for n in 0..1u64 << run_lg2 {
            let single = F::leaf(level, addr + (n << size_lg2), attrs);

            assert_eq!(entry, single | 1 << 52);
            assert_eq!(F::run_lg2(level, entry), run_lg2);
            assert_eq!(F::split_run_lg2(level, entry), 0);
            assert_ne!(entry & F::RUN_BITS, 0);
            // The page is the whole run.
            assert_eq!(F::decode(level, entry), Decoded::Leaf(PhysAddr::new(addr)));
            assert_eq!(F::leaf_attrs(level, entry), attrs);
            entry += F::run_step(level);
        }
    }

    // 16 entries with 4 KiB.
    check::<Stage1<Granule4K>>(0, 4, 12);
    check::<Stage1<Granule4K>>(1, 4, 21);
    check::<Stage2<Granule4K>>(2, 4, 30);
    // 128 pages and 32 blocks with 16 KiB.
    check::<Stage1<Granule16K>>(0, 7, 14);
    check::<Stage2<Granule16K>>(1, 5, 25);
    // 32 entries with 64 KiB.
    check::<Stage1<Granule64K>>(0, 5, 16);
    check::<Stage2<Granule64K>>(1, 5, 29);
}

#[test]
fn a_split_leaf_of_a_run_is_marked_in_a_bit_for_software() {
    fn check<F: Format>(level: u8, run_lg2: u32, addr: u64) {
        let attrs = F::attrs(RW | Prot::CACHE).unwrap();
        let single = F::leaf(level, addr, attrs);
        let split = F::split_run_leaf(level, run_lg2, addr, attrs);

        assert_eq!(split, single | 1 << 55);
        assert_eq!(split & !F::RUN_BITS, single);
        assert_eq!(single & F::RUN_BITS, 0);
        assert_eq!(F::split_run_lg2(level, split), run_lg2);
        assert_eq!(F::split_run_lg2(level, single), 0);
        assert_eq!(F::run_lg2(level, split), 0);
        assert_eq!(F::decode(level, split), Decoded::Leaf(PhysAddr::new(addr)));
        assert_eq!(F::leaf_attrs(level, split), attrs);
    }

    check::<Stage1<Granule4K>>(0, 4, 0x1234_5000);
    check::<Stage2<Granule4K>>(1, 4, 0x1220_0000);
    check::<Stage1<Granule16K>>(0, 7, 0x1234_4000);
    check::<Stage2<Granule16K>>(1, 5, 0x1200_0000);
    check::<Stage1<Granule64K>>(0, 5, 0x1234_0000);
    check::<Stage2<Granule64K>>(1, 5, 0x2000_0000);
}

#[test]
fn a_mapping_that_permits_nothing_is_refused() {
    for prot in [Prot::NONE, Prot::CACHE, Prot::MMIO, Prot::PRIV] {
        assert_eq!(Stage1::<Granule4K>::attrs(prot), Err(Error::Invalid));
        assert_eq!(Stage2::<Granule4K>::attrs(prot), Err(Error::Invalid));
    }
}

#[test]
fn links_restrict_nothing_and_differ_from_leaves() {
    type F = Stage1<Granule4K>;

    let table = PhysAddr::new(0x0000_0012_3456_7000);
    for level in 1..=3 {
        let link = F::link(level, table);

        assert_eq!(link, 0x0000_0012_3456_7003);
        assert_eq!(F::decode(level, link), Decoded::Link(table));
        assert_eq!(F::decode(level, link | F::FLUSHED), Decoded::Link(table));
        assert_eq!(F::decode(level, 0), Decoded::Empty);
    }
    // The walker's own bit is one of the bits 58:55, which are for software.
    assert_eq!(F::FLUSHED & !0x0780_0000_0000_0000, 0);
    assert_eq!(F::FLUSHED.count_ones(), 1);
}

#[test]
fn dirty_is_dbm_without_read_only() {
    type F = Stage1<Granule4K>;

    let (written, clean, never) = (
        0x0008_0000_0000_1f47,
        0x0008_0000_0000_1fc7,
        0x0000_0000_0000_1f47,
    );
    assert!(F::is_dirty(written));
    assert!(!F::is_dirty(clean));
    assert!(!F::is_dirty(never));
    assert_eq!(F::clean(written), clean);

    assert_eq!(F::with_records_of(clean, written), written);
    assert_eq!(F::with_records_of(clean, clean), clean);
    // A read-only page stays read-only.
    let read_only = 0x0000_0000_0000_1fc7;
    assert_eq!(F::with_records_of(read_only, written), read_only);
}

#[test]
fn page_sizes_are_blocks_and_contiguous_runs() {
    let sizes = |granule, oa| {
        Shape::new(Stage::One, granule, 48, oa)
            .unwrap()
            .page_sizes()
            .raw()
    };
    let (k, m, g) = (1 << 10, 1 << 20, 1u64 << 30);

    assert_eq!(sizes(K4, 48), 4 * k | 64 * k | 2 * m | 32 * m | g | 16 * g);
    assert_eq!(sizes(K16, 48), 16 * k | 2 * m | 32 * m | g);
    assert_eq!(sizes(K64, 48), 64 * k | 2 * m | 512 * m | 16 * g);
    // Also blocks of 4 TiB.
    assert_eq!(sizes(K64, 52), 64 * k | 2 * m | 512 * m | 16 * g | 4096 * g);
}

/// Start level, T0SZ, SL0, TG, PS.
type Fields = (u8, u8, u8, u8, u8);

fn fields(stage: Stage, granule: GranuleSize, ia: u8, oa: u8) -> Result<Fields, Error> {
    let shape = Shape::new(stage, granule, ia, oa)?;
    let Control {
        t0sz,
        sl0,
        tg,
        sh,
        irgn,
        orgn,
        ps,
    } = shape.control(true);

    // Inner shareable, write-back.
    assert_eq!((sh, irgn, orgn), (3, 1, 1));
    let control = shape.control(false);
    assert_eq!((control.sh, control.irgn, control.orgn), (2, 0, 0));
    assert_eq!(shape.levels, 4 - shape.start_level());
    Ok((shape.start_level(), t0sz, sl0, tg, ps))
}

#[test]
fn shapes_of_stage_1() {
    for (granule, ia, oa, expected) in [
        (K4, 48, 48, (0, 16, 0, 0, 5)),
        (K4, 48, 44, (0, 16, 0, 0, 4)),
        (K4, 40, 40, (0, 24, 0, 0, 2)),
        (K4, 39, 48, (1, 25, 0, 0, 5)),
        (K4, 32, 32, (1, 32, 0, 0, 0)),
        (K16, 48, 48, (0, 16, 0, 2, 5)),
        (K16, 47, 42, (1, 17, 0, 2, 3)),
        (K16, 36, 36, (2, 28, 0, 2, 1)),
        (K64, 52, 52, (1, 12, 0, 1, 6)),
        (K64, 48, 48, (1, 16, 0, 1, 5)),
        (K64, 42, 40, (2, 22, 0, 1, 2)),
        // More address bits than the granule supports.
        (K4, 52, 52, (0, 16, 0, 0, 5)),
        (K16, 52, 52, (0, 16, 0, 2, 5)),
    ] {
        let got = fields(Stage::One, granule, ia, oa);
        assert_eq!(got, Ok(expected), "{granule:?} {ia} {oa}");
    }
}

#[test]
fn shapes_of_stage_2() {
    for (granule, size, expected) in [
        (K4, 48, (0, 16, 2, 0, 5)),
        (K4, 44, (0, 20, 2, 0, 4)),
        // 8 and 2 concatenated tables replace a level with 8 and 2 entries.
        (K4, 42, (1, 22, 1, 0, 3)),
        (K4, 40, (1, 24, 1, 0, 2)),
        (K4, 36, (1, 28, 1, 0, 1)),
        (K4, 32, (1, 32, 1, 0, 0)),
        // 2 concatenated tables.
        (K16, 48, (1, 16, 2, 2, 5)),
        (K16, 44, (1, 20, 2, 2, 4)),
        (K16, 42, (1, 22, 2, 2, 3)),
        // 16 concatenated tables.
        (K16, 40, (2, 24, 1, 2, 2)),
        (K16, 36, (2, 28, 1, 2, 1)),
        (K16, 32, (2, 32, 1, 2, 0)),
        (K64, 52, (1, 12, 2, 1, 6)),
        (K64, 48, (1, 16, 2, 1, 5)),
        (K64, 44, (1, 20, 2, 1, 4)),
        (K64, 42, (2, 22, 1, 1, 3)),
        (K64, 40, (2, 24, 1, 1, 2)),
        (K64, 32, (2, 32, 1, 1, 0)),
    ] {
        let got = fields(Stage::Two, granule, size, size);
        assert_eq!(got, Ok(expected), "{granule:?} {size}");
    }
}

#[test]
fn invalid_shapes_are_refused() {
    for (stage, granule, ia, oa) in [
        // The width has no encoding.
        (Stage::One, K4, 48, 39),
        (Stage::One, K4, 48, 0),
        (Stage::Two, K64, 48, 50),
        // Too small.
        (Stage::One, K4, 31, 48),
        (Stage::Two, K4, 0, 48),
        // More concatenated tables than allowed.
        (Stage::Two, K4, 48, 40),
        (Stage::Two, K64, 48, 40),
        (Stage::Two, K16, 48, 40),
    ] {
        assert_eq!(
            Shape::new(stage, granule, ia, oa),
            Err(Error::Invalid),
            "{stage:?} {granule:?} {ia} {oa}"
        );
    }
}

#[test]
fn every_shape_makes_a_table() {
    fn check<F: Format>(stage: Stage, granule: GranuleSize) {
        for oa in [32, 36, 40, 42, 44, 48, 52] {
            for ia in 32..=52 {
                let Ok(shape) = Shape::new(stage, granule, ia, oa) else {
                    assert!(stage == Stage::Two && ia > oa);
                    continue;
                };
                let cfg: Config = shape.config(true, false);
                let table = PageTable::<F, _>::new(&cfg, HostMemory::new(), ()).unwrap();

                assert_eq!(
                    (table.levels(), table.last_iova().raw()),
                    (shape.levels, u64::MAX >> (64 - shape.ia_bits))
                );
            }
        }
    }

    check::<Stage1<Granule4K>>(Stage::One, K4);
    check::<Stage1<Granule16K>>(Stage::One, K16);
    check::<Stage1<Granule64K>>(Stage::One, K64);
    check::<Stage2<Granule4K>>(Stage::Two, K4);
    check::<Stage2<Granule16K>>(Stage::Two, K16);
    check::<Stage2<Granule64K>>(Stage::Two, K64);
}

#[test]
fn mair_is_what_the_indices_mean() {
    // Normal non-cacheable, normal write-back, Device-nGnRE, normal memory that only outer caches
    // hold.
    assert_eq!(MAIR, 0x0000_0000_f404_ff44);
}
