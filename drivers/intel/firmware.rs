// SPDX-License-Identifier: GPL-2.0

//! The DMAR table of this machine.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::prelude::*;

use super::dmar::{Error, Structure, Table};
use crate::drivers::shell::acpi_table::{memory_node, AcpiTable, CheckedTable};

/// The DMAR table.
pub(super) struct Dmar;

impl AcpiTable for Dmar {
    const SIGNATURE: &'static CStr = c"DMAR";

    type Parsed<'a> = Table<'a>;
    type Error = Error;

    fn parse(bytes: &[u8]) -> Result<Table<'_>, Error> {
        Table::parse(bytes)
    }

    fn warnings(table: Table<'_>, mut log: impl FnMut(&dyn fmt::Display)) {
        table.warnings().for_each(|warning| log(&warning));
    }
}

/// A copy of the DMAR table.
pub(super) type Firmware = CheckedTable<Dmar>;

impl Firmware {
    /// The memory node next to the unit at `base`, negative for none.
    pub(super) fn node_of(&self, base: u64) -> i32 {
        memory_node(self.table().ok().and_then(|table| {
            table.structures().find_map(|structure| match structure {
                Structure::Rhsa(affinity) if affinity.base == base => {
                    Some(affinity.proximity_domain)
                }
                _ => None,
            })
        }))
    }
}
