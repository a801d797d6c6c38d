// SPDX-License-Identifier: GPL-2.0

//! Hardware records of SMMUv3, compared with bit patterns from the specification or from what the C
//! driver writes; and identification registers of QEMU.

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable::{self, armv8::GranuleSize};
use proptest::prelude::*;
use smmu::records::{
    capability::{FlagUpdates, Granules},
    cd::ContextDescriptor,
    queue_index::{CommandConsumer, Ring},
    ste::{DeviceTlb, Sharing, Stage1, Stage2, Ste, Walk},
    stream_table_layout::{Layout, Level1, Place, StreamTableFormat, LEVEL2_BYTES},
};

/// What the C driver writes for one context descriptor, with ATS, except S1DSS, which the unit
/// ignores without substreams.
const STAGE1: [u64; 8] = [
    0x0000_f0f0_f0f0_f0cb,
    0x0000_0000_1800_00d4,
    0,
    0,
    0,
    0,
    0,
    0,
];

fn stage1() -> Stage1 {
    Stage1 {
        context_descriptor: 0xf0f0_f0f0_f0c0,
        walk: Walk::Cached,
        vmid: 0,
        never_stall: true,
        device_tlb: DeviceTlb::Full,
    }
}

fn stage2() -> Stage2 {
    Stage2 {
        table: 0x4_8000_0000,
        vmid: 0x1234,
        input_bits: 44,
        output_bits: 44,
        granule: GranuleSize::K4,
        start_level: 0,
        walk: Walk::Cached,
        updates: FlagUpdates::None,
        stall: false,
        device_tlb: DeviceTlb::Forbidden,
        sharing: Sharing::Incoming,
    }
}

/// The entries without tables: V is bit 0, Config bits 3:1, SHCFG bits 109:108.
#[test]
fn entries_without_tables() {
    let encode = |entry: Ste| {
        let words = entry.encode();
        assert_eq!(Ste::decode(&words), Some(entry));
        assert_eq!(words[2..], [0; 6]);
        (words[0], words[1])
    };
    assert_eq!(encode(Ste::Invalid), (0, 0));
    assert_eq!(encode(Ste::Abort), (1, 0));
    let bypass = |sharing| Ste::Bypass { sharing };
    assert_eq!(encode(bypass(Sharing::Incoming)), (0x9, 0x1000_0000_0000));
    assert_eq!(encode(bypass(Sharing::Reserved)), (0x9, 0));
}

#[test]
fn stage1_entries() {
    let entry = Ste::Stage1(stage1());
    assert_eq!(entry.encode(), STAGE1);
    assert_eq!(Ste::decode(&STAGE1), Some(entry));

    // Not coherent, stalls.
    let plain = Ste::Stage1(Stage1 {
        context_descriptor: 0x8765_4321_00ff,
        walk: Walk::Uncached,
        vmid: 0,
        never_stall: false,
        device_tlb: DeviceTlb::Forbidden,
    });
    assert_eq!(plain.encode(), [0x8765_4321_00cb, 0x80, 0, 0, 0, 0, 0, 0]);

    // With a VMID.
    let named = Stage1 {
        vmid: 0xbeef,
        ..stage1()
    };
    assert_eq!(Ste::Stage1(named).encode()[2], 0xbeef);
}

