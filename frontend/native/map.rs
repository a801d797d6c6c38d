// SPDX-License-Identifier: GPL-2.0

//! Mapping and unmapping.
//!
//! All that these functions know of a domain is C's structure and its table of functions: a mapping
//! never looks at groups, and takes no lock.
//!
//! A domain maps in one of two ways. One that is built on C's generic page tables (`is_iommupt`)
//! takes a range of any length. Others map pages of one size at a time, the largest that fit (see
//! [`next_run`]).

use core::{mem::MaybeUninit, ptr};

use kernel::{
    bindings,
    ffi::{c_int, c_ulong},
    prelude::*,
};

use super::{
    page_size::{next_run, Run},
    trace, warn_once,
};
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
use crate::frontend::{answer, provider};
use crate::{
    addr::{PageSizes, PhysAddr},
    log::log_err,
};

/// A domain of C's, during a call.
///
/// # Invariants
///
/// The pointer is valid, and so are the tables of functions that the domain points to.
#[derive(Copy, Clone)]
struct Mapper(*mut bindings::iommu_domain);

impl Mapper {
    /// The domain, if something can be mapped in it.
    ///
    /// # Safety
    ///
    /// `raw` is a valid domain.
    #[inline]
    unsafe fn new(raw: *mut bindings::iommu_domain) -> Option<Self> {
        // SAFETY: By the requirements. The type changes at any time, but from one that can map to
        // another; hence the volatile access.
        let (kind, sizes) = unsafe {
            (
                (&raw const (*raw).type_).read_volatile(),
                (*raw).pgsize_bitmap,
            )
        };
        let maps = kind & bindings::__IOMMU_DOMAIN_PAGING != 0 && sizes != 0;
        // INVARIANT: By the requirements.
        (!warn_once!(!maps)).then_some(Self(raw))
    }

    fn sizes(self) -> PageSizes {
        // SAFETY: By the invariant; the field does not change while the domain is in use.
        PageSizes::new(unsafe { (*self.0).pgsize_bitmap } as u64)
    }

