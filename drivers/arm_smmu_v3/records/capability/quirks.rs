// SPDX-License-Identifier: GPL-2.0

//! Errata of products (SMMUv3 IHI 0070, SMMU_IIDR in 6.3, and Arm's errata notices).

#![forbid(unsafe_code)]

use super::super::bits::field;

/// How a unit differs from the specification.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Quirks {
    /// The most commands that may follow each other without a CMD_SYNC (Arm erratum 2812531 of
    /// MMU-700).
    pub max_unsynced: Option<u8>,
    /// Streams with both stages do not work (Arm errata 1209401 of MMU-600 and 2268618 of MMU-700).
    pub no_nesting: bool,
    /// Broadcast TLB invalidation does not work (Arm errata of MMU-700, 3878312 of
    /// MMU-L1, 3995052 of MMU-S3).
    pub no_broadcast: bool,
    /// CMD_SYNC does not complete with an event (Arm erratum 1076982 of MMU-600).
    pub no_events: bool,
    /// An invalidation of cached entries or translations takes effect only when it is executed
    /// again, after the CMD_SYNC that follows it has completed (NVIDIA Tegra264). IIDR does not
    /// tell: the device tree does.
    pub repeat_invalidations: bool,
}

impl Quirks {
    const NONE: Self = Self {
        max_unsynced: None,
        no_nesting: false,
        no_broadcast: false,
        no_events: false,
        repeat_invalidations: false,
    };

    /// Implementer "Arm" in IIDR, a JEP106 code.
    const ARM: u64 = 0x43b;

    /// The quirks of the product that SMMU_IIDR names.
    ///
    /// | bits | field |
    /// |---|---|
    /// | 11:0 | implementer |
    /// | 15:12 | revision |
    /// | 19:16 | variant |
    /// | 31:20 | product |
    pub const fn of(iidr: u32) -> Self {
        let iidr = iidr as u64;
        let (revision, variant) = (field(iidr, 15, 12), field(iidr, 19, 16));
        if field(iidr, 11, 0) != Self::ARM {
            return Self::NONE;
        }

        match field(iidr, 31, 20) {
            // MMU-600.
            0x483 => Self {
                no_events: variant == 0 && revision <= 2,
                no_nesting: variant < 2,
                ..Self::NONE
            },
            // MMU-700.
            0x487 => {
                let early = variant < 1 || revision < 1;
                Self {
                    no_broadcast: true,
                    no_nesting: early,
                    max_unsynced: if early { Some(63) } else { None },
                    ..Self::NONE
                }
            }
            // MMU-L1 and MMU-S3.
            0x48a | 0x498 => Self {
                no_broadcast: true,
                ..Self::NONE
            },
            _ => Self::NONE,
        }
    }
}
