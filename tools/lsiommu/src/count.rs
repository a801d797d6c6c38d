// SPDX-License-Identifier: GPL-2.0

//! A number with the noun that it counts: `1 fault`, `2 faults`.

/// `number` of `noun`, which takes an `s` in the plural.
pub fn counted(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
