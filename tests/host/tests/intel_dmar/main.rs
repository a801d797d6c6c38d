// SPDX-License-Identifier: GPL-2.0

//! The DMAR parser on good tables; `bad` and `random` test other tables.

mod bad;
#[path = "../intel/mod.rs"]
mod intel;
mod random;
#[allow(dead_code)]
#[path = "../../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use drivers::shell::acpi_structures::{BadLength, HeaderRefusal};
use intel::{
    dmar::{Hop, Kind, Oddity, Problem, ScopeKind, Structure, Table, MAX_UNITS},
    tables::{fix_sum, table, LAPTOP, QEMU, SERVER},
    Checked,
};

fn refusal(structures: &[u8]) -> (Kind, usize, Problem) {
    let bytes = table(structures);
    let error = Table::count(&bytes).expect_err("the table must be refused");
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

/// Reads everything in the table, to find panics.
fn walk(checked: Checked<'_>) -> usize {
    let table = checked.table();
    let mut seen = checked.words.len() + usize::from(table.host_address_width());
    for unit in table.units() {
        assert!(unit.base().checked_add(unit.window() - 1).is_some());
        assert_eq!(unit.base() % 4096, 0);
        assert!(table.drhds().any(|other| other.is_same_unit(unit)));
    }
    for structure in table.structures() {
        let scopes = match structure {
            Structure::Drhd(unit) => unit.scopes(),
            Structure::Rmrr(region) => {
                assert!(region.base() < region.limit());
                assert_eq!((region.base() % 4096, region.limit() % 4096), (0, 4095));
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
    let checked = Checked::new(&QEMU).unwrap();
    let table = checked.table();
    assert_eq!(table.host_address_width(), 48);
    assert!(!table.dma_protection_opt_in() && !table.remapping_opt_out());
    assert_eq!(checked.words, [] as [&str; 0]);
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
    let checked = Checked::new(&bytes).unwrap();
    let table = checked.table();
    assert_eq!(table.host_address_width(), 46);
    assert_eq!(checked.words, [] as [&str; 0]);
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
    let checked = Checked::new(&bytes).unwrap();
    let table = checked.table();
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
}

#[test]
fn a_table_without_units_is_well_formed() {
    let bytes = table(&[]);
    assert_eq!(
        Checked::new(&bytes).unwrap().table().structures().count(),
        0
    );
}

#[test]
fn bytes_after_the_table_are_not_looked_at() {
    let mut bytes = QEMU.to_vec();
    bytes.extend_from_slice(&[0xff; 7]);
    assert_eq!(
        Checked::new(&bytes).unwrap().table().structures().count(),
        2
    );
}
