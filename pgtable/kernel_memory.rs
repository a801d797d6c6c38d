// SPDX-License-Identifier: GPL-2.0

//! Page tables in the kernel's memory.
//!
//! Tables are allocated with `iommu_alloc_pages_node_sz()`. The kernel then accounts for them as
//! IOMMU page tables, and its IOMMU code can take over tables that wait to be freed, on its own
//! kind of list.

use core::{cell::UnsafeCell, ffi::c_void, mem::offset_of, ptr, slice};

use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    sync::atomic::{Atomic, Full},
};

use super::{Entry, Table, TableList, TableMemory};
#[cfg(CONFIG_IOMMU_CORE_AMD)]
use crate::ffi::wide_store::WideStore;
use crate::{
    addr::PhysAddr,
    ffi::{cache, linear_map},
};

// The kernel exports these; their header is private to its IOMMU code.
extern "C" {
    fn iommu_alloc_pages_node_sz(nid: c_int, gfp: bindings::gfp_t, size: usize) -> *mut c_void;
    fn iommu_free_pages(virt: *mut c_void);
    fn iommu_put_pages_list(list: *mut bindings::iommu_pages_list);
}

/// The start of `struct ioptdesc`, which the kernel overlays on the `struct page` of a table.
#[repr(C)]
struct TableDesc {
    flags: usize,
    freelist: bindings::list_head,
}

// The kernel checks that the list element is at the offset of `lru` in `struct page`, which is in
// its first union.
const _: () = assert!(
    offset_of!(TableDesc, freelist) == offset_of!(bindings::page, __bindgen_anon_1)
        && size_of::<TableDesc>() <= size_of::<bindings::page>()
);

/// The kernel's allocation flags, as C passes them. (`kernel::alloc::Flags` cannot be created from
/// them.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gfp(bindings::gfp_t);

impl Gfp {
    /// The caller can sleep.
    pub const KERNEL: Self = Self(bindings::GFP_KERNEL);
    /// The caller cannot sleep, and can handle a failure.
    pub const ATOMIC: Self = Self(bindings::GFP_ATOMIC | bindings::__GFP_NOWARN);

    /// Takes the `gfp` argument of `iommu_map()`.
    #[inline]
    pub const fn from_raw(raw: bindings::gfp_t) -> Self {
        Self(raw)
    }
}

/// Memory of the kernel, preferably on one NUMA node.
#[derive(Clone, Copy)]
pub struct KernelMemory {
    node: c_int,
}

impl KernelMemory {
    /// Takes the node number as `dev_to_node()` returns it: negative for no preference.
    #[inline]
    pub const fn new(node: i32) -> Self {
        Self { node }
    }
}

/// An entry in memory that units and other CPUs also access.
#[repr(transparent)]
pub struct KernelEntry(UnsafeCell<u64>);

// SAFETY: All accesses are single accesses to the whole entry, like those of `READ_ONCE()`,
// `WRITE_ONCE()` and `cmpxchg()`, which may race with each other.
unsafe impl Sync for KernelEntry {}

impl Entry for KernelEntry {
    #[inline]
    fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline(always)]
    fn load(&self) -> u64 {
        // `READ_ONCE()`. The address dependency orders later reads through a table's address.

        // SAFETY: `self` is valid and aligned.
        unsafe { ptr::read_volatile(self.0.get()) }
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        // `WRITE_ONCE()`. Leaves need no order: nothing may rely on a leaf before the call that
        // wrote it has returned.

        // SAFETY: `self` is valid and aligned.
        unsafe { ptr::write_volatile(self.0.get(), value) }
    }

    #[inline]
    fn compare_exchange(&self, old: u64, new: u64) -> core::result::Result<(), u64> {
        // SAFETY: `self` is valid and aligned, and all accesses to it are atomic.
        let entry = unsafe { Atomic::<u64>::from_ptr(self.0.get()) };

        entry.cmpxchg(old, new, Full).map(|_| ())
    }
}

#[cfg(CONFIG_IOMMU_CORE_AMD)]
impl KernelEntry {
    /// Writes two entries in a single store. The first one is at a multiple of 16 bytes, otherwise
    /// nothing is written.
    pub fn store_pair(pair: &[Self; 2], wide: WideStore, values: [u64; 2]) {
        let first = pair.as_ptr().cast::<u64>().cast_mut();
        if first as usize % 16 == 0 {
            // SAFETY: The entries are valid and aligned, and all accesses to them are atomic.
            unsafe { wide.store(first, values) }
        }
    }
}

impl TableMemory for KernelMemory {
    type Flags = Gfp;
    type Entry = KernelEntry;
    type List = KernelTableList;

    const ATOMIC: Gfp = Gfp::ATOMIC;

    #[inline]
    fn alloc(&self, size: usize, flags: Gfp) -> Option<Table> {
        // SAFETY: Any node and size are fine; whether the call may sleep is the caller's choice.
        let virt = unsafe { iommu_alloc_pages_node_sz(self.node, flags.0, size) };

        match virt.is_null() {
            true => None,
            // INVARIANT: The table has just been allocated.
            false => Some(Table::at(PhysAddr::new(linear_map::virt_to_phys(virt)))),
        }
    }

