// SPDX-License-Identifier: GPL-2.0

//! The IVRS parser: what it finds in good tables, and how it refuses bad ones.

mod amd;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::blocks;
}

use amd::{
    ivrs::{
        Block, DeviceEntry, Devices, Info, Kind, Named, Problem, Settings, Special, Table,
        UniqueId, Usage, Variety, Warning, MAX_LEN, MAX_UNITS,
    },
    tables::{fix_sum, table, LAPTOP, QEMU, SERVER},
};
use proptest::prelude::*;

fn refusal(blocks: &[u8]) -> (Kind, usize, Problem) {
    let bytes = table(blocks);
    let error = Table::parse(&bytes).expect_err("the table must be refused");
    (error.kind, error.offset, error.problem)
}

fn warnings(blocks: &[u8]) -> Vec<Warning> {
    let bytes = table(blocks);
    Table::parse(&bytes).unwrap().warnings().collect()
}

/// A hardware definition: of type 10h without, of type 11h or 40h with feature images.
fn ivhd(kind: u8, device: u16, segment: u16, base: u64, entries: &[u8]) -> Vec<u8> {
    let fixed: u16 = if kind == 0x10 { 24 } else { 40 };
    let mut bytes = vec![kind, 0];
    bytes.extend_from_slice(&(fixed + entries.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&device.to_le_bytes());
    bytes.extend_from_slice(&[0x40, 0]);
    bytes.extend_from_slice(&base.to_le_bytes());
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.resize(usize::from(fixed), 0);
    bytes.extend_from_slice(entries);
    bytes
}

/// A memory definition.
fn ivmd(kind: u8, flags: u8, devices: (u16, u16), start: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![kind, flags, 32, 0];
    bytes.extend_from_slice(&devices.0.to_le_bytes());
    bytes.extend_from_slice(&devices.1.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&start.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes
}

const BASE: u64 = 0xfed8_0000;

fn one(entries: &[u8]) -> Vec<u8> {
    ivhd(0x40, 2, 0, BASE, entries)
}

fn devices(first: u16, last: u16) -> Devices {
    Devices {
        first,
        last,
        all: false,
        alias: None,
        settings: Settings::NONE,
        ats_disabled: false,
    }
}

fn special(variety: Variety, handle: u8, device: u16, settings: u8) -> DeviceEntry<'static> {
    DeviceEntry::Special(Special {
        variety,
        handle,
        device,
        settings: Settings(settings),
    })
}

fn named(device: u16, hid: &'static [u8], uid: UniqueId<'static>) -> DeviceEntry<'static> {
    DeviceEntry::Named(Named {
        device,
        hid,
        cid: b"",
        uid,
        settings: Settings(0x40),
    })
}

/// Looks at everything there is, so that anything that could panic does.
fn walk(table: Table<'_>) -> usize {
    let words = table.warnings().map(|warning| warning.to_string().len());
    words.sum::<usize>() + look(table)
}

/// Looks at everything but the warnings, which cost most.
fn look(table: Table<'_>) -> usize {
    let mut seen = usize::from(table.info().physical_bits() + table.info().virtual_bits());
    for unit in table.units() {
        assert_eq!(unit.base() % 0x4000, 0);
        seen += usize::from(unit.flags().0) + usize::from(unit.msi_number());
        seen += unit.features(table.info(), [1, 2])[0].count_ones() as usize;
        seen += usize::from(unit.capability()) + usize::from(unit.host_translation_disabled());
        for entry in unit.entries() {
            seen += 1 + usize::from(entry.has(0x1234)) + usize::from(entry.last_id());
            if let DeviceEntry::Devices(devices) = entry {
                assert!(devices.first <= devices.last);
            }
            if let DeviceEntry::Named(named) = entry {
                assert!((1..=8).contains(&named.hid.len()) && named.cid.len() <= 8);
            }
        }
    }
    for region in table.regions() {
        assert!(region.base() < region.limit());
        assert_eq!(region.base() % 4096, 0);
        assert_eq!(region.limit() % 4096, 4095);
        assert!(region.devices().0 <= region.devices().1);
        seen += usize::from(region.usage() == Usage::None);
    }
    seen
}

