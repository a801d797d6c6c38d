// SPDX-License-Identifier: GPL-2.0

//! Targets of interrupts, for the tests of each vendor's entries.

use iommu_core_host::interrupt::{Delivery, Target};
use proptest::prelude::*;

pub const FIXED: Target = Target {
    vector: 0xa5,
    delivery: Delivery::Fixed,
    logical: false,
    destination: 0x3c,
};

/// Any target.
pub fn targets() -> impl Strategy<Value = Target> {
    let delivery = prop_oneof![Just(Delivery::Fixed), Just(Delivery::LowestPriority)];
    (any::<u8>(), delivery, any::<bool>(), any::<u32>()).prop_map(
        |(vector, delivery, logical, destination)| Target {
            vector,
            delivery,
            logical,
            destination,
        },
    )
}
