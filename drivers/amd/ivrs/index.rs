// SPDX-License-Identifier: GPL-2.0

//! Where the units of an IVRS table are, and which blocks count: decided once, when a table is
//! checked.

#![forbid(unsafe_code)]

/// What a hardware definition counts as.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Use {
    /// A unit, by the block that says most about it.
    #[default]
    Unit,
    /// Another block for a unit; it does not count.
    Ignored,
    /// A unit that cannot be used, by the block that says most about it.
    LeftOut,
}

/// What the index of a table has of one hardware definition.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Offset of the block in the table.
    pub(super) offset: usize,
    pub(super) how: Use,
}