#[test]
fn qemu_table() {
    let table = Table::parse(&QEMU).unwrap();
    let info = table.info();
    assert!(info.feature_images() && !info.preboot_protection() && !info.ht_ats_reserved());
    assert_eq!((info.physical_bits(), info.virtual_bits()), (40, 0));
    assert_eq!(table.warnings().count(), 0);
    assert_eq!(table.blocks().count(), 2);

    // Once, and by the block that says more.
    let units: Vec<_> = table.units().collect();
    assert_eq!(units.len(), 1);
    let unit = units[0];
    assert_eq!((unit.kind(), unit.offset()), (Kind::Ivhd11, 0x68));
    assert_eq!((unit.segment(), unit.device()), (0, 0x10));
    assert_eq!(unit.capability(), 0x40);
    assert_eq!(unit.base(), 0xfed8_0000);
    assert_eq!(unit.msi_number(), 0);
    assert!(unit.flags().ht_tunnel() && unit.flags().iotlb() && !unit.flags().coherent());
    assert!(!unit.flags().pass_posted_writes() && !unit.flags().isochronous());
    assert!(!unit.host_translation_disabled());
    assert_eq!(unit.features(info, [7, 7]), [0x29d3, 0]);

    let mut expected: Vec<_> = [0x00, 0x08, 0x10, 0xf8, 0xfa, 0xfb]
        .map(|id| DeviceEntry::Devices(devices(id, id)))
        .to_vec();
    expected.push(special(Variety::IoApic, 0, 0xa0, 0));
    assert_eq!(unit.entries().collect::<Vec<_>>(), expected);
}

#[test]
fn laptop_table() {
    let table = Table::parse(&LAPTOP).unwrap();
    let info = table.info();
    assert!(info.feature_images() && info.preboot_protection());
    assert_eq!((info.physical_bits(), info.virtual_bits()), (48, 64));
    assert_eq!(table.warnings().collect::<Vec<_>>(), []);

    let units: Vec<_> = table.units().collect();
    assert_eq!(units.len(), 1);
    let unit = units[0];
    assert_eq!((unit.kind(), unit.offset()), (Kind::Ivhd40, 0x108));
    assert_eq!(unit.device(), 2);
    assert_eq!(unit.base(), 0xfd20_0000);
    assert!(unit.flags().coherent() && unit.flags().iotlb() && !unit.flags().ht_tunnel());
    assert_eq!(unit.features(info, [0, 0]), [0x2465_77ef_a225_4afa, 0x10]);

    assert_eq!(
        unit.entries().collect::<Vec<_>>(),
        [
            DeviceEntry::Devices(devices(3, 0xfffe)),
            DeviceEntry::Devices(Devices {
                alias: Some(0xa5),
                ..devices(0xff00, 0xffff)
            }),
            special(Variety::Hpet, 0, 0xa0, 0),
            special(Variety::IoApic, 0x21, 0xa0, 0xd7),
            special(Variety::IoApic, 0x22, 1, 0),
            named(0xa5, b"AMDI0020", UniqueId::Text(b"ID00")),
            named(0xa5, b"AMDI0020", UniqueId::Text(b"ID01")),
            named(0xa5, b"AMDI0020", UniqueId::Text(b"ID02")),
            named(0xa5, b"AMDI0020", UniqueId::Text(b"ID03")),
            named(0x60, b"MSFT0201", UniqueId::Integer(1)),
            named(0xa5, b"AMDI0020", UniqueId::Text(b"ID04")),
        ]
    );

    let regions: Vec<_> = table
        .regions()
        .map(|r| (r.segment(), r.devices(), r.base(), r.limit(), r.usage()))
        .collect();
    let unity = Usage::Unity {
        read: true,
        write: true,
    };
    assert_eq!(
        regions,
        [
            (0, (0x60, 0x60), 0x7d90_0000, 0x7d9f_ffff, unity),
            (0, (0xc407, 0xc407), 0x7600_0000, 0x7601_ffff, unity),
        ]
    );
}

