// SPDX-License-Identifier: GPL-2.0

//! Where the blocks of an IVRS table start and end.

#![forbid(unsafe_code)]

use super::kind::Kind;
use crate::drivers::shell::acpi_structures::{self, RawStructures, HEADER_LEN};

/// One block as it is in the table.
pub(super) type Raw<'a> = acpi_structures::Raw<'a, Kind>;
/// The blocks of a table as they are in it, up to the first whose end cannot be found.
pub(super) type RawBlocks<'a> = RawStructures<'a, Kind>;

/// The blocks of `table`, the bytes of a whole table.
pub(super) fn blocks_of(table: &[u8]) -> RawBlocks<'_> {
    RawBlocks::new(table, HEADER_LEN)
}
