// SPDX-License-Identifier: GPL-2.0

//! The IORT parser on good and on unusual tables; `bad` and `random` test other tables.

mod bad;
mod random;
#[path = "../smmu/mod.rs"]
mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use drivers::shell::acpi_structures::{BadLength, HeaderRefusal};
use iommu_core_host::pgtable;
use smmu::{
    iort::{Elements, Error, Kind, Model, Oddity, Rmr, Stream, Table},
    records::capability::FlagUpdates,
    tables::{self, *},
    Checked,
};

/// A table that is accepted, for as long as the test runs.
fn checked(bytes: Vec<u8>) -> &'static Checked<'static> {
    let checked = Checked::new(bytes.leak()).expect("the table must be accepted");
    Box::leak(Box::new(checked))
}

/// What is odd in a table of these nodes: kind, offset of the node, of the element, and what.
fn odd_of(revision: u8, nodes: &[Vec<u8>]) -> Vec<(Kind, usize, Option<usize>, Oddity)> {
    let odd = checked(table_of(revision, nodes)).odd.iter();
    odd.map(|warning| {
        (
            warning.kind,
            warning.offset,
            warning.element,
            warning.oddity,
        )
    })
    .collect()
}

fn odd(nodes: &[Vec<u8>]) -> Vec<(Kind, usize, Option<usize>, Oddity)> {
    odd_of(6, nodes)
}

/// The reserved memory ranges that the device with this stream id uses.
fn rmrs_of<'a>(table: Table<'a>, stream: Stream<'a>) -> Vec<Rmr<'a>> {
    table
        .rmrs()
        .filter(|rmr| table.concerns(*rmr, stream.unit.base(), stream.id))
        .collect()
}

/// Reads everything in the table, to find panics.
fn walk(checked: &Checked<'_>) -> usize {
    assert!(checked.words.iter().all(|words| !words.is_empty()));
    let table = checked.table();
    let mut seen = 0;
    for node in table.nodes() {
        seen += node.kind().to_string().len();
        if let Some(unit) = node.as_unit() {
            assert!(unit.base().checked_add(unit.window() - 1).is_some());
            assert!(table.unit_at(unit.base()).unwrap().offset() <= unit.offset());
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
    let checked = Checked::new(&QEMU).unwrap();
    let table = checked.table();
    assert_eq!(table.revision(), 5);
    assert_eq!(checked.odd, []);
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
    assert!(walk(&checked) > 0);

    // The buffer is longer than the table.
    let mut longer = QEMU.to_vec();
    longer.extend_from_slice(&[0xaa; 100]);
    assert_eq!(Checked::new(&longer).unwrap().table().nodes().count(), 3);
}

#[test]
fn server_table() {
    let checked = checked(server());
    let table = checked.table();
    assert_eq!(checked.odd, []);
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
    walk(checked);
}

/// Old revisions of a unit's node, and vendor-specific units.
#[test]
fn units_of_all_revisions() {
    let group = its(&[0]);
    let parse = |bytes: Vec<u8>| {
        let checked = checked(table(&[group.clone(), bytes]));
        let found = checked.table().units().next().unwrap();
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
    let checked = checked(table(&[unit(&Unit { model: 9, ..UNIT }, &[])]));
    let found = checked.table().units().next().unwrap();
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
        let table = checked(table(&nodes(order))).table();
        let at = |id| table.stream_of_pci(0, id).map(|s| (s.unit.offset(), s.id));
        assert_eq!(at(0xff), Some((48, 0xff)));
        assert_eq!(at(0x100), Some((136, 0x1100)));
        assert_eq!(at(0x1ff), Some((136, 0x11ff)));
        let (short, long) = match order {
            true => (204 + 36, 204 + 56),
            false => (204 + 56, 204 + 36),
        };
        let overlap = Oddity::MappingsOverlap { other: short };
        assert_eq!(
            odd(&nodes(order)),
            [(Kind::RootComplex, 204, Some(long), overlap)]
        );
    }
    // Mappings that share more than one id: the first mapping is used.
    let checked = checked(table(&[
        unit(&UNIT, &[]),
        root(0, 0, &[(0, 0x100, 0, 48, 0), (0xf0, 0xff, 0x1100, 48, 0)]),
    ]));
    let table = checked.table();
    let at = |id| table.stream_of_pci(0, id).map(|s| s.id);
    assert_eq!(at(0xf8), Some(0xf8));
    assert_eq!(at(0xf0), Some(0xf0));
    assert_eq!(at(0x100), Some(0x100));
    assert_eq!(at(0x101), Some(0x1111));
    assert_eq!(checked.odd.len(), 1);
}

/// A mapping with a single id in a root complex applies to all ids.
#[test]
fn one_stream_for_a_segment() {
    let maps = [(0, 0x10, 0, 48, 0), (0, 0, 0x42, 48, SINGLE)];
    let table = checked(table(&[unit(&UNIT, &[]), root(7, 0, &maps[1..])])).table();
    for id in [0, 0x1234, 0xffff] {
        assert_eq!(table.stream_of_pci(7, id).unwrap().id, 0x42);
    }
    // Behind one for some ids: theirs, but for the last, which may be one too many.
    let table = checked(tables::table(&[unit(&UNIT, &[]), root(7, 0, &maps)])).table();
    for (id, stream) in [(0xf, 0xf), (0x10, 0x42), (0x11, 0x42)] {
        assert_eq!(table.stream_of_pci(7, id).unwrap().id, stream);
    }
}