#[test]
fn server_table() {
    let bytes = table(SERVER);
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.warnings().collect::<Vec<_>>(), []);
    let units: Vec<_> = table.units().collect();
    assert_eq!(
        units
            .iter()
            .map(|u| (u.kind(), u.offset(), u.segment(), u.device(), u.base()))
            .collect::<Vec<_>>(),
        [
            (Kind::Ivhd10, 0x30, 0, 0x0002, 0xf010_0000),
            (Kind::Ivhd11, 0x58, 0, 0x4002, 0xf020_0000),
            (Kind::Ivhd40, 0xd4, 1, 0x0002, 0x10_f030_0000),
        ]
    );
    assert_eq!(units[0].msi_number(), 3);
    assert_eq!(units[1].capability(), 0x64);
    assert!(units[1].host_translation_disabled());
    assert!(!units[0].host_translation_disabled() && !units[2].host_translation_disabled());

    assert_eq!(
        units[0].entries().collect::<Vec<_>>(),
        [DeviceEntry::Devices(Devices {
            all: true,
            ..devices(0, 0xffff)
        })]
    );
    assert_eq!(
        units[1].entries().collect::<Vec<_>>(),
        [
            DeviceEntry::Devices(Devices {
                settings: Settings(0x45),
                ..devices(0x4008, 0x4008)
            }),
            DeviceEntry::Devices(Devices {
                settings: Settings(0x10),
                ..devices(0x4010, 0x41ff)
            }),
            DeviceEntry::Devices(Devices {
                alias: Some(0x4201),
                settings: Settings(0x02),
                ..devices(0x4200, 0x4200)
            }),
            DeviceEntry::Devices(Devices {
                alias: Some(0x4210),
                ..devices(0x4300, 0x43ff)
            }),
            DeviceEntry::Devices(Devices {
                ats_disabled: true,
                ..devices(0x4400, 0x4400)
            }),
            DeviceEntry::Devices(devices(0x4500, 0x4507)),
            special(Variety::IoApic, 0x21, 0x40a0, 0xd7),
            special(Variety::Hpet, 0, 0x40a1, 0),
        ]
    );
    let settings = Settings(0x45);
    assert!(settings.init() && settings.nmi() && settings.lint0());
    assert!(!settings.external_interrupt() && !settings.lint1());
    assert_eq!(settings.system_management(), 0);
    assert_eq!(Settings(0xb2).system_management(), 3);
    assert!(Settings(0xb2).lint1() && Settings(0xb2).external_interrupt());

    let plain = |device, hid, cid, uid| {
        DeviceEntry::Named(Named {
            device,
            hid,
            cid,
            uid,
            settings: Settings::NONE,
        })
    };
    assert_eq!(
        units[2].entries().collect::<Vec<_>>(),
        [
            DeviceEntry::Devices(devices(3, 0xffff)),
            named(0xa5, b"AMDI0020", UniqueId::Text(b"ID00")),
            plain(
                0xa6,
                b"PNP0501",
                b"INT0800",
                UniqueId::Integer(0x0102_0304_0506_0708)
            ),
            plain(0xa7, b"X", b"", UniqueId::None),
        ]
    );

    let regions: Vec<_> = table
        .regions()
        .map(|r| (r.segment(), r.devices(), r.base(), r.limit(), r.usage()))
        .collect();
    let unity = |read, write| Usage::Unity { read, write };
    assert_eq!(
        regions,
        [
            (1, (0, 0xffff), 0x9d00_0000, 0x9d01_ffff, unity(true, false)),
            (
                0,
                (0x4008, 0x4008),
                0x9f80_0000,
                0x9f80_ffff,
                unity(true, true)
            ),
            (
                0,
                (0x4000, 0x41ff),
                0x1_0000_0000,
                0x1_0000_0fff,
                unity(true, true)
            ),
        ]
    );
    assert!(matches!(table.blocks().last(), Some(Block::Other)));
}

/// What counts as the extended feature registers: fields of type 10h, images of 11h and 40h, or
/// the registers themselves if the header says that neither is valid.
#[test]
fn features() {
    let bytes = table(SERVER);
    let table = Table::parse(&bytes).unwrap();
    let units: Vec<_> = table.units().collect();
    let yes = table.info();
    let no = Info(yes.0 & !1);
    let registers = [0x1234_5678_9abc_def0, 0x0f0f_0f0f_0f0f_0f0f];

    for unit in &units {
        assert_eq!(unit.features(no, registers), registers);
    }
    // 80048f6e: HATS 2, GATS 0, PASmax 15, HE 0, GA 1, IA 1, GLX 1, GT 1, NX 1, XT 0. The fields
    // replace bits 15:10, 8:6, 4:2 and 36:32 of the register.
    assert_eq!(units[0].features(yes, [0, 5]), [0x0000_000f_0000_48d8, 5]);
    assert_eq!(
        units[0].features(yes, [u64::MAX, 5]),
        [0xffff_ffef_ffff_4afb, 5]
    );
    assert_eq!(
        units[1].features(yes, registers),
        [0x2222_2222_1111_1111, 0x4444_4444_3333_3333]
    );
    assert_eq!(
        units[2].features(yes, registers),
        [0x2465_77ef_a225_4afa, 0x10]
    );
}

/// The most capable block of a unit counts, in whatever order they are.
#[test]
fn the_most_capable_block() {
    for (kinds, best) in [
        ([0x10, 0x11, 0x40], Kind::Ivhd40),
        ([0x40, 0x11, 0x10], Kind::Ivhd40),
        ([0x11, 0x40, 0x10], Kind::Ivhd40),
        ([0x11, 0x10, 0x77], Kind::Ivhd11),
        ([0x77, 0x10, 0x78], Kind::Ivhd10),
    ] {
        let blocks: Vec<u8> = kinds
            .iter()
            .flat_map(|kind| ivhd(*kind, 2, 0, BASE, &[1, 0, 0, 0]))
            .collect();
        let bytes = table(&blocks);
        let table = Table::parse(&bytes).unwrap();
        let units: Vec<_> = table.units().map(|unit| unit.kind()).collect();
        assert_eq!(units, [best]);
    }
    // By segment and device id: others are other units.
    let bytes = table(
        &[
            ivhd(0x10, 2, 0, BASE, &[]),
            ivhd(0x11, 2, 1, BASE + 0x4000, &[]),
            ivhd(0x40, 3, 0, BASE + 0x8000, &[]),
        ]
        .concat(),
    );
    assert_eq!(Table::parse(&bytes).unwrap().units().count(), 3);
}

