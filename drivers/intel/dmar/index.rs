// SPDX-License-Identifier: GPL-2.0

//! The index of a DMAR table: the offsets of the units, and which of them the driver can use. The
//! check of a table fills it.

#![forbid(unsafe_code)]

/// What a DRHD structure stands for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Use {
    /// A unit.
    #[default]
    Unit,
    /// A unit that has an earlier structure.
    Again,
    /// A unit that cannot be used.
    LeftOut,
}

/// The entry of the index for one DRHD structure.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Offset of the structure in the table.
    pub(super) offset: usize,
    pub(super) how: Use,
}
