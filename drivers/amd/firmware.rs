// SPDX-License-Identifier: GPL-2.0

//! The IVRS table of this machine.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::prelude::*;

use super::ivrs::{Error, Table};
use crate::drivers::shell::acpi_table::{AcpiTable, CheckedTable};

/// The IVRS table.
pub(super) struct Ivrs;

impl AcpiTable for Ivrs {
    const SIGNATURE: &'static CStr = c"IVRS";

    type Parsed<'a> = Table<'a>;
    type Error = Error;

    fn parse(bytes: &[u8]) -> Result<Table<'_>, Error> {
        Table::parse(bytes)
    }

    fn warnings(table: Table<'_>, mut log: impl FnMut(&dyn fmt::Display)) {
        table.warnings().for_each(|warning| log(&warning));
    }
}

/// A copy of the IVRS table.
pub(super) type Firmware = CheckedTable<Ivrs>;
