// SPDX-License-Identifier: GPL-2.0

//! What a page table needs of a unit that is to walk it.

#![forbid(unsafe_code)]

use super::capability::{Capability, SizeChange, Stage};
use crate::pgtable::armv8::GranuleSize;

/// What a page table needs of a unit.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TableNeeds {
    /// The stage that it is for.
    pub stage: Stage,
    /// Its granule.
    pub granule: GranuleSize,
    /// Bits of an input address.
    pub input_bits: u8,
    /// Bits of an output address.
    pub output_bits: u8,
    /// Whether changed entries stay in the processors' caches, where walks must snoop them.
    pub snoops: bool,
    /// Whether pages that are mapped change their size at once, without break-before-make.
    pub splits: bool,
}

impl TableNeeds {
    /// Whether a page table on a unit with `capability` may split pages.
    pub fn may_split(capability: &Capability) -> bool {
        capability.size_change == SizeChange::Direct
    }

    /// Whether a unit with `capability` can walk the table, at any moment of its life, and reaches
    /// all addresses that the table can map.
    pub fn are_met_by(&self, capability: &Capability) -> bool {
        let (has_stage, input_bits) = match self.stage {
            Stage::One => (
                capability.stage1,
                capability.stage1_input_bits(self.granule),
            ),
            Stage::Two => (
                capability.stage2,
                capability.stage2_input_bits(self.granule),
            ),
        };
        has_stage
            && capability.granules.contains(self.granule)
            && input_bits >= self.input_bits
            && capability.table_output_bits(self.granule) >= self.output_bits
            && (capability.coherent || !self.snoops)
            && (Self::may_split(capability) || !self.splits)
    }
}
