// SPDX-License-Identifier: GPL-2.0

//! Paging domains: second-stage page tables.

#![forbid(unsafe_code)]

use kernel::prelude::*;

use super::{
    capability::{AddressSpace, Capability, Width},
    entries::Translation,
};
use crate::{
    addr::PageSizes,
    pgtable::{
        kernel_memory::{Gfp, KernelMemory},
        vtd_ss::VtdSs,
        Config, PageTable,
    },
};

/// The width of addresses in entries (9.8).
const OUTPUT_BITS: u8 = 52;

/// The page table of a paging domain.
pub struct Paging {
    pub(super) table: PageTable<VtdSs, KernelMemory>,
    width: Width,
    bits: u8,
    coherent: bool,
}

impl Paging {
    /// An empty table for a unit with `capability` and `space`.
    ///
    /// The table takes all addresses that its entries can hold. If one is beyond the width that
    /// firmware gives, reserved bits are set in the entry, and the unit refuses DMA there with a
    /// fault (9.8, 7.1.3).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(capability: &Capability, space: AddressSpace, node: i32) -> Result<Self> {
        let config = Config {
            iova_bits: space.bits,
            levels: space.width.levels(),
            page_sizes: PageSizes::new(capability.page_sizes()),
            oa_bits: OUTPUT_BITS,
            coherent: capability.coherent,
            split: true,
        };
        Ok(Self {
            table: PageTable::new(&config, KernelMemory::new(node), Gfp::KERNEL)?,
            width: space.width,
            bits: space.bits,
            coherent: capability.coherent,
        })
    }

    /// Whether a unit with `capability` can walk the table and translates all addresses in it.
    pub(super) fn fits(&self, capability: &Capability) -> bool {
        let sizes = PageSizes::new(capability.page_sizes());

        capability.widths.contains(self.width)
            && capability.max_address_bits >= self.bits
            && self.table.page_sizes().intersection(sizes) == self.table.page_sizes()
            // A table made for coherent walks is never flushed from the processors' caches.
            && (capability.coherent || !self.coherent)
    }

    /// What a context entry of this domain says.
    pub(super) fn translation(&self) -> Translation {
        Translation::SecondStage {
            root: self.table.root().raw(),
            width: self.width,
        }
    }
}
