// SPDX-License-Identifier: GPL-2.0

//! IORT tables that are refused, and those of which something is left out.

use super::*;

fn plain() -> Vec<u8> {
    unit(&UNIT, &[])
}

fn with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = QEMU.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    fix_sum(&mut bytes);
    bytes
}

/// A copy of a node with another number of 32 bits at an offset.
fn word(mut node: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
    node[at..at + 4].copy_from_slice(&value.to_le_bytes());
    node
}

/// A copy of a node that claims another length.
fn claims(mut node: Vec<u8>, len: u16) -> Vec<u8> {
    node[1..3].copy_from_slice(&len.to_le_bytes());
    node
}

#[test]
fn header_refusals() {
    let of = |bytes: &[u8]| Table::count(bytes).unwrap_err();
    let short = |claims| Error::Header(HeaderRefusal::TooShort { claims });

    assert_eq!(of(&QEMU[..47]), short(47));
    let truncated = HeaderRefusal::Truncated {
        claims: 236,
        has: 235,
    };
    assert_eq!(of(&QEMU[..235]), Error::Header(truncated));
    let expected = b"IORT";
    assert_eq!(
        of(&with(3, b"S")),
        Error::Header(HeaderRefusal::Signature { expected })
    );
    assert_eq!(of(&with(4, &[40, 0, 0, 0])), short(40));
    assert_eq!(of(&with(40, &[47])), Error::FirstNode { claims: 47 });
    assert_eq!(
        of(&with(40, &[47])).to_string(),
        "header at offset 0x0: the first node at offset 0x2f would be in the header"
    );
    // Without nodes it does not matter where the first is.
    let mut bytes = table(&[]);
    bytes[40] = 0;
    assert_eq!(checked(bytes).table().nodes().count(), 0);
}

/// Linux says so and goes on. Seen: the table that Xen makes for its first domain.
#[test]
fn a_wrong_sum() {
    let mut bytes = QEMU;
    bytes[9] += 3;
    let checked = checked(bytes.to_vec());
    assert_eq!(
        checked.words,
        ["header at offset 0x0: the bytes sum up to 0x03 instead of 0; what the table says may be \
          wrong"]
    );
    assert_eq!(checked.table().stream_of_pci(0, 8).unwrap().id, 8);
}

/// The nodes that there are count.
#[test]
fn fewer_nodes_than_claimed() {
    let missing = |bytes: Vec<u8>, claims, has| {
        let checked = checked(bytes);
        assert_eq!(checked.table().nodes().count(), has);
        assert_eq!(checked.odd.len(), 1);
        assert_eq!(checked.odd[0].oddity, Oddity::NodesMissing { claims, has });
    };
    missing(with(36, &[4]), 4, 3);
    missing(with(36, &[0xff, 0xff, 0xff, 0xff]), u32::MAX, 3);
    missing(with(40, &[0xff, 0xff, 0xff, 0xff]), 3, 0);
    // More nodes than claimed: the others are none, as in Linux.
    let checked = checked(with(36, &[2]));
    assert_eq!(checked.table().nodes().count(), 2);
    assert_eq!(checked.odd, []);
}

/// What cannot be found is left out, and what is before it is not.
#[test]
fn nodes_whose_end_cannot_be_found() {
    let rest = |node: Vec<u8>| {
        let nodes = [plain(), root(0, 0, &[(0, 9, 0, 48, 0)]), node];
        let checked = checked(table(&nodes));
        let table = checked.table();
        assert_eq!(table.nodes().count(), 2);
        assert_eq!(table.stream_of_pci(0, 3).unwrap().id, 3);
        let [missing, rest] = checked.odd[..] else {
            panic!("{:?}", checked.words);
        };
        assert_eq!(missing.oddity, Oddity::NodesMissing { claims: 3, has: 2 });
        assert_eq!(rest.offset, 116 + 56);
        (rest.kind, rest.oddity)
    };
    let short = |claims, needs| Oddity::Unreadable(BadLength::TooShort { claims, needs });
    let past = |claims, left| Oddity::Unreadable(BadLength::PastTable { claims, left });

    assert_eq!(rest(claims(plain(), 0)), (Kind::SmmuV3, short(0, 60)));
    assert_eq!(rest(claims(plain(), 15)), (Kind::SmmuV3, short(15, 60)));
    assert_eq!(rest(claims(plain(), 69)), (Kind::SmmuV3, past(69, 68)));
    assert_eq!(rest(vec![9; 15]), (Kind::Unknown(9), past(16, 15)));
    assert_eq!(
        rest(claims(node(0x99, 0, &[], &[]), 15)),
        (Kind::Unknown(0x99), short(15, 16))
    );
}

