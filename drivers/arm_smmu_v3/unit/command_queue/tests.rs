// SPDX-License-Identifier: GPL-2.0

//! Batches of several processors, and errata: what an emulated unit gets.

#![forbid(unsafe_code)]

use kernel::{
    impl_has_work,
    macros::kunit_tests,
    new_work,
    sync::{Arc, Completion},
    time::{delay::fsleep, Instant, Monotonic},
    workqueue::{self, Work, WorkItem},
};

use super::super::super::{
    smmu::SmmuV3,
    tests::fake_unit::{FakeUnit, Product, Seen, IDR0},
};
use super::super::hardware::Hardware;
use super::*;
use crate::{driver::VendorDriver, unit::Unit};

/// The unit sends messages (6.3.1, MSI).
const MESSAGES: u32 = 1 << 13;
/// CMD_TLBI_NH_ASID (4.4.1).
const NH_ASID: u64 = 0x11;
/// What does not happen within this time never does. A busy machine needs some of it.
const LONG: Delta = Delta::from_secs(60);

const SYNC: Seen = [0x46, 0];
const ALL_STES: Seen = [4, 31];
const EL1: Seen = [0x30, 0];
/// CMD_RESUME, which aborts transaction 7 of stream 8.
const RESUME: Command = Command::abort_stalled(8, 7);

/// What the unit gets for a batch of `commands`.
fn seen_for(product: Product, commands: &[Command]) -> Result<KVec<Seen>> {
    let fake = FakeUnit::new()?;
    let unit = fake.unit_of(IDR0, product)?;
    let hardware = unit.data().hardware()?;
    let mut batch = hardware.batch();
    for command in commands {
        batch.push(*command);
    }
    batch.run().map_err(|_| EIO)?;
    let seen = fake.take_seen()?;
    SmmuV3::release(unit.data())?;
    Ok(seen)
}

/// An emulated unit whose batches may take long.
struct Bench {
    fake: Arc<FakeUnit>,
    unit: Arc<Unit<SmmuV3>>,
}

impl Bench {
    fn new(idr0: u32) -> Result<Self> {
        let fake = FakeUnit::new()?;
        let unit = fake.unit(idr0)?;
        let bench = Self { fake, unit };
        bench.hardware()?.commands.set_timeout(LONG);
        Ok(bench)
    }

    fn hardware(&self) -> Result<&Arc<Hardware>> {
        self.unit.data().hardware()
    }

    /// Submits a batch of one command.
    fn begin(&self, command: Command) -> Result<InFlight> {
        let mut batch = self.hardware()?.batch();
        batch.push(command);
        Ok(batch.begin())
    }

