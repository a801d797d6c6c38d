// SPDX-License-Identifier: GPL-2.0

//! No IORT table makes the parser panic or loop for ever.

use proptest::prelude::*;

use super::*;

/// The time is linear in the length of the table, however much it has of one thing.
#[test]
fn large_tables_are_read_soon() {
    let maps = |reference| -> Vec<_> {
        // Not in order, and all overlap.
        (0..3000)
            .map(|n| (n * 7919 % 3000, 0xffff, 0, reference, 0))
            .collect()
    };
    let ranges: Vec<_> = (0..3000)
        .map(|n: u64| (n * 7919 % 3000 * 0x1000, 0x10_0000))
        .collect();
    let mut nodes = vec![plain_unit()];
    nodes.extend((0..10).map(|segment| root(segment, 0, &maps(48))));
    nodes.extend((0..10).map(|_| rmr(0, &ranges, &[])));
    nodes.extend((0..20_000).map(|segment| root(segment % 100, 0, &[])));
    nodes.extend((0..20_000u32).map(|n| {
        let base = UNIT.base + u64::from(n % 100) * 0x1_0000;
        unit(&Unit { base, ..UNIT }, &[])
    }));
    let bytes = table(&nodes);
    let start = std::time::Instant::now();
    let checked = Checked::new(&bytes).unwrap();
    let parsed = start.elapsed();
    // In the time for one byte nothing is compared with everything else.
    assert!(
        parsed.as_nanos() < 2000 * bytes.len() as u128,
        "{parsed:?} for {} bytes",
        bytes.len()
    );
    assert!(checked.table().stream_of_pci(9, 5).is_some());
}

fn plain_unit() -> Vec<u8> {
    unit(&UNIT, &[])
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
        match Checked::new(&bytes) {
            Ok(checked) => { walk(&checked); }
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
        match Checked::new(&bytes) {
            Ok(checked) => { walk(&checked); }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
