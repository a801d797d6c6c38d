// SPDX-License-Identifier: GPL-2.0

//! The pure modules of the tree, and what their tests have in common.

/// The tree itself, from its top.
#[path = "../../.."]
mod tree {
    pub mod addr;
    pub mod pgtable;
}

pub use tree::{addr, pgtable};

pub mod hardware;
pub mod memory;
pub mod model;
