// SPDX-License-Identifier: GPL-2.0

//! Where the units of a DMAR table are, and which are used: decided once, when a table is checked.

#![forbid(unsafe_code)]

/// What a DRHD structure counts as.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Use {
    /// A unit.
    #[default]
    Unit,
    /// Another structure for a unit.
    Again,
    /// A unit that cannot be used.
    LeftOut,
}

/// What the index of a table has of one DRHD structure.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Offset of the structure in the table.
    pub(super) offset: usize,
    pub(super) how: Use,
}