#[test]
fn a_table_without_units_is_well_formed() {
    let bytes = table(&[]);
    assert_eq!(Table::parse(&bytes).unwrap().blocks().count(), 0);
}

#[test]
fn bytes_after_the_table_are_not_looked_at() {
    let mut bytes = QEMU.to_vec();
    bytes.extend_from_slice(&[0xff; 7]);
    assert_eq!(Table::parse(&bytes).unwrap().blocks().count(), 2);
}

#[test]
fn header_refusals() {
    let problem = |bytes: &[u8]| Table::parse(bytes).unwrap_err().problem;
    let short = |claims| Problem::TooShort { claims, needs: 48 };
    let truncated = |claims, has| Problem::TableTruncated { claims, has };

    assert_eq!(problem(&[]), short(0));
    assert_eq!(problem(&QEMU[..47]), short(47));
    assert_eq!(problem(&QEMU[..100]), truncated(0xb0, 100));

    let mut bytes = QEMU.to_vec();
    bytes[0] = b'X';
    assert_eq!(problem(&bytes), Problem::Signature);

    let mut bytes = QEMU.to_vec();
    bytes[4..8].copy_from_slice(&47u32.to_le_bytes());
    assert_eq!(problem(&bytes), short(47));
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(problem(&bytes), truncated(u32::MAX, 0xb0));

    let mut bytes = QEMU.to_vec();
    bytes.resize(MAX_LEN + 1, 0);
    let claims = MAX_LEN as u32 + 1;
    bytes[4..8].copy_from_slice(&claims.to_le_bytes());
    assert_eq!(problem(&bytes), Problem::TooLong { claims });

    let mut bytes = QEMU.to_vec();
    bytes[20] = bytes[20].wrapping_add(3);
    assert_eq!(problem(&bytes), Problem::Checksum { sum: 3 });

    // Physical addresses of 65 bits, device addresses of 127.
    for (info, bits) in [(65 << 8, 65), (127 << 15, 127)] {
        let mut bytes = QEMU.to_vec();
        bytes[36..40].copy_from_slice(&u32::to_le_bytes(info));
        fix_sum(&mut bytes);
        assert_eq!(problem(&bytes), Problem::AddressWidth { bits });
    }
}

#[test]
fn block_refusals() {
    let short = |claims, needs| Problem::TooShort { claims, needs };
    let past = |claims, left| Problem::PastTable { claims, left };

    // Length 0 would be found again and again.
    assert_eq!(
        refusal(&[0x10, 0, 0, 0, 0, 0, 0, 0]),
        (Kind::Ivhd10, 0x30, short(0, 24))
    );
    assert_eq!(
        refusal(&[0x63, 0, 3, 0]),
        (Kind::Unknown(0x63), 0x30, short(3, 4))
    );
    let mut cut = ivhd(0x11, 2, 0, BASE, &[]);
    cut.truncate(39);
    cut[2] = 39;
    assert_eq!(refusal(&cut), (Kind::Ivhd11, 0x30, short(39, 40)));
    let mut cut = ivmd(0x22, 1, (0, 1), 0x1000, 0x1000);
    cut[2] = 31;
    assert_eq!(refusal(&cut), (Kind::IvmdRange, 0x30, short(31, 32)));
    // Longer than the table.
    let mut long = ivhd(0x40, 2, 0, BASE, &[]);
    long[2] = 41;
    assert_eq!(refusal(&long), (Kind::Ivhd40, 0x30, past(41, 40)));
    // A stub after a good block.
    let mut bytes = one(&[]);
    bytes.extend_from_slice(&[0x21, 0, 32]);
    assert_eq!(refusal(&bytes), (Kind::IvmdOne, 0x58, past(4, 3)));
}

