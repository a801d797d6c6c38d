// SPDX-License-Identifier: GPL-2.0

//! What becomes of the interrupt messages of a member.

#![forbid(unsafe_code)]

use kernel::sync::Arc;

use crate::remapping::InterruptTable;

/// What the unit does with a member's messages.
pub(super) enum Messages {
    /// They pass, and no driver of the device relies on that.
    Unused,
    /// They pass; the device's driver relies on that.
    Plain,
    /// They go through a table.
    Remapped(Arc<dyn InterruptTable>),
}

impl Messages {
    /// The table that they go through.
    pub(super) fn table(&self) -> Option<&Arc<dyn InterruptTable>> {
        match self {
            Self::Remapped(table) => Some(table),
            _ => None,
        }
    }
}
