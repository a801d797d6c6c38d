// SPDX-License-Identifier: GPL-2.0

//! What the targets for firmware tables share: tables with a good header, and long ones.

use std::time::{Duration, Instant};

/// Tables are repeated up to this length to see how the time grows.
const LONG: usize = 256 << 10;
/// One parse of a table of that length and one look-up may take this long, at most. A parse that
/// compares everything with everything else takes seconds.
const LIMIT: Duration = Duration::from_millis(250);

/// The table in `bytes` with the right signature, length and checksum. What a fuzzer finds out
/// about these three is soon known, and would hide the rest.
pub fn with_header(signature: &[u8; 4], bytes: &[u8]) -> Vec<u8> {
    let mut table = bytes.to_vec();
    table.resize(bytes.len().max(48), 0);
    fix(signature, &mut table);
    table
}

fn fix(signature: &[u8; 4], table: &mut [u8]) {
    let len = (table.len() as u32).to_le_bytes();
    table[..4].copy_from_slice(signature);
    table[4..8].copy_from_slice(&len);
    table[9] = 0;
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    table[9] = sum.wrapping_neg();
}

/// Repeats the structures of `table`, and checks that `look` does not take too long. One input in
/// 64 is tried: it takes as long as a thousand short ones.
pub fn check_time(signature: &[u8; 4], table: &[u8], look: impl Fn(&[u8])) {
    let structures = &table[48..];
    if structures.is_empty() || table[9] % 64 != 0 {
        return;
    }
    let mut long = table.to_vec();
    while long.len() + structures.len() <= LONG {
        long.extend_from_slice(structures);
    }
    fix(signature, &mut long);
    // Of several times the shortest: this process may have to wait for the processor.
    let took = (0..3).map(|_| {
        let started = Instant::now();
        look(&long);
        started.elapsed()
    });
    let took = took.min().unwrap_or_default();
    assert!(took < LIMIT, "{took:?} for {} bytes", long.len());
}
