// SPDX-License-Identifier: GPL-2.0

//! Table memory for tests. It counts allocations, fails on demand, detects misuse, and keeps what a
//! walker that does not snoop would read.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::{
        atomic::{AtomicI64, AtomicU64, AtomicU8, AtomicUsize, Ordering::SeqCst},
        Arc, Mutex, OnceLock, Weak,
    },
};

use crate::{
    addr::PhysAddr,
    pgtable::{Entry, Table, TableList, TableMemory},
};

/// Unit of allocation. A table has a number of frames that is a power of 2, at least one.
const FRAME_SIZE: u64 = 4096;
/// The maximum number of frames that one memory ever allocates. Addresses are never reused, so that
/// an access to a freed table is detected.
const FRAMES: usize = 1 << 15;

/// The contents of memory before a new table is flushed: an entry that permits everything.
const GARBAGE: u64 = 0x000d_ead0_dead_0003;
/// The contents of a freed table: also an entry that permits everything.
const POISON: u64 = 0x000b_ad00_0bad_0003;

const NEVER: u8 = 0;
const LIVE: u8 = 1;
const FREED: u8 = 2;

thread_local! {
    static WRITES: Cell<u64> = const { Cell::new(0) };
    static CHAOS: Cell<u64> = const { Cell::new(0) };
    static BEFORE_EXCHANGE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    static STEPS_LEFT: Cell<u64> = const { Cell::new(0) };
    static AFTER_STEPS: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Returns how many entries this thread has written so far.
pub fn writes() -> u64 {
    WRITES.get()
}

/// Makes this thread yield to others at random places of its walks. `seed` is not 0.
pub fn chaos(seed: u64) {
    CHAOS.set(seed);
}

/// Runs `action` just before the next compare-and-exchange of this thread.
pub fn before_exchange(action: impl FnOnce() + 'static) {
    BEFORE_EXCHANGE.set(Some(Box::new(action)));
}

/// Runs `action` just after this thread's `n`-th step from now on. A step is after a load (the
/// caller already has the value), after an exchange, or before a flush. `None` cancels the previous
/// action; returns whether an action was pending.
pub fn after_nth_step(n: u64, action: Option<Box<dyn FnOnce()>>) -> bool {
    STEPS_LEFT.set(n);
    AFTER_STEPS.replace(action).is_some()
}

/// Runs `action` without counting its steps.
pub fn without_steps<R>(action: impl FnOnce() -> R) -> R {
    let left = STEPS_LEFT.take();
    let result = action();

    STEPS_LEFT.set(left);
    result
}

fn step() {
    let left = STEPS_LEFT.get();

    if left != 0 {
        STEPS_LEFT.set(left - 1);
        if left == 1 {
            if let Some(action) = AFTER_STEPS.take() {
                action();
            }
        }
    }
}

fn maybe_yield() {
    let mut x = CHAOS.get();
    if x != 0 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        CHAOS.set(x);
        if x % 257 == 0 {
            std::thread::yield_now();
        }
    }
}

/// An entry: its value in the CPU's caches and its value in memory.
#[derive(Default)]
pub struct HostEntry {
    cached: AtomicU64,
    /// The lock makes a write-back atomic, as on CPUs with coherent caches: a write-back of an
    /// older value never overwrites a newer one that another CPU has written back.
    memory: Mutex<u64>,
}

impl HostEntry {
    /// Writes the entry back; returns whether that changed memory.
    fn flush(&self) -> bool {
        let mut memory = self.memory.lock().unwrap();
        let new = self.cached.load(SeqCst);

        maybe_yield();
        std::mem::replace(&mut *memory, new) != new
    }

    fn in_memory(&self) -> u64 {
        *self.memory.lock().unwrap()
    }

    fn set_in_memory(&self, value: u64) {
        *self.memory.lock().unwrap() = value;
    }
}

impl Entry for HostEntry {
    fn new(value: u64) -> Self {
        Self {
            cached: AtomicU64::new(value),
            memory: Mutex::new(value),
        }
    }

    fn load(&self) -> u64 {
        maybe_yield();
        let value = self.cached.load(SeqCst);
        step();
        value
    }

    fn store(&self, value: u64) {
        maybe_yield();
        WRITES.set(WRITES.get() + 1);
        self.cached.store(value, SeqCst);
    }

