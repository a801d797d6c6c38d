// SPDX-License-Identifier: GPL-2.0

//! A number with the noun that it counts: `1 group`, `2 groups`.

#![forbid(unsafe_code)]

use core::fmt;

/// A number of what `noun` names, which takes an `s` in the plural.
pub struct Count<N> {
    number: N,
    noun: &'static str,
}

impl<N> Count<N> {
    /// `number` of `noun`.
    pub const fn new(number: N, noun: &'static str) -> Self {
        Self { number, noun }
    }
}

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Count<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.number == N::from(1) { "" } else { "s" };
        write!(f, "{} {}{plural}", self.number, self.noun)
    }
}
