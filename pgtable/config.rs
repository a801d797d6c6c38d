// SPDX-License-Identifier: GPL-2.0

//! The shape of a page table.

#![forbid(unsafe_code)]

use crate::addr::PageSizes;

/// The shape of one page table.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the addresses that are translated, in bits: the aperture is `0..1 << iova_bits`.
    pub iova_bits: u8,
    /// Number of table levels, the root's included. With a format that grows: to begin with.
    pub levels: u8,
    /// Page sizes that the unit has, those of runs included; what the format lacks is ignored.
    pub page_sizes: PageSizes,
    /// Width of the addresses that can be translated to, in bits.
    pub oa_bits: u8,
    /// Whether the unit's walker snoops the CPU's caches. If not, changed entries are flushed.
    pub coherent: bool,
    /// Whether the unit bears it that a page in use is split into smaller ones that say the same.
    pub split: bool,
}
