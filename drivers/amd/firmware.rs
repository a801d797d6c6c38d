// SPDX-License-Identifier: GPL-2.0

//! The IVRS table of this machine.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::prelude::*;

use super::ivrs::{Entry, Error, Table};
use crate::drivers::shell::acpi_table::{AcpiTable, CheckedTable};

/// The IVRS table.
pub(super) struct Ivrs;

impl AcpiTable for Ivrs {
    const SIGNATURE: &'static CStr = c"IVRS";

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

/// A copy of the IVRS table.
pub(super) type Firmware = CheckedTable<Ivrs>;
