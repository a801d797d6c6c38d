// SPDX-License-Identifier: GPL-2.0

//! Where the nodes of an IORT are, and which are used: decided once, when a table is checked.

#![forbid(unsafe_code)]

/// What an entry stands for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Use {
    /// A node.
    Node,
    /// A node that cannot be used.
    LeftOut,
    /// Nothing. The check sorts the mappings or memory ranges of a node in such entries.
    #[default]
    Spare,
}

/// What the index of a table has of one node. The entries of nodes come first, by offset.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Offset of the node in the table.
    pub(super) offset: usize,
    pub(super) how: Use,
    /// What the check sorts by.
    pub(super) key: u64,
}
