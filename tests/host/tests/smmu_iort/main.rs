// SPDX-License-Identifier: GPL-2.0

//! The IORT parser on good and on unusual tables; `bad` and `random` test other tables.

mod bad;
mod random;
#[path = "../smmu/mod.rs"]
mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable;
use smmu::{
    iort::{Error, Kind, Model, Problem, Rmr, Stream, Table, Warning, MAX_MAPPINGS, MAX_NODES},
    records::capability::FlagUpdates,
};

/// The table of QEMU 11.1 with `-M virt,iommu=smmuv3,gic-version=3` and one bus, with the checksum
/// that firmware fills in.
#[rustfmt::skip]
const QEMU: [u8; 236] = [
    // Header: length 236, revision 5, three nodes from offset 48 on.
    0x49, 0x4f, 0x52, 0x54, 0xec, 0, 0, 0, 5, 0x56, 0x42, 0x4f, 0x43, 0x48, 0x53, 0x20,
    0x42, 0x58, 0x50, 0x43, 0x20, 0x20, 0x20, 0x20, 1, 0, 0, 0, 0x42, 0x58, 0x50, 0x43,
    1, 0, 0, 0, 3, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0,
    // ITS group at 48: one translator, number 0.
    0, 0x18, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    // SMMUv3 at 72, revision 4, one mapping at 68.
    4, 0x58, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0x44, 0, 0, 0, 0, 0, 5, 9,
    0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0x6a, 0, 0, 0, 0x6b, 0, 0, 0, 0x6d, 0, 0, 0, 0x6c, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0,
    0x30, 0, 0, 0, 0, 0, 0, 0,
    // Root complex at 160, revision 3, two mappings at 36.
    2, 0x4c, 0, 3, 2, 0, 0, 0, 2, 0, 0, 0, 0x24, 0, 0, 0, 1, 0, 0, 0,
    0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0,
    0xff, 0, 0, 0, 0, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0,
    0xff, 0xfe, 0, 0, 0, 1, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0,
];

const SINGLE: u32 = 1;

/// A mapping: first id, number of ids minus 1, first output id, reference, flags.
type Map = (u32, u32, u32, u32, u32);

/// A node of a type and revision: its 16-byte header, its body, and its mappings.
fn node(kind: u8, revision: u8, body: &[u8], maps: &[Map]) -> Vec<u8> {
    let start = 16 + body.len();
    let len = (start + 20 * maps.len()) as u16;
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.push(revision);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(maps.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(start as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    for (input, more, output, reference, flags) in maps {
        for word in [input, more, output, reference, flags] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

fn its(numbers: &[u32]) -> Vec<u8> {
    let mut body = (numbers.len() as u32).to_le_bytes().to_vec();
    body.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    node(0, 1, &body, &[])
}

fn named(flags: u32, path: &str, maps: &[Map]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 8]);
    body.push(40);
    body.extend_from_slice(path.as_bytes());
    body.push(0);
    node(1, 4, &body, maps)
}

fn root(segment: u32, ats: u32, maps: &[Map]) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&ats.to_le_bytes());
    body.extend_from_slice(&segment.to_le_bytes());
    body.extend_from_slice(&[64, 0, 0, 0]);
    node(2, 3, &body, maps)
}

/// A unit: revision, base, flags, model, the four wired interrupts, proximity domain and mapping
/// index.
struct Unit {
    revision: u8,
    base: u64,
    flags: u32,
    model: u32,
    wires: [u32; 4],
    domain: u32,
    index: u32,
}

const UNIT: Unit = Unit {
    revision: 5,
    base: 0x1_0000_0000,
    flags: 0,
    model: 0,
    wires: [0; 4],
    domain: 0,
    index: 0,
};

fn unit(unit: &Unit, maps: &[Map]) -> Vec<u8> {
    let mut body = unit.base.to_le_bytes().to_vec();
    body.extend_from_slice(&unit.flags.to_le_bytes());
    body.extend_from_slice(&[0; 12]);
    body.extend_from_slice(&unit.model.to_le_bytes());
    body.extend(unit.wires.iter().flat_map(|wire| wire.to_le_bytes()));
    body.extend_from_slice(&unit.domain.to_le_bytes());
    body.extend_from_slice(&unit.index.to_le_bytes());
    node(4, unit.revision, &body, maps)
}