    /// Waits until `count` batches were submitted since the unit was taken over.
    fn wait_for(&self, count: u64) -> Result {
        let start = Instant::<Monotonic>::now();
        while self.hardware()?.commands.counts().batches < count {
            if start.elapsed() > LONG {
                return Err(ETIMEDOUT);
            }
            fsleep(Delta::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = SmmuV3::release(self.unit.data());
    }
}

/// A thread that executes a batch of one command.
#[pin_data]
struct Submitter {
    hardware: Arc<Hardware>,
    command: Command,
    passed: Atomic<bool>,
    is_done: Atomic<bool>,
    #[pin]
    done: Completion,
    #[pin]
    work: Work<Submitter>,
}

impl_has_work! {
    impl HasWork<Self> for Submitter { self.work }
}

impl Submitter {
    fn start(bench: &Bench, command: Command) -> Result<Arc<Self>> {
        let hardware = bench.hardware()?.clone();
        let this = Arc::pin_init(
            pin_init!(Self {
                hardware,
                command,
                passed: Atomic::new(false),
                is_done: Atomic::new(false),
                done <- Completion::new(),
                work <- new_work!("iommu_core::tests::submitter"),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system_unbound().enqueue(this.clone());
        Ok(this)
    }

    /// Waits until it has ended, and returns whether its batch was executed.
    fn passed(&self) -> bool {
        self.done.wait_for_completion();
        self.passed.load(Relaxed)
    }
}

impl WorkItem for Submitter {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut batch = this.hardware.batch();
        batch.push(this.command);
        this.passed.store(batch.run().is_ok(), Relaxed);
        this.is_done.store(true, Relaxed);
        this.done.complete_all();
    }
}

fn asid(asid: u16) -> Command {
    Command::invalidate_domain(command::Tag::Stage1 { vmid: 0, asid })
}

/// Operations, without the rest of the commands.
fn operations(seen: &[Seen]) -> impl Iterator<Item = u64> + '_ {
    seen.iter().map(|[low, _]| low & 0xff)
}

#[kunit_tests(iommu_core_arm_smmu_v3_commands)]
mod commands {
    use super::*;

    /// While one processor waits others submit, and all wait at the same time.
    #[test]
    fn nobody_waits_with_the_lock_held() -> Result {
        for idr0 in [IDR0, IDR0 | MESSAGES] {
            let bench = Bench::new(idr0)?;
            let before = bench.hardware()?.commands.counts().batches;
            bench.fake.set_stuck(true);
            let first = Submitter::start(&bench, asid(1))?;
            bench.wait_for(before + 1)?;
            let second = Submitter::start(&bench, asid(2))?;
            // The lock is free, or this would not return.
            bench.wait_for(before + 2)?;
            fsleep(Delta::from_millis(50));
            assert!(!first.is_done.load(Relaxed) && !second.is_done.load(Relaxed));
            bench.fake.set_stuck(false);
            assert!(first.passed() && second.passed());
            let seen = bench.fake.take_seen()?;
            assert!(operations(&seen).eq([NH_ASID, 0x46, NH_ASID, 0x46]));
        }
        Ok(())
    }

    /// Law 8: an invalidation that the unit refuses becomes one of everything, before the batch
    /// ends. A CMD_SYNC takes the place of the command. Other batches are not concerned.
    #[test]
    fn law_8_refused_command_costs_its_own_batch_only() -> Result {
        for idr0 in [IDR0, IDR0 | MESSAGES] {
            let bench = Bench::new(idr0)?;
            let queue = &bench.hardware()?.commands;
            let registers = &bench.hardware()?.registers;
            bench.fake.set_stuck(true);
            let good = bench.begin(RESUME)?;
            let refused = bench.begin(asid(1))?;
            let late = bench.begin(RESUME)?;
            bench.fake.set_unknown(Some(NH_ASID));
            bench.fake.set_stuck(false);

            // Whoever comes first repairs the queue.
            assert_eq!(queue.wait(registers, late), Ok(()));
            assert_eq!(queue.wait(registers, good), Ok(()));
            let seen = bench.fake.take_seen()?;
            let resume = u64::from(RESUME.operation());
            let expected = [resume, 0x46, NH_ASID, 0x46, 0x46, resume, 0x46];
            assert!(operations(&seen).eq(expected));
            // The one that it concerns was away meanwhile.
            assert_eq!(queue.wait(registers, refused), Ok(()));
            let seen = bench.fake.take_seen()?;
            assert!(operations(&seen).eq([0x04, 0x30, 0x46]));
            assert_eq!(queue.counts().illegal, 1);
            assert!(!queue.has_failed());
        }
        Ok(())
    }

    /// Each command of a batch may be refused. If the unit does not invalidate everything either,
    /// it cannot be used.
    #[test]
    fn unit_that_refuses_much() -> Result {
        let bench = Bench::new(IDR0)?;
        let hardware = bench.hardware()?;
        bench.fake.set_unknown(Some(NH_ASID));
        let mut batch = hardware.batch();
        (1..20).for_each(|name| batch.push(asid(name)));
        assert_eq!(batch.run(), Ok(()));
        assert_eq!(hardware.commands.counts().illegal, 19);

        bench.fake.set_unknown(Some(0x30));
        let mut batch = hardware.batch();
        batch.push(Command::invalidate_el1());
        assert!(matches!(batch.run(), Err(Failure::Refused { .. })));
        let mut batch = hardware.batch();
        batch.push(RESUME);
        assert_eq!(batch.run(), Err(Failure::Earlier));
        Ok(())
    }

    /// A processor may be away while the ring goes around, several times, and its index comes
    /// again.
    #[test]
    fn processor_that_was_away_finds_its_batch_done() -> Result {
        for idr0 in [IDR0, IDR0 | MESSAGES] {
            let bench = Bench::new(idr0)?;
            let queue = &bench.hardware()?.commands;
            let registers = &bench.hardware()?.registers;
            for rounds in [0, 1, 63, 127, 128, 129, 255, 256, 257, 1000] {
                let away = bench.begin(RESUME)?;
                for _ in 0..rounds {
                    // Nobody waits for these either: the ring is full again and again.
                    bench.begin(RESUME)?;
                }
                bench.fake.set_stuck(true);
                if rounds < 127 {
                    assert!(!queue.is_done(registers, away.batch.sync));
                }
                if rounds > 256 {
                    assert!(queue.is_done(registers, away.batch.sync));
                }
                bench.fake.set_stuck(false);
                let last = bench.begin(RESUME)?;
                assert_eq!(queue.wait(registers, away), Ok(()));
                assert_eq!(queue.wait(registers, last), Ok(()));
            }
        }
        Ok(())
    }

    /// If the ring is full, a processor waits without the lock until there is room.
    #[test]
    fn full_ring() -> Result {
        for idr0 in [IDR0, IDR0 | MESSAGES] {
            let bench = Bench::new(idr0)?;
            let queue = &bench.hardware()?.commands;
            let registers = &bench.hardware()?.registers;
            bench.fake.set_stuck(true);
            let mut flights = KVec::new();
            for _ in 0..128 {
                flights.push(bench.begin(RESUME)?, GFP_KERNEL)?;
            }
            let before = queue.counts();
            let one = Submitter::start(&bench, asid(1))?;
            let other = Submitter::start(&bench, asid(2))?;
            fsleep(Delta::from_millis(100));
            assert_eq!(queue.counts().commands, before.commands);
            assert!(!one.is_done.load(Relaxed) && !other.is_done.load(Relaxed));
            bench.fake.set_stuck(false);
            assert!(one.passed() && other.passed());
            assert_eq!(queue.counts().commands, before.commands + 4);
            for flight in flights {
                assert_eq!(queue.wait(registers, flight), Ok(()));
            }
        }
        Ok(())
    }

    /// Law 8: a batch that is longer than the ring is executed in parts, all of it.
    #[test]
    fn law_8_batch_longer_than_the_ring() -> Result {
        for idr0 in [IDR0, IDR0 | MESSAGES] {
            let bench = Bench::new(idr0)?;
            let before = bench.hardware()?.commands.counts();
            let mut batch = bench.hardware()?.batch();
            (0..1000).for_each(|_| batch.push(RESUME));
            assert_eq!(batch.run(), Ok(()));
            let counts = bench.hardware()?.commands.counts();
            let parts = counts.batches - before.batches;
            assert_eq!(counts.commands - before.commands, 1000 + parts);
            assert!((4..8).contains(&parts));
        }
        Ok(())
    }

    /// What is in the queue when the unit is switched off counts as done: the unit caches nothing,
    /// and everything is invalidated before it translates again.
    #[test]
    fn batch_in_flight_when_the_unit_is_switched_off() -> Result {
        for idr0 in [IDR0, IDR0 | MESSAGES] {
            let bench = Bench::new(idr0)?;
            let hardware = bench.hardware()?;
            bench.fake.set_stuck(true);
            let flight = bench.begin(asid(1))?;
            bench.unit.suspend();
            assert_eq!(hardware.commands.wait(&hardware.registers, flight), Ok(()));
            let mut batch = hardware.batch();
            batch.push(asid(2));
            assert_eq!(batch.run(), Ok(()));
            bench.fake.set_stuck(false);
            bench.unit.resume();
            assert!(!bench.unit.has_failed());
            bench.fake.take_seen()?;
            let mut batch = hardware.batch();
            batch.push(asid(3));
            assert_eq!(batch.run(), Ok(()));
            assert!(operations(&bench.fake.take_seen()?).eq([NH_ASID, 0x46]));
        }
        Ok(())
    }
}

#[kunit_tests(iommu_core_arm_smmu_v3_errata)]
mod suite {
    use super::*;

    /// Tegra264: once more after the CMD_SYNC, but only what the unit itself caches.
    #[test]
    fn invalidations_are_repeated() -> Result {
        let all = [
            Command::invalidate_all_stes(),
            RESUME,
            Command::invalidate_el1(),
        ];
        let tegra = Product {
            repeat_invalidations: true,
            ..Product::NONE
        };
        let twice = [ALL_STES, RESUME.0, EL1, SYNC, ALL_STES, EL1, SYNC];
        assert_eq!(seen_for(Product::NONE, &all)?[..], twice[..4]);
        assert_eq!(seen_for(tegra, &all)?[..], twice);
        // Nothing to repeat.
        assert_eq!(seen_for(tegra, &[RESUME])?[..], [RESUME.0, SYNC]);
        // Around the end of the ring, which has 256 commands.
        let fake = FakeUnit::new()?;
        let unit = fake.unit_of(IDR0, tegra)?;
        for _ in 0..300 {
            let mut batch = unit.data().hardware()?.batch();
            all.iter().for_each(|command| batch.push(*command));
            batch.run().map_err(|_| EIO)?;
            assert_eq!(fake.take_seen()?[..], twice);
        }
        SmmuV3::release(unit.data())?;
        Ok(())
    }

    /// Arm erratum 2812531 of MMU-700 r0p0: at most 63 commands without a CMD_SYNC.
    #[test]
    fn a_sync_follows_63_commands() -> Result {
        let mmu700 = Product {
            iidr: 0x487 << 20 | 0x43b,
            ..Product::NONE
        };
        let many = [RESUME; 70];
        // As many as are recorded.
        let is_sync = |seen: &KVec<Seen>| seen.iter().position(|command| *command == SYNC);
        assert_eq!(is_sync(&seen_for(mmu700, &many)?), Some(63));
        let seen = seen_for(Product::NONE, &many)?;
        assert_eq!((seen.len(), is_sync(&seen)), (64, None));
        Ok(())
    }
}
