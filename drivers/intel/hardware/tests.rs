// SPDX-License-Identifier: GPL-2.0

//! Units that do not answer, and units that somebody left on, with memory in place of registers.

#![forbid(unsafe_code)]

use kernel::{
    macros::kunit_tests,
    time::{Instant, Monotonic},
};

use super::*;
use crate::{
    drivers::intel::{
        entries::{ContextEntry, Translation},
        mmio::MIN_BYTES,
        pasid::{PasidEntry, PasidTranslation, PasidWidth},
        regs::{IQA_HIGH, IQA_LOW, IQH, IQT, RTADDR_HIGH, RTADDR_LOW},
        removal::Removal,
        tables::{CachedEntry, IdEntry},
    },
    drivers::shell::registers::{join, Player, Window},
    label::Label,
    pgtable::{
        kernel_memory::{KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    requester::RequesterId,
};

/// A unit with queued invalidation, tables of 39 and 48 bits, 256 domain ids, and nothing else.
pub(in super::super) const CAP: u64 = 0x008c_222f_0602;
pub(in super::super) const ECAP: u64 = 0xf0_0f02;

/// Scalable mode with the second stage: SMTS, SSTS.
const SCALABLE_MODE: u64 = 1 << 43 | 1 << 46;

/// The unit invalidates everything when the root table is set (ESRTPS).
const CAP_ESRTPS: u64 = CAP | 1 << 63;

fn unit() -> Result<Arc<Hardware>> {
    unit_that(false)
}

/// A unit on which translation must not end if `never_ends`.
fn unit_that(never_ends: bool) -> Result<Arc<Hardware>> {
    describe(CAP, Registers::dead()?, never_ends)
}

fn unit_with(cap: u64, registers: Registers) -> Result<Arc<Hardware>> {
    describe(cap, registers, false)
}

fn describe(cap: u64, registers: Registers, never_ends: bool) -> Result<Arc<Hardware>> {
    with(cap, ECAP, registers, never_ends)
}

/// A unit in scalable mode with second-stage tables.
fn scalable(cap: u64, registers: Registers) -> Result<Arc<Hardware>> {
    let hardware = with(cap, ECAP | SCALABLE_MODE, registers, false)?;
    assert_eq!(hardware.mode(), Mode::Scalable(Stage::Second));
    Ok(hardware)
}

pub(in super::super) fn with(
    cap: u64,
    ecap: u64,
    registers: Registers,
    never_ends: bool,
) -> Result<Arc<Hardware>> {
    let (capability, space) = Capability::judge(cap, ecap).map_err(|_| EINVAL)?;
    let health = Arc::new(Health::new(Label::from("test")), GFP_KERNEL)?;
    Hardware::with(&health, registers, capability, space, -1, never_ends)
}

/// What a unit in software has cached.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Cached {
    contexts: bool,
    /// Only in scalable mode.
    pasids: bool,
    translations: bool,
}

impl Cached {
    /// All that a unit can cache.
    const fn all(scalable: bool) -> Self {
        Self {
            contexts: true,
            pasids: scalable,
            translations: true,
        }
    }
}

/// A unit in software whose queue takes no descriptors. It obeys its registers, with bugs where a
/// suite asks for them.
#[pin_data]
struct Played {
    esrtps: bool,
    /// It never switches its queue off.
    keeps_queue: bool,
    #[pin]
    cached: RawSpinLock<Cached>,
}

impl Played {
    /// All is cached, from before.
    fn new(cap: u64, keeps_queue: bool) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                esrtps: cap >> 63 != 0,
                keeps_queue,
                cached <- new_raw_spinlock!(Cached::all(false)),
            }),
            GFP_KERNEL,
        )
    }
}

