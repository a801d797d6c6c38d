// SPDX-License-Identifier: GPL-2.0

//! The mock's memory for page tables: a fixed number of frames, each with a flag that says whether
//! it is in use.
//!
//! The frames have addresses outside of real memory, and the unit in software reads tables by these
//! addresses. This detects a walk through a freed table, and a table that is never freed.

#![forbid(unsafe_code)]

use kernel::sync::atomic::{Atomic, Full, Relaxed};

use super::checks::{violation, Countdown};
use crate::{
    addr::PhysAddr,
    pgtable::{kernel_memory::Gfp, Entry, Table, TableList, TableMemory},
};

const FRAMES: usize = 1024;
const ENTRIES: usize = 512;
const FRAME_SIZE: usize = ENTRIES * size_of::<u64>();

/// The address of frame 0.
const BASE: u64 = 0x30_0000_0000;

/// The contents of a free frame: a present entry with an address that no test maps.
const POISON: u64 = 0x000f_dead_dead_d003;

/// The `next` of the last table on a list.
const END: u32 = 0;

/// An entry in a frame.
pub struct MockEntry(Atomic<u64>);

impl Entry for MockEntry {
    fn new(value: u64) -> Self {
        Self(Atomic::new(value))
    }

    #[inline]
    fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    fn store(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    #[inline]
    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.cmpxchg(old, new, Full).map(|_| ())
    }
}

struct Frame {
    entries: [MockEntry; ENTRIES],
    used: Atomic<u32>,
    /// The number of the next frame on a list, plus 1.
    next: Atomic<u32>,
}

static MEMORY: [Frame; FRAMES] = [const {
    Frame {
        entries: [const { MockEntry(Atomic::new(0)) }; ENTRIES],
        used: Atomic::new(0),
        next: Atomic::new(END),
    }
}; FRAMES];

/// Where the search for the next free frame starts. A freed frame is not reused at once.
static NEXT: Atomic<u32> = Atomic::new(0);

/// Frames in use. Suites run one after the other, so a test sees only its own frames.
static LIVE: Atomic<i64> = Atomic::new(0);

/// Makes the n-th allocation from now on fail.
pub static FAIL_TABLE: Countdown = Countdown::new();

/// Tables in use.
pub fn live() -> i64 {
    LIVE.load(Relaxed)
}

fn index(table: PhysAddr) -> Option<usize> {
    let offset = table.raw().checked_sub(BASE)?;
    let index = (offset / FRAME_SIZE as u64) as usize;
    (table.is_aligned(FRAME_SIZE as u64) && index < FRAMES).then_some(index)
}

/// What a unit reads at `entry` of the table at `table`. If the table was freed, this is a
/// violation (law 8).
pub fn read(table: PhysAddr, entry: usize) -> u64 {
    let Some(index) = index(table) else {
        violation(format_args!(
            "a unit walks {table:#x}, which is not a table"
        ));
        return 0;
    };
    if MEMORY[index].used.load(Relaxed) == 0 {
        violation(format_args!(
            "a unit walks the table at {table:#x}, which was freed"
        ));
        return 0;
    }
    MEMORY[index].entries[entry].load()
}

fn free(table: Table) {
    let Some(index) = index(table.addr()) else {
        violation(format_args!("{:#x} is not a table", table.addr()));
        return;
    };
    let frame = &MEMORY[index];
    for entry in &frame.entries {
        entry.store(POISON);
    }
    if frame.used.xchg(0, Full) == 0 {
        violation(format_args!(
            "the table at {:#x} is freed twice",
            table.addr()
        ));
        return;
    }
    LIVE.fetch_sub(1, Relaxed);
}

/// The memory itself.
#[derive(Copy, Clone)]
pub struct MockMemory;

impl TableMemory for MockMemory {
    type Flags = Gfp;
    type Entry = MockEntry;
    type List = MockTableList;

    const ATOMIC: Gfp = Gfp::ATOMIC;

    fn alloc(&self, size: usize, _flags: Gfp) -> Option<Table> {
        if size != FRAME_SIZE || FAIL_TABLE.is_due() {
            return None;
        }
        let start = NEXT.fetch_add(1, Relaxed) as usize;
        let index = (start..start + FRAMES)
            .map(|index| index % FRAMES)
            .find(|&index| MEMORY[index].used.cmpxchg(0, 1, Full).is_ok())?;
        for entry in &MEMORY[index].entries {
            entry.store(0);
        }
        LIVE.fetch_add(1, Relaxed);
        let addr = BASE + (index * FRAME_SIZE) as u64;
        // INVARIANT: The frame has just been allocated.
        Some(Table::at(PhysAddr::new(addr)))
    }

    fn free(&self, table: Table) {
        free(table);
    }

    fn entries(&self, table: Table, count: usize) -> &[MockEntry] {
        match index(table.addr()) {
            Some(index) => &MEMORY[index].entries[..count],
            None => &[],
        }
    }

    fn flush(&self, _entries: &[MockEntry]) {}
}

/// Tables that wait to be freed, linked through their frames.
#[derive(Default)]
pub struct MockTableList {
    first: u32,
}

impl TableList for MockTableList {
    fn push(&mut self, table: Table) {
        if let Some(index) = index(table.addr()) {
            MEMORY[index].next.store(self.first, Relaxed);
            self.first = index as u32 + 1;
        }
    }

    fn append(&mut self, other: &mut Self) {
        while other.first != END {
            let index = other.first as usize - 1;
            other.first = MEMORY[index].next.load(Relaxed);
            MEMORY[index].next.store(self.first, Relaxed);
            self.first = index as u32 + 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.first == END
    }

    fn free(&mut self) {
        while self.first != END {
            let index = self.first as usize - 1;
            self.first = MEMORY[index].next.load(Relaxed);
            let addr = BASE + (index * FRAME_SIZE) as u64;
            free(Table::at(PhysAddr::new(addr)));
        }
    }
}

impl Drop for MockTableList {
    fn drop(&mut self) {
        if !self.is_empty() {
            violation(format_args!("tables are dropped before their invalidation"));
        }
    }
}