    fn compare_exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        maybe_yield();
        if let Some(action) = BEFORE_EXCHANGE.take() {
            action();
        }
        WRITES.set(WRITES.get() + 1);
        let result = self.cached.compare_exchange(old, new, SeqCst, SeqCst);
        step();
        result.map(|_| ())
    }
}

/// A table that starts at a frame.
struct Slot {
    state: AtomicU8,
    entries: OnceLock<Box<[HostEntry]>>,
}

struct Arena {
    base: u64,
    slots: Vec<Slot>,
    /// Frames that were allocated, and those that were skipped to align tables.
    used: AtomicUsize,
    allocated: AtomicU64,
    freed: AtomicU64,
    leaked: AtomicU64,
    /// Counts down to the allocation that fails.
    fail: AtomicI64,
    flushed: AtomicU64,
    needless: AtomicU64,
}

static ARENAS: Mutex<BTreeMap<u64, Weak<Arena>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Arena {
    fn of(table: Table) -> Option<Arc<Arena>> {
        let arenas = ARENAS.lock().unwrap();
        let (_, arena) = arenas.range(..=table.addr().raw()).next_back()?;

        arena.upgrade()
    }

    fn slot(&self, table: Table) -> &Slot {
        let offset = table.addr().raw().wrapping_sub(self.base);

        assert!(
            offset % FRAME_SIZE == 0 && offset / FRAME_SIZE < FRAMES as u64,
            "no table was ever at {}",
            table.addr()
        );
        &self.slots[(offset / FRAME_SIZE) as usize]
    }

    fn live_slot(&self, table: Table) -> &Slot {
        let slot = self.slot(table);

        assert_eq!(slot.state.load(SeqCst), LIVE, "{} is freed", table.addr());
        slot
    }

    fn free(&self, table: Table) {
        let slot = self.slot(table);

        assert_eq!(
            slot.state.swap(FREED, SeqCst),
            LIVE,
            "{} is freed twice",
            table.addr()
        );
        for entry in slot.entries.get().unwrap() {
            entry.cached.store(POISON, SeqCst);
            entry.set_in_memory(POISON);
        }
        self.freed.fetch_add(1, SeqCst);
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        ARENAS.lock().unwrap().remove(&self.base);
        for slot in &self.slots {
            if slot.state.load(SeqCst) == FREED {
                for entry in slot.entries.get().unwrap() {
                    if entry.cached.load(SeqCst) != POISON && !std::thread::panicking() {
                        panic!("a table was written to after it was freed");
                    }
                }
            }
        }
    }
}

/// The memory of one test's tables. Clones are the same memory.
#[derive(Clone)]
pub struct HostMemory(Arc<Arena>);

impl Default for HostMemory {
    fn default() -> Self {
        // Each memory has its own addresses for tables, in the upper half of a 46-bit address
        // space.
        let base = (1 << 45) + NEXT.fetch_add(1, SeqCst) * FRAMES as u64 * FRAME_SIZE;
        let arena = Arc::new(Arena {
            base,
            slots: (0..FRAMES)
                .map(|_| Slot {
                    state: AtomicU8::new(NEVER),
                    entries: OnceLock::new(),
                })
                .collect(),
            used: AtomicUsize::new(0),
            allocated: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            leaked: AtomicU64::new(0),
            fail: AtomicI64::new(0),
            flushed: AtomicU64::new(0),
            needless: AtomicU64::new(0),
        });

        ARENAS.lock().unwrap().insert(base, Arc::downgrade(&arena));
        Self(arena)
    }
}

impl HostMemory {
    /// Returns a memory without tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of allocated tables.
    pub fn live(&self) -> u64 {
        self.allocated() - self.0.freed.load(SeqCst)
    }

    /// The number of tables in lists that were dropped.
    pub fn leaked(&self) -> u64 {
        self.0.leaked.load(SeqCst)
    }

    /// The total number of allocations.
    pub fn allocated(&self) -> u64 {
        self.0.allocated.load(SeqCst)
    }

    /// Makes the `n`-th allocation from now on fail, counted from 1; 0 for none.
    pub fn fail_nth(&self, n: u64) {
        self.0.fail.store(n as i64, SeqCst);
    }