/// A node that is too short for its kind is left out; mappings to it lead nowhere.
#[test]
fn nodes_that_are_too_short() {
    let mut cut = plain();
    cut.truncate(59);
    let cut = claims(cut, 59);
    let too_short = BadLength::TooShort {
        claims: 59,
        needs: 60,
    };
    // 48 + 59 is the root complex, 107 + 76 the second unit.
    let nodes = [
        cut,
        root(0, 0, &[(0, 9, 0, 48, 0), (10, 9, 10, 183, 0)]),
        plain(),
    ];
    assert_eq!(
        odd(&nodes),
        [(Kind::SmmuV3, 48, None, Oddity::LeftOut(too_short))]
    );
    let table = checked(table(&nodes)).table();
    assert_eq!(table.units().count(), 1);
    assert!(table.stream_of_pci(0, 0).is_none());
    assert_eq!(table.stream_of_pci(0, 10).unwrap().id, 10);
}

/// Units whose registers cannot be where the table says are left out.
#[test]
fn register_bases() {
    let based = |base| {
        let nodes = [
            unit(&Unit { base, ..UNIT }, &[]),
            root(0, 0, &[(0, 9, 0, 48, 0)]),
        ];
        let checked = checked(table(&nodes));
        let [warning] = checked.odd[..] else {
            panic!("{:?}", checked.words);
        };
        let found = checked.table().stream_of_pci(0, 1).map(|s| s.unit.base());
        assert_eq!((warning.kind, warning.offset), (Kind::SmmuV3, 48));
        (warning.oddity, found)
    };
    for base in [0, u64::MAX] {
        assert_eq!(based(base), (Oddity::BaseImpossible { base }, None));
    }
    let base = u64::MAX - 0xffff;
    assert_eq!(based(base), (Oddity::BaseWraps { base }, None));
    // Linux does not look.
    let base = 0x1_8000;
    assert_eq!(based(base), (Oddity::BaseMisaligned { base }, Some(base)));
}

#[test]
fn units_that_share_registers() {
    let near = Unit {
        base: UNIT.base + 0x1_0000,
        ..UNIT
    };
    let overlap = Oddity::WindowsOverlap {
        base: near.base,
        other: 48,
    };
    let nodes = [plain(), unit(&near, &[])];
    assert_eq!(odd(&nodes), [(Kind::SmmuV3, 116, None, overlap)]);
    assert_eq!(checked(table(&nodes)).table().units().count(), 2);

    // Two nodes for one unit: the devices and the memory of both are behind it.
    let nodes = [
        plain(),
        plain(),
        root(0, 0, &[(0, 9, 0, 48, 0), (10, 9, 10, 116, 0)]),
        rmr(0, &[(0x1000, 0x1000)], &[(0, 0, 3, 116, 0)]),
        rmr(0, &[(0x2000, 0x1000)], &[(0, 0, 3, 48, 0)]),
    ];
    let twice = Oddity::DescribedTwice {
        base: UNIT.base,
        other: 48,
    };
    assert_eq!(odd(&nodes), [(Kind::SmmuV3, 116, None, twice)]);
    let table = checked(table(&nodes)).table();
    for id in [3, 13] {
        let stream = table.stream_of_pci(0, id).unwrap();
        assert_eq!((stream.unit.base(), stream.id), (UNIT.base, id));
    }
    let stream = table.stream_of_pci(0, 3).unwrap();
    assert_eq!(rmrs_of(table, stream).len(), 2);
}