#[test]
fn entry_refusals() {
    let with = |entries: &[u8]| {
        let bytes = table(&one(entries));
        let error = Table::parse(&bytes).expect_err("the table must be refused");
        assert_eq!((error.kind, error.offset), (Kind::Ivhd40, 0x30));
        (error.entry, error.problem)
    };
    let at = |problem| (Some(0x58), problem);
    let past = |claims, left| Problem::EntryPastBlock { claims, left };

    assert_eq!(with(&[2, 0, 0]), at(past(4, 3)));
    assert_eq!(with(&[0x42, 0, 0, 0, 0, 0, 0]), at(past(8, 7)));
    assert_eq!(with(&[0x80, 0, 0, 0]), at(past(16, 4)));
    assert_eq!(with(&[0xef; 31]), at(past(32, 31)));
    // A device by name without the length of its unique id, and with one that is too long.
    assert_eq!(with(&[0xf0; 21]), at(past(22, 21)));
    let mut name = [0x41; 26];
    name[0] = 0xf0;
    name[21] = 5;
    assert_eq!(with(&name), at(past(27, 26)));
    for value in 241..=255 {
        assert_eq!(with(&[value; 64]), at(Problem::EntryLength { value }));
    }

    // Ranges.
    let start = [3, 0x10, 0, 0];
    let end = [4, 0x17, 0, 0];
    assert_eq!(with(&start), at(Problem::RangeNotEnded { first: 0x10 }));
    assert_eq!(
        with(&[start, start, end].concat()),
        at(Problem::RangeNotEnded { first: 0x10 })
    );
    assert_eq!(
        with(&[start, [2, 9, 9, 0], end].concat()),
        at(Problem::RangeNotEnded { first: 0x10 })
    );
    assert_eq!(with(&end), at(Problem::RangeNotStarted { last: 0x17 }));
    assert_eq!(
        with(&[start, end, end].concat()),
        (Some(0x60), Problem::RangeNotStarted { last: 0x17 })
    );
    assert_eq!(
        with(&[start, [4, 0x0f, 0, 0]].concat()),
        (
            Some(0x5c),
            Problem::RangeBackwards {
                first: 0x10,
                last: 0x0f
            }
        )
    );
    assert_eq!(
        with(&[0x43, 0, 1, 0, 0, 0x20, 0, 0]),
        at(Problem::RangeNotEnded { first: 0x100 })
    );
    assert_eq!(
        with(&[0x47, 0, 1, 0, 0, 0, 0, 0, 4, 0xff, 0, 0]),
        (
            Some(0x60),
            Problem::RangeBackwards {
                first: 0x100,
                last: 0xff
            }
        )
    );
    // A block of type 10h has its entries elsewhere.
    let bytes = table(&ivhd(0x10, 2, 0, BASE, &[2, 0, 0, 0, 4, 0, 0, 0]));
    assert_eq!(Table::parse(&bytes).unwrap_err().entry, Some(0x4c));
}

#[test]
fn unit_refusals() {
    let with = |base| refusal(&ivhd(0x10, 2, 0, base, &[]));
    let at = |problem| (Kind::Ivhd10, 0x30, problem);

    assert_eq!(with(0), at(Problem::BaseImpossible { base: 0 }));
    let base = u64::MAX;
    assert_eq!(with(base), at(Problem::BaseImpossible { base }));
    let base = BASE + 0x1000;
    assert_eq!(with(base), at(Problem::BaseMisaligned { base }));
    // The last window there is.
    let bytes = table(&ivhd(0x10, 2, 0, u64::MAX - 0x3fff, &[]));
    assert!(Table::parse(&bytes).is_ok());

    let two = |a: Vec<u8>, b: Vec<u8>| refusal(&[a, b].concat());
    assert_eq!(
        two(ivhd(0x11, 2, 0, BASE, &[]), ivhd(0x11, 3, 0, BASE, &[])),
        (
            Kind::Ivhd11,
            0x58,
            Problem::UnitsOverlap {
                base: BASE,
                other: 0x30
            }
        )
    );
    assert_eq!(
        two(
            ivhd(0x11, 2, 7, BASE, &[]),
            ivhd(0x11, 2, 7, BASE + 0x4000, &[])
        ),
        (
            Kind::Ivhd11,
            0x58,
            Problem::SecondBlock {
                device: 2,
                segment: 7,
                other: 0x30
            }
        )
    );
}

#[test]
fn region_refusals() {
    let with = |start, length| refusal(&ivmd(0x20, 1, (0, 0), start, length));
    let at = |problem| (Kind::IvmdAll, 0x30, problem);

    assert_eq!(with(0x1000, 0), at(Problem::RegionEmpty { base: 0x1000 }));
    for (base, length) in [
        (0x1000, u64::MAX),
        (u64::MAX, 2),
        (u64::MAX - 0xfff, 0x1001),
        (1 << 63, (1 << 63) + 1),
    ] {
        assert_eq!(
            with(base, length),
            at(Problem::RegionWraps { base, length })
        );
    }
    // Up to the very end.
    let bytes = table(&ivmd(0x20, 1, (0, 0), u64::MAX - 0xfff, 0x1000));
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.regions().next().unwrap().limit(), u64::MAX);

    assert_eq!(
        refusal(&ivmd(0x22, 1, (0x10, 0x0f), 0x1000, 0x1000)),
        (
            Kind::IvmdRange,
            0x30,
            Problem::RangeBackwards {
                first: 0x10,
                last: 0x0f
            }
        )
    );
    // The second id of other types means nothing.
    for kind in [0x20, 0x21] {
        let bytes = self::table(&ivmd(kind, 1, (0x10, 0x0f), 0x1000, 0x1000));
        assert!(Table::parse(&bytes).is_ok());
    }
}

