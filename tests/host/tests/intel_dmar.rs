// SPDX-License-Identifier: GPL-2.0

//! The DMAR parser: what it finds in good tables, and how it refuses bad ones.

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::blocks;
}

use intel::{
    dmar::{Hop, Kind, Problem, ScopeKind, Structure, Table, Warning, MAX_UNITS},
    tables::{fix_sum, table, LAPTOP, QEMU, SERVER},
};
use proptest::prelude::*;

fn refusal(structures: &[u8]) -> (Kind, usize, Problem) {
    let bytes = table(structures);
    let error = Table::parse(&bytes).expect_err("the table must be refused");
    (error.kind, error.offset, error.problem)
}

/// A DRHD structure.
fn drhd(flags: u8, size: u8, segment: u16, base: u64, scopes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&(16 + scopes.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[flags, size]);
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&base.to_le_bytes());
    bytes.extend_from_slice(scopes);
    bytes
}

/// An RMRR structure.
fn rmrr(base: u64, limit: u64) -> Vec<u8> {
    let mut bytes = vec![1, 0, 24, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&base.to_le_bytes());
    bytes.extend_from_slice(&limit.to_le_bytes());
    bytes
}

/// Looks at everything there is, so that anything that could panic does.
fn walk(table: Table<'_>) -> usize {
    let mut seen = table.warnings().count() + usize::from(table.host_address_width());
    for structure in table.structures() {
        let scopes = match structure {
            Structure::Drhd(unit) => {
                assert!(unit.base().checked_add(unit.window() - 1).is_some());
                unit.scopes()
            }
            Structure::Rmrr(region) => {
                assert!(region.base() < region.limit());
                region.scopes()
            }
            Structure::Atsr(atsr) => atsr.scopes(),
            Structure::Satc(satc) => satc.scopes(),
            Structure::Andd(device) => {
                assert!(!device.name().is_empty());
                continue;
            }
            Structure::Rhsa(_) | Structure::Other => continue,
        };
        for scope in scopes {
            seen += 1 + scope.path().count() + usize::from(scope.start_bus());
            seen += usize::from(scope.enumeration_id()) + usize::from(scope.kind().is_some());
        }
    }
    seen
}

#[test]
fn qemu_table() {
    let table = Table::parse(&QEMU).unwrap();
    assert_eq!(table.host_address_width(), 48);
    assert!(!table.dma_protection_opt_in());
    assert_eq!(table.warnings().count(), 0);
    assert_eq!(table.structures().count(), 2);

    let unit = table.units().next().unwrap();
    assert_eq!(unit.offset(), 0x30);
    assert_eq!(unit.base(), 0xfed9_0000);
    assert_eq!(unit.window(), 4096);
    assert_eq!(unit.segment(), 0);
    assert!(!unit.include_all());

    let scopes: Vec<_> = unit
        .scopes()
        .map(|scope| {
            let hop = scope.path().next().unwrap();
            assert_eq!(scope.path().len(), 1);
            (
                scope.kind().unwrap(),
                scope.start_bus(),
                hop.device,
                hop.function,
            )
        })
        .collect();
    assert_eq!(
        scopes,
        [
            (ScopeKind::IoApic, 0xff, 0, 0),
            (ScopeKind::Endpoint, 0, 0, 0),
            (ScopeKind::Endpoint, 0, 1, 0),
            (ScopeKind::Endpoint, 0, 2, 0),
            (ScopeKind::SubHierarchy, 0, 3, 0),
            (ScopeKind::SubHierarchy, 0, 4, 0),
            (ScopeKind::Endpoint, 0, 5, 0),
            (ScopeKind::Endpoint, 0, 0x1f, 0),
            (ScopeKind::Endpoint, 0, 0x1f, 2),
            (ScopeKind::Endpoint, 0, 0x1f, 3),
        ]
    );
    assert!(matches!(
        table.structures().nth(1),
        Some(Structure::Atsr(atsr)) if atsr.all_ports() && atsr.segment() == 0
    ));
}

#[test]
fn laptop_table() {
    let bytes = table(LAPTOP);
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(table.host_address_width(), 46);
    assert_eq!(table.warnings().count(), 0);
    assert_eq!(
        table
            .units()
            .map(|u| (u.base(), u.include_all()))
            .collect::<Vec<_>>(),
        [(0xfed9_0000, false), (0xfed9_1000, true)]
    );
    let all = table.units().nth(1).unwrap();
    assert_eq!(
        all.scopes()
            .map(|s| (s.kind().unwrap(), s.enumeration_id(), s.start_bus()))
            .collect::<Vec<_>>(),
        [(ScopeKind::IoApic, 2, 0xf0), (ScopeKind::Hpet, 0, 0)]
    );
    assert_eq!(
        table
            .reserved_regions()
            .map(|r| (r.base(), r.limit()))
            .collect::<Vec<_>>(),
        [(0x9d00_0000, 0x9d01_ffff), (0x9f80_0000, 0xafff_ffff)]
    );
}

