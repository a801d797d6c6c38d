// SPDX-License-Identifier: GPL-2.0

//! The pure files of the VT-d driver, as sibling modules like in the kernel module.

#![allow(dead_code, unused_imports)]

#[path = "../../../../drivers/intel"]
mod tree {
    pub mod capability;
    pub mod dmar;
    pub mod entries;
    pub mod fault_record;
    pub mod invalidation;
    pub mod scope;
}

pub use tree::{capability, dmar, entries, fault_record, invalidation, scope};
pub mod tables;
