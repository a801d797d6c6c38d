// SPDX-License-Identifier: GPL-2.0

//! The shape of a page table.

#![forbid(unsafe_code)]

use crate::addr::PageSizes;

/// The shape of one page table.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Width of the input addresses in bits: the aperture is `0..1 << iova_bits`.
    pub iova_bits: u8,
    /// Number of levels, including the root's. For a format that grows: the initial number.
    pub levels: u8,
    /// Page sizes that the unit supports, including run sizes. Sizes that the format lacks are
    /// ignored.
    pub page_sizes: PageSizes,
    /// Width of the output addresses in bits.
    pub oa_bits: u8,
    /// Whether the unit's walker snoops CPU caches. If not, changed entries are flushed.
    pub coherent: bool,
    /// Whether a page in use may be split into smaller pages with the same translation: whether the
    /// unit tolerates two page sizes for one address. If not, runs are not used: what a caller has
    /// mapped in pages it could not unmap in pages.
    pub split: bool,
}
