// SPDX-License-Identifier: GPL-2.0

//! No IORT table makes the parser panic or loop for ever.

use proptest::prelude::*;

use super::*;

/// A table of the largest size with the most references is searched in reasonable time.
#[test]
fn large_tables_end() {
    let start = std::time::Instant::now();
    let maps = vec![(0, 0xffff, 0, 48, 0); 2700];
    let mut nodes = vec![unit(&UNIT, &[])];
    nodes.extend((0..3).map(|segment| root(segment, 0, &maps)));
    nodes.extend((4..4000).map(|segment| root(segment, 0, &[])));
    let bytes = table(&nodes);
    walk(Table::parse(&bytes).unwrap());
    assert!(start.elapsed().as_secs() < 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Arbitrary bytes with the signature, length and checksum of a table.
    #[test]
    fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 48..600), count in 0u32..9) {
        bytes[..4].copy_from_slice(b"IORT");
        let len = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[36..40].copy_from_slice(&count.to_le_bytes());
        bytes[40..44].copy_from_slice(&48u32.to_le_bytes());
        fix_sum(&mut bytes);
        match Table::parse(&bytes) {
            Ok(table) => { walk(table); }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    /// A good table with some bytes changed.
    #[test]
    fn damaged_tables(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop_oneof![Just(None), any::<prop::sample::Index>().prop_map(Some)],
    ) {
        let mut bytes = server();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()).max(10));
            let len = bytes.len() as u32;
            bytes[4..8].copy_from_slice(&len.to_le_bytes());
        }
        fix_sum(&mut bytes);
        match Table::parse(&bytes) {
            Ok(table) => { walk(table); }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