/// The C driver's values, except the level: level 3 in the C driver's test has no meaning.
#[test]
fn stage2_entries() {
    let entry = Ste::Stage2(stage2());
    let words = entry.encode();
    // T0SZ 20, SL0 2, IR0 1, OR0 1, SH0 3, TG 0, PS 4, AA64, PTW, R.
    assert_eq!(
        words,
        [
            0xd,
            0x1000_0000_0000,
            0x044c_3594_0000_1234,
            0x4_8000_0000,
            0,
            0,
            0,
            0
        ]
    );
    assert_eq!(Ste::decode(&words), Some(entry));

    let other = Ste::Stage2(Stage2 {
        table: 0xd_beef_dead_beef,
        vmid: 0,
        input_bits: 52,
        output_bits: 52,
        granule: GranuleSize::K64,
        start_level: 1,
        walk: Walk::Uncached,
        updates: FlagUpdates::AccessDirty,
        stall: true,
        device_tlb: DeviceTlb::Full,
        sharing: Sharing::Reserved,
    });
    let words = other.encode();
    // T0SZ 12, SL0 2, SH0 2, TG 1, PS 6, AA64, PTW, HD, HA, S, R.
    assert_eq!(
        words[..4],
        [0xd, 0x1000_0000, 0x07ce_608c_0000_0000, 0xd_beef_dead_bee0]
    );
    let small = Ste::Stage2(Stage2 {
        input_bits: 40,
        output_bits: 40,
        granule: GranuleSize::K16,
        start_level: 2,
        updates: FlagUpdates::Access,
        ..stage2()
    });
    // T0SZ 24, SL0 1, IR0 1, OR0 1, SH0 3, TG 2, PS 2, AA64, PTW, HA, R.
    assert_eq!(small.encode()[2], 0x054a_b558_0000_1234);
    assert_eq!(Ste::decode(&small.encode()), Some(small));

    // S2SL0: level 2, 1, 0 with 4 KiB are 0, 1, 2; level 3, 2, 1 with others.
    let level = |granule, start_level| {
        let words = Ste::Stage2(Stage2 {
            granule,
            start_level,
            ..stage2()
        })
        .encode();
        words[2] >> 38 & 3
    };
    assert_eq!([2, 1, 0].map(|n| level(GranuleSize::K4, n)), [0, 1, 2]);
    assert_eq!([3, 2, 1].map(|n| level(GranuleSize::K16, n)), [0, 1, 2]);
    assert_eq!([3, 2, 1].map(|n| level(GranuleSize::K64, n)), [0, 1, 2]);
}

#[test]
fn entries_of_other_software() {
    // Reserved Config values, both stages, S1Fmt 3, S1DSS 1, STRW 1, split ATS, SHCFG 3.
    let mut words = STAGE1;
    for config in [1, 2, 3, 7] {
        words[0] = 1 | config << 1;
        assert_eq!(Ste::decode(&words), None);
    }
    let with = |word: usize, bits: u64| {
        let mut words = STAGE1;
        words[word] ^= bits;
        Ste::decode(&words)
    };
    assert!(with(0, 0).is_some());
    assert_eq!(with(0, 0x30), None);
    assert_eq!(with(1, 0x1), None);
    assert_eq!(with(1, 0x4000_0000), None);
    assert_eq!(with(1, 0x3000_0000), None);
    assert_eq!(with(1, 0x3000_0000_0000), None);
    // Stage 2 tables of 32-bit processors, or big endian.
    let words = Ste::Stage2(stage2()).encode();
    for bit in [51, 52, 58] {
        let mut words = words;
        words[2] ^= 1 << bit;
        assert_eq!(Ste::decode(&words), None);
    }
}

#[test]
fn stream_tables() {
    // QEMU: 16 bits of stream id in two levels. 256 descriptors.
    let layout = Layout::new(StreamTableFormat::TwoLevel, 16);
    assert_eq!(layout.bytes(), 2048);
    assert_eq!(layout.base_config(), 0x0001_0210);
    assert_eq!(
        layout.place(0x1234),
        Some(Place::TwoLevel {
            level1: 0x12,
            level2: 0x34
        })
    );
    assert_eq!(layout.place(0x1_0000), None);
    assert_eq!(LEVEL2_BYTES, 0x4000);

    // All 32 bits would need 128 MiB.
    let layout = Layout::new(StreamTableFormat::TwoLevel, 32);
    assert_eq!((layout.bits(), layout.bytes()), (25, 1 << 20));
    assert_eq!(layout.base_config(), 0x0001_0219);
    assert_eq!(layout.place(1 << 25), None);
    assert!(layout.place((1 << 25) - 1).is_some());

    let layout = Layout::new(StreamTableFormat::Linear, 8);
    assert_eq!(layout.bytes(), 0x4000);
    assert_eq!(layout.base_config(), 8);
    assert_eq!(layout.place(0xff), Some(Place::Linear { index: 0xff }));
    assert_eq!(layout.place(0x100), None);
    assert_eq!(Layout::new(StreamTableFormat::Linear, 32).bits(), 16);
    assert_eq!(Layout::new(StreamTableFormat::Linear, 0).bytes(), 64);
    assert!(Layout::new(StreamTableFormat::Linear, 0).place(0).is_some());

    assert_eq!(Layout::base(0x1_2345_67c0), 0x4000_0001_2345_67c0);
    // Span 9: 2^8 entries.
    let level1 = Level1 {
        table: Some(0x12_3456_4000),
    };
    assert_eq!(level1.encode(), 0x12_3456_4009);
    assert_eq!(Level1::decode(0x12_3456_4009), level1);
    assert_eq!(Level1 { table: None }.encode(), 0);
    assert_eq!(Level1::decode(0x12_3456_4000).table, None);
}

