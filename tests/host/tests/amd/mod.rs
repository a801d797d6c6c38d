// SPDX-License-Identifier: GPL-2.0

//! The pure files of the AMD-Vi driver, as sibling modules like in the kernel module.

#![allow(dead_code, unused_imports)]

#[path = "../../../../drivers/amd"]
mod tree {
    pub mod capability;
    pub mod commands;
    pub mod entries;
    pub mod events;
    pub mod ivrs;
    pub mod quirks;
    pub mod scope;
    pub mod update;
}

pub mod tables;

pub use tree::{capability, commands, entries, events, ivrs, quirks, scope, update};

use ivrs::{Entry, Error, Kind, Oddity, Table};

/// A checked table, with the index that a driver keeps.
pub struct Checked<'a> {
    bytes: &'a [u8],
    index: Vec<Entry>,
    /// Kind and offset of the block, offset of the device entry, and what is odd.
    pub odd: Vec<(Kind, usize, Option<usize>, Oddity)>,
    /// The messages.
    pub words: Vec<String>,
}

impl<'a> Checked<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut index = vec![Entry::default(); Table::count(bytes)?];
        let (mut odd, mut words) = (Vec::new(), Vec::new());
        Table::index(bytes, &mut index, &mut |warning| {
            odd.push((warning.kind, warning.offset, warning.entry, warning.oddity));
            words.push(warning.to_string());
        });
        Ok(Self {
            bytes,
            index,
            odd,
            words,
        })
    }

    pub fn table(&self) -> Table<'_> {
        Table::new(self.bytes, &self.index)
    }
}
