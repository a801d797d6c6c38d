// SPDX-License-Identifier: GPL-2.0

//! IORT tables that the parser refuses.

use super::*;

#[test]
fn bad_headers() {
    let header = |problem| (Kind::Header, 0, problem);
    let of = |bytes: &[u8]| {
        let error = refused(bytes);
        (error.kind, error.offset, error.problem)
    };
    assert_eq!(
        of(&QEMU[..47]),
        header(Problem::TooShort {
            claims: 47,
            needs: 48
        })
    );
    assert_eq!(
        of(&QEMU[..235]),
        header(Problem::TableTruncated {
            claims: 236,
            has: 235
        })
    );
    let with = |at: usize, value: &[u8]| {
        let mut bytes = QEMU.to_vec();
        bytes[at..at + value.len()].copy_from_slice(value);
        fix_sum(&mut bytes);
        bytes
    };
    assert_eq!(of(&with(3, b"S")), header(Problem::Signature));
    assert_eq!(
        of(&with(4, &[40, 0, 0, 0])),
        header(Problem::TooShort {
            claims: 40,
            needs: 48
        })
    );
    assert_eq!(
        of(&with(40, &[47])),
        header(Problem::FirstNode { claims: 47 })
    );
    assert_eq!(
        of(&with(36, &[1, 0x10, 0, 0])),
        header(Problem::TooManyNodes {
            claims: MAX_NODES + 1
        })
    );
    let mut sum = QEMU;
    sum[9] += 3;
    assert_eq!(of(&sum), header(Problem::Checksum { sum: 3 }));
    // One node more than the table has; nodes that start beyond the end.
    assert_eq!(
        of(&with(36, &[4])),
        (
            Kind::ItsGroup,
            236,
            Problem::PastTable {
                claims: 16,
                left: 0
            }
        )
    );
    assert_eq!(
        of(&with(40, &[0xff, 0xff, 0xff, 0xff])).2,
        Problem::PastTable {
            claims: 16,
            left: 0
        }
    );
}

#[test]
fn bad_nodes() {
    let len = |mut node: Vec<u8>, len: u16| {
        node[1..3].copy_from_slice(&len.to_le_bytes());
        node
    };
    let plain = || unit(&UNIT, &[]);
    assert_eq!(
        refusal(&[len(plain(), 0)]),
        (
            Kind::SmmuV3,
            48,
            Problem::TooShort {
                claims: 0,
                needs: 60
            }
        )
    );
    assert!(refused(&table(&[len(plain(), 0)]))
        .to_string()
        .contains("would never end"));
    assert_eq!(
        refusal(&[its(&[]), len(plain(), 59)]).2,
        Problem::TooShort {
            claims: 59,
            needs: 60
        }
    );
    assert_eq!(
        refusal(&[its(&[]), len(plain(), 69)]),
        (
            Kind::SmmuV3,
            68,
            Problem::PastTable {
                claims: 69,
                left: 68
            }
        )
    );
    assert_eq!(
        refusal(&[vec![9; 15]]).2,
        Problem::PastTable {
            claims: 16,
            left: 15
        }
    );
    assert_eq!(
        refusal(&[len(node(0x99, 0, &[], &[]), 15)]).0,
        Kind::Unknown(0x99)
    );

    let based = |base| refusal(&[unit(&Unit { base, ..UNIT }, &[])]).2;
    assert_eq!(based(0), Problem::BaseImpossible { base: 0 });
    assert_eq!(based(u64::MAX), Problem::BaseImpossible { base: u64::MAX });
    assert_eq!(based(0x1_8000), Problem::BaseMisaligned { base: 0x1_8000 });
    assert_eq!(
        based(u64::MAX - 0xffff),
        Problem::BaseWraps {
            base: u64::MAX - 0xffff
        }
    );
    let near = Unit {
        base: UNIT.base + 0x1_0000,
        ..UNIT
    };
    assert_eq!(
        refusal(&[plain(), unit(&near, &[])]),
        (
            Kind::SmmuV3,
            116,
            Problem::UnitsOverlap {
                base: near.base,
                other: 48
            }
        )
    );

    assert_eq!(
        refusal(&[named(0, "", &[])]).2,
        Problem::TooShort {
            claims: 30,
            needs: 31
        }
    );
    let mut nameless = named(0, "ab", &[]);
    nameless[29] = 0;
    assert_eq!(refusal(&[nameless]).2, Problem::Name);
    let mut endless = named(0, "ab", &[]);
    endless[31] = b'c';
    assert_eq!(refusal(&[endless]).2, Problem::Name);

    let mut group = its(&[1, 2]);
    group[16] = 3;
    assert_eq!(
        refusal(&[group]),
        (
            Kind::ItsGroup,
            48,
            Problem::ArrayPastNode {
                start: 20,
                count: 3,
                len: 28
            }
        )
    );
}