    fn ops(self) -> &'static bindings::iommu_domain_ops {
        // SAFETY: By the invariant; the domain's driver cannot go during the call, and nobody
        // writes to the table.
        unsafe { &*(*self.0).ops }
    }

    /// The page table, if it is one of C's generic ones.
    #[inline]
    fn generic(self) -> Option<*mut bindings::pt_iommu> {
        // SAFETY: By the invariant.
        if !cfg!(CONFIG_IOMMU_PT) || unsafe { !(*self.0).is_iommupt } {
            return None;
        }
        // SAFETY: Such a domain is embedded in its page table.
        Some(unsafe {
            self.0
                .byte_sub(core::mem::offset_of!(bindings::pt_iommu, domain))
                .cast()
        })
    }

    /// Maps a range. Says how much of it is mapped now, also when it fails after some.
    #[inline(always)]
    fn map(
        self,
        iova: c_ulong,
        phys: bindings::phys_addr_t,
        size: usize,
        prot: c_int,
        gfp: bindings::gfp_t,
    ) -> (usize, c_int) {
        let mut mapped = 0;
        let error = match self.generic() {
            // SAFETY: By the invariant; the caller maps no part of the range twice at a time.
            Some(table) => unsafe {
                match (*(*table).ops).map_range {
                    Some(map_range) => map_range(
                        table,
                        iova as bindings::dma_addr_t,
                        phys,
                        size as bindings::dma_addr_t,
                        prot as u32,
                        gfp,
                        &mut mapped,
                    ),
                    None => ENODEV.to_errno(),
                }
            },
            None => self.map_pages(iova, phys, size, prot, gfp, &mut mapped),
        };
        // SAFETY: Always safe; the domain is valid by the invariant.
        unsafe {
            trace::map(iova, phys, mapped);
            trace::check_map(self.0, phys, mapped);
        }
        (mapped, error)
    }

    fn map_pages(
        self,
        iova: c_ulong,
        phys: bindings::phys_addr_t,
        size: usize,
        prot: c_int,
        gfp: bindings::gfp_t,
        mapped: &mut usize,
    ) -> c_int {
        let Some(map_pages) = self.ops().map_pages else {
            kernel::warn_on!(true);
            return ENODEV.to_errno();
        };
        let sizes = self.sizes();
        if (iova as u64 | phys | size as u64) & (sizes.smallest() - 1) != 0 {
            log_err!(
                "map: {:#x} bytes at {:#x} to {:#x}: not whole pages of {:#x}",
                size,
                iova,
                phys,
                sizes.smallest(),
            );
            return EINVAL.to_errno();
        }
        while *mapped < size {
            // What the driver says that it has mapped lies in the range.
            let iova = iova.wrapping_add(*mapped as c_ulong);
            let phys = phys.wrapping_add(*mapped as u64);
            let Some(run) = next_run(sizes, iova as u64, phys, (size - *mapped) as u64) else {
                return EINVAL.to_errno();
            };
            let mut done = 0;
            // SAFETY: By the invariant; the caller maps no part of the range twice at a time.
            let error = unsafe {
                map_pages(
                    self.0,
                    iova,
                    phys,
                    run.size as usize,
                    run.count as usize,
                    prot,
                    gfp,
                    &mut done,
                )
            };
            *mapped = mapped.saturating_add(done);
            match (error, done) {
                (0, 0) => return EIO.to_errno(),
                (0, _) => {}
                _ => return error,
            }
        }
        0
    }

    /// Unmaps a range up to the first hole, and says how much it was. What has to be invalidated is
    /// in `gather`.
    ///
    /// # Safety
    ///
    /// `gather` is initialised.
    unsafe fn unmap(
        self,
        iova: c_ulong,
        size: usize,
        gather: *mut bindings::iommu_iotlb_gather,
    ) -> usize {
        // SAFETY: The domain is valid by the invariant, and the range not yet unmapped.
        unsafe { trace::check_unmap_begins(self.0, iova, size) };
        let unmapped = match self.generic() {
            // SAFETY: By the invariant, and by the requirements.
            Some(table) => unsafe {
                match (*(*table).ops).unmap_range {
                    Some(unmap_range) => unmap_range(
                        table,
                        iova as bindings::dma_addr_t,
                        size as bindings::dma_addr_t,
                        gather,
                    ),
                    None => 0,
                }
            },
            // SAFETY: By the requirements.
            None => unsafe { self.unmap_pages(iova, size, gather) },
        };
        // SAFETY: Always safe; the domain is valid by the invariant.
        unsafe {
            trace::unmap(iova, size, unmapped);
            trace::check_unmap_ends(self.0, iova, size, unmapped);
        }
        unmapped
    }

    /// # Safety
    ///
    /// As that of [`unmap`](Self::unmap).
    unsafe fn unmap_pages(
        self,
        iova: c_ulong,
        size: usize,
        gather: *mut bindings::iommu_iotlb_gather,
    ) -> usize {
        let Some(unmap_pages) = self.ops().unmap_pages else {
            kernel::warn_on!(true);
            return 0;
        };
        let sizes = self.sizes();
        if (iova as u64 | size as u64) & (sizes.smallest() - 1) != 0 {
            log_err!(
                "unmap: {:#x} bytes at {:#x}: not whole pages of {:#x}",
                size,
                iova,
                sizes.smallest(),
            );
            return 0;
        }
        let mut unmapped: usize = 0;
        // A driver may unmap more than it was asked for: a page that the range ends in.
        while unmapped < size {
            let at = iova.wrapping_add(unmapped as c_ulong);
            let left = size - unmapped;
            let Some(Run { size: page, count }) =
                next_run(sizes, at as u64, at as u64, left as u64)
            else {
                break;
            };
            // SAFETY: By the invariant, and by the requirements.
            let done = unsafe { unmap_pages(self.0, at, page as usize, count as usize, gather) };
            if done == 0 {
                break;
            }
            // SAFETY: By the requirements.
            unsafe {
                if (*gather).start >= (*gather).end {
                    // The driver does not use it. An empty one would not be synchronised at all.
                    (*gather).start = (*gather).start.min(at);
                    (*gather).end = (*gather).end.max(at.wrapping_add(left as c_ulong - 1));
                }
            }
            unmapped = unmapped.saturating_add(done);
        }
        unmapped
    }

    /// Makes new mappings usable by devices.
    fn sync_map(self, iova: c_ulong, size: usize) -> c_int {
        match self.ops().iotlb_sync_map {
            // SAFETY: By the invariant.
            Some(sync) => unsafe { sync(self.0, iova, size) },
            None => 0,
        }
    }

    /// Unmaps a range and waits until nothing of it is cached any more.
    fn unmap_and_sync(self, iova: c_ulong, size: usize) -> usize {
        let mut gather = MaybeUninit::<bindings::iommu_iotlb_gather>::zeroed();
        let gather = gather.as_mut_ptr();
        // SAFETY: Zeroes are a valid gather, and it stays where it is until the end of the
        // function, so that its list may point to itself. All of what is gathered is synchronised.
        unsafe {
            (*gather).start = c_ulong::MAX;
            let pages = &raw mut (*gather).freelist.pages;
            (*pages).next = pages;
            (*pages).prev = pages;
            let unmapped = self.unmap(iova, size, gather);
            if (*gather).start < (*gather).end {
                if let Some(sync) = self.ops().iotlb_sync {
                    sync(self.0, gather);
                }
            }
            unmapped
        }
    }
}