/// Reserved memory: flags, ranges, then the mappings.
fn rmr(flags: u32, ranges: &[(u64, u64)], maps: &[Map]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend_from_slice(&(ranges.len() as u32).to_le_bytes());
    body.extend_from_slice(&28u32.to_le_bytes());
    for (base, length) in ranges {
        body.extend_from_slice(&base.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
    }
    node(6, 3, &body, maps)
}

fn fix_sum(bytes: &mut [u8]) {
    bytes[9] = 0;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[9] = sum.wrapping_neg();
}

/// A table of these nodes; the first is at offset 48.
fn table_of(revision: u8, nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"IORT".to_vec();
    bytes.resize(48, 0);
    for node in nodes {
        bytes.extend_from_slice(node);
    }
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8] = revision;
    bytes[36..40].copy_from_slice(&(nodes.len() as u32).to_le_bytes());
    bytes[40..44].copy_from_slice(&48u32.to_le_bytes());
    fix_sum(&mut bytes);
    bytes
}

fn table(nodes: &[Vec<u8>]) -> Vec<u8> {
    table_of(6, nodes)
}

fn refused(bytes: &[u8]) -> Error {
    Table::parse(bytes).expect_err("the table must be refused")
}

fn refusal(nodes: &[Vec<u8>]) -> (Kind, usize, Problem) {
    let error = refused(&table(nodes));
    (error.kind, error.offset, error.problem)
}

fn warnings(revision: u8, nodes: &[Vec<u8>]) -> Vec<Warning> {
    let bytes = table_of(revision, nodes);
    let warnings = Table::parse(&bytes).unwrap().warnings().collect();
    warnings
}

/// The reserved memory ranges that the device with this stream id uses.
fn rmrs_of<'a>(table: Table<'a>, stream: Stream<'a>) -> Vec<Rmr<'a>> {
    table
        .rmrs()
        .filter(|rmr| rmr.concerns(stream.unit.offset(), stream.id))
        .collect()
}

/// Reads everything in the table, to find panics.
fn walk(table: Table<'_>) -> usize {
    let mut seen = table.warnings().map(|w| w.to_string().len()).sum::<usize>();
    for node in table.nodes() {
        seen += node.kind().to_string().len();
        if let Some(unit) = node.as_unit() {
            assert!(unit.base().checked_add(unit.window() - 1).is_some());
            assert_eq!(table.unit_at(unit.base()).unwrap().offset(), unit.offset());
            let _ = (unit.coherent(), unit.flag_updates());
            seen += usize::from(unit.message_mapping().is_some());
        }
        if let Some(root) = node.as_root_complex() {
            for id in [0, 1, 0x100, 0xffff, u32::MAX] {
                if let Some(stream) = table.stream_of_pci(root.segment(), id) {
                    seen += rmrs_of(table, stream).len();
                }
            }
            seen += usize::from(root.device_tlb());
        }
        if let Some(device) = node.as_named() {
            assert!(!device.path().is_empty());
            assert!(table.named(device.path()).is_some());
            seen += table.streams_of_named(device).count();
        }
        if let Some(rmr) = node.as_rmr() {
            for region in rmr.regions() {
                assert!(region.first() < region.last());
                assert_eq!(region.first() % 4096, 0);
                assert_eq!(region.last() % 4096, 4095);
            }
        }
    }
    seen
}

#[test]
fn qemu_table() {
    let table = Table::parse(&QEMU).unwrap();
    assert_eq!(table.revision(), 5);
    assert_eq!(table.warnings().count(), 0);
    let kinds: Vec<_> = table.nodes().map(|n| (n.kind(), n.offset())).collect();
    assert_eq!(
        kinds,
        [
            (Kind::ItsGroup, 48),
            (Kind::SmmuV3, 72),
            (Kind::RootComplex, 160)
        ]
    );

    let unit = table.units().next().unwrap();
    assert_eq!((unit.base(), unit.window()), (0x0905_0000, 0x2_0000));
    assert_eq!(unit.model(), Model::Generic);
    assert!(unit.coherent());
    assert_eq!(unit.flag_updates(), FlagUpdates::None);
    assert_eq!(unit.message_mapping(), None);

    let stream = table.stream_of_pci(0, 0xf8).unwrap();
    assert_eq!((stream.unit.offset(), stream.id), (72, 0xf8));
    // All other buses are connected to the interrupt translator without a unit.
    assert!(table.stream_of_pci(0, 0x100).is_none());
    assert!(table.stream_of_pci(0, 0x1_0000).is_none());
    assert!(table.stream_of_pci(1, 0).is_none());
    let root = table.root_complex(0).unwrap();
    assert!(!root.device_tlb());
    assert_eq!(table.rmrs().count(), 0);
    assert!(walk(table) > 0);

    // The buffer is longer than the table.
    let mut longer = QEMU.to_vec();
    longer.extend_from_slice(&[0xaa; 100]);
    assert_eq!(Table::parse(&longer).unwrap().nodes().count(), 3);
}