impl Player<MIN_BYTES> for Played {
    fn act(&self, window: &Window<MIN_BYTES>) {
        // IRO in `ECAP`, and the invalidation register behind it.
        const IOTLB: usize = 0xf0 + 8;
        let io = window.io();
        let mut cached = self.cached.lock();
        let (command, status) = (io.read(GCMD), io.read(GSTS));
        let queue = command.queue() || self.keeps_queue && status.queue();
        let mut next = GSTS::zeroed()
            .with_translation(command.translation())
            .with_queue(queue)
            .with_root_table_set(status.root_table_set());
        if command.set_root_table() {
            io.write_reg(command.with_set_root_table(false));
            next = next.with_root_table_set(true);
            if self.esrtps {
                *cached = Cached::default();
            }
        }
        io.write_reg(next);
        if queue {
            return;
        }
        let execute = |offset, command: u64| {
            let high = io.try_read32(offset + 4).unwrap_or(0);
            let is_it = high >> 31 != 0 && join(0, high) == command & !0xffff_ffff;
            let _ = io.try_write32(high & !(1 << 31), offset + 4);
            is_it
        };
        cached.contexts &= !execute(0x28, 0xa000_0000_0000_0000);
        // The unit would fill its IOTLB through entries that it has still cached.
        cached.translations &= !execute(IOTLB, 0x9000_0000_0000_0000) || cached.contexts;
    }
}

/// A unit that works but for its queue, with `played` for the hardware.
fn unit_with_dead_queue(cap: u64, played: &Arc<Played>) -> Result<Arc<Hardware>> {
    let hardware = unit_with(cap, Registers::played(played.clone())?)?;
    hardware.tables.hand_over();
    hardware.queue.hand_over(&hardware.registers);
    *hardware.in_use().lock() = true;
    hardware.command(|gcmd| gcmd.with_queue(true), |gsts| gsts.queue())?;
    hardware.enable()?;
    hardware.tables.add(RequesterId::new(8), PasidWidth::None)?;
    let entry = ContextEntry {
        translation: Translation::PassThrough {
            width: hardware.space.width,
        },
        domain: 7,
    };
    hardware
        .tables
        .write(RequesterId::new(8), 0, IdEntry::Context(entry));
    Ok(hardware)
}

/// What a [`LeftOn`] unit has seen.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
struct Seen {
    /// Translation was off.
    passed: bool,
    /// The root table changed while the queue of before was on.
    queue_was_on: bool,
    /// RTADDR when the root table was set.
    root: u64,
    /// Where the queue was when it was switched on.
    queue: u64,
    /// Of the old tables.
    cached: Cached,
}

/// A unit in software that somebody has left on. It executes the descriptors of its queue.
#[pin_data]
struct LeftOn {
    memory: KernelMemory,
    /// The queue stands still until it is switched off.
    stuck: Atomic<bool>,
    #[pin]
    seen: RawSpinLock<Seen>,
}

impl LeftOn {
    fn new(scalable: bool) -> Result<Arc<Self>> {
        let seen = Seen {
            cached: Cached::all(scalable),
            ..Seen::default()
        };
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                stuck: Atomic::new(false),
                seen <- new_raw_spinlock!(seen),
            }),
            GFP_KERNEL,
        )
    }

    fn words(&self, address: u64, count: usize) -> &[KernelEntry] {
        self.memory
            .entries(Table::at(PhysAddr::new(address)), count)
    }

    /// Types and granularities of descriptors: 6.5.2.1, 6.5.2.2, 6.5.2.3, 6.5.2.8.
    fn execute(&self, cached: &mut Cached, descriptor: [u64; 2]) {
        match (descriptor[0] & 0xf, descriptor[0] >> 4 & 3) {
            (1, 1) => cached.contexts = false,
            // The unit caches an entry again through one that it has still cached.
            (7, 3) => cached.pasids &= cached.contexts,
            (2, 1) => cached.translations = cached.contexts || cached.pasids,
            (5, _) => self.words(descriptor[1], 1)[0].store(descriptor[0] >> 32),
            _ => {}
        }
    }
}