/// Maps without [`iommu_sync_map`].
#[export]
pub unsafe extern "C" fn iommu_map_nosync(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    paddr: bindings::phys_addr_t,
    size: usize,
    prot: c_int,
    gfp: bindings::gfp_t,
) -> c_int {
    if gfp & bindings::IOMMU_CORE_MAY_SLEEP != 0 {
        kernel::task::might_sleep();
    }
    // SAFETY: The caller's promise.
    let Some(mapper) = (unsafe { Mapper::new(domain) }) else {
        return EINVAL.to_errno();
    };
    if warn_once!(gfp & bindings::IOMMU_CORE_NO_GFP != 0) {
        return EINVAL.to_errno();
    }
    let (mapped, error) = mapper.map(iova, paddr, size, prot, gfp);
    if error != 0 && mapped > 0 {
        mapper.unmap_and_sync(iova, mapped);
    }
    error
}

/// Makes new mappings usable by devices.
#[export]
pub unsafe extern "C" fn iommu_sync_map(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
) -> c_int {
    // INVARIANT: The caller's promise.
    Mapper(domain).sync_map(iova, size)
}

/// Maps a range, all of it or nothing.
#[export]
pub unsafe extern "C" fn iommu_map(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    paddr: bindings::phys_addr_t,
    size: usize,
    prot: c_int,
    gfp: bindings::gfp_t,
) -> c_int {
    // SAFETY: The caller's promise.
    let error = unsafe { iommu_map_nosync(domain, iova, paddr, size, prot, gfp) };
    if error != 0 {
        return error;
    }
    // INVARIANT: The caller's promise.
    let mapper = Mapper(domain);
    let error = mapper.sync_map(iova, size);
    if error != 0 {
        mapper.unmap_and_sync(iova, size);
    }
    error
}

/// Unmaps a range; the memory may be used again when it returns.
#[export]
pub unsafe extern "C" fn iommu_unmap(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
) -> usize {
    // SAFETY: The caller's promise.
    match unsafe { Mapper::new(domain) } {
        Some(mapper) => mapper.unmap_and_sync(iova, size),
        None => 0,
    }
}

/// Unmaps a range; the memory may be used again when the caller has synchronised `gather`.
#[export]
pub unsafe extern "C" fn iommu_unmap_fast(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
    iotlb_gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    // SAFETY: The caller's promise, for the domain and for the gather.
    unsafe {
        match Mapper::new(domain) {
            Some(mapper) => mapper.unmap(iova, size, iotlb_gather),
            None => 0,
        }
    }
}

/// The pieces of memory in a list: see `iommu_core_next_piece()`.
///
/// # Invariants
///
/// `left` entries of a list begin at `entry`.
struct Pieces {
    entry: *mut bindings::scatterlist,
    left: u32,
}

impl Iterator for Pieces {
    type Item = (PhysAddr, u64);

    #[inline]
    fn next(&mut self) -> Option<(PhysAddr, u64)> {
        let (mut phys, mut len) = (0, 0);
        // SAFETY: By the invariant.
        // INVARIANT: The function counts the entries that it passes.
        let found = unsafe {
            bindings::iommu_core_next_piece(&mut self.entry, &mut self.left, &mut phys, &mut len)
        };
        found.then_some((PhysAddr::new(phys), len as u64))
    }
}

