// SPDX-License-Identifier: GPL-2.0

//! What a unit is capable of, for debugfs and sysfs.

#![forbid(unsafe_code)]

use core::fmt;

/// Writes the names of those `abilities` that the unit has, with a space between them.
pub(crate) fn abilities(f: &mut dyn fmt::Write, abilities: &[(bool, &str)]) -> fmt::Result {
    let names = abilities.iter().filter(|(has, _)| *has);
    for (number, (_, name)) in names.enumerate() {
        let between = if number == 0 { "" } else { " " };
        write!(f, "{between}{name}")?;
    }
    Ok(())
}