impl Player<MIN_BYTES> for LeftOn {
    fn act(&self, window: &Window<MIN_BYTES>) {
        let io = window.io();
        let mut seen = self.seen.lock();
        let (command, status) = (io.read(GCMD), io.read(GSTS));
        // Nothing but 1s to clear bits that were 0 is ever written there.
        io.write_reg(FSTS::from(0));
        seen.passed |= !command.translation();
        if command.set_root_table() {
            io.write_reg(command.with_set_root_table(false));
            seen.queue_was_on |= status.queue() && seen.queue == 0;
            seen.root = window.read_halves::<RTADDR_LOW, RTADDR_HIGH>();
        }
        io.write_reg(
            GSTS::from(u32::from(command) & !(1 << 30)).with_root_table_set(seen.root != 0),
        );
        let queue = window.read_halves::<IQA_LOW, IQA_HIGH>();
        match (status.queue(), command.queue()) {
            (_, false) => {
                self.stuck.store(false, Relaxed);
                return io.write_reg(IQH::from(0));
            }
            (false, true) => seen.queue = queue,
            (true, true) => {}
        }
        if self.stuck.load(Relaxed) {
            return;
        }
        // DW and QS: 128 bits and one page, or 256 bits and two pages.
        let bytes = match seen.queue & 0xfff {
            0 => 16,
            0x801 => 32,
            other => panic!("{other:#x}"),
        };
        let tail = u32::from(io.read(IQT));
        let mut head = u32::from(io.read(IQH));
        while head != tail {
            let words = self.words(seen.queue & !0xfff, bytes as usize * 32);
            let at = head as usize / 8;
            self.execute(&mut seen.cached, [words[at].load(), words[at + 1].load()]);
            assert!(words[at + 2..at + bytes as usize / 8]
                .iter()
                .all(|word| word.load() == 0));
            head = (head + bytes) % (bytes * 256);
        }
        io.write_reg(IQH::from(head));
    }
}

/// A unit that does what the bits of `status` say, with a root table at `root`.
fn unit_left_on(status: GSTS, root: u32) -> Result<(Arc<LeftOn>, Arc<Hardware>)> {
    let unit = LeftOn::new(false)?;
    let hardware = unit_with(CAP_ESRTPS, Registers::played(unit.clone())?)?;
    leave_on(&hardware, status, root);
    Ok((unit, hardware))
}

/// The unit does what the bits of `status` say, with `root` in its RTADDR.
fn leave_on(hardware: &Hardware, status: GSTS, root: u32) {
    let io = hardware.registers.io();
    io.write_reg(status);
    io.write_reg(status.repeat());
    io.write_reg(RTADDR_LOW::from(root));
    // The queue of before is empty, somewhere in its ring.
    io.write_reg(IQH::from(0x40));
    io.write_reg(IQT::from(0x40));
}

/// The root table register.
fn root_table(hardware: &Hardware) -> u64 {
    let io = hardware.registers.io();
    join(io.read(RTADDR_LOW).into(), io.read(RTADDR_HIGH).into())
}

/// A unit that translates, and whose translation ends as little as that of a graphics unit whose
/// device has requests that are never done.
fn translating(never_ends: bool) -> Result<Arc<Hardware>> {
    let hardware = unit_that(never_ends)?;
    hardware.registers.io().write_reg(
        GSTS::zeroed()
            .with_translation(true)
            .with_root_table_set(true),
    );
    hardware.tables.hand_over();
    Ok(hardware)
}

/// The unit is off after all, so that its memory can be freed.
fn forget(hardware: &Hardware) {
    hardware.registers.io().write_reg(GSTS::zeroed());
    assert_eq!(hardware.stop(), Ok(()));
}

/// A batch of one descriptor.
fn batch(hardware: &Hardware) -> Result<(), Failure> {
    let mut batch = hardware.batch();
    batch.push(hardware.iotlb(0, TlbScope::Domain { domain: 5 }));
    batch.run()
}

/// Removes the entries of `ids` with a queue that starts. Returns the result, and the lower words
/// of the descriptors in the ring, which are there also if the unit does not answer.
fn remove<const N: usize>(
    hardware: &Hardware,
    ids: &[RequesterId],
) -> (Result<(), Failure>, [u64; N]) {
    hardware.queue.hand_over(&hardware.registers);
    let mut removal = Removal::new(hardware);
    ids.iter().for_each(|&id| removal.remove(id, 0));
    let result = removal.run();
    let words = core::array::from_fn(|slot| hardware.queue.descriptor(slot).0[0]);
    (result, words)
}

fn milliseconds(f: impl FnOnce()) -> i64 {
    let start = Instant::<Monotonic>::now();
    f();
    start.elapsed().as_millis()
}

#[kunit_tests(iommu_core_intel_hardware)]
mod suite {
    use super::*;

