// SPDX-License-Identifier: GPL-2.0

//! A counter that many CPUs change at once.

#![forbid(unsafe_code)]

use kernel::{
    cpu::CpuId,
    sync::atomic::{Atomic, Full, Relaxed},
};

const CELLS: usize = 16;

/// One cell to a cache line, so that CPUs do not take it from each other.
#[repr(align(64))]
struct Cell(Atomic<i64>);

/// A sum spread over cells; a CPU adds to the one that is its own, or nearly so.
pub struct Counter {
    cells: [Cell; CELLS],
}

impl Counter {
    /// A counter at zero.
    pub fn new() -> Self {
        Self {
            cells: [const { Cell(Atomic::new(0)) }; CELLS],
        }
    }

    /// Adds `amount`. A full memory barrier, and callers rely on it.
    ///
    /// Context: any.
    #[inline]
    pub fn add(&self, amount: i64) {
        let cell = CpuId::current().as_u32() as usize % CELLS;
        self.cells[cell].0.fetch_add(amount, Full);
    }

    /// The sum; exact when nobody adds meanwhile.
    pub fn sum(&self) -> i64 {
        self.cells.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}
