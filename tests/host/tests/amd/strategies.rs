// SPDX-License-Identifier: GPL-2.0

//! What property tests of several files generate.

use proptest::prelude::*;

use crate::amd::entries::Interrupts;

/// Everything that an entry can say about interrupt messages.
pub fn what_happens_to_interrupts() -> impl Strategy<Value = Interrupts> {
    prop_oneof![
        Just(Interrupts::Pass),
        Just(Interrupts::Refused),
        (any::<u64>(), 0u8..=11).prop_map(|(table, length_lg2)| Interrupts::Remapped {
            table: table & 0xf_ffff_ffff_ff80,
            length_lg2,
        }),
    ]
}