    #[test]
    fn queue_that_never_completes() -> Result {
        let hardware = unit()?;
        // A unit that does not know the queue has nothing cached.
        assert_eq!(batch(&hardware), Ok(()));
        assert_eq!(u32::from(hardware.registers.io().read(IQT)), 0);

        hardware.queue.hand_over(&hardware.registers);
        let took = milliseconds(|| {
            assert!(matches!(
                batch(&hardware),
                Err(Failure::Timeout {
                    head: 0,
                    tail: 32,
                    status: 0
                })
            ));
        });
        assert!((1000..5000).contains(&took));
        // From then on batches fail at once, and the unit is told nothing.
        let took = milliseconds(|| {
            for _ in 0..100 {
                assert_eq!(batch(&hardware), Err(Failure::Earlier));
            }
        });
        assert!(took < 500);
        assert_eq!(u32::from(hardware.registers.io().read(IQT)), 32);
        // An empty batch succeeds without the unit.
        assert_eq!(hardware.batch().run(), Ok(()));
        hardware.queue.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn queue_that_refuses() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        hardware.queue.hand_over(&hardware.registers);
        // The unit is stuck at the first descriptor, and stays stuck whatever replaces it.
        io.write_reg(IQH::from(0));
        io.write_reg(FSTS::from(FaultStatus::QUEUE_ERROR));

        match batch(&hardware) {
            Err(Failure::Refused { .. }) => {}
            other => panic!("{other:?}"),
        }
        let counts = hardware.queue.counts();
        assert!((1..=4).contains(&counts.queue_errors));
        assert_eq!(counts.batches, 1);
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        hardware.queue.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn unit_that_does_not_answer() -> Result {
        let hardware = unit()?;
        let mut result = Ok(());
        let took = milliseconds(|| result = hardware.start().map(drop));
        assert_eq!(result, Err(ETIMEDOUT));
        assert!((1000..5000).contains(&took));
        // Its status says that translation and queue are off, so it can be stopped.
        hardware.stop()?;
        Ok(())
    }

    #[test]
    fn unit_that_does_not_come_back() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        hardware.queue.hand_over(&hardware.registers);
        io.write_reg(FEDATA::from(0x4021));
        io.write_reg(FEADDR::from(0xfee0_1000));
        io.write_reg(FEUADDR::from(1));

        assert_eq!(hardware.suspend(), Ok(()));
        assert!(io.read(FECTL).masked());
        // Batches of any length are done without the unit.
        let mut long = hardware.batch();
        for domain in 0..600 {
            long.push(hardware.iotlb(0, TlbScope::Domain { domain }));
        }
        assert_eq!(long.run(), Ok(()));
        assert_eq!(u32::from(io.read(IQT)), 0);

        io.write_reg(FEDATA::zeroed());
        io.write_reg(FEADDR::zeroed());
        io.write_reg(FEUADDR::zeroed());
        let mut result = Ok(());
        let took = milliseconds(|| result = hardware.resume());
        assert_eq!(result, Err(ETIMEDOUT));
        assert!((1000..5000).contains(&took));
        assert_eq!(u32::from(io.read(FEDATA)), 0x4021);
        assert_eq!(u32::from(io.read(FEADDR)), 0xfee0_1000);
        assert_eq!(u32::from(io.read(FEUADDR)), 1);
        assert!(!io.read(FECTL).masked());
        // At last the unit was told to translate with tables that block, and to forget the others.
        assert!(io.read(GCMD).translation());
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        hardware.stop()?;
        Ok(())
    }

    /// What happens without the quirk: the command to end translation is given, and never done.
    #[test]
    fn graphics_unit_that_is_told_to_stop() -> Result {
        let hardware = translating(false)?;
        assert_eq!(hardware.suspend(), Err(ETIMEDOUT));
        assert!(!hardware.registers.io().read(GCMD).translation());
        forget(&hardware);
        Ok(())
    }

    #[test]
    fn law_7_graphics_unit_sleeps_with_an_empty_root_table() -> Result {
        let hardware = translating(true)?;
        let io = hardware.registers.io();
        let empty = hardware.empty_root.as_ref().ok_or(EINVAL)?;

        let mut result = Ok(());
        let took = milliseconds(|| result = hardware.suspend());
        assert_eq!(result, Ok(()));
        assert!(took < 500);
        // The last command has set the root table; translation was not to end.
        let command = io.read(GCMD);
        assert!(command.translation() && command.set_root_table());
        assert_eq!(root_table(&hardware), empty.addr().raw());
        assert!(empty.words().iter().all(|word| word.load() == 0));
        // Law 8: the unit reads it until it is off.
        assert!(empty.is_in_use());
        forget(&hardware);
        assert!(!empty.is_in_use());
        Ok(())
    }