/// What the C driver writes for the page tables of its own test, with this driver's choices.
#[test]
fn context_descriptors() {
    let context = ContextDescriptor {
        table: 0xd_beef_dead_bee0,
        input_bits: 48,
        output_bits: 48,
        granule: GranuleSize::K4,
        walk: Walk::Cached,
        memory_types: 0x0abc_def0_1234_5678,
        asid: 778,
        updates: FlagUpdates::None,
        stall: false,
    };
    let words = context.encode();
    assert_eq!(
        words,
        [
            0x030a_e205_c000_3510,
            0x000d_beef_dead_bee0,
            0,
            0x0abc_def0_1234_5678,
            0,
            0,
            0,
            0
        ]
    );
    assert_eq!(ContextDescriptor::decode(&words), Some(context));

    let other = ContextDescriptor {
        table: 0xffff_ffff_ffff_ffff,
        input_bits: 39,
        output_bits: 36,
        granule: GranuleSize::K16,
        walk: Walk::Uncached,
        memory_types: 0xf404_ff44,
        asid: 1997,
        updates: FlagUpdates::AccessDirty,
        stall: true,
    };
    let words = other.encode();
    assert_eq!(words[0], 0x07cd_fe01_c000_2099);
    assert_eq!(words[1], 0x000f_ffff_ffff_fff0);
    let other = ContextDescriptor {
        table: words[1],
        ..other
    };
    assert_eq!(ContextDescriptor::decode(&words), Some(other));

    let large = ContextDescriptor {
        input_bits: 52,
        output_bits: 52,
        granule: GranuleSize::K64,
        updates: FlagUpdates::Access,
        ..context
    };
    assert_eq!(large.encode()[0], 0x030a_ea06_c000_354c);

    assert_eq!(ContextDescriptor::decode(&ContextDescriptor::INVALID), None);
    // EPD0 set, EPD1 clear, big endian, 32-bit format.
    for bit in [14, 15, 30, 31, 41] {
        let mut words = context.encode();
        words[0] ^= 1 << bit;
        assert_eq!(ContextDescriptor::decode(&words), None);
    }
}

#[test]
fn granules() {
    let set = |bits| Granules::from_bits(bits);
    assert_eq!(set(0b111).for_pages_of(4096), Some(GranuleSize::K4));
    assert_eq!(set(0b111).for_pages_of(16384), Some(GranuleSize::K16));
    assert_eq!(set(0b111).for_pages_of(65536), Some(GranuleSize::K64));
    assert_eq!(set(0b101).for_pages_of(16384), Some(GranuleSize::K4));
    assert_eq!(set(0b110).for_pages_of(4096), Some(GranuleSize::K16));
    assert_eq!(set(0b100).for_pages_of(4096), Some(GranuleSize::K64));
    assert_eq!(set(0).for_pages_of(4096), None);
    assert_eq!(GranuleSize::ALL.map(GranuleSize::lg2), [12, 14, 16]);
}

