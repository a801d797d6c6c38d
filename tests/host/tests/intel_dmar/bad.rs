// SPDX-License-Identifier: GPL-2.0

//! DMAR tables that the parser refuses, or accepts with warnings.

use super::*;

#[test]
fn header_refusals() {
    let problem = |bytes: &[u8]| Table::parse(bytes).unwrap_err().problem;

    assert_eq!(
        problem(&[]),
        Problem::TooShort {
            claims: 0,
            needs: 48
        }
    );
    assert_eq!(
        problem(&QEMU[..47]),
        Problem::TooShort {
            claims: 47,
            needs: 48
        }
    );
    assert_eq!(
        problem(&QEMU[..100]),
        Problem::TableTruncated {
            claims: 0x98,
            has: 100
        }
    );

    let mut bytes = QEMU.to_vec();
    bytes[0] = b'X';
    assert_eq!(problem(&bytes), Problem::Signature);

    let mut bytes = QEMU.to_vec();
    bytes[4..8].copy_from_slice(&47u32.to_le_bytes());
    assert_eq!(
        problem(&bytes),
        Problem::TooShort {
            claims: 47,
            needs: 48
        }
    );
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        problem(&bytes),
        Problem::TableTruncated {
            claims: u32::MAX,
            has: 0x98
        }
    );

    let mut bytes = QEMU.to_vec();
    bytes[20] = bytes[20].wrapping_add(3);
    assert_eq!(problem(&bytes), Problem::Checksum { sum: 3 });

    let mut bytes = QEMU.to_vec();
    bytes[36] = 64;
    fix_sum(&mut bytes);
    assert_eq!(problem(&bytes), Problem::AddressWidth { bits: 65 });
}