#[test]
fn what_can_be_lived_with() {
    // A region inside a page; one with both flags.
    assert_eq!(
        warnings(&ivmd(0x21, 7, (8, 0), 0x1800, 0x1000)),
        [Warning::RegionMisaligned { offset: 0x30 }]
    );
    let bytes = table(&ivmd(0x21, 7, (8, 0), 0x1800, 0x1000));
    let region = Table::parse(&bytes).unwrap().regions().next().unwrap();
    assert_eq!((region.base(), region.limit()), (0x1000, 0x2fff));
    assert_eq!(
        warnings(&ivmd(0x21, 0xf, (8, 0), 0x1000, 0x1000)),
        [Warning::RegionContradicts { offset: 0x30 }]
    );
    // One that is for nothing.
    let bytes = table(&ivmd(0x21, 6, (8, 0), 0x1000, 0x1000));
    let region = Table::parse(&bytes).unwrap().regions().next().unwrap();
    assert_eq!(region.usage(), Usage::None);

    // A special device of a kind that is not known.
    assert_eq!(
        warnings(&one(&[0x48, 0, 0, 0, 1, 0xa0, 0, 9])),
        [Warning::UnknownSpecial {
            offset: 0x58,
            variety: 9
        }]
    );

    // Devices by name: where there are none, without a name, with an id that makes no sense.
    let name = |hid: u8, format: u8, uid: &[u8]| {
        let mut bytes = vec![0xf0, 0xa5, 0, 0, hid, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[format, uid.len() as u8]);
        bytes.extend_from_slice(uid);
        bytes
    };
    let offset = 0x58;
    assert_eq!(
        warnings(&ivhd(0x11, 2, 0, BASE, &name(b'X', 0, &[]))),
        [Warning::NameNotAllowed { offset }]
    );
    let bytes = table(&ivhd(0x11, 2, 0, BASE, &name(b'X', 0, &[])));
    let unit = Table::parse(&bytes).unwrap().units().next().unwrap();
    assert_eq!(unit.entries().count(), 0);
    assert_eq!(
        warnings(&one(&name(0, 0, &[]))),
        [Warning::NameMissing { offset }]
    );
    for (format, uid) in [
        (0, &[1][..]),
        (1, &[]),
        (1, &[1; 9]),
        (2, &[]),
        (2, &[0; 3]),
        (3, &[1]),
        (3, &[]),
    ] {
        assert_eq!(
            warnings(&one(&name(b'X', format, uid))),
            [Warning::UniqueId { offset }],
            "{format} {uid:?}"
        );
    }
    assert_eq!(warnings(&one(&name(b'X', 2, b"A\0\0"))), []);

    // Blocks of one unit that do not agree.
    assert_eq!(
        warnings(
            &[
                ivhd(0x10, 2, 0, BASE, &[]),
                ivhd(0x11, 2, 0, BASE + 0x4000, &[])
            ]
            .concat()
        ),
        [Warning::BasesDiffer {
            offset: 0x48,
            other: 0x30
        }]
    );
}

#[test]
fn devices_that_two_units_claim() {
    let two = |a: &[u8], b: &[u8], segment| {
        warnings(
            &[
                ivhd(0x40, 2, 0, BASE, a),
                ivhd(0x40, 3, segment, BASE + 0x4000, b),
            ]
            .concat(),
        )
    };
    let contested = |device, second| {
        [Warning::Contested {
            segment: 0,
            device,
            first: 0x30,
            second,
        }]
    };
    let range = [3, 0, 0x10, 0, 4, 0xff, 0x1f, 0];
    assert_eq!(two(&range, &[2, 0x41, 0x15, 0], 0), contested(0x1541, 0x60));
    assert_eq!(two(&[2, 0x41, 0x15, 0], &range, 0), contested(0x1541, 0x5c));
    assert_eq!(two(&range, &range, 0), contested(0x1000, 0x60));
    assert_eq!(two(&range, &[2, 0, 0x20, 0], 0), []);
    // At the seams of words and buses.
    for device in [
        0x1000u16, 0x103f, 0x1040, 0x10bf, 0x10c0, 0x10ff, 0x1100, 0x1fff,
    ] {
        let [low, high] = device.to_le_bytes();
        assert_eq!(two(&range, &[2, low, high, 0], 0), contested(device, 0x60));
    }
    for device in [0x0fffu16, 0x2000] {
        let [low, high] = device.to_le_bytes();
        assert_eq!(two(&range, &[2, low, high, 0], 0), []);
    }
    assert_eq!(two(&range, &range, 1), []);
    // Every device, and one of them: that is no contest.
    assert_eq!(two(&[1, 0, 0, 0], &range, 0), []);
    assert_eq!(two(&[1, 0, 0, 0], &[1, 0, 0, 0], 0), contested(0, 0x5c));
    // A unit may list a device twice.
    assert_eq!(two(&[range, range].concat(), &[], 0), []);
}

