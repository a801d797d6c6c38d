// SPDX-License-Identifier: GPL-2.0

//! The DMAR table of this machine.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::prelude::*;

use super::dmar::{Entry, Error, Structure, Table};
use crate::drivers::shell::{
    acpi_table::{memory_node, AcpiTable, CheckedTable},
    sort::sort_by_key,
};

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

/// The memory nodes that units are next to.
///
/// Read in one pass over the table: a pass for each unit takes a second if a table lists as many
/// units as it has room for.
pub(super) struct MemoryNodes(KVec<Affinity>);

struct Affinity {
    base: u64,
    /// How many structures come before it. The first one for a unit counts.
    before: usize,
    proximity_domain: u32,
}

impl MemoryNodes {
    /// Reads `table`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(table: Table<'_>) -> Result<Self> {
        let mut found = KVec::new();
        for (before, structure) in table.structures().enumerate() {
            if let Structure::Rhsa(affinity) = structure {
                let affinity = Affinity {
                    base: affinity.base,
                    before,
                    proximity_domain: affinity.proximity_domain,
                };
                found.push(affinity, GFP_KERNEL)?;
            }
        }
        sort_by_key(&mut found, |affinity| (affinity.base, affinity.before));
        Ok(Self(found))
    }

    /// The memory node next to the unit at `base`, negative for none.
    pub(super) fn of(&self, base: u64) -> i32 {
        let first = self.0.partition_point(|affinity| affinity.base < base);
        let found = self.0.get(first).filter(|affinity| affinity.base == base);
        memory_node(found.map(|affinity| affinity.proximity_domain))
    }
}