    /// Law 8: the tables of a unit that goes on are kept.
    #[test]
    fn law_8_graphics_unit_goes_on_after_a_release() -> Result {
        let hardware = translating(true)?;
        let io = hardware.registers.io();
        assert_eq!(hardware.stop(), Err(EBUSY));
        // The unit was told nothing.
        assert_eq!(u32::from(io.read(GCMD)), 0);
        assert_eq!(root_table(&hardware), 0);
        assert!(hardware.tables.is_in_use());
        forget(&hardware);
        Ok(())
    }

    /// Before it was enabled, and after it has lost its registers, the unit can be switched off.
    #[test]
    fn graphics_unit_that_does_not_translate() -> Result {
        let hardware = unit_that(true)?;
        assert_eq!(hardware.suspend(), Ok(()));
        assert_eq!(root_table(&hardware), 0);
        assert_eq!(hardware.stop(), Ok(()));
        Ok(())
    }

    /// Quirk of X58: no root table before the queues of all units are on.
    #[test]
    fn queues_come_before_root_tables() -> Result {
        let (first, second) = (unit()?, unit()?);
        for hardware in [&first, &second] {
            // The unit does not answer, but it was told.
            assert_eq!(hardware.start_early(), Err(ETIMEDOUT));
            let io = hardware.registers.io();
            assert!(io.read(GCMD).queue() && !io.read(GCMD).set_root_table());
            assert_eq!(root_table(hardware), 0);
        }
        // A unit whose queue does not start gets no root table.
        assert!(first.start().is_err());
        assert_eq!(root_table(&first), 0);
        // A unit that is not set up after all.
        second.end_early();
        assert!(!second.early.load(Relaxed));
        // A unit that is in use is told nothing.
        let third = unit()?;
        let io = third.registers.io();
        for status in [
            GSTS::zeroed().with_translation(true),
            GSTS::zeroed().with_queue(true),
            GSTS::zeroed().with_interrupt_remapping(true),
        ] {
            io.write_reg(status);
            assert_eq!(third.start_early(), Ok(()));
            assert_eq!(u32::from(io.read(GCMD)), 0);
            assert!(!third.early.load(Relaxed));
        }
        Ok(())
    }

    /// Law 7: the unit may go on with what it has cached, and cannot be told otherwise by its
    /// queue.
    #[test]
    fn law_7_nothing_is_reachable_after_the_queue_has_failed() -> Result {
        for cap in [CAP, CAP_ESRTPS] {
            let played = Played::new(cap, false)?;
            let hardware = unit_with_dead_queue(cap, &played)?;
            assert_eq!(*played.cached.lock(), Cached::all(false));
            let result = hardware.answered(batch(&hardware));
            assert_eq!(result, Err(EIO));
            assert!(hardware.health.has_failed());
            assert_eq!(*played.cached.lock(), Cached::default());
            assert_eq!(
                hardware.tables.cached(RequesterId::new(8), 0),
                CachedEntry::Nothing
            );
            // It translates with the table that blocks.
            let io = hardware.registers.io();
            assert!(io.read(GSTS).translation());
            assert_eq!(
                u64::from(u32::from(io.read(RTADDR_LOW))),
                hardware.tables.root().raw() & 0xffff_ffff
            );
            // ESRTPS needs no more than the root table.
            assert_eq!(io.read(GSTS).queue(), cap == CAP_ESRTPS);
            hardware.stop()?;
        }
        Ok(())
    }

    /// The queue does not even stop. With ESRTPS this does not matter; without, a person is told.
    #[test]
    fn queue_that_never_stops() -> Result {
        for (cap, expected) in [(CAP_ESRTPS, Ok(())), (CAP, Err(ETIMEDOUT))] {
            let played = Played::new(cap, true)?;
            let hardware = unit_with_dead_queue(cap, &played)?;
            hardware.give_up();
            hardware.block_entries();
            assert_eq!(hardware.refuse_all(), expected);
            let cached = *played.cached.lock();
            assert_eq!(cached.contexts || cached.translations, expected.is_err());
            assert_eq!(hardware.stop(), Err(ETIMEDOUT));
            // So that the memory can be freed.
            hardware.take_back(&Off::observed());
        }
        Ok(())
    }

