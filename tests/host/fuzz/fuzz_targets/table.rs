// SPDX-License-Identifier: GPL-2.0

//! Code that the targets for firmware tables share: tables with a good header, and long tables.

use std::time::{Duration, Instant};

/// The length of long tables, which show how the times grow.
const LONG: usize = 256 << 10;
/// The most time that one parse of a long table, with one look-up, may take. A quadratic parse
/// takes seconds.
const LIMIT: Duration = Duration::from_millis(250);

/// The table in `bytes` with the right signature, length and checksum. Otherwise the parser would
/// refuse most inputs at once.
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

/// Repeats the structures of `table`, and checks that `look` does not take too long. Only one input
/// in 64 is tried, because a long table takes as much time as a thousand short ones.
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
    // The shortest of several times counts, because other processes may use the processor.
    let took = (0..3).map(|_| {
        let started = Instant::now();
        look(&long);
        started.elapsed()
    });
    let took = took.min().unwrap_or_default();
    assert!(took < LIMIT, "{took:?} for {} bytes", long.len());
}