    #[inline]
    fn free(&self, table: Table) {
        // SAFETY: By its invariants the table was returned by `iommu_alloc_pages_node_sz()` and is
        // freed once.
        unsafe { iommu_free_pages(linear_map::phys_to_virt(table.addr().raw())) }
    }

    #[inline(always)]
    fn entries(&self, table: Table, count: usize) -> &[KernelEntry] {
        let first: *const KernelEntry = linear_map::phys_to_virt(table.addr().raw());

        // SAFETY: By its invariants the table is `count` entries or more of allocated memory, in
        // which every bit pattern is an entry. The walker does not keep the entries of a table that
        // it frees.
        unsafe { slice::from_raw_parts(first, count) }
    }

    #[inline]
    fn flush(&self, entries: &[KernelEntry]) {
        cache::write_back(entries.as_ptr().cast(), size_of_val(entries));
    }
}

/// Tables that wait to be freed, on a list that the kernel's IOMMU code can take over.
///
/// # Invariants
///
/// Either both pointers are null, or they are the two ends of a chain of list elements of tables
/// that this list owns.
pub struct KernelTableList {
    first: *mut bindings::list_head,
    last: *mut bindings::list_head,
}

// SAFETY: The list owns its tables, and they do not belong to a task.
unsafe impl Send for KernelTableList {}

impl Default for KernelTableList {
    #[inline]
    fn default() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        }
    }
}

impl KernelTableList {
    /// Takes all tables off a C list.
    ///
    /// # Safety
    ///
    /// `list` is a valid, initialised list to which no other code has access. Its tables were put
    /// there by [`splice_onto`](Self::splice_onto).
    #[inline]
    pub unsafe fn take_from(list: *mut bindings::iommu_pages_list) -> Self {
        // SAFETY: By the requirements.
        unsafe {
            let head = &raw mut (*list).pages;
            let (first, last) = ((*head).next, (*head).prev);
            if ptr::eq(first, head) {
                return Self::default();
            }
            (*head).next = head;
            (*head).prev = head;
            // INVARIANT: This list owns the chain now. No code reads the pointers beyond its two
            // ends.
            Self { first, last }
        }
    }

    /// Moves all tables to the end of a C list, which owns them from then on.
    ///
    /// # Safety
    ///
    /// `list` is a valid, initialised list to which no other code has access. Its tables are freed
    /// only after the invalidation that these tables wait for.
    #[inline]
    pub unsafe fn splice_onto(&mut self, list: *mut bindings::iommu_pages_list) {
        if self.is_empty() {
            return;
        }

        // SAFETY: `list` is valid by the requirements, so `prev` is its last element or its head;
        // `first` and `last` are valid by the invariants.
        unsafe {
            let head = &raw mut (*list).pages;
            let prev = (*head).prev;

            (*self.first).prev = prev;
            (*prev).next = self.first;
            (*self.last).next = head;
            (*head).prev = self.last;
        }

        // INVARIANT: The C list owns the tables now.
        self.first = ptr::null_mut();
        self.last = ptr::null_mut();
    }
}

impl TableList for KernelTableList {
    #[inline]
    fn push(&mut self, table: Table) {
        let desc: *mut TableDesc = linear_map::phys_to_page(table.addr().raw()).cast();

        // SAFETY: By its invariants the table is an allocation of the kernel, so its `struct page`
        // exists. Until the table is freed, its list element belongs to the code that unlinked the
        // table, which is this list now. `last` is valid by the invariants.
        unsafe {
            let element = &raw mut (*desc).freelist;

            (*element).prev = self.last;
            (*element).next = ptr::null_mut();
            match self.last.is_null() {
                true => self.first = element,
                false => (*self.last).next = element,
            }
            self.last = element;
        }
    }

    fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        match self.last.is_null() {
            true => self.first = other.first,
            // SAFETY: By the invariants the pointers are elements of tables that the two lists own.
            false => unsafe {
                (*self.last).next = other.first;
                (*other.first).prev = self.last;
            },
        }
        // INVARIANT: The two chains are one, which this list owns.
        self.last = other.last;
        other.first = ptr::null_mut();
        other.last = ptr::null_mut();
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    fn free(&mut self) {
        let mut list = bindings::iommu_pages_list {
            pages: bindings::list_head {
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
            },
        };

        list.pages.next = &raw mut list.pages;
        list.pages.prev = &raw mut list.pages;
        // SAFETY: The list has just been initialised, and does not move until the end of the
        // function. The caller of `free` states that the tables can be freed.
        unsafe {
            self.splice_onto(&raw mut list);
            iommu_put_pages_list(&raw mut list);
        }
    }
}

impl Drop for KernelTableList {
    #[inline]
    fn drop(&mut self) {
        if !self.is_empty() {
            pr_err!("page tables are leaked: they were dropped without an invalidation\n");
        }
    }
}
