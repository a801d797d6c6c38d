// SPDX-License-Identifier: GPL-2.0

//! How a unit remaps interrupts.

#![forbid(unsafe_code)]

use super::irte::Format;
use crate::ffi::wide_store::WideStore;

/// How a unit remaps interrupts.
#[derive(Copy, Clone)]
pub(super) struct Remapping {
    format: Format,
    wide: Option<WideStore>,
    max_lg2: u8,
}

impl Remapping {
    /// For a unit with these features. `is_x2apic` says whether the processors are in x2APIC mode.
    pub(super) fn new(long: bool, x2apic: bool, many: bool, is_x2apic: bool) -> Self {
        let wide = WideStore::new().filter(|_| long);
        Self {
            format: match wide {
                Some(_) => Format::Long {
                    x2apic: x2apic && is_x2apic,
                },
                None => Format::Short,
            },
            wide,
            max_lg2: if many { 11 } else { 9 },
        }
    }

    /// How a long entry is written; `None` for short ones.
    pub(super) fn wide(&self) -> Option<WideStore> {
        self.wide
    }

    /// The most entries of a table, as a power of 2.
    pub(super) fn max_lg2(&self) -> u8 {
        self.max_lg2
    }

    /// How the unit has to read the tables.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Whether a device id can have 2048 interrupts.
    pub(super) fn many(&self) -> bool {
        self.max_lg2 > 9
    }
}