#[test]
fn server_table() {
    let bytes = table(SERVER);
    let table = Table::parse(&bytes).unwrap();
    assert_eq!(
        table
            .units()
            .map(|u| (
                u.offset(),
                u.segment(),
                u.window(),
                u.base(),
                u.include_all()
            ))
            .collect::<Vec<_>>(),
        [
            (0x30, 0, 8192, 0xc7ff_c000, false),
            (0x52, 1, 4096, 0xd17f_c000, true),
            (0x6a, 0, 4096, 0xda7f_c000, true),
        ]
    );
    let behind = table.units().next().unwrap().scopes().nth(1).unwrap();
    assert_eq!(
        behind.path().collect::<Vec<_>>(),
        [
            Hop {
                device: 2,
                function: 0
            },
            Hop {
                device: 0,
                function: 1
            }
        ]
    );

    let mut rest = table.structures().skip(3);
    assert!(matches!(rest.next(), Some(Structure::Atsr(a)) if !a.all_ports()));
    assert!(matches!(
        rest.next(),
        Some(Structure::Rhsa(r)) if r.base == 0xc7ff_c000 && r.proximity_domain == 1
    ));
    assert!(matches!(
        rest.next(),
        Some(Structure::Andd(a)) if a.number() == 1 && a.name() == b"\\_SB.I2C0"
    ));
    assert!(matches!(rest.next(), Some(Structure::Satc(s)) if s.cache_required()));
    assert!(matches!(rest.next(), Some(Structure::Other)));
    assert!(matches!(rest.next(), Some(Structure::Other)));
    assert!(rest.next().is_none());
    assert!(table.names_of(1).eq([&b"\\_SB.I2C0"[..]]));
    assert_eq!(table.names_of(2).count(), 0);
}

#[test]
fn a_table_without_units_is_well_formed() {
    let bytes = table(&[]);
    assert_eq!(Table::parse(&bytes).unwrap().structures().count(), 0);
}

#[test]
fn bytes_after_the_table_are_not_looked_at() {
    let mut bytes = QEMU.to_vec();
    bytes.extend_from_slice(&[0xff; 7]);
    assert_eq!(Table::parse(&bytes).unwrap().structures().count(), 2);
}

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
    // Length 0 would be found again and again.
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
    // A stub after a good structure.
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
    // Reaches into the structure that follows: the two would overlap.
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
    // The second scope is at fault, and that is the offset that is named.
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
    // The window of the first reaches over the base of the second, and the other way round.
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
    // Device 1 has a name, device 2 has none, device 3 has one and is behind a bridge.
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

/// Every prefix of a good table, with its length made to match, is refused or walked; nothing
/// panics. What is accepted ends where a structure ends.
#[test]
fn every_prefix() {
    for whole in [QEMU.to_vec(), table(LAPTOP), table(SERVER)] {
        let ends: Vec<usize> = {
            let parsed = Table::parse(&whole).unwrap();
            let mut at = 48;
            let mut ends = vec![at];
            for _ in parsed.structures() {
                at += usize::from(u16::from_le_bytes([whole[at + 2], whole[at + 3]]));
                ends.push(at);
            }
            ends
        };
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
    for whole in [QEMU.to_vec(), table(SERVER)] {
        for at in 4..whole.len() {
            for value in 0..=255 {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fix_sum(&mut bytes);
                Table::parse(&bytes).map(walk).ok();
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
    fn any_structures(structures in prop::collection::vec(any::<u8>(), 0..512)) {
        Table::parse(&table(&structures)).map(walk).ok();
    }

    /// Several changes to a good table: bytes set, cut out and put in.
    #[test]
    fn mutated_tables(
        server in any::<bool>(),
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 1..8),
    ) {
        let mut structures = if server { SERVER } else { LAPTOP }.to_vec();
        for (how, at, value) in changes {
            let at = at % structures.len().max(1);
            match how % 4 {
                0 => structures.insert(at, value),
                1 if !structures.is_empty() => { structures.remove(at); }
                _ if !structures.is_empty() => structures[at] = value,
                _ => {}
            }
        }
        let bytes = table(&structures);
        match Table::parse(&bytes) {
            // What is accepted accounts for every byte.
            Ok(parsed) => {
                walk(parsed);
                let mut at = 48;
                for _ in parsed.structures() {
                    at += usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
                }
                prop_assert_eq!(at, bytes.len());
            }
            // What is refused is refused at a place inside the table, in words.
            Err(error) => {
                prop_assert!(error.offset < bytes.len());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    /// Structures that are put together at random come out as they went in.
    #[test]
    fn composed_tables(
        units in prop::collection::vec(
            (any::<u16>(), 0u8..4, prop::collection::vec((any::<u8>(), 0u8..32, 0u8..8), 0..6)),
            0..8,
        ),
        regions in prop::collection::vec((0u64..1 << 40, 1u64..1 << 10), 0..4),
    ) {
        let mut structures = Vec::new();
        for (n, (segment, size, scopes)) in units.iter().enumerate() {
            let scopes: Vec<u8> = scopes
                .iter()
                .flat_map(|(bus, device, function)| [1, 8, 0, 0, 0, *bus, *device, *function])
                .collect();
            structures.extend(drhd(0, *size, *segment, (n as u64 + 1) << 24, &scopes));
        }
        for (page, pages) in &regions {
            structures.extend(rmrr(page << 12, ((page + pages) << 12) - 1));
        }
        let bytes = table(&structures);
        let parsed = Table::parse(&bytes).unwrap();
        let found: Vec<_> = parsed
            .units()
            .map(|unit| {
                let scopes: Vec<_> = unit
                    .scopes()
                    .map(|s| {
                        let hop = s.path().next().unwrap();
                        (s.start_bus(), hop.device, hop.function)
                    })
                    .collect();
                (unit.segment(), unit.window().trailing_zeros() as u8 - 12, scopes)
            })
            .collect();
        prop_assert_eq!(found, units);
        let found: Vec<_> = parsed
            .reserved_regions()
            .map(|r| (r.base() >> 12, (r.limit() + 1 - r.base()) >> 12))
            .collect();
        prop_assert_eq!(found, regions);
    }
}