#[test]
fn bad_mappings() {
    let plain = || unit(&UNIT, &[]);
    let with = |at: usize, value: u32| {
        let mut bytes = root(0, 0, &[(0, 1, 0, 48, 0)]);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        refused(&table(&[plain(), bytes]))
    };
    // One mapping more than there is room for; one byte more; in the fixed part; far away.
    for (at, value, start, count) in [
        (8, 2, 36, 2),
        (12, 37, 37, 1),
        (12, 31, 31, 1),
        (12, u32::MAX, u32::MAX, 1),
    ] {
        let error = with(at, value);
        assert_eq!((error.kind, error.offset), (Kind::RootComplex, 116));
        assert_eq!(
            error.problem,
            Problem::ArrayPastNode {
                start,
                count,
                len: 56
            }
        );
    }
    assert_eq!(
        with(8, u32::MAX).problem,
        Problem::ArrayPastNode {
            start: 36,
            count: u32::MAX,
            len: 56
        }
    );
    // Input and output ids that wrap.
    let first = 116 + 36;
    let error = with(36, u32::MAX);
    assert_eq!(error.element, Some(first));
    assert_eq!(
        error.problem,
        Problem::IdsWrap {
            base: u32::MAX,
            more: 1
        }
    );
    assert_eq!(
        with(44, u32::MAX).problem,
        Problem::IdsWrap {
            base: u32::MAX,
            more: 1
        }
    );
    // References: to no node, into a node, to the node itself, to a node that takes no ids.
    for to in [0, 47, 49, 0xffff_fff0] {
        let error = with(48, to);
        assert_eq!(error.problem, Problem::ReferenceDangling { to });
        assert_eq!(error.element, Some(first));
    }
    let error = with(48, 116);
    assert_eq!(
        error.problem,
        Problem::ReferenceKind {
            to: 116,
            kind: Kind::RootComplex
        }
    );
    assert_eq!(
        error.to_string(),
        "root complex at offset 0x74: element at offset 0x98: refers to the root complex at offset \
         0x74, where its ids cannot go"
    );
    // Two units that refer to each other.
    let other = Unit {
        base: 0x2_0000_0000,
        ..UNIT
    };
    let circle = [
        unit(&UNIT, &[(0, 1, 0, 136, 0)]),
        unit(&other, &[(0, 1, 0, 48, 0)]),
    ];
    assert_eq!(
        refusal(&circle),
        (
            Kind::SmmuV3,
            48,
            Problem::ReferenceKind {
                to: 136,
                kind: Kind::SmmuV3
            }
        )
    );
    // Interrupt translators have no mappings; reserved memory belongs to devices behind units only.
    let mut group = node(0, 1, &[0; 4], &[(0, 1, 0, 48, 0)]);
    assert_eq!(refusal(&[group.clone()]).2, Problem::MappingsUnexpected);
    group[8] = 0;
    assert!(Table::parse(&table(&[group])).is_ok());
    assert_eq!(
        refusal(&[its(&[]), rmr(0, &[], &[(0, 0, 0, 48, 0)])]).2,
        Problem::ReferenceKind {
            to: 48,
            kind: Kind::ItsGroup
        }
    );
    // More mappings than a machine can have.
    let many = vec![(0, 0, 0, 48, 0); 3000];
    assert!(many.len() * 3 > MAX_MAPPINGS);
    let roots: Vec<_> = (0..3).map(|segment| root(segment, 0, &many)).collect();
    let nodes = [vec![plain()], roots].concat();
    assert_eq!(refusal(&nodes).2, Problem::TooManyMappings);
}

#[test]
fn bad_regions() {
    let wraps = [(u64::MAX - 0xfff, 0x1001)];
    let error = refused(&table(&[rmr(0, &wraps, &[])]));
    assert_eq!((error.kind, error.element), (Kind::Rmr, Some(48 + 28)));
    assert_eq!(
        error.problem,
        Problem::RegionWraps {
            base: wraps[0].0,
            length: 0x1001
        }
    );
    let whole = [(0, u64::MAX), (u64::MAX - 0xfff, 0x1000)];
    assert!(Table::parse(&table(&[rmr(0, &whole, &[])])).is_ok());
    let mut past = rmr(0, &[(0x1000, 0x1000)], &[]);
    past[20] = 2;
    assert_eq!(
        refusal(&[past]).2,
        Problem::ArrayPastNode {
            start: 28,
            count: 2,
            len: 48
        }
    );
    let mut inside = rmr(0, &[(0x1000, 0x1000)], &[]);
    inside[24] = 20;
    assert_eq!(
        refusal(&[inside]).2,
        Problem::ArrayPastNode {
            start: 20,
            count: 1,
            len: 48
        }
    );
    assert_eq!(
        refusal(&[rmr(0, &vec![(0x1000, 0x1000); 1025], &[])]).2,
        Problem::TooManyRegions
    );
}