/// Indexes of a queue with 8 entries: three index bits, and the wrap bit 3.
#[test]
fn queue_indexes() {
    let ring = Ring::new(3);
    assert_eq!(ring.entries(), 8);
    assert_eq!((ring.entry(7), ring.entry(8), ring.entry(0xf)), (7, 0, 7));

    assert!(ring.is_empty(0, 0) && ring.is_empty(0xb, 0xb));
    assert!(!ring.is_empty(8, 0));
    assert_eq!(ring.used(8, 0), Some(8));
    assert_eq!(ring.used(2, 0xe), Some(4));
    assert_eq!(ring.used(0, 0), Some(0));
    // More than the queue has: one of the two indexes is wrong.
    assert_eq!(ring.used(0, 1), None);
    // The overflow flag is ignored.
    assert_eq!(ring.used(0x8000_0002, 0xe), Some(4));

    assert_eq!(ring.advance(7, 1), 8);
    assert_eq!(ring.advance(0xf, 1), 0);
    assert_eq!(ring.advance(0x8000_000f, 2), 0x8000_0001);

    assert!(ring.overflowed(0x8000_0008, 0) && !ring.overflowed(0x8000_0008, 0x8000_0000));
    assert_eq!(ring.acknowledge(0x8000_0008, 3), 0x8000_0003);
    assert_eq!(ring.acknowledge(8, 0x8000_0003), 3);

    // Five entries were produced from 0xe on; the consumer is at the third.
    assert!(ring.consumed(3, 0, 0xe) && ring.consumed(3, 0, 0xf));
    assert!(!ring.consumed(3, 0, 0) && !ring.consumed(3, 0, 2));

    // The largest queue, and a larger size.
    assert_eq!(Ring::new(19).entries(), 1 << 19);
    assert_eq!(Ring::new(31), Ring::new(19));
    // A queue of one entry.
    let one = Ring::new(0);
    assert_eq!(one.advance(1, 1), 0);

    assert_eq!(Ring::new(8).base(0x1_2345_6000), 0x4000_0001_2345_6008);

    let consumer = CommandConsumer(0x0102_0005);
    assert_eq!((consumer.index(), consumer.error()), (0x2_0005, 1));
    assert_eq!(CommandConsumer(0x7f00_0000).error(), 0x7f);
}

/// Its consumer register reads as all ones, an index that the queue has.
#[test]
fn a_unit_that_is_not_there_has_passed_nothing() {
    let ring = Ring::new(2);
    let gone = CommandConsumer(u32::MAX);
    for position in 4..8 {
        assert!(!ring.has_passed(4, 8, gone, position), "{position}");
        assert!(
            ring.has_passed(position + 1, 8, gone, position),
            "{position}"
        );
        // The index alone says that the unit has passed all but the last.
        let index = CommandConsumer(u32::MAX & 0xf_ffff);
        assert_eq!(ring.has_passed(4, 8, index, position), position < 7);
    }
}

