// SPDX-License-Identifier: GPL-2.0

//! No DMAR table makes the parser panic, and the parser reports exactly what an accepted table
//! contains.

use proptest::prelude::*;

use super::*;

/// Every prefix of a good table, with a matching length. The parser refuses it if it ends inside a
/// unit. Otherwise it reads the complete structures, and reports an incomplete one.
#[test]
fn every_prefix() {
    for whole in [QEMU.to_vec(), table(LAPTOP), table(SERVER)] {
        // Offset of each structure, whether it is a unit, and the end of the last.
        let starts: Vec<(usize, bool)> = {
            let checked = Checked::new(&whole).unwrap();
            let mut at = 48;
            let mut starts = Vec::new();
            for structure in checked.table().structures() {
                starts.push((at, matches!(structure, Structure::Drhd(_))));
                at += usize::from(u16::from_le_bytes([whole[at + 2], whole[at + 3]]));
            }
            starts.push((at, false));
            starts
        };
        for len in 48..=whole.len() {
            let mut bytes = whole[..len].to_vec();
            bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
            fix_sum(&mut bytes);
            let complete = starts.iter().filter(|(start, _)| *start <= len).count() - 1;
            let (start, is_unit) = starts[complete];
            // A truncated unit. Its remaining bytes may all be zeros.
            let is_cut = start < len && whole[start..len].iter().any(|byte| *byte != 0);
            match Checked::new(&bytes) {
                Err(_) => assert!(is_cut && is_unit, "length {len:#x}"),
                Ok(checked) => {
                    assert!(!(is_cut && is_unit), "length {len:#x}");
                    assert_eq!(checked.table().structures().count(), complete);
                    let reported = checked.odd.iter().any(|odd| odd.1 == start);
                    assert!(start == len || reported, "length {len:#x}");
                    walk(checked);
                }
            }
        }
    }
}

/// A good table with every byte replaced by every value.
#[test]
fn every_byte_with_every_value() {
    for whole in [QEMU.to_vec(), table(SERVER)] {
        for at in 4..whole.len() {
            for value in 0..=255 {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fix_sum(&mut bytes);
                Checked::new(&bytes).map(walk).ok();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Arbitrary bytes.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        Checked::new(&bytes).map(walk).ok();
    }

    /// Arbitrary bytes after a good header, so that the checksum does not refuse them.
    #[test]
    fn any_structures(structures in prop::collection::vec(any::<u8>(), 0..512)) {
        Checked::new(&table(&structures)).map(walk).ok();
    }

    /// Several changes to a good table: bytes changed, removed and inserted.
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
        match Checked::new(&bytes) {
            // The parser accounts for every byte of a table that it accepts, or reports where it
            // stops.
            Ok(checked) => {
                let mut at = 48;
                for _ in checked.table().structures() {
                    at += usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
                }
                let reported = checked.odd.iter().any(|odd| {
                    odd.1 == at && matches!(odd.3, Oddity::Padding { .. } | Oddity::Unreadable(_))
                });
                prop_assert_eq!(at == bytes.len(), !reported);
                walk(checked);
            }
            // The error of a refused table has a text, and a position within the table.
            Err(error) => {
                prop_assert!(error.offset < bytes.len());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    /// The parser returns randomly combined structures unchanged.
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
        let checked = Checked::new(&bytes).unwrap();
        let parsed = checked.table();
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
