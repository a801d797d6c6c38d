// SPDX-License-Identifier: GPL-2.0

//! No IVRS table makes the parser panic, and the parser reports exactly what an accepted table
//! contains.

use proptest::prelude::*;

use super::*;

/// The table cut to every length: the parser accepts it only if it ends at the end of a block.
#[test]
fn every_truncation() {
    for whole in [QEMU.to_vec(), LAPTOP.to_vec(), table(SERVER)] {
        let ends: Vec<usize> = {
            let mut ends = vec![48];
            let mut at = 48;
            while at < whole.len() {
                at += usize::from(u16::from_le_bytes([whole[at + 2], whole[at + 3]]));
                ends.push(at);
            }
            ends
        };
        assert_eq!(ends.last(), Some(&whole.len()));
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

/// A good table with every byte replaced by every value.
#[test]
fn every_byte_with_every_value() {
    for whole in [QEMU.to_vec(), LAPTOP.to_vec(), table(SERVER)] {
        for at in 4..whole.len() {
            for value in 0..=255 {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fix_sum(&mut bytes);
                let all = value % 16 == whole[at] % 16;
                Table::parse(&bytes).map(if all { walk } else { look }).ok();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Arbitrary bytes.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        Table::parse(&bytes).map(walk).ok();
    }

    /// Arbitrary bytes after a good header, so that the checksum does not refuse them.
    #[test]
    fn any_blocks(blocks in prop::collection::vec(any::<u8>(), 0..512)) {
        Table::parse(&table(&blocks)).map(walk).ok();
    }

    /// Arbitrary bytes as the device entries of a good unit.
    #[test]
    fn any_entries(
        kind in prop_oneof![Just(0x10u8), Just(0x11), Just(0x40)],
        entries in prop::collection::vec(any::<u8>(), 0..128),
    ) {
        Table::parse(&table(&ivhd(kind, 2, 0, BASE, &entries))).map(walk).ok();
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
        match Table::parse(&bytes) {
            // The parser accounts for every byte of a table that it accepts.
            Ok(parsed) => {
                walk(parsed);
                let mut at = 48;
                for _ in parsed.blocks() {
                    at += usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
                }
                prop_assert_eq!(at, bytes.len());
            }
            // The error of a refused table has a text, and a position within the table.
            Err(error) => {
                prop_assert!(error.offset < bytes.len());
                prop_assert!(error.entry.is_none_or(|at| error.offset < at && at < bytes.len()));
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
        let parsed = Table::parse(&bytes).unwrap();
        walk(parsed);
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