#[test]
fn too_many_units() {
    let many: Vec<u8> = (0..=MAX_UNITS as u64)
        .flat_map(|n| ivhd(0x10, n as u16, 0, 0x1_0000_0000 + n * 0x4000, &[]))
        .collect();
    assert_eq!(
        refusal(&many),
        (Kind::Ivhd10, 0x30 + MAX_UNITS * 24, Problem::TooManyUnits)
    );
    let bytes = table(&many[..MAX_UNITS * 24]);
    assert_eq!(Table::parse(&bytes).unwrap().units().count(), MAX_UNITS);
}

/// A message names what is wrong and where.
#[test]
fn messages() {
    let text = |blocks: &[u8]| Table::parse(&table(blocks)).unwrap_err().to_string();
    assert_eq!(
        text(&one(&[3, 0x10, 0, 0, 4, 0x0f, 0, 0])),
        "IVHD of type 40h at offset 0x30: device entry at offset 0x5c: the range 00:02.0-00:01.7 \
         ends before it starts"
    );
    assert_eq!(
        text(&ivmd(0x21, 1, (0, 0), 0x1000, u64::MAX)),
        "IVMD of type 21h at offset 0x30: the region of 0xffffffffffffffff bytes at 0x1000 reaches \
         past the end of the address space"
    );
    assert_eq!(
        text(&[0x99, 0, 0, 0]),
        "block of type 99h at offset 0x30: length 0 would never end"
    );
    let both = [ivhd(0x11, 2, 7, BASE, &[]), ivhd(0x11, 2, 7, BASE, &[])].concat();
    assert_eq!(
        text(&both),
        "IVHD of type 11h at offset 0x58: a second block of this kind for unit 0007:00:00.2, the \
         first is at offset 0x30"
    );
    assert_eq!(
        warnings(
            &[
                one(&[1, 0, 0, 0]),
                ivhd(0x40, 3, 0, BASE + 0x4000, &[1, 0, 0, 0])
            ]
            .concat()
        )[0]
        .to_string(),
        "the units at offsets 0x30 and 0x5c both claim device 0000:00:00.0; the first one gets it"
    );

    // Every problem has words of its own.
    let problems = [
        Problem::Signature,
        Problem::TableTruncated { claims: 1, has: 0 },
        Problem::TooLong { claims: 1 },
        Problem::TooShort {
            claims: 1,
            needs: 2,
        },
        Problem::PastTable { claims: 1, left: 0 },
        Problem::Checksum { sum: 1 },
        Problem::AddressWidth { bits: 65 },
        Problem::BaseImpossible { base: 1 },
        Problem::BaseMisaligned { base: 1 },
        Problem::BaseWraps { base: 1 },
        Problem::UnitsOverlap { base: 1, other: 1 },
        Problem::TooManyUnits,
        Problem::EntryPastBlock { claims: 1, left: 0 },
        Problem::EntryLength { value: 255 },
        Problem::RangeNotEnded { first: 1 },
        Problem::RangeNotStarted { last: 1 },
        Problem::RegionEmpty { base: 1 },
    ];
    let mut texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(texts.iter().all(|text| !text.is_empty()));
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), problems.len());
}

/// Every length a table can be cut to: it parses if and only if it ends with a block.
#[test]
fn every_truncation() {
    for whole in [QEMU.to_vec(), LAPTOP.to_vec(), table(SERVER)] {
        let ends: Vec<usize> = {
            let mut ends = vec![48];
            let mut at = 48;
            while at < whole.len() {
                at += usize::from(u16::from_le_bytes([whole[at + 2], whole[at + 3]]));
                ends.push(at);
            }
            ends
        };
        assert_eq!(ends.last(), Some(&whole.len()));
        for len in 48..=whole.len() {
            let mut bytes = whole[..len].to_vec();
            bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
            fix_sum(&mut bytes);
            let parsed = Table::parse(&bytes);
            assert_eq!(parsed.is_ok(), ends.contains(&len), "length {len:#x}");
            parsed.map(walk).ok();
        }
    }
}