#[test]
fn names() {
    // Without even one character it is too short.
    let too_short = BadLength::TooShort {
        claims: 30,
        needs: 31,
    };
    assert_eq!(
        odd(&[named(0, "", &[])]),
        [(Kind::NamedComponent, 48, None, Oddity::LeftOut(too_short))]
    );
    let mut nameless = named(0, "ab", &[(0, 0, 5, 48, SINGLE)]);
    nameless[29] = 0;
    let mut endless = named(0, "ab", &[]);
    endless[31] = b'c';
    for bad in [nameless, endless] {
        // The next node is not affected.
        let good = named(0, "good", &[(0, 0, 5, 48, SINGLE)]);
        let nodes = [plain(), bad, good];
        assert_eq!(
            odd(&nodes),
            [(Kind::NamedComponent, 116, None, Oddity::Name)]
        );
        let table = checked(table(&nodes)).table();
        assert!(table.named(b"").is_none() && table.named(b"abc").is_none());
        let good = table.named(b"good").unwrap();
        assert_eq!(table.streams_of_named(good).next().unwrap().id, 5);
    }
}

/// EDK2 for sbsa-ref until March 2023: a unit of 88 bytes that claims two mappings from byte 68 on.
#[test]
fn more_mappings_than_there_is_room_for() {
    let nodes = |claims| {
        let group = its(&[0]);
        let smmu = word(unit(&UNIT, &[(0, 0xffff, 0, 48, 0)]), 8, claims);
        assert_eq!(smmu.len(), 0x58);
        let root = word(root(0, 0, &[(0, 0xffff, 0, 72, 0)]), 8, claims);
        [group, smmu, root]
    };
    for claims in [2, 3, u32::MAX] {
        let of = Elements::Mappings;
        let cut = Oddity::ArrayCut { of, claims, has: 1 };
        assert_eq!(
            odd(&nodes(claims)),
            [
                (Kind::SmmuV3, 72, None, cut),
                (Kind::RootComplex, 160, None, cut)
            ]
        );
        let table = checked(table(&nodes(claims))).table();
        assert_eq!(table.stream_of_pci(0, 0x1234).unwrap().id, 0x1234);
    }
    assert_eq!(
        checked(table(&nodes(2))).words[0],
        "SMMUv3 at offset 0x48: claims 2 mappings, but has room for 1; the others are left out"
    );
}

#[test]
fn arrays_that_are_somewhere_else() {
    let of = Elements::Mappings;
    for (start, claims) in [(0, 1), (31, 1), (57, 1), (u32::MAX, 1)] {
        let bad = word(root(0, 0, &[(0, 1, 0, 48, 0)]), 12, start);
        let nodes = [plain(), bad];
        let misplaced = Oddity::ArrayMisplaced { of, claims, start };
        assert_eq!(odd(&nodes), [(Kind::RootComplex, 116, None, misplaced)]);
        assert!(checked(table(&nodes)).table().stream_of_pci(0, 0).is_none());
    }
    // The last element does not fit.
    let bad = word(root(0, 0, &[(0, 1, 0, 48, 0)]), 12, 37);
    let cut = Oddity::ArrayCut {
        of,
        claims: 1,
        has: 0,
    };
    assert_eq!(odd(&[plain(), bad]), [(Kind::RootComplex, 116, None, cut)]);
    // Without mappings it does not matter where they are.
    assert_eq!(odd(&[word(root(0, 0, &[]), 12, 7)]), []);

    let of = Elements::Translators;
    let mut group = its(&[1, 2]);
    group[16] = 3;
    let cut = Oddity::ArrayCut {
        of,
        claims: 3,
        has: 2,
    };
    assert_eq!(odd(&[group]), [(Kind::ItsGroup, 48, None, cut)]);
}

