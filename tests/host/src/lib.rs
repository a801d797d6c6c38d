// SPDX-License-Identifier: GPL-2.0

//! The pure modules of the tree, and code that their tests share.

/// The tree itself, from its top folder.
#[path = "../../.."]
mod tree {
    pub mod addr;
    pub mod count;
    pub mod fault;
    pub mod frontend {
        pub mod hosted {
            pub mod intent;
        }
        pub mod provider {
            pub mod stage;
        }
    }
    pub mod interrupt;
    pub mod label;
    #[path = "frontend/native/merge.rs"]
    pub mod merge;
    pub mod ownership;
    #[path = "frontend/native/page_size.rs"]
    pub mod page_size;
    pub mod pasid;
    pub mod pgtable;
    pub mod requester;
    pub mod reserved;
    #[path = "drivers/shell"]
    pub mod shell {
        pub mod acpi_structures;
        pub mod blocks;
        pub mod bytes;
        pub mod sort;
        pub mod tags;
    }
}

pub use tree::{
    addr, count, fault, frontend, interrupt, label, merge, ownership, page_size, pasid, pgtable,
    requester, reserved, shell,
};

pub mod cases;
pub mod hardware;
pub mod memory;
pub mod model;
