// SPDX-License-Identifier: GPL-2.0

//! Lines of a unit's page in debugfs.

#![forbid(unsafe_code)]

use core::fmt;

/// Writes a line with the names of those `abilities` that the unit has.
pub(crate) fn abilities(f: &mut dyn fmt::Write, abilities: &[(bool, &str)]) -> fmt::Result {
    write!(f, "can:")?;
    for (_, name) in abilities.iter().filter(|(has, _)| *has) {
        write!(f, " {name}")?;
    }
    writeln!(f)
}