/// Ids that there are not are left out, the others of the mapping are not.
#[test]
fn ids_that_wrap() {
    let with = |map| {
        let nodes = [plain(), root(0, 0, &[map])];
        let [(kind, offset, element, oddity)] = odd(&nodes)[..] else {
            panic!();
        };
        assert_eq!((kind, offset), (Kind::RootComplex, 116));
        assert_eq!(element, Some(116 + 36));
        (oddity, checked(table(&nodes)).table())
    };
    let (oddity, table) = with((u32::MAX - 1, 2, 7, 48, 0));
    let base = u32::MAX - 1;
    assert_eq!(oddity, Oddity::IdsWrap { base, more: 2 });
    assert_eq!(table.stream_of_pci(0, u32::MAX).unwrap().id, 8);
    assert!(table.stream_of_pci(0, 0).is_none());

    let (oddity, table) = with((0, 9, u32::MAX - 4, 48, 0));
    let base = u32::MAX - 4;
    assert_eq!(oddity, Oddity::IdsWrap { base, more: 9 });
    assert_eq!(table.stream_of_pci(0, 4).unwrap().id, u32::MAX);
    assert!(table.stream_of_pci(0, 5).is_none());
}

/// A mapping that leads nowhere, as all of the SMMUs of MSM8998 to offset 0; no other mapping is
/// used in its place.
#[test]
fn references() {
    let root_with = |to| root(0, 0, &[(0, 9, 0, to, 0), (20, 9, 20, 48, 0)]);
    let at = Some(116 + 36);
    for to in [0, 47, 49, 0xffff_fff0] {
        let nodes = [plain(), root_with(to)];
        let dangling = Oddity::ReferenceDangling { to, others: 0 };
        assert_eq!(odd(&nodes), [(Kind::RootComplex, 116, at, dangling)]);
        let table = checked(table(&nodes)).table();
        assert!(table.stream_of_pci(0, 3).is_none());
        assert_eq!(table.stream_of_pci(0, 23).unwrap().id, 23);
    }
    assert_eq!(
        checked(table(&[plain(), root_with(0)])).words,
        ["root complex at offset 0x74: mapping at offset 0x98: leads to offset 0x0, where no node \
          starts; no unit translates its ids"]
    );
    // One word about a node is enough.
    let maps = [(0, 9, 0, 0, 0), (20, 9, 20, 48, 0), (40, 9, 0, 1, 0)];
    assert_eq!(
        checked(table(&[plain(), root(0, 0, &maps)])).words,
        ["root complex at offset 0x74: mapping at offset 0x98: leads to offset 0x0, where no node \
          starts; no unit translates its ids (nor those of 1 more mappings of the node)"]
    );
    let kind = Kind::RootComplex;
    let to_itself = Oddity::ReferenceKind { to: 116, kind };
    assert_eq!(
        odd(&[plain(), root_with(116)]),
        [(Kind::RootComplex, 116, at, to_itself)]
    );
    // Two units that refer to each other.
    let other = Unit {
        base: 0x2_0000_0000,
        ..UNIT
    };
    let circle = [
        unit(&UNIT, &[(0, 1, 0, 136, 0)]),
        unit(&other, &[(0, 1, 0, 48, 0)]),
        root(0, 0, &[(0, 9, 0, 136, 0)]),
    ];
    let leads = |to| Oddity::ReferenceKind {
        to,
        kind: Kind::SmmuV3,
    };
    assert_eq!(
        odd(&circle),
        [
            (Kind::SmmuV3, 48, Some(48 + 68), leads(136)),
            (Kind::SmmuV3, 136, Some(136 + 68), leads(48))
        ]
    );
    let table = checked(table(&circle)).table();
    assert_eq!(table.stream_of_pci(0, 1).unwrap().unit.offset(), 136);

    // Interrupt translators have no mappings; reserved memory belongs to devices behind units only.
    let mut group = node(0, 1, &[0; 4], &[(0, 1, 0, 48, 0)]);
    assert_eq!(
        odd(&[group.clone()]),
        [(Kind::ItsGroup, 48, None, Oddity::MappingsUnexpected)]
    );
    group[8] = 0;
    assert_eq!(odd(&[group]), []);
    let kind = Kind::ItsGroup;
    assert_eq!(
        odd(&[its(&[]), rmr(0, &[], &[(0, 0, 0, 48, 0)])]),
        [(
            Kind::Rmr,
            68,
            Some(68 + 28),
            Oddity::ReferenceKind { to: 48, kind }
        )]
    );
    assert_eq!(
        odd(&[its(&[]), old_unit(&[(0, 0, 0, 48, SINGLE)])]),
        [(Kind::Smmu, 68, Some(68 + 60), Oddity::SingleUnexpected)]
    );
}

