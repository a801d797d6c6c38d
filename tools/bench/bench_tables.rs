// SPDX-License-Identifier: GPL-2.0

//! This tree's page tables, for C to measure.

// The benchmark uses only a part of the tree.
#![allow(dead_code, unreachable_pub, unused_imports)]

use core::ffi::c_void;

use kernel::prelude::*;

/// The tree itself, included from its crate root.
#[path = "../.."]
mod tree {
    pub(crate) mod addr;
    pub(crate) mod ffi {
        pub(crate) mod cache;
        pub(crate) mod linear_map;
    }
    pub(crate) mod pgtable;
}

use self::{
    addr::{Iova, PageSizes, PhysAddr, Prot},
    pgtable::{
        amd_v1::AmdV1,
        kernel_memory::{Gfp, KernelMemory},
        vtd_ss::VtdSs,
        x86_64::X86_64,
        Config, Format, Gather, PageTable,
    },
    tree::{addr, ffi, pgtable},
};

/// The prefix of log messages, which `module!` would define.
const __LOG_PREFIX: &[u8] = b"pgtable_bench\0";

type Tables<F> = PageTable<F, KernelMemory>;

/// `struct bench_ops`.
#[repr(C)]
pub struct Ops {
    new: extern "C" fn() -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    map: unsafe extern "C" fn(*mut c_void, u64, u64, u64) -> u64,
    unmap: unsafe extern "C" fn(*mut c_void, u64, u64) -> u64,
    phys: unsafe extern "C" fn(*mut c_void, u64) -> u64,
}

/// A format with the shape that is measured.
trait Measured: Format + Sized + 'static {
    const CONFIG: Config;

    const OPS: Ops = Ops {
        new: new::<Self>,
        free: free::<Self>,
        map: map::<Self>,
        unmap: unmap::<Self>,
        phys: phys::<Self>,
    };
}

/// With four levels and all page sizes, as in the drivers.
const COMMON: Config = Config {
    iova_bits: 48,
    levels: 4,
    page_sizes: PageSizes::new(!0),
    oa_bits: 52,
    coherent: true,
    split: true,
};

impl Measured for VtdSs {
    const CONFIG: Config = COMMON;
}

impl Measured for AmdV1 {
    // Three levels suffice here; otherwise the table would grow.
    const CONFIG: Config = Config {
        iova_bits: 64,
        levels: 3,
        ..COMMON
    };
}

impl Measured for X86_64 {
    // The upper half is not translated.
    const CONFIG: Config = Config {
        iova_bits: 47,
        ..COMMON
    };
}

/// The operations for C on VT-d's second stage.
#[no_mangle]
pub static bench_vtd_ss: Ops = VtdSs::OPS;

/// The operations for C on AMD-Vi's host tables.
#[no_mangle]
pub static bench_amd_v1: Ops = AmdV1::OPS;

/// The operations for C on tables in the x86-64 format.
#[no_mangle]
pub static bench_x86_64: Ops = X86_64::OPS;

extern "C" fn new<F: Measured>() -> *mut c_void {
    let table = Tables::<F>::new(&F::CONFIG, KernelMemory::new(-1), Gfp::KERNEL);
    let table = table
        .ok()
        .and_then(|table| KBox::new(table, GFP_KERNEL).ok());
    table.map_or(core::ptr::null_mut(), |table| KBox::into_raw(table).cast())
}

/// # Safety
///
/// `table` is from [`new`] for the same format, and is not used again.
unsafe extern "C" fn free<F: Measured>(table: *mut c_void) {
    // SAFETY: By the requirements.
    drop(unsafe { KBox::from_raw(table.cast::<Tables<F>>()) });
}

/// # Safety
///
/// `table` is from [`new`] for the same format.
unsafe extern "C" fn map<F: Measured>(table: *mut c_void, iova: u64, phys: u64, len: u64) -> u64 {
    // SAFETY: By the requirements.
    let table = unsafe { &*table.cast::<Tables<F>>() };
    let mut gather = Gather::new();
    let (mapped, _) = table.map(
        Iova::new(iova),
        PhysAddr::new(phys),
        len,
        Prot::READ | Prot::WRITE,
        Gfp::KERNEL,
        &mut gather,
    );
    if !gather.is_empty() {
        gather.done();
    }
    mapped
}

/// # Safety
///
/// `table` is from [`new`] for the same format.
unsafe extern "C" fn unmap<F: Measured>(table: *mut c_void, iova: u64, len: u64) -> u64 {
    // SAFETY: By the requirements.
    let table = unsafe { &*table.cast::<Tables<F>>() };
    let mut gather = Gather::new();
    let unmapped = table.unmap(Iova::new(iova), len, &mut gather);
    // No hardware walks the table.
    gather.done();
    unmapped
}

/// # Safety
///
/// `table` is from [`new`] for the same format.
unsafe extern "C" fn phys<F: Measured>(table: *mut c_void, iova: u64) -> u64 {
    // SAFETY: By the requirements.
    let table = unsafe { &*table.cast::<Tables<F>>() };
    table.iova_to_phys(Iova::new(iova)).map_or(0, PhysAddr::raw)
}