    /// A processor that waits for the unit must not switch it on again, after another one has
    /// switched it off, nor take it for failed.
    #[test]
    fn unit_that_is_off_stays_off() -> Result {
        let hardware = unit()?;
        hardware.queue.hand_over(&hardware.registers);
        let mut waiting = hardware.batch();
        waiting.push(hardware.iotlb(0, TlbScope::Domain { domain: 5 }));
        // Submits it.
        waiting.fence();
        hardware.suspend()?;
        assert_eq!(waiting.run(), Ok(()));

        hardware.fail(Failure::Timeout {
            head: 0,
            tail: 0,
            status: 0,
        });
        let io = hardware.registers.io();
        assert!(!io.read(GCMD).translation() && !io.read(GCMD).set_root_table());
        hardware.stop()?;
        Ok(())
    }

    /// Law 7: a unit that was left on goes on translating, with a table that blocks.
    #[test]
    fn unit_that_was_left_on() -> Result {
        for queue in [true, false] {
            let on = GSTS::zeroed()
                .with_translation(true)
                .with_interrupt_remapping(true)
                .with_queue(queue);
            let (unit, hardware) = unit_left_on(on, 0x1000)?;
            let io = hardware.registers.io();

            assert_eq!(hardware.start(), Ok(true));
            let seen = *unit.seen.lock();
            assert!(!seen.passed && !seen.queue_was_on);
            assert_eq!(seen.root, hardware.tables.root().raw());
            assert_eq!(seen.cached, Cached::default());
            // The fault interrupt of before is masked, and interrupts are not remapped with the
            // table of before.
            assert!(io.read(FECTL).masked());
            assert!(!io.read(GSTS).interrupt_remapping());
            assert_eq!(hardware.enable(), Ok(()));
            assert!(!unit.seen.lock().passed);
            assert_eq!(batch(&hardware), Ok(()));

            assert_eq!(hardware.stop(), Ok(()));
            assert!(unit.seen.lock().passed);
        }
        Ok(())
    }

    /// A unit whose queue alone was left on is switched off again if it cannot be used.
    #[test]
    fn queue_that_was_left_on() -> Result {
        let on = GSTS::zeroed().with_queue(true);
        let (unit, hardware) = unit_left_on(on, 0x1000)?;
        assert_eq!(hardware.start(), Ok(false));
        let seen = *unit.seen.lock();
        assert!(seen.passed && !seen.queue_was_on);
        assert_eq!(seen.root, hardware.tables.root().raw());
        assert_eq!(seen.cached, Cached::default());
        assert_eq!(hardware.stop(), Ok(()));
        assert_eq!(u32::from(hardware.registers.io().read(GCMD)), 0);
        Ok(())
    }

    /// Law 7: if a unit that was left on does not obey, or is given back, it is not switched off.
    #[test]
    fn unit_that_was_left_on_is_not_let_go() -> Result {
        // It says that it has a root table and a queue, whatever it is told.
        let hardware = unit()?;
        let io = hardware.registers.io();
        let on = GSTS::zeroed()
            .with_translation(true)
            .with_root_table_set(true)
            .with_queue(true);
        io.write_reg(on);
        assert_eq!(hardware.start(), Err(ETIMEDOUT));
        assert!(io.read(GCMD).translation());
        hardware.take_back(&Off::observed());

        let (unit, hardware) = unit_left_on(GSTS::zeroed().with_translation(true), 0x1000)?;
        assert_eq!(hardware.start(), Ok(true));
        hardware.leave_blocking();
        assert!(!unit.seen.lock().passed);
        assert!(hardware.registers.io().read(GSTS).translation());
        assert!(hardware.tables.is_in_use());
        // It can be taken again.
        assert_eq!(hardware.start(), Ok(true));
        assert_eq!(hardware.stop(), Ok(()));
        Ok(())
    }

    /// Law 7: TTM must not change while the unit translates.
    #[test]
    fn unit_that_was_left_on_in_scalable_mode() -> Result {
        let on = GSTS::zeroed().with_translation(true);
        let hardware = unit()?;
        let io = hardware.registers.io();
        io.write_reg(on);
        io.write_reg(RTADDR_LOW::from(0x1400));
        assert_eq!(hardware.start(), Err(EBUSY));
        for offset in (0..0x1000).step_by(4) {
            let expected = match offset {
                0x1c => u32::from(on),
                0x20 => 0x1400,
                _ => 0,
            };
            assert_eq!(io.try_read32(offset), Ok(expected));
        }
        Ok(())
    }

