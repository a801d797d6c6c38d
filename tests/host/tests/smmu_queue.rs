// SPDX-License-Identifier: GPL-2.0

//! Every order in which processors and a unit may use the command queue, up to a number of
//! preemptions, in a memory that reorders as the language's model allows (loom).
//!
//! Of each word loom knows only the last access. It does not try the other order of two accesses
//! if one of the threads has read the word in between. So no thread here reads a word and then
//! writes it, except the word of a message when its slot comes again.

use std::sync::atomic::AtomicBool;

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable;
use loom::{
    model::Builder,
    sync::{
        atomic::{fence, AtomicU64, Ordering},
        Arc, Mutex,
    },
    thread,
};
use smmu::{
    queue::{good, Atom, Platform, Queue, State, Unit, BAD},
    unit::positions::Word,
};

struct Loom;

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
        AtomicU64::new(value)
    }

    fn put(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }
}

impl Platform for Loom {
    type Word = AtomicU64;
    type Lock = Mutex<State>;

    fn lock(state: State) -> Self::Lock {
        Mutex::new(state)
    }

    fn with<R>(lock: &Self::Lock, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut lock.lock().unwrap())
    }

    fn fence() {
        fence(Ordering::AcqRel);
    }
}

/// What a processor does.
enum Act {
    /// It submits this and a CMD_SYNC. If there is no room, it ends.
    Submit(&'static [u64]),
    /// It looks whether its last batch has completed, this often. If not, it ends.
    Wait(usize),
}

use Act::{Submit, Wait};

/// Checks that a processor whose batch has completed finds all of it executed, and learns if the
/// unit has refused some of it. Every order of the steps of the processors and of a unit that takes
/// `steps` is tried, with at most `preemptions` of them. No thread waits for another one, so that
/// all orders end. For each processor there has to be one in which it does all that it has to.
fn check(queue: (u8, bool), steps: usize, preemptions: usize, work: [&'static [Act]; 2]) {
    let (shift, has_messages) = queue;
    let finished = std::sync::Arc::new([const { AtomicBool::new(false) }; 2]);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    let found = finished.clone();
    builder.check(move || {
        let queue = Arc::new(Queue::<Loom>::new(shift, has_messages));
        // How often the unit has executed the command with a number.
        let executed: Arc<Vec<AtomicU64>> = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect());
        for (processor, acts) in work.into_iter().enumerate() {
            let (queue, executed, found) = (queue.clone(), executed.clone(), found.clone());
            thread::spawn(move || {
                if acts_end(&queue, &executed, acts) {
                    found[processor].store(true, Ordering::Relaxed);
                }
            });
        }
        thread::spawn(move || {
            let mut unit = Unit::default();
            for _ in 0..steps {
                unit.step(&queue, |number| {
                    executed[number as usize].fetch_add(1, Ordering::Relaxed);
                });
            }
        });
    });
    for finished in finished.iter() {
        assert!(
            finished.load(Ordering::Relaxed),
            "in some order it comes to the end"
        );
    }
}

/// A processor does what it has to. Returns whether it came to the end.
fn acts_end(queue: &Queue<Loom>, executed: &[AtomicU64], acts: &[Act]) -> bool {
    let mut last = None;
    for act in acts {
        match act {
            Submit(commands) => match queue.submit(commands) {
                Some(batch) => last = Some((batch, commands)),
                None => return false,
            },
            Wait(times) => {
                let (batch, commands) = last.expect("something was submitted");
                let Some(refused) = (0..*times).find_map(|_| queue.look(&batch)) else {
                    return false;
                };
                assert_eq!(
                    refused,
                    commands.contains(&BAD),
                    "a refusal is noticed by its batch"
                );
                for command in commands.iter().filter(|command| **command != BAD) {
                    let number = *command as u32 as usize;
                    assert_eq!(executed[number].get(), 1, "{command:#x} is executed");
                }
            }
        }
    }
    true
}

const ONE: &[u64] = &[good(1)];
const TWO: &[u64] = &[good(2)];
const THREE: &[u64] = &[good(3)];
const BROKEN: &[u64] = &[BAD];

#[test]
fn processors_wait_for_their_own_batches() {
    for has_messages in [false, true] {
        let work: [&[Act]; 2] = [&[Submit(ONE), Wait(1)], &[Submit(TWO), Wait(1)]];
        check((2, has_messages), 4, 2, work);
    }
}

/// Slots, words for messages and indexes come again, also for a processor that was away meanwhile.
#[test]
fn a_ring_that_was_full_is_filled_again() {
    const AWAY: &[Act] = &[Submit(ONE), Wait(1)];
    check(
        (1, false),
        6,
        3,
        [AWAY, &[Submit(TWO), Submit(THREE), Wait(1)]],
    );
    check((1, true), 4, 2, [AWAY, &[Submit(TWO), Wait(1)]]);
}

#[test]
fn a_slot_is_filled_only_after_the_unit_has_executed_what_is_there() {
    for has_messages in [false, true] {
        const LONG: &[Act] = &[Submit(&[good(1), good(2)]), Submit(THREE), Wait(1)];
        check((2, has_messages), 5, 3, [LONG, &[]]);
    }
}

#[test]
fn an_error_in_the_middle_is_noticed_by_its_batch_alone() {
    check(
        (2, false),
        4,
        3,
        [&[Submit(BROKEN), Wait(2)], &[Submit(TWO)]],
    );
    check(
        (2, true),
        4,
        3,
        [&[Submit(BROKEN)], &[Submit(TWO), Wait(2)]],
    );
}