/// Every byte of a good table with every value.
#[test]
fn every_byte_with_every_value() {
    for whole in [QEMU.to_vec(), LAPTOP.to_vec(), table(SERVER)] {
        for at in 4..whole.len() {
            for value in 0..=255 {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fix_sum(&mut bytes);
                let all = value % 16 == whole[at] % 16;
                Table::parse(&bytes).map(if all { walk } else { look }).ok();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any bytes at all.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        Table::parse(&bytes).map(walk).ok();
    }

    /// Any bytes after a good header, so that the sum does not end it.
    #[test]
    fn any_blocks(blocks in prop::collection::vec(any::<u8>(), 0..512)) {
        Table::parse(&table(&blocks)).map(walk).ok();
    }

    /// Any bytes as the device entries of a good unit.
    #[test]
    fn any_entries(
        kind in prop_oneof![Just(0x10u8), Just(0x11), Just(0x40)],
        entries in prop::collection::vec(any::<u8>(), 0..128),
    ) {
        Table::parse(&table(&ivhd(kind, 2, 0, BASE, &entries))).map(walk).ok();
    }

    /// Several changes to a good table: bytes set, cut out and put in.
    #[test]
    fn mutated_tables(
        server in any::<bool>(),
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 1..8),
    ) {
        let mut blocks = if server { SERVER } else { &LAPTOP[48..] }.to_vec();
        for (how, at, value) in changes {
            let at = at % blocks.len().max(1);
            match how % 4 {
                0 => blocks.insert(at, value),
                1 if !blocks.is_empty() => { blocks.remove(at); }
                _ if !blocks.is_empty() => blocks[at] = value,
                _ => {}
            }
        }
        let bytes = table(&blocks);
        match Table::parse(&bytes) {
            // What is accepted accounts for every byte.
            Ok(parsed) => {
                walk(parsed);
                let mut at = 48;
                for _ in parsed.blocks() {
                    at += usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
                }
                prop_assert_eq!(at, bytes.len());
            }
            // What is refused is refused at a place inside the table, in words.
            Err(error) => {
                prop_assert!(error.offset < bytes.len());
                prop_assert!(error.entry.is_none_or(|at| error.offset < at && at < bytes.len()));
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    /// Blocks that are put together at random come out as they went in.
    #[test]
    fn composed_tables(
        units in prop::collection::vec(
            (
                any::<u16>(),
                prop_oneof![Just(0x10u8), Just(0x11), Just(0x40)],
                prop::collection::vec(
                    (any::<u16>(), any::<u16>(), any::<Option<u16>>(), any::<u8>()),
                    0..6,
                ),
            ),
            0..8,
        ),
        regions in prop::collection::vec((any::<u16>(), 0u64..1 << 40, 1u64..1 << 10), 0..4),
    ) {
        let mut blocks = Vec::new();
        let mut expected = Vec::new();
        for (n, (segment, kind, entries)) in units.iter().enumerate() {
            let mut bytes = Vec::new();
            let mut list = Vec::new();
            for (one, other, alias, settings) in entries {
                let (first, last) = (*one.min(other), *one.max(other));
                let start = if alias.is_some() { 0x43 } else { 3 };
                bytes.push(start);
                bytes.extend_from_slice(&first.to_le_bytes());
                bytes.push(*settings);
                if let Some(alias) = alias {
                    bytes.push(0);
                    bytes.extend_from_slice(&alias.to_le_bytes());
                    bytes.push(0);
                }
                bytes.push(4);
                bytes.extend_from_slice(&last.to_le_bytes());
                bytes.push(0);
                list.push(DeviceEntry::Devices(Devices {
                    alias: *alias,
                    settings: Settings(*settings),
                    ..devices(first, last)
                }));
            }
            let base = (n as u64 + 1) << 24;
            blocks.extend(ivhd(*kind, n as u16, *segment, base, &bytes));
            expected.push((*segment, base, list));
        }
        for (device, page, pages) in &regions {
            blocks.extend(ivmd(0x21, 7, (*device, 0), page << 12, pages << 12));
        }
        let bytes = table(&blocks);
        let parsed = Table::parse(&bytes).unwrap();
        walk(parsed);
        let found: Vec<_> = parsed
            .units()
            .map(|unit| (unit.segment(), unit.base(), unit.entries().collect::<Vec<_>>()))
            .collect();
        prop_assert_eq!(found, expected);
        let found: Vec<_> = parsed
            .regions()
            .map(|r| (r.devices().0, r.base() >> 12, (r.limit() + 1 - r.base()) >> 12))
            .collect();
        prop_assert_eq!(found, regions);
    }
}