/// Maps pieces of memory with one walk for the whole list, if the domain is one of our drivers.
/// Returns the bytes mapped, also when it fails after some. `None` for other domains: nothing has
/// happened.
///
/// # Safety
///
/// `domain` is valid, and the caller maps no part of the range twice at a time.
#[cfg(CONFIG_IOMMU_CORE_PROVIDER)]
unsafe fn map_by_one_walk(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    pieces: &mut Pieces,
    prot: c_int,
    gfp: bindings::gfp_t,
) -> Option<(usize, c_int)> {
    // The check of pages that are freed while mapped wants to know of each piece when it is mapped.
    if cfg!(CONFIG_IOMMU_DEBUG_PAGEALLOC) {
        return None;
    }
    let mut at = iova;
    let traced = pieces.inspect(|&(phys, len)| {
        // SAFETY: Always safe.
        unsafe { trace::map(at, phys.raw(), len as usize) };
        at = at.wrapping_add(len as c_ulong);
    });
    // SAFETY: By the requirements.
    let done = unsafe { provider::start::map_list(domain, iova as u64, traced, prot as u32, gfp) };
    done.map(|(mapped, result)| (mapped, answer(result)))
}

#[cfg(not(CONFIG_IOMMU_CORE_PROVIDER))]
unsafe fn map_by_one_walk(
    _domain: *mut bindings::iommu_domain,
    _iova: c_ulong,
    _pieces: &mut Pieces,
    _prot: c_int,
    _gfp: bindings::gfp_t,
) -> Option<(usize, c_int)> {
    None
}

/// Maps the pieces of memory of a list one after the other, all or nothing. Returns the bytes
/// mapped. Pieces that are no memory of the system's take no addresses.
#[export]
pub unsafe extern "C" fn iommu_map_sg(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    sg: *mut bindings::scatterlist,
    nents: u32,
    prot: c_int,
    gfp: bindings::gfp_t,
) -> isize {
    if gfp & bindings::IOMMU_CORE_MAY_SLEEP != 0 {
        kernel::task::might_sleep();
    }
    // SAFETY: The caller's promise.
    let Some(mapper) = (unsafe { Mapper::new(domain) }) else {
        return EINVAL.to_errno() as isize;
    };
    if warn_once!(gfp & bindings::IOMMU_CORE_NO_GFP != 0) {
        return EINVAL.to_errno() as isize;
    }
    // INVARIANT: The caller's promise: the list has `nents` entries.
    let mut pieces = Pieces {
        entry: sg,
        left: nents,
    };
    // SAFETY: The caller's promise.
    let by_one_walk = unsafe { map_by_one_walk(domain, iova, &mut pieces, prot, gfp) };
    let (mapped, mut error) = by_one_walk.unwrap_or_else(|| {
        let mut mapped: usize = 0;
        for (phys, len) in pieces {
            let at = iova.wrapping_add(mapped as c_ulong);
            let (done, error) = mapper.map(at, phys.raw(), len as usize, prot, gfp);
            mapped = mapped.saturating_add(done);
            if error != 0 {
                return (mapped, error);
            }
        }
        (mapped, 0)
    });
    if error == 0 {
        error = mapper.sync_map(iova, mapped);
    }
    if error != 0 {
        if mapped > 0 {
            mapper.unmap_and_sync(iova, mapped);
        }
        return error as isize;
    }
    mapped as isize
}

/// Where an address leads; 0 if nowhere.
#[export]
pub unsafe extern "C" fn iommu_iova_to_phys(
    domain: *mut bindings::iommu_domain,
    iova: bindings::dma_addr_t,
) -> bindings::phys_addr_t {
    // SAFETY: The caller's promise.
    let kind = unsafe { ptr::read_volatile(&raw const (*domain).type_) };
    match kind {
        bindings::IOMMU_DOMAIN_IDENTITY => iova,
        bindings::IOMMU_DOMAIN_BLOCKED => 0,
        // INVARIANT: The caller's promise.
        _ => match Mapper(domain).ops().iova_to_phys {
            // SAFETY: The caller's promise.
            Some(look_up) => unsafe { look_up(domain, iova) },
            None => 0,
        },
    }
}
