// SPDX-License-Identifier: GPL-2.0

//! The pure files of the AMD-Vi driver, as sibling modules like in the kernel module.

#![allow(dead_code, unused_imports)]

#[path = "../../../../drivers/amd"]
mod tree {
    pub mod capability;
    pub mod commands;
    pub mod entries;
    pub mod events;
    pub mod ivrs;
    pub mod scope;
    pub mod update;
}

pub mod tables;

pub use tree::{capability, commands, entries, events, ivrs, scope, update};
