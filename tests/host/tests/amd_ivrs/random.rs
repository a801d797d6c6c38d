// SPDX-License-Identifier: GPL-2.0

//! No IVRS table makes the parser panic, and the parser reports exactly what an accepted table
//! contains.

use proptest::prelude::*;

use super::*;

/// The table cut to every length. The parser refuses it if the cut is inside a unit. Otherwise it
/// reads the complete blocks, and reports an incomplete one.
#[test]
fn every_truncation() {
    for whole in [QEMU.to_vec(), LAPTOP.to_vec(), table(SERVER)] {
        // Offset of each block, whether it is a unit, and the end of the last.
        let starts: Vec<(usize, bool)> = {
            let mut starts = Vec::new();
            let mut at = 48;
            while at < whole.len() {
                starts.push((at, matches!(whole[at], 0x10 | 0x11 | 0x40)));
                at += usize::from(u16::from_le_bytes([whole[at + 2], whole[at + 3]]));
            }
            starts.push((at, false));
            starts
        };
        assert_eq!(starts.last(), Some(&(whole.len(), false)));
        for len in 48..=whole.len() {
            let mut bytes = whole[..len].to_vec();
            bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
            fix_sum(&mut bytes);
            let complete = starts.iter().filter(|(start, _)| *start <= len).count() - 1;
            let (start, is_unit) = starts[complete];
            let is_cut = start < len;
            match Checked::new(&bytes) {
                Err(_) => assert!(is_cut && is_unit, "length {len:#x}"),
                Ok(checked) => {
                    assert!(!(is_cut && is_unit), "length {len:#x}");
                    assert_eq!(checked.table().blocks().count(), complete);
                    let reported = checked.odd.iter().any(|odd| odd.1 == start);
                    assert!(!is_cut || reported, "length {len:#x}");
                    walk(checked);
                }
            }
        }
    }
}

/// A good table with every byte replaced by every value.
#[test]
fn every_byte_with_every_value() {
    for whole in [QEMU.to_vec(), LAPTOP.to_vec(), table(SERVER)] {
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
    fn any_blocks(blocks in prop::collection::vec(any::<u8>(), 0..512)) {
        Checked::new(&table(&blocks)).map(walk).ok();
    }

    /// Arbitrary bytes as the device entries of a good unit.
    #[test]
    fn any_entries(
        kind in prop_oneof![Just(0x10u8), Just(0x11), Just(0x40)],
        entries in prop::collection::vec(any::<u8>(), 0..128),
    ) {
        let bytes = table(&ivhd(kind, 2, 0, BASE, &entries));
        walk(Checked::new(&bytes).unwrap());
    }

    /// Several changes to a good table: bytes changed, removed and inserted.
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
        match Checked::new(&bytes) {
            // The parser accounts for every byte of a table that it accepts, or reports where it
            // stops.
            Ok(checked) => {
                let mut at = 48;
                for _ in checked.table().blocks() {
                    at += usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
                }
                let reported = checked.odd.iter().any(|odd| {
                    odd.1 == at && matches!(odd.3, Oddity::Padding { .. } | Oddity::Unreadable(_))
                });
                prop_assert_eq!(at == bytes.len(), !reported);
                for (_, offset, entry, _) in &checked.odd {
                    prop_assert!(entry.is_none_or(|at| *offset < at && at < bytes.len()));
                }
                walk(checked);
            }
            // The error of a refused table has a text, and a position within the table.
            Err(error) => {
                prop_assert!(error.offset < bytes.len());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    /// The parser returns randomly combined blocks unchanged.
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
        let checked = Checked::new(&bytes).unwrap();
        let parsed = checked.table();
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