    /// The number of entries that were flushed, and how many of them had not changed. A change of
    /// the bits in `ignored` does not count.
    pub fn flushes(&self) -> (u64, u64) {
        (self.0.flushed.load(SeqCst), self.0.needless.load(SeqCst))
    }

    /// Reads an entry as hardware does: from memory, or from the CPU's caches if `coherent`.
    /// `None` if the table has been freed.
    pub fn hardware_read(&self, table: u64, index: usize, coherent: bool) -> Option<u64> {
        let slot = self.0.slot(Table::at(PhysAddr::new(table)));

        if slot.state.load(SeqCst) != LIVE {
            return None;
        }
        let entry = &slot.entries.get()?[index];
        Some(match coherent {
            true => entry.cached.load(SeqCst),
            false => entry.in_memory(),
        })
    }

    /// Changes an entry, as hardware does, if its value is `old`.
    pub fn hardware_exchange(&self, table: u64, index: usize, old: u64, new: u64) -> bool {
        let slot = self.0.live_slot(Table::at(PhysAddr::new(table)));

        slot.entries.get().unwrap()[index]
            .cached
            .compare_exchange(old, new, SeqCst, SeqCst)
            .is_ok()
    }

    /// Sets bits of an entry, as hardware does, if its value is `old`.
    pub fn hardware_set(&self, table: u64, index: usize, old: u64, bits: u64) -> bool {
        self.hardware_exchange(table, index, old, old | bits)
    }

    /// Returns whether in all tables memory and CPU caches agree, except for `ignored` bits.
    pub fn is_flushed(&self, ignored: u64) -> bool {
        self.0.slots[..self.0.used.load(SeqCst)]
            .iter()
            .filter(|slot| slot.state.load(SeqCst) == LIVE)
            .flat_map(|slot| slot.entries.get().unwrap())
            .all(|entry| (entry.cached.load(SeqCst) ^ entry.in_memory()) & !ignored == 0)
    }
}

impl TableMemory for HostMemory {
    type Flags = ();
    type Entry = HostEntry;
    type List = HostList;

    const ATOMIC: () = ();

    fn alloc(&self, size: usize, _flags: ()) -> Option<Table> {
        assert!(size.is_power_of_two());
        if self.0.fail.load(SeqCst) > 0 && self.0.fail.fetch_sub(1, SeqCst) == 1 {
            return None;
        }

        // Aligned to its size; the memory itself is aligned to any size.
        let frames = size.div_ceil(FRAME_SIZE as usize);
        let align = |used: usize| used.next_multiple_of(frames);
        let used = self
            .0
            .used
            .fetch_update(SeqCst, SeqCst, |used| Some(align(used) + frames))
            .unwrap();
        let index = align(used);
        let slot = &self.0.slots[index];
        let entries = slot.entries.get_or_init(|| {
            (0..size / size_of::<u64>())
                .map(|_| HostEntry::default())
                .collect()
        });
        for entry in entries {
            entry.set_in_memory(GARBAGE);
        }
        slot.state.store(LIVE, SeqCst);
        self.0.allocated.fetch_add(1, SeqCst);
        Some(Table::at(PhysAddr::new(
            self.0.base + index as u64 * FRAME_SIZE,
        )))
    }

    fn free(&self, table: Table) {
        self.0.free(table);
    }

    fn entries(&self, table: Table, count: usize) -> &[HostEntry] {
        &self.0.live_slot(table).entries.get().unwrap()[..count]
    }

    fn flush(&self, entries: &[HostEntry]) {
        step();
        for entry in entries {
            self.0.flushed.fetch_add(1, SeqCst);
            if !entry.flush() {
                self.0.needless.fetch_add(1, SeqCst);
            }
        }
    }
}

/// Tables that wait for an invalidation.
#[derive(Default)]
pub struct HostList(Vec<Table>);

impl TableList for HostList {
    fn push(&mut self, table: Table) {
        self.0.push(table);
    }

    fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn free(&mut self) {
        for table in self.0.drain(..) {
            Arena::of(table).unwrap().free(table);
        }
    }
}

impl HostList {
    /// The number of tables.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Drop for HostList {
    fn drop(&mut self) {
        if let Some(arena) = self.0.first().and_then(|table| Arena::of(*table)) {
            arena.leaked.fetch_add(self.0.len() as u64, SeqCst);
        }
    }
}
