// SPDX-License-Identifier: GPL-2.0

//! The pure files of the VT-d driver, as sibling modules like in the kernel module.

#![allow(dead_code, unused_imports)]

#[path = "../../../../drivers/intel"]
mod tree {
    pub mod capability;
    pub mod change;
    pub mod dmar;
    pub mod entries;
    pub mod fault_record;
    pub mod invalidation;
    pub mod pasid;
    pub mod quirks;
    pub mod scope;
}

pub use tree::{
    capability, change, dmar, entries, fault_record, invalidation, pasid, quirks, scope,
};
pub mod tables;

use dmar::{Entry, Error, Kind, Oddity, Table};

/// A checked table, with the index that a driver keeps.
pub struct Checked<'a> {
    bytes: &'a [u8],
    index: Vec<Entry>,
    /// Kind and offset of the structure, offset of the scope, and what is odd.
    pub odd: Vec<(Kind, usize, Option<usize>, Oddity)>,
    /// The messages.
    pub words: Vec<String>,
}

impl<'a> Checked<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut index = vec![Entry::default(); Table::count(bytes)?];
        let (mut odd, mut words) = (Vec::new(), Vec::new());
        Table::index(bytes, &mut index, &mut |warning| {
            odd.push((warning.kind, warning.offset, warning.scope, warning.oddity));
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
