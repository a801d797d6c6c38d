// SPDX-License-Identifier: GPL-2.0

//! The index of an IVRS table: the offsets of the units' blocks, and which of the blocks count. The
//! check of a table fills it.

#![forbid(unsafe_code)]

/// What a hardware definition stands for.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Use {
    /// A unit, and this is its newest block.
    #[default]
    Unit,
    /// A unit that has another block, which counts instead.
    Ignored,
    /// A unit that the driver cannot use, and this is its newest block.
    LeftOut,
}

/// The entry of the index for one hardware definition.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Offset of the block in the table.
    pub(super) offset: usize,
    pub(super) how: Use,
}
