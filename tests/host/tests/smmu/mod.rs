// SPDX-License-Identifier: GPL-2.0

//! The pure files of the SMMUv3 driver, in the same modules as in the kernel.

#![allow(dead_code, unused_imports)]

#[path = "../../../../drivers/arm_smmu_v3"]
mod tree {
    pub mod iort;
    pub mod records;

    pub mod unit {
        pub mod ats_streams;
        pub mod positions;
    }

    pub mod device_tlb {
        pub mod change;
    }
}

pub use tree::{device_tlb, iort, records, unit};
pub mod queue;
pub mod tables;

use iort::{Entry, Error, Table, Warning};

/// An IORT that was checked, with what a driver keeps of it.
pub struct Checked<'a> {
    bytes: &'a [u8],
    index: Vec<Entry>,
    /// What is odd.
    pub odd: Vec<Warning>,
    /// The same in words.
    pub words: Vec<String>,
}

impl<'a> Checked<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut index = vec![Entry::default(); Table::count(bytes)?];
        let (mut odd, mut words) = (Vec::new(), Vec::new());
        Table::index(bytes, &mut index, &mut |warning| {
            odd.push(*warning);
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
