// SPDX-License-Identifier: GPL-2.0

//! How many batches several processors get through the SMMUv3 command queue: what the driver knows
//! of positions, a spin lock, and a unit that is a thread and executes a command as soon as it sees
//! it. Prints a table.

#[path = "../tests/smmu/mod.rs"]
mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use std::{
    cell::Cell,
    hint::spin_loop,
    sync::{
        atomic::{fence, AtomicU64, Ordering},
        Barrier, Mutex,
    },
    thread,
    time::Instant,
};

use iommu_core_host::pgtable;
use smmu::{
    queue::{good, Atom, Platform, Queue, State, Unit},
    unit::positions::Word,
};

/// As many slots as the driver uses: 2^8.
const SHIFT: u8 = 8;
const BATCHES: u64 = 16_000;
const THREADS: [u64; 5] = [1, 2, 4, 8, 16];

struct Machine;

impl Word for AtomicU64 {
    fn get(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn acquire(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn release(&self, value: u64) {
        self.store(value, Ordering::Release);
    }
}

impl Atom for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    fn put(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }
}

/// A lock that is waited for by looking again, and how often it was taken.
struct SpinLock {
    state: Mutex<State>,
    taken: AtomicU64,
}

impl Platform for Machine {
    type Word = AtomicU64;
    type Lock = SpinLock;

    fn lock(state: State) -> SpinLock {
        SpinLock {
            state: Mutex::new(state),
            taken: AtomicU64::new(0),
        }
    }

    fn with<R>(lock: &SpinLock, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = loop {
            match lock.state.try_lock() {
                Ok(state) => break state,
                Err(_) => pause(),
            }
        };
        lock.taken.fetch_add(1, Ordering::Relaxed);
        f(&mut state)
    }

    fn fence() {
        fence(Ordering::AcqRel);
    }
}

/// How often a thread looks before it lets another one go on: there may be more than processors.
const LOOKS: u32 = 1 << 10;

thread_local! {
    static LOOKED: Cell<u32> = const { Cell::new(0) };
}

fn pause() {
    let looked = LOOKED.get().wrapping_add(1);
    LOOKED.set(looked);
    match looked % LOOKS {
        0 => thread::yield_now(),
        _ => spin_loop(),
    }
}

/// Nanoseconds for each batch of all threads together, and how often each took the lock.
fn measure(threads: u64, has_messages: bool) -> (f64, f64) {
    let queue = Queue::<Machine>::new(SHIFT, has_messages);
    let (start, ended) = (Barrier::new(threads as usize + 1), AtomicU64::new(0));
    let taken = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                for _ in 0..BATCHES / threads {
                    let batch = loop {
                        match queue.submit(&[good(1)]) {
                            Some(batch) => break batch,
                            None => pause(),
                        }
                    };
                    while queue.look(&batch).is_none() {
                        pause();
                    }
                }
                ended.fetch_add(1, Ordering::Release);
            });
        }
        start.wait();
        let begin = Instant::now();
        let mut unit = Unit::default();
        while ended.load(Ordering::Acquire) < threads {
            if !unit.step(&queue, |_| {}) {
                pause();
            }
        }
        begin.elapsed()
    });
    let locks = queue.lock().taken.load(Ordering::Relaxed);
    (
        taken.as_nanos() as f64 / BATCHES as f64,
        locks as f64 / BATCHES as f64,
    )
}

fn main() {
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    println!("SMMUv3 command queue, batches of one command, {processors} processors and a unit");
    println!(
        "{:>7}  {:>22}  {:>22}",
        "", "with messages", "by the consumer index"
    );
    println!(
        "{:>7}  {:>12} {:>9}  {:>12} {:>9}",
        "threads", "ns per batch", "locks", "ns per batch", "locks"
    );
    for threads in THREADS {
        let ((time, locks), (polled, polled_locks)) =
            (measure(threads, true), measure(threads, false));
        println!("{threads:>7}  {time:>12.0} {locks:>9.2}  {polled:>12.0} {polled_locks:>9.2}");
    }
}
