// SPDX-License-Identifier: GPL-2.0

//! What arrays in nodes consist of.

#![forbid(unsafe_code)]

use core::fmt;

/// What an array's elements are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Elements {
    /// Mappings of ids, of any node.
    Mappings,
    /// Memory ranges, of a node of reserved memory.
    Regions,
    /// Numbers of interrupt translators, of an ITS group.
    Translators,
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mappings => "mappings",
            Self::Regions => "memory ranges",
            Self::Translators => "interrupt translators",
        })
    }
}