/// A machine with two units, devices with names, counters, and firmware that keeps using memory.
fn server() -> Vec<u8> {
    let first = Unit {
        flags: 1 | 2 << 1 | 1 << 3 | 1 << 4,
        wires: [0, 0, 77, 0],
        domain: 3,
        index: 1,
        ..UNIT
    };
    let second = Unit {
        base: 0x1_0002_0000,
        model: 1,
        flags: 1 << 1,
        ..UNIT
    };
    // Offsets: 48 group (28), 76 unit (68 + 40), 184 unit (68 + 20), 272 ...
    table(&[
        its(&[4, 9]),
        unit(
            &first,
            &[(0, 0xffff, 0x10000, 48, 0), (0, 0, 0xbeef, 48, SINGLE)],
        ),
        unit(&second, &[(0, 0xffff_fffe, 0, 48, 0)]),
        // Buses 0 and 1 are behind the first unit, bus 2 behind the second, bus 3 behind none.
        root(
            0,
            1,
            &[
                (0, 0x1ff, 0x800, 76, 0),
                (0x200, 0xff, 0x4000_0000, 184, 0),
                (0x300, 0xff, 0x300, 48, 0),
            ],
        ),
        named(
            1 | 20 << 1,
            "\\_SB.DMA0",
            &[(0, 0, 0x50, 76, SINGLE), (0, 0, 0x51, 184, SINGLE)],
        ),
        named(0, "\\_SB.BUS0", &[(0x10, 0xf, 0x90, 184, 0)]),
        node(3, 0, &[0; 60], &[]),
        node(5, 1, &[0; 24], &[(0, 0, 1, 48, SINGLE)]),
        node(
            7,
            0,
            b"\0\0\0\0\0\0\0\0\x01\0\\_SB.IWB0\0",
            &[(0, 9, 0, 48, 0)],
        ),
        node(0x55, 0, b"whatever", &[(0, 1, 2, 3, 4)]),
        rmr(
            1,
            &[(0x8000_0000, 0x1_0000), (0x9000_0000, 0x1000)],
            &[(0, 1, 0x808, 76, 0), (0, 0, 0x4000_0000, 184, SINGLE)],
        ),
        rmr(
            2 | 5 << 2,
            &[(0xa000_0000, 0x1_0000)],
            &[(0, 0, 0x808, 184, 0)],
        ),
    ])
}