proptest! {
    /// A queue, compared with a counter that never wraps.
    #[test]
    fn queue_counts(
        shift in 0u8..20,
        start in any::<u32>(),
        ahead in any::<u32>(),
        passed in any::<u32>(),
        flag in any::<bool>(),
    ) {
        let ring = Ring::new(shift);
        let entries = u64::from(ring.entries());
        let flag = u32::from(flag) << 31;
        let consumer = u64::from(start);
        let producer = consumer + u64::from(ahead) % (entries + 1);
        let index = |counter: u64| (counter % (2 * entries)) as u32;
        let (p, c) = (index(producer) | flag, index(consumer));

        prop_assert_eq!(u64::from(ring.used(p, c).unwrap()), producer - consumer);
        prop_assert_eq!(ring.is_empty(p, c), producer == consumer);
        prop_assert_eq!(ring.entry(p) as u64, producer % entries);
        let step = (u64::from(passed) % (entries + 1)) as u32;
        prop_assert_eq!(ring.advance(p, step), index(producer + u64::from(step)) | flag);
        // Positions before the producer, as many as the queue can contain.
        if producer >= entries {
            let position = producer - 1 - u64::from(passed) % entries;
            prop_assert_eq!(ring.consumed(p, c, index(position)), position < consumer);
        }
    }

    /// A command queue whose processors read its state one after the other, while it goes on.
    #[test]
    fn command_positions(
        shift in 0u8..9,
        head in 0u64..1 << 40,
        used in any::<u64>(),
        passed in any::<u64>(),
        later in any::<[u64; 4]>(),
        position in any::<u64>(),
    ) {
        let ring = Ring::new(shift);
        let entries = u64::from(ring.entries());
        // What is true when the consumer index is read.
        let submitted = head + used % (entries + 1);
        let consumer = head + passed % (submitted - head + 1);
        let reading = CommandConsumer((consumer % (2 * entries)) as u32 | 0x0100_0000);
        let at = if consumer < submitted { Some(consumer) } else { None };
        prop_assert_eq!(ring.position(head, submitted, reading), at);

        // Then others go on; `submitted` is read, and later `head`.
        let head_then = head + later[0] % (submitted - head + 1) + later[1] % 3 * entries;
        let submitted_then = submitted.max(head_then + later[2] % (entries + 1));
        prop_assume!(submitted_then - head_then <= entries);
        let head_last = head_then + later[3] % (submitted_then - head_then + 1);
        // Anything that was submitted before.
        prop_assume!(submitted > 0);
        let position = submitted - 1 - position % submitted.min(3 * entries);
        let expected = head_last > position || consumer > position;
        prop_assert_eq!(
            ring.has_passed(head_last, submitted_then, reading, position),
            expected
        );
        // A unit that is not there has passed nothing.
        let gone = CommandConsumer(u32::MAX);
        prop_assert_eq!(
            ring.has_passed(head_last, submitted_then, gone, position),
            head_last > position
        );
        prop_assert_eq!(ring.position(head, submitted, gone), None);
    }

    /// The driver decodes every entry that it writes.
    #[test]
    fn entries_round_trip(
        address in any::<u64>(),
        id in any::<u16>(),
        bits in (16u8..=52, 0u8..7, 0u8..3, 0u8..3),
        flags in any::<[bool; 4]>(),
    ) {
        let (input_bits, output, granule, level) = bits;
        let output_bits = [32, 36, 40, 42, 44, 48, 52][usize::from(output)];
        let granule = GranuleSize::ALL[usize::from(granule)];
        let walk = if flags[0] { Walk::Cached } else { Walk::Uncached };
        let updates = match level {
            0 => FlagUpdates::None,
            1 => FlagUpdates::Access,
            _ => FlagUpdates::AccessDirty,
        };
        let device_tlb = if flags[1] { DeviceTlb::Full } else { DeviceTlb::Forbidden };
        let sharing = if flags[2] { Sharing::Incoming } else { Sharing::Reserved };
        let stage2 = Stage2 {
            table: address & 0xf_ffff_ffff_fff0,
            vmid: id,
            input_bits,
            output_bits,
            granule,
            start_level: level + u8::from(granule != GranuleSize::K4),
            walk,
            updates,
            stall: flags[3],
            device_tlb,
            sharing,
        };
        let entry = Ste::Stage2(stage2);
        prop_assert_eq!(Ste::decode(&entry.encode()), Some(entry));
        let context = ContextDescriptor {
            table: address & 0xf_ffff_ffff_fff0,
            input_bits,
            output_bits,
            granule,
            walk,
            memory_types: address,
            asid: id,
            updates,
            stall: flags[3],
        };
        prop_assert_eq!(ContextDescriptor::decode(&context.encode()), Some(context));
        let stage1 = Stage1 {
            context_descriptor: address & 0xf_ffff_ffff_ffc0,
            walk,
            vmid: id,
            never_stall: flags[3],
            device_tlb,
        };
        let entry = Ste::Stage1(stage1);
        prop_assert_eq!(Ste::decode(&entry.encode()), Some(entry));
    }
}