/// The first one counts, as in Linux.
#[test]
fn two_root_complexes_of_a_segment() {
    let nodes = [
        plain(),
        root(1, 0, &[(0, 9, 0, 48, 0)]),
        root(0, 0, &[(0, 9, 0x20, 48, 0)]),
        root(1, 0, &[(0, 99, 0x10, 48, 0)]),
    ];
    let second = Oddity::SecondRootComplex {
        segment: 1,
        other: 116,
    };
    assert_eq!(
        odd(&nodes),
        [(Kind::RootComplex, 116 + 2 * 56, None, second)]
    );
    let table = checked(table(&nodes)).table();
    assert_eq!(table.stream_of_pci(1, 5).unwrap().id, 5);
    assert!(table.stream_of_pci(1, 50).is_none());
    assert_eq!(table.stream_of_pci(0, 5).unwrap().id, 0x25);
}

#[test]
fn a_mapping_for_interrupts_that_is_not_there() {
    let index = Unit {
        flags: 1 << 4,
        index: 2,
        ..UNIT
    };
    assert_eq!(
        odd(&[its(&[]), unit(&index, &[(0, 0, 0, 48, SINGLE)])]),
        [(Kind::SmmuV3, 68, None, Oddity::MappingIndex { index: 2 })]
    );
}

#[test]
fn memory_ranges() {
    assert_eq!(
        odd_of(4, &[rmr(0, &[(0x1000, 0x1000)], &[])]),
        [(Kind::Rmr, 48, None, Oddity::RegionsTooOld { revision: 4 })]
    );
    let old = checked(table_of(4, &[rmr(0, &[(0x1000, 0x1000)], &[])]));
    assert_eq!(old.table().rmrs().count(), 0);

    let ranges = [
        (0x1000, 0),
        (0x2800, 0x1000),
        (0x3fff, 1),
        (u64::MAX - 0xfff, 0x1001),
        (0x8000, 0x1000),
        (u64::MAX - 0xfff, 0x1000),
    ];
    let nodes = [rmr(0, &ranges, &[])];
    let offset = |n: usize| 48 + 28 + 20 * n;
    let at = |n, oddity| (Kind::Rmr, 48, Some(offset(n)), oddity);
    let misaligned = |n: usize| Oddity::RegionMisaligned {
        base: ranges[n].0,
        length: ranges[n].1,
    };
    let wraps = Oddity::RegionWraps {
        base: ranges[3].0,
        length: 0x1001,
    };
    assert_eq!(
        odd(&nodes),
        [
            at(0, Oddity::RegionEmpty { base: 0x1000 }),
            at(1, misaligned(1)),
            at(2, misaligned(2)),
            at(3, wraps),
            at(2, Oddity::RegionsOverlap { other: offset(1) }),
        ]
    );
    let checked = checked(table(&nodes));
    assert!(checked.words[0].starts_with("RMR at offset 0x30: memory range at offset 0x4c: "));
    let node = checked.table().rmrs().next().unwrap();
    let regions: Vec<_> = node.regions().map(|r| (r.first(), r.last())).collect();
    assert_eq!(
        regions,
        [
            (0x2000, 0x3fff),
            (0x3000, 0x3fff),
            (0x8000, 0x8fff),
            (u64::MAX - 0xfff, u64::MAX)
        ]
    );

    let of = Elements::Regions;
    let past = word(rmr(0, &[(0x1000, 0x1000)], &[]), 20, 2);
    let cut = Oddity::ArrayCut {
        of,
        claims: 2,
        has: 1,
    };
    assert_eq!(odd(&[past]), [(Kind::Rmr, 48, None, cut)]);
    let inside = word(rmr(0, &[(0x1000, 0x1000)], &[]), 24, 20);
    let misplaced = Oddity::ArrayMisplaced {
        of,
        claims: 1,
        start: 20,
    };
    assert_eq!(odd(&[inside]), [(Kind::Rmr, 48, None, misplaced)]);
}
