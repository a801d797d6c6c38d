// SPDX-License-Identifier: GPL-2.0

//! The pure files of the SMMUv3 driver, as siblings, the way they are in the kernel module.

#![allow(dead_code, unused_imports)]

#[path = "../../../../drivers/arm_smmu_v3"]
mod tree {
    pub mod bits;
    pub mod capability;
    pub mod command;
    pub mod context;
    pub mod entries;
    pub mod event;
    pub mod invalidation;
    pub mod iort;
    pub mod page_request;
    pub mod queue_index;
    pub mod streams;
    pub mod tlb_change;
    pub mod tlb_roster;
    pub mod update;
}

pub use tree::{
    bits, capability, command, context, entries, event, invalidation, iort, page_request,
    queue_index, streams, tlb_change, tlb_roster, update,
};