    /// A unit with scalable mode is taken over in scalable mode: TTM is 1, descriptors have 256
    /// bits. It may have been left on in that mode.
    #[test]
    fn scalable_mode() -> Result {
        let on = GSTS::zeroed().with_translation(true);
        for (status, root) in [(GSTS::zeroed(), 0), (on, 0x1400)] {
            let unit = LeftOn::new(true)?;
            let hardware = scalable(CAP_ESRTPS, Registers::played(unit.clone())?)?;
            leave_on(&hardware, status, root);

            assert_eq!(hardware.start(), Ok(status.translation()));
            let seen = *unit.seen.lock();
            assert_eq!(seen.passed, !status.translation());
            assert_eq!(seen.root, hardware.tables.root().raw() | 0x400);
            assert_eq!(seen.cached, Cached::default());
            // More descriptors than the queue has.
            for _ in 0..300 {
                assert_eq!(batch(&hardware), Ok(()));
            }
            assert_eq!(hardware.stop(), Ok(()));
        }
        Ok(())
    }

    /// Law 7: TTM must not change while the unit translates.
    #[test]
    fn scalable_unit_that_was_left_on_in_legacy_mode() -> Result {
        let on = GSTS::zeroed().with_translation(true);
        let hardware = scalable(CAP_ESRTPS, Registers::dead()?)?;
        let io = hardware.registers.io();
        io.write_reg(on);
        io.write_reg(RTADDR_LOW::from(0x1000));
        assert_eq!(hardware.start(), Err(EBUSY));
        assert_eq!(u32::from(io.read(RTADDR_LOW)), 0x1000);
        assert_eq!(u32::from(io.read(GCMD)), 0);
        Ok(())
    }

    /// Law 7: no register invalidates the PASID cache. So a unit without ESRTPS gets a queue that
    /// starts again.
    #[test]
    fn law_7_queue_that_starts_again() -> Result {
        let unit = LeftOn::new(true)?;
        let hardware = scalable(CAP, Registers::played(unit.clone())?)?;
        assert_eq!(hardware.start(), Ok(false));
        assert_eq!(hardware.enable(), Ok(()));
        unit.seen.lock().cached = Cached::all(true);
        unit.stuck.store(true, Relaxed);

        assert_eq!(hardware.answered(batch(&hardware)), Err(EIO));
        assert!(hardware.health.has_failed());
        assert_eq!(unit.seen.lock().cached, Cached::default());
        assert!(hardware.registers.io().read(GSTS).translation());
        // Nobody else gets anything done.
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        hardware.stop()
    }

    /// In scalable mode an id's PASID table entry goes with its context entry, and both are
    /// forgotten. Its tables stay.
    #[test]
    fn scalable_entries_are_forgotten() -> Result {
        let hardware = scalable(CAP, Registers::dead()?)?;
        let tables = &hardware.tables;
        // Both halves of a bus: devices 1 and 31.
        let ids = [8, 0xff].map(RequesterId::new);
        for (id, domain) in ids.into_iter().zip([7, 8]) {
            tables.add(id, PasidWidth::None)?;
            assert_eq!(tables.cached(id, 0), CachedEntry::Nothing);
            let width = hardware.space.width;
            let translation = match domain {
                7 => PasidTranslation::PassThrough { width },
                _ => PasidTranslation::SecondStage {
                    root: 0x5000,
                    width,
                    coherent: false,
                },
            };
            let entry = PasidEntry {
                translation,
                domain,
            };
            tables.write(id, 0, IdEntry::Pasid(entry));
            assert_eq!(tables.cached(id, 0), CachedEntry::Under(entry.tag(0)));
            // An id that has tables gets no others.
            tables.add(id, PasidWidth::None)?;
            assert_eq!(tables.cached(id, 0), CachedEntry::Under(entry.tag(0)));
        }
        assert_eq!(tables.count(), 2);
        let (result, words) = remove(&hardware, &ids);
        assert!(result.is_err());
        assert!(ids
            .into_iter()
            .all(|id| tables.cached(id, 0) == CachedEntry::Nothing));
        let wait = |number: u64| number << 32 | 0x65;
        // Types 1, 7, 6 and 2 (6.5.2.1 to 6.5.2.4).
        let expected = [
            0x0008_0007_0031,
            0x00ff_0008_0031,
            0x0007_0017,
            0x0008_0017,
            wait(1),
            0x0007_0026,
            0x0008_0022,
            wait(2),
        ];
        assert_eq!(words, expected);
        hardware.queue.take_back(&Off::observed());

        // Entries of the other mode are not written.
        let translation = Translation::PassThrough {
            width: hardware.space.width,
        };
        let entry = ContextEntry {
            translation,
            domain: 9,
        };
        tables.write(ids[0], 0, IdEntry::Context(entry));
        assert_eq!(tables.cached(ids[0], 0), CachedEntry::Nothing);
        Ok(())
    }

