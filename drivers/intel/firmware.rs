// SPDX-License-Identifier: GPL-2.0

//! The DMAR table of this machine.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::prelude::*;

use super::dmar::{Entry, Error, Structure, Table};
use crate::drivers::shell::acpi_table::{memory_node, AcpiTable, CheckedTable};

/// The DMAR table.
pub(super) struct Dmar;

impl AcpiTable for Dmar {
    const SIGNATURE: &'static CStr = c"DMAR";

    type Entry = Entry;
    type Parsed<'a> = Table<'a>;
    type Error = Error;

    fn count(bytes: &[u8]) -> Result<usize, Error> {
        Table::count(bytes)
    }

    fn index(bytes: &[u8], index: &mut [Entry], log: &mut dyn FnMut(&dyn fmt::Display)) {
        Table::index(bytes, index, &mut |warning| log(warning));
    }

    fn parsed<'a>(bytes: &'a [u8], index: &'a [Entry]) -> Table<'a> {
        Table::new(bytes, index)
    }
}

/// A copy of the DMAR table.
pub(super) type Firmware = CheckedTable<Dmar>;

impl Firmware {
    /// The memory node next to the unit at `base`, negative for none.
    pub(super) fn node_of(&self, base: u64) -> i32 {
        let mut structures = self.table().structures();
        memory_node(structures.find_map(|structure| match structure {
            Structure::Rhsa(affinity) if affinity.base == base => Some(affinity.proximity_domain),
            _ => None,
        }))
    }
}
