// SPDX-License-Identifier: GPL-2.0

//! The pure files of the SMMUv3 driver, in the same modules as in the kernel.

#![allow(dead_code, unused_imports)]

#[path = "../../../../drivers/arm_smmu_v3"]
mod tree {
    pub mod iort;
    pub mod records;

    pub mod unit {
        pub mod ats_streams;
    }

    pub mod device_tlb {
        pub mod change;
    }
}

pub use tree::{device_tlb, iort, records, unit};
