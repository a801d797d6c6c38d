// SPDX-License-Identifier: GPL-2.0

//! The IVRS parser on good tables; `bad` and `random` test other tables.

#[path = "../amd/mod.rs"]
mod amd;
mod bad;
mod random;
#[allow(dead_code)]
#[path = "../../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use amd::{
    ivrs::{
        Block, DeviceEntry, Devices, Info, Kind, Named, Oddity, Problem, Settings, Special, Table,
        UniqueId, Usage, Variety, MAX_LEN, MAX_UNITS,
    },
    tables::{fix_sum, table, LAPTOP, QEMU, SERVER},
    Checked,
};
use drivers::shell::acpi_structures::{BadLength, HeaderRefusal};

fn refusal(blocks: &[u8]) -> (Kind, usize, Problem) {
    let bytes = table(blocks);
    let error = Table::count(&bytes).expect_err("the table must be refused");
    (error.kind, error.offset, error.problem)
}

/// A hardware definition: type 10h has no feature images, types 11h and 40h do.
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

/// Reads everything in the table, to find panics.
fn walk(checked: Checked<'_>) -> usize {
    assert!(checked.words.iter().all(|words| !words.is_empty()));
    let table = checked.table();
    assert!(table.units().count() <= table.described().count());
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
    let checked = Checked::new(&QEMU).unwrap();
    let table = checked.table();
    let info = table.info();
    assert!(info.feature_images() && !info.preboot_protection() && !info.ht_ats_reserved());
    assert_eq!((info.physical_bits(), info.virtual_bits()), (40, 0));
    assert_eq!(checked.words, [] as [&str; 0]);
    assert_eq!(table.blocks().count(), 2);

    // Each unit once, described by its most detailed block.
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
    let checked = Checked::new(&LAPTOP).unwrap();
    let table = checked.table();
    let info = table.info();
    assert!(info.feature_images() && info.preboot_protection());
    assert_eq!((info.physical_bits(), info.virtual_bits()), (48, 64));
    assert_eq!(checked.words, [] as [&str; 0]);

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
    let checked = Checked::new(&bytes).unwrap();
    let table = checked.table();
    assert_eq!(checked.words, [] as [&str; 0]);
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

/// Which values the parser uses as extended feature registers: the fields of type 10h, the images
/// of 11h and 40h, or the registers themselves if the header says that neither is valid.
#[test]
fn features() {
    let bytes = table(SERVER);
    let checked = Checked::new(&bytes).unwrap();
    let table = checked.table();
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

/// The most capable block of a unit is used, in any order of the blocks.
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
        let checked = Checked::new(&bytes).unwrap();
        let table = checked.table();
        let units: Vec<_> = table.units().map(|unit| unit.kind()).collect();
        assert_eq!(units, [best]);
    }
    // Segment and device id identify a unit.
    let bytes = table(
        &[
            ivhd(0x10, 2, 0, BASE, &[]),
            ivhd(0x11, 2, 1, BASE + 0x4000, &[]),
            ivhd(0x40, 3, 0, BASE + 0x8000, &[]),
        ]
        .concat(),
    );
    assert_eq!(Checked::new(&bytes).unwrap().table().units().count(), 3);
}

#[test]
fn a_table_without_units_is_well_formed() {
    let bytes = table(&[]);
    assert_eq!(Checked::new(&bytes).unwrap().table().blocks().count(), 0);
}

#[test]
fn bytes_after_the_table_are_not_looked_at() {
    let mut bytes = QEMU.to_vec();
    bytes.extend_from_slice(&[0xff; 7]);
    assert_eq!(Checked::new(&bytes).unwrap().table().blocks().count(), 2);
}