#[test]
fn server_table() {
    let bytes = server();
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.warnings().collect::<Vec<_>>(), []);
    let units: Vec<_> = table.units().collect();
    assert_eq!(units.len(), 2);
    assert_eq!((units[0].offset(), units[1].offset()), (76, 184));

    assert!(units[0].coherent() && !units[1].coherent());
    assert_eq!(units[0].flag_updates(), FlagUpdates::AccessDirty);
    assert_eq!(units[1].flag_updates(), FlagUpdates::Access);
    assert_eq!(units[0].message_mapping(), Some(1));
    assert_eq!(units[1].message_mapping(), None);
    assert_eq!(units[1].model(), Model::HisiliconHi161x);

    let pci = |id| table.stream_of_pci(0, id).map(|s| (s.unit.offset(), s.id));
    assert_eq!(pci(0), Some((76, 0x800)));
    assert_eq!(pci(0x1ff), Some((76, 0x9ff)));
    assert_eq!(pci(0x200), Some((184, 0x4000_0000)));
    assert_eq!(pci(0x2ff), Some((184, 0x4000_00ff)));
    assert_eq!(pci(0x300), None);
    assert_eq!(pci(0x400), None);
    let root = table.root_complex(0).unwrap();
    assert!(root.device_tlb());

    let device = table.named(b"\\_SB.DMA0").unwrap();
    let streams = table.streams_of_named(device);
    let streams: Vec<_> = streams.map(|s| (s.unit.offset(), s.id)).collect();
    assert_eq!(streams, [(76, 0x50), (184, 0x51)]);
    let bus = table.named(b"\\_SB.BUS0").unwrap();
    assert_eq!(table.streams_of_named(bus).count(), 0);
    assert!(table.named(b"\\_SB.DMA").is_none());

    // 0x800 + 8 and 9 of the first unit. The same ids at the second unit belong to other devices.
    let regions = |id| -> Vec<_> {
        let stream = table.stream_of_pci(0, id).unwrap();
        rmrs_of(table, stream)
            .into_iter()
            .flat_map(|rmr| {
                rmr.regions()
                    .map(|r| (r.first(), r.last()))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let both = [(0x8000_0000, 0x8000_ffff), (0x9000_0000, 0x9000_0fff)];
    assert_eq!(regions(8), both);
    assert_eq!(regions(9), both);
    assert_eq!(regions(0x0a), []);
    assert_eq!(regions(0x200), both);
    assert_eq!(regions(0x201), []);
    let rmrs: Vec<_> = table.rmrs().collect();
    assert!(rmrs[0].is_relaxable() && rmrs[0].is_device_memory());
    assert!(!rmrs[0].is_privileged() && !rmrs[0].is_cached());
    assert!(!rmrs[1].is_relaxable() && rmrs[1].is_privileged() && rmrs[1].is_cached());
    walk(table);
}

/// Old revisions of a unit's node, and vendor-specific units.
#[test]
fn units_of_all_revisions() {
    let group = its(&[0]);
    let parse = |bytes: Vec<u8>| {
        let bytes = table(&[group.clone(), bytes]);
        let found = Table::parse(&bytes).unwrap().units().next().unwrap();
        (found.window(), found.message_mapping())
    };
    // Revision 0 ends before the proximity domain and the index of the mapping.
    let mut old = unit(
        &Unit {
            revision: 0,
            flags: 1 << 3,
            ..UNIT
        },
        &[],
    );
    old.truncate(60);
    old[1..3].copy_from_slice(&60u16.to_le_bytes());
    assert_eq!(parse(old), (0x2_0000, None));

    // Up to revision 4 the mapping index is used if any interrupt is not wired.
    let maps = [(0, 0, 7, 48, SINGLE)];
    let message = |revision, wires, flags| {
        let unit = unit(
            &Unit {
                revision,
                wires,
                flags,
                ..UNIT
            },
            &maps,
        );
        parse(unit).1
    };
    assert_eq!(message(0, [1, 1, 1, 0], 1 << 4), None);
    assert_eq!(message(1, [1, 1, 1, 0], 0), Some(0));
    assert_eq!(message(4, [1, 1, 1, 1], 0), None);
    assert_eq!(message(5, [1, 1, 1, 0], 0), None);
    assert_eq!(message(5, [1, 1, 1, 1], 1 << 4), Some(0));

    let cavium = unit(&Unit { model: 2, ..UNIT }, &[]);
    assert_eq!(parse(cavium), (0x1_0000, None));
    let bytes = table(&[unit(&Unit { model: 9, ..UNIT }, &[])]);
    let found = Table::parse(&bytes).unwrap().units().next().unwrap();
    assert_eq!(found.model(), Model::Unknown(9));
}

/// Firmware whose mapping has one id too many: the id belongs to the mapping that begins with it.
#[test]
fn one_id_too_many() {
    let nodes = |order: bool| {
        let mut maps = vec![(0, 0x100, 0, 48, 0), (0x100, 0xff, 0x1100, 136, 0)];
        if !order {
            maps.reverse();
        }
        let other = Unit {
            base: 0x2_0000_0000,
            ..UNIT
        };
        // 48 unit (68), 116 group (20), 136 unit (68), 204 root.
        [
            unit(&UNIT, &[]),
            its(&[]),
            unit(&other, &[]),
            root(0, 0, &maps),
        ]
    };
    for order in [true, false] {
        let bytes = table(&nodes(order));
        let table = Table::parse(&bytes).unwrap();
        let at = |id| table.stream_of_pci(0, id).map(|s| (s.unit.offset(), s.id));
        assert_eq!(at(0xff), Some((48, 0xff)));
        assert_eq!(at(0x100), Some((136, 0x1100)));
        assert_eq!(at(0x1ff), Some((136, 0x11ff)));
        assert_eq!(
            table.warnings().collect::<Vec<_>>(),
            [Warning::MappingsOverlap {
                kind: Kind::RootComplex,
                first: 204 + 36,
                second: 204 + 56
            }]
        );
    }
    // Mappings that share more than one id: the first mapping is used.
    let bytes = table(&[
        unit(&UNIT, &[]),
        root(0, 0, &[(0, 0x100, 0, 48, 0), (0xf0, 0xff, 0x1100, 48, 0)]),
    ]);
    let table = Table::parse(&bytes).unwrap();
    let at = |id| table.stream_of_pci(0, id).map(|s| s.id);
    assert_eq!(at(0xf8), Some(0xf8));
    assert_eq!(at(0xf0), Some(0xf0));
    assert_eq!(at(0x100), Some(0x100));
    assert_eq!(at(0x101), Some(0x1111));
    assert_eq!(table.warnings().count(), 1);
}

/// A mapping with a single id in a root complex applies to all ids.
#[test]
fn one_stream_for_a_segment() {
    let bytes = table(&[unit(&UNIT, &[]), root(7, 0, &[(0, 0, 0x42, 48, SINGLE)])]);
    let table = Table::parse(&bytes).unwrap();
    for id in [0, 0x1234, 0xffff] {
        assert_eq!(table.stream_of_pci(7, id).unwrap().id, 0x42);
    }
}

#[test]
fn odd_tables() {
    let plain = || unit(&UNIT, &[]);
    assert_eq!(
        warnings(6, &[plain(), root(1, 0, &[]), root(1, 0, &[])]),
        [Warning::SecondRootComplex {
            segment: 1,
            offset: 116 + 36
        }]
    );
    let index = Unit {
        flags: 1 << 4,
        index: 2,
        ..UNIT
    };
    assert_eq!(
        warnings(6, &[its(&[]), unit(&index, &[(0, 0, 0, 48, SINGLE)])]),
        [Warning::MappingIndex {
            offset: 68,
            index: 2
        }]
    );
    assert_eq!(
        warnings(4, &[rmr(0, &[(0x1000, 0x1000)], &[])]),
        [Warning::RegionsTooOld {
            offset: 48,
            revision: 4
        }]
    );
    let bytes = table_of(4, &[rmr(0, &[(0x1000, 0x1000)], &[])]);
    assert_eq!(Table::parse(&bytes).unwrap().rmrs().count(), 0);

    let odd = [(0x1000, 0), (0x2800, 0x1000), (0x3fff, 1), (0x8000, 0x1000)];
    let offset = |n: usize| 48 + 28 + 20 * n;
    assert_eq!(
        warnings(6, &[rmr(0, &odd, &[])]),
        [
            Warning::RegionEmpty {
                offset: offset(0),
                base: 0x1000
            },
            Warning::RegionMisaligned {
                offset: offset(1),
                base: 0x2800,
                length: 0x1000
            },
            Warning::RegionMisaligned {
                offset: offset(2),
                base: 0x3fff,
                length: 1
            },
            Warning::RegionsOverlap {
                first: offset(1),
                second: offset(2)
            },
        ]
    );
    let bytes = table(&[rmr(0, &odd, &[])]);
    let node = Table::parse(&bytes).unwrap().rmrs().next().unwrap();
    let regions: Vec<_> = node.regions().map(|r| (r.first(), r.last())).collect();
    assert_eq!(
        regions,
        [(0x2000, 0x3fff), (0x3000, 0x3fff), (0x8000, 0x8fff)]
    );
    assert_eq!(
        warnings(6, &[its(&[]), node3(&[(0, 0, 0, 48, SINGLE)])]),
        [Warning::SingleUnexpected {
            kind: Kind::Smmu,
            offset: 68 + 60
        }]
    );
    for warning in warnings(6, &[rmr(0, &odd, &[])]) {
        assert!(warning.to_string().starts_with("RMR: the memory range"));
    }
    // A table without nodes is valid.
    let bytes = table(&[]);
    assert_eq!(Table::parse(&bytes).unwrap().nodes().count(), 0);
}

/// A unit of an older architecture.
fn node3(maps: &[Map]) -> Vec<u8> {
    node(3, 0, &[0; 44], maps)
}
