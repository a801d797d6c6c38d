// SPDX-License-Identifier: GPL-2.0

//! The kernel's own drivers of units, as the core sees them: one driver of the core's that attaches
//! devices one by one.
//!
//! | file | what |
//! |---|---|
//! | `driver` | units, domains and devices of such drivers, and their attaches |
//! | `unit_table`, `domain_table` | from C's structures, which have no place for a pointer, to the core's |
//! | `groups` | groups of devices behind such units |

mod domain_table;
mod driver;
mod groups;
mod unit_table;

use kernel::prelude::*;

pub(super) use self::{
    domain_table::iommu_domain_free,
    groups::new_group,
    unit_table::{add_unit, remove_unit},
};

/// Makes the tables usable.
///
/// # Safety
///
/// Called once, before any unit is registered and anybody has a domain.
pub(super) unsafe fn init() -> Result {
    // SAFETY: By the requirements.
    unsafe {
        unit_table::init();
        domain_table::init()
    }
}