#[test]
fn structure_refusals() {
    // With length 0 the parser would read the same structure for ever.
    assert_eq!(
        refusal(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            Kind::Drhd,
            0x30,
            Problem::TooShort {
                claims: 0,
                needs: 16
            }
        )
    );
    assert_eq!(
        refusal(&[0x63, 0, 0, 0]),
        (
            Kind::Unknown(0x63),
            0x30,
            Problem::TooShort {
                claims: 0,
                needs: 4
            }
        )
    );
    assert_eq!(
        refusal(&[1, 0, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            Kind::Rmrr,
            0x30,
            Problem::TooShort {
                claims: 23,
                needs: 24
            }
        )
    );
    // Longer than the table.
    assert_eq!(
        refusal(&[2, 0, 9, 0, 1, 0, 0, 0]),
        (Kind::Atsr, 0x30, Problem::PastTable { claims: 9, left: 8 })
    );
    // An incomplete structure after a good structure.
    let mut bytes = drhd(1, 0, 0, 0xfed9_0000, &[]);
    bytes.extend_from_slice(&[1, 0, 24]);
    assert_eq!(
        refusal(&bytes),
        (Kind::Rmrr, 0x40, Problem::PastTable { claims: 4, left: 3 })
    );
}

#[test]
fn scope_refusals() {
    let with = |scope: &[u8]| {
        let bytes = table(&drhd(0, 0, 0, 0xfed9_0000, scope));
        let error = Table::parse(&bytes).expect_err("the table must be refused");
        assert_eq!((error.kind, error.offset), (Kind::Drhd, 0x30));
        (error.scope, error.problem)
    };
    let at = |problem| (Some(0x40), problem);

    assert_eq!(
        with(&[1, 0, 0, 0, 0, 0, 0, 0]),
        at(Problem::ScopeTooShort { claims: 0 })
    );
    assert_eq!(
        with(&[1, 5, 0, 0, 0, 0, 0, 0]),
        at(Problem::ScopeTooShort { claims: 5 })
    );
    assert_eq!(with(&[1, 6, 0, 0, 0, 0]), at(Problem::ScopePathMissing));
    assert_eq!(
        with(&[1, 9, 0, 0, 0, 0, 2, 0, 0]),
        at(Problem::ScopePathOdd { claims: 9 })
    );
    assert_eq!(
        with(&[1, 8, 0, 0, 0]),
        at(Problem::ScopePastStructure { claims: 6, left: 5 })
    );
    // The scope extends into the next structure.
    assert_eq!(
        with(&[1, 10, 0, 0, 0, 0, 2, 0]),
        at(Problem::ScopePastStructure {
            claims: 10,
            left: 8
        })
    );
    assert_eq!(
        with(&[1, 8, 0, 0, 0, 0, 32, 0]),
        at(Problem::ScopePath {
            device: 32,
            function: 0
        })
    );
    assert_eq!(
        with(&[2, 10, 0, 0, 0, 0, 1, 0, 2, 8]),
        at(Problem::ScopePath {
            device: 2,
            function: 8
        })
    );
    // The second scope is wrong, and the error contains its offset.
    assert_eq!(
        with(&[1, 8, 0, 0, 0, 0, 2, 0, 3, 4, 0, 0, 0, 0, 0, 0]),
        (Some(0x48), Problem::ScopeTooShort { claims: 4 })
    );
}

#[test]
fn scopes_of_unknown_type_are_skipped_by_length() {
    let bytes = table(&drhd(
        0,
        0,
        0,
        0xfed9_0000,
        &[9, 7, 0, 0, 0, 0, 0xff, 1, 8, 0, 0, 0, 0, 2, 0],
    ));
    let table = Table::parse(&bytes).unwrap();
    let kinds: Vec<_> = table
        .units()
        .next()
        .unwrap()
        .scopes()
        .map(|s| s.kind())
        .collect();
    assert_eq!(kinds, [None, Some(ScopeKind::Endpoint)]);
}

#[test]
fn unit_refusals() {
    let with = |size, base| refusal(&drhd(0, size, 0, base, &[]));
    let at = |problem| (Kind::Drhd, 0x30, problem);

    assert_eq!(with(0, 0), at(Problem::BaseImpossible { base: 0 }));
    assert_eq!(
        with(0, u64::MAX),
        at(Problem::BaseImpossible { base: u64::MAX })
    );
    assert_eq!(
        with(0, 0xfed9_0800),
        at(Problem::BaseMisaligned { base: 0xfed9_0800 })
    );
    let base = u64::MAX - 0xfff;
    assert_eq!(with(1, base), at(Problem::BaseWraps { base }));

    let two = |a: Vec<u8>, b: Vec<u8>| refusal(&[a, b].concat());
    assert_eq!(
        two(
            drhd(0, 0, 0, 0xfed9_0000, &[]),
            drhd(0, 0, 1, 0xfed9_0000, &[])
        ),
        (
            Kind::Drhd,
            0x40,
            Problem::UnitsOverlap {
                base: 0xfed9_0000,
                other: 0x30
            }
        )
    );
    // The register window of the first unit overlaps the base of the second, and in the opposite
    // order.
    assert_eq!(
        two(
            drhd(0, 1, 0, 0xfed9_0000, &[]),
            drhd(0, 0, 0, 0xfed9_1000, &[])
        ),
        (
            Kind::Drhd,
            0x40,
            Problem::UnitsOverlap {
                base: 0xfed9_1000,
                other: 0x30
            }
        )
    );
    assert_eq!(
        two(
            drhd(0, 0, 0, 0xfed9_1000, &[]),
            drhd(0, 1, 0, 0xfed9_0000, &[])
        ),
        (
            Kind::Drhd,
            0x40,
            Problem::UnitsOverlap {
                base: 0xfed9_0000,
                other: 0x30
            }
        )
    );
    assert_eq!(
        two(
            drhd(1, 0, 7, 0xfed9_0000, &[]),
            drhd(1, 0, 7, 0xfed9_1000, &[])
        ),
        (
            Kind::Drhd,
            0x40,
            Problem::SecondIncludeAll {
                segment: 7,
                other: 0x30
            }
        )
    );
}

#[test]
fn include_all_once_in_each_segment_is_fine() {
    let bytes = table(
        &[
            drhd(1, 0, 0, 0xfed9_0000, &[]),
            drhd(1, 0, 1, 0xfed9_1000, &[]),
        ]
        .concat(),
    );
    assert_eq!(Table::parse(&bytes).unwrap().warnings().count(), 0);
}

#[test]
fn include_all_not_last_is_a_warning() {
    let bytes = table(
        &[
            drhd(1, 0, 3, 0xfed9_0000, &[]),
            drhd(0, 0, 3, 0xfed9_1000, &[]),
        ]
        .concat(),
    );
    let warnings: Vec<_> = Table::parse(&bytes).unwrap().warnings().collect();
    assert_eq!(
        warnings,
        [Warning::IncludeAllNotLast {
            segment: 3,
            offset: 0x30
        }]
    );
    assert_eq!(
        warnings[0].to_string(),
        "DRHD at offset 0x30: the unit for all other devices of segment 0x0003 is not the last \
         one listed"
    );
}

#[test]
fn named_devices_that_cannot_be_found_are_warnings() {
    // Device 1 has a name; device 2 has none; device 3 has a name and is behind a bridge.
    let scopes = [
        [5, 8, 0, 0, 1, 0, 0x15, 0].as_slice(),
        &[5, 8, 0, 0, 2, 0, 0x15, 1],
        &[5, 10, 0, 0, 3, 0, 0x1c, 0, 0, 0],
    ];
    let andd = |number| [4, 0, 10, 0, 0, 0, 0, number, b'A', 0];
    let bytes = table(
        &[
            &drhd(1, 0, 0, 0xfed9_0000, &scopes.concat())[..],
            &andd(1),
            &andd(3),
        ]
        .concat(),
    );
    let warnings: Vec<_> = Table::parse(&bytes).unwrap().warnings().collect();
    assert_eq!(
        warnings,
        [
            Warning::NameMissing {
                number: 2,
                offset: 0x30
            },
            Warning::NamePath {
                number: 3,
                offset: 0x30
            },
        ]
    );
    assert_eq!(
        warnings[0].to_string(),
        "DRHD at offset 0x30: no ANDD gives device 2 behind the unit a name; its DMA is blocked"
    );
    assert_eq!(
        warnings[1].to_string(),
        "DRHD at offset 0x30: the path of the named device 3 is no requester id; its DMA is blocked"
    );
}

#[test]
fn too_many_units() {
    let many: Vec<u8> = (0..=MAX_UNITS as u64)
        .flat_map(|n| drhd(0, 0, 0, 0x1_0000_0000 + n * 4096, &[]))
        .collect();
    assert_eq!(
        refusal(&many),
        (Kind::Drhd, 0x30 + MAX_UNITS * 16, Problem::TooManyUnits)
    );
    let bytes = table(&many[..MAX_UNITS * 16]);
    assert_eq!(Table::parse(&bytes).unwrap().units().count(), MAX_UNITS);
}

#[test]
fn region_refusals() {
    let with = |base, limit| refusal(&rmrr(base, limit));
    let at = |problem| (Kind::Rmrr, 0x30, problem);

    for (base, limit) in [
        (0x8000, 0x7fff),
        (0x8000, 0x8000),
        (u64::MAX - 0xfff, 0xfff),
    ] {
        assert_eq!(with(base, limit), at(Problem::RegionEmpty { base, limit }));
    }
    for (base, limit) in [(0x8001, 0x8fff), (0x8000, 0x9000), (0x8000, 0x8ffe)] {
        assert_eq!(
            with(base, limit),
            at(Problem::RegionMisaligned { base, limit })
        );
    }
    let bytes = table(&rmrr(0, u64::MAX));
    assert_eq!(Table::parse(&bytes).unwrap().reserved_regions().count(), 1);
}

#[test]
fn name_refusals() {
    let with = |name: [u8; 2]| refusal(&[&[4, 0, 10, 0, 0, 0, 0, 1], &name[..]].concat());
    assert_eq!(with(*b"AB"), (Kind::Andd, 0x30, Problem::Name));
    assert_eq!(with([0, 0]), (Kind::Andd, 0x30, Problem::Name));
}

#[test]
fn an_error_names_structure_and_offset() {
    let bytes = table(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        Table::parse(&bytes).unwrap_err().to_string(),
        "DRHD at offset 0x30: length 0 would never end"
    );
    let bytes = table(&rmrr(0x8000, 0x9000));
    assert_eq!(
        Table::parse(&bytes).unwrap_err().to_string(),
        "RMRR at offset 0x30: the region 0x8000-0x9000 is not made of whole 4 KiB pages"
    );
    let bytes = table(&drhd(0, 0, 0, 0xfed9_0000, &[1, 0, 0, 0, 0, 0, 2, 0]));
    assert_eq!(
        Table::parse(&bytes).unwrap_err().to_string(),
        "DRHD at offset 0x30: device scope at offset 0x40: claims 0 bytes, but has 6 at least"
    );
}
