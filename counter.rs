// SPDX-License-Identifier: GPL-2.0

//! A counter that many CPUs change at the same time.

#![forbid(unsafe_code)]

use kernel::{
    cpu::CpuId,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};

/// With one more, a `DomainRecord` and its count would take 2 KiB instead of 1.
const CELLS: usize = 14;

/// One cell per cache line, so that CPUs do not contend for a line.
#[repr(align(64))]
struct Cell(Atomic<i64>);

/// A sum that is spread over cells. A CPU adds to the cell of its number modulo the number of
/// cells.
pub struct Counter {
    cells: [Cell; CELLS],
}

impl Counter {
    /// Makes a counter at zero in place, since it is too large to be moved.
    pub fn new() -> impl Init<Self> {
        init!(Self {
            cells <- pin_init::init_array_from_fn(|_| Cell(Atomic::new(0))),
        })
    }

    /// Adds `amount`. This is a full memory barrier, and callers rely on that.
    ///
    /// Context: any.
    #[inline]
    pub fn add(&self, amount: i64) {
        let cell = CpuId::current().as_u32() as usize % CELLS;
        self.cells[cell].0.fetch_add(amount, Full);
    }

    /// The sum; exact if no CPU adds at the same time.
    pub fn sum(&self) -> i64 {
        self.cells.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}
