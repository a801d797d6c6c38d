// SPDX-License-Identifier: GPL-2.0

//! The pure files of the VT-d driver, as siblings, the way they are in the kernel module.

#![allow(dead_code)]

#[path = "../../../../drivers/intel/capability.rs"]
pub mod capability;
#[path = "../../../../drivers/intel/dmar.rs"]
pub mod dmar;
#[path = "../../../../drivers/intel/entries.rs"]
pub mod entries;
#[path = "../../../../drivers/intel/fault_record.rs"]
pub mod fault_record;
#[path = "../../../../drivers/intel/invalidation.rs"]
pub mod invalidation;
#[path = "../../../../drivers/intel/scope.rs"]
pub mod scope;
pub mod tables;
