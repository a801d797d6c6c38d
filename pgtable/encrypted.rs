// SPDX-License-Identifier: GPL-2.0

//! Page tables on a machine with encrypted memory (AMD Secure Memory Encryption).
//!
//! AMD64 Architecture Programmer's Manual, volume 2, section 7.10. One bit of a physical address,
//! the C-bit, selects whether an access is decrypted. The kernel's memory is encrypted, and page
//! tables are in that memory. So every address that a unit reads there must have the C-bit set: the
//! address of each table and of each page of memory. Device memory is not encrypted.
//!
//! The position of the C-bit depends on the processor (47 or 51, CPUID 8000_001Fh), and is the same
//! for all page tables.

#![forbid(unsafe_code)]

use core::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Decoded, DirtyFormat, Error, Format};
use crate::addr::{PageSizes, PhysAddr, Prot};

static MASK: AtomicU64 = AtomicU64::new(0);

/// Returns the C-bit, or 0 if memory is not encrypted.
#[inline(always)]
pub fn mask() -> u64 {
    MASK.load(Relaxed)
}

/// Sets the C-bit. Must be called before the first page table is created.
pub fn set_mask(mask: u64) {
    MASK.store(mask, Relaxed);
}

/// Returns the address with the C-bit: how a unit must address the kernel's memory.
#[inline]
pub fn seen(address: PhysAddr) -> PhysAddr {
    PhysAddr::new(address.raw() | mask())
}

/// Undoes [`seen`].
#[inline]
pub fn plain(address: PhysAddr) -> PhysAddr {
    PhysAddr::new(address.raw() & !mask())
}

/// A format with the C-bit in its entries. The addresses that its functions take and return do not
/// have the bit.
pub struct Encrypted<F: Format>(PhantomData<fn() -> F>);

impl<F: Format> Format for Encrypted<F> {
    const GRANULE_LG2: u32 = F::GRANULE_LG2;
    const INDEX_LG2: u32 = F::INDEX_LG2;
    const MIN_LEVELS: u8 = F::MIN_LEVELS;
    const MAX_LEVELS: u8 = F::MAX_LEVELS;
    const MAX_LEAF_LEVEL: u8 = F::MAX_LEAF_LEVEL;
    const UNUSED_IOVA_BITS: u32 = F::UNUSED_IOVA_BITS;
    const GROWS: bool = F::GROWS;
    const FULL_ROOT: bool = F::FULL_ROOT;
    const MAX_ROOT_TABLES_LG2: u32 = F::MAX_ROOT_TABLES_LG2;
    const MAX_OA_BITS: u8 = F::MAX_OA_BITS;
    const FLUSHED: u64 = F::FLUSHED;
    const WHOLE: u64 = F::WHOLE;
    const PAGE_SIZES: PageSizes = F::PAGE_SIZES;
    const RUN_BITS: u64 = F::RUN_BITS;
    const PARTS_ARE_INVALIDATED: bool = F::PARTS_ARE_INVALIDATED;
    const NEEDS_BREAK: bool = F::NEEDS_BREAK;

    #[inline]
    fn attrs(prot: Prot) -> Result<u64, Error> {
        let bit = if prot.has(Prot::MMIO) { 0 } else { mask() };

        Ok(F::attrs(prot)? | bit)
    }

    #[inline]
    fn leaf(level: u8, paddr: u64, attrs: u64) -> u64 {
        F::leaf(level, paddr, attrs)
    }

    #[inline]
    fn run_leaf(level: u8, run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        F::run_leaf(level, run_lg2, paddr, attrs)
    }

    #[inline]
    fn run_step(level: u8) -> u64 {
        F::run_step(level)
    }

    #[inline]
    fn run_lg2(level: u8, leaf: u64) -> u32 {
        F::run_lg2(level, leaf & !mask())
    }

    #[inline]
    fn split_run_leaf(level: u8, run_lg2: u32, paddr: u64, attrs: u64) -> u64 {
        F::split_run_leaf(level, run_lg2, paddr, attrs)
    }

    #[inline]
    fn split_run_lg2(level: u8, leaf: u64) -> u32 {
        F::split_run_lg2(level, leaf)
    }

    #[inline]
    fn with_records_of(leaf: u64, other: u64) -> u64 {
        F::with_records_of(leaf, other)
    }

    #[inline]
    fn link(level: u8, table: PhysAddr) -> u64 {
        F::link(level, seen(table))
    }

    #[inline]
    fn decode(level: u8, entry: u64) -> Decoded {
        F::decode(level, entry & !mask())
    }

    #[inline]
    fn leaf_attrs(level: u8, entry: u64) -> u64 {
        F::leaf_attrs(level, entry) | entry & mask()
    }
}

impl<F: DirtyFormat> DirtyFormat for Encrypted<F> {
    #[inline]
    fn is_dirty(leaf: u64) -> bool {
        F::is_dirty(leaf)
    }

    #[inline]
    fn clean(leaf: u64) -> u64 {
        F::clean(leaf)
    }
}