    /// Law 8: as long as the unit has an entry cached, it may fill its IOTLB through the entry.
    #[test]
    fn all_entries_are_forgotten_before_the_domains_that_they_lead_to() -> Result {
        let hardware = unit()?;
        let tables = &hardware.tables;
        let ids = [1, 2, 3].map(RequesterId::new);
        for (id, domain) in ids.into_iter().zip([7, 8, 7]) {
            let translation = Translation::PassThrough {
                width: hardware.space.width,
            };
            let entry = ContextEntry {
                translation,
                domain,
            };
            tables.add(id, PasidWidth::None)?;
            tables.write(id, 0, IdEntry::Context(entry));
        }
        let (result, words) = remove(&hardware, &ids);
        assert!(result.is_err());
        assert!(ids
            .into_iter()
            .all(|id| tables.cached(id, 0) == CachedEntry::Nothing));
        let wait = |number: u64| number << 32 | 0x65;
        // Bits 47:32 source, 31:16 domain, 5:4 granularity, 3:0 type (6.5.2.1, 6.5.2.3).
        let expected = [
            0x0001_0007_0031,
            0x0002_0008_0031,
            0x0003_0007_0031,
            wait(1),
            0x0007_0022,
            0x0008_0022,
            wait(2),
        ];
        assert_eq!(words, expected);
        hardware.queue.take_back(&Off::observed());
        Ok(())
    }

    /// A removal remembers a few domains. If entries lead to more, all of the IOTLB is invalidated.
    #[test]
    fn a_removal_invalidates_every_domain() -> Result {
        for count in [1, 3, 4, 5, 8, 9] {
            let hardware = unit()?;
            let tables = &hardware.tables;
            for id in 0..count {
                let entry = ContextEntry {
                    translation: Translation::PassThrough {
                        width: hardware.space.width,
                    },
                    domain: 100 + id as u16,
                };
                tables.add(RequesterId::new(id), PasidWidth::None)?;
                tables.write(RequesterId::new(id), 0, IdEntry::Context(entry));
            }
            hardware.queue.hand_over(&hardware.registers);
            let mut removal = Removal::new(&hardware);
            (0..count).for_each(|id| removal.remove(RequesterId::new(id), 0));
            // The unit does not answer, but the descriptors are in the ring.
            assert!(removal.run().is_err());
            // Type 2 is an IOTLB invalidation; bits 5:4 are the granularity, 1 global, 2 domain;
            // bits 31:16 the domain (6.5.2.3).
            let descriptors = (0..64).map(|slot| hardware.queue.descriptor(slot).0[0]);
            let iotlb = |word: &u64| word & 0xf == 2;
            let covers = |domain: u64, word: u64| match word >> 4 & 3 {
                1 => true,
                2 => word >> 16 & 0xffff == domain,
                _ => false,
            };
            for domain in 100..100 + u64::from(count) {
                let mut found = descriptors.clone().filter(iotlb);
                assert!(found.any(|word| covers(domain, word)));
            }
            hardware.queue.take_back(&Off::observed());
        }
        Ok(())
    }

    #[test]
    fn ids_run_out_and_come_back() -> Result {
        let hardware = unit()?;
        let mut ids = hardware.ids.lock();
        let mut count = 0;
        while ids.take().is_some() {
            count += 1;
        }
        assert_eq!(count, 256);
        assert!(ids.give_back(17));
        assert_eq!(ids.take(), Some(17));
        Ok(())
    }
}
