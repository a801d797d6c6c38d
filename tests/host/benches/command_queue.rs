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
    cell::{Cell, UnsafeCell},
    hint::spin_loop,
    sync::{
        atomic::{fence, AtomicBool, AtomicU64, Ordering},
        Barrier,
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

/// A word on a cache line of its own, as far as that is so in the driver.
struct Machine;

#[repr(align(64))]
struct Line(AtomicU64);

impl Word for Line {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn release(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

impl Atom for Line {
    fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    fn put(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A spin lock that counts how often it is taken.
struct SpinLock {
    is_locked: AtomicBool,
    taken: AtomicU64,
    state: UnsafeCell<State>,
}

// SAFETY: The state is used only with the lock held.
unsafe impl Sync for SpinLock {}

impl Platform for Machine {
    type Word = Line;
    type Lock = SpinLock;

    fn lock(state: State) -> SpinLock {
        SpinLock {
            is_locked: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            state: UnsafeCell::new(state),
        }
    }

    fn with<R>(lock: &SpinLock, f: impl FnOnce(&mut State) -> R) -> R {
        while lock.is_locked.swap(true, Ordering::Acquire) {
            pause();
        }
        let taken = lock.taken.load(Ordering::Relaxed);
        lock.taken.store(taken + 1, Ordering::Relaxed);
        // SAFETY: The lock is held, and `f` does not take it.
        let result = f(unsafe { &mut *lock.state.get() });
        lock.is_locked.store(false, Ordering::Release);
        result
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
