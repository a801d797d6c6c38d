// SPDX-License-Identifier: GPL-2.0

//! Units that do not answer, units that somebody left on, and device tables, with memory in place
//! of registers.

#![forbid(unsafe_code)]

use core::cell::Cell;

use kernel::{
    macros::kunit_tests,
    sync::atomic::Relaxed,
    time::{Instant, Monotonic},
};

use super::*;
use crate::{
    addr::PhysAddr,
    drivers::amd::{
        commands::Command,
        entries::Translation,
        ivrs::Settings,
        mmio::BYTES,
        regs::{
            COMMAND_BASE_HIGH, COMMAND_BASE_LOW, COMMAND_HEAD, COMMAND_TAIL, CONTROL_HIGH,
            DEVICE_TABLE_LOW, EVENT_BASE_HIGH,
        },
    },
    drivers::shell::registers::{join, Player, Window},
    ffi::raw_spinlock::{new_raw_spinlock, RawSpinLock},
    pgtable::{
        kernel_memory::{KernelEntry, KernelMemory},
        Entry, Table, TableMemory, Top,
    },
};

/// The registers of an emulated unit: six levels of host tables, INVALIDATE_IOMMU_ALL.
const CAPABILITY: u32 = 0x1f03_000f;
const MISC: u32 = 0x0018_2800;
pub(in super::super) const FEATURES: [u64; 2] = [0x29d3, 0];
/// As [`FEATURES`], but without INVALIDATE_IOMMU_ALL, and with a device table in 8 segments.
pub(in super::super) const FEATURES_SPLIT: [u64; 2] = [0x2993 | 3 << 38, 0];

fn unit_with(words: [u64; 2]) -> Result<Arc<Hardware>> {
    describe_unit(words, false)
}

/// A unit whose paging domains have tables of `kind`.
pub(in super::super) fn unit_with_tables(kind: TableKind) -> Result<Arc<Hardware>> {
    match kind {
        TableKind::Host => unit_with(FEATURES),
        // GIOSup, and firmware says that there are no host tables.
        TableKind::Guest => describe_unit([FEATURES[0] | 1 << 48, 0], true),
    }
}

fn describe_unit(words: [u64; 2], no_host_tables: bool) -> Result<Arc<Hardware>> {
    describe_unit_with(words, no_host_tables, Registers::dead()?)
}

pub(in super::super) fn describe_unit_with(
    words: [u64; 2],
    no_host_tables: bool,
    registers: Registers,
) -> Result<Arc<Hardware>> {
    let (features, config) = table_config(words, no_host_tables, 0).map_err(|_| EINVAL)?;
    let properties = Properties {
        capability: Capability::decode(CAPABILITY, MISC).map_err(|_| EINVAL)?,
        features,
        tables: config,
        remapping: Ok(Remapping::new(true, false, false, false)),
        flags: Flags(0),
    };
    let tables = DeviceTable::new(-1, 0x3ff, features.table_segments, |id| match id {
        // INITPass, and SysMgt 3: system management messages are translated.
        0x11 => Settings(0x31),
        _ => Settings::NONE,
    })?;
    let health = Arc::new(Health::new(Label::from("test")), GFP_KERNEL)?;
    Hardware::with(&health, registers, None, properties, tables, -1)
}

fn unit() -> Result<Arc<Hardware>> {
    unit_with(FEATURES)
}

/// The control register's lower half at takeover: Coherent; an invalidation timeout of one second;
/// entries of interrupt tables have 128 bits.
const TAKEN: u32 = 1 << 10 | 4 << 5 | 1 << 17;

/// The id and the domain of which a [`Played`] unit has something cached.
const ID: u64 = 0x12;
const DOMAIN: u64 = 5;

/// What happens to the command buffer of a [`Played`] unit.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Buffer {
    /// The unit takes commands.
    Works,
    /// It takes none until the buffer is switched off and on.
    Stuck,
    /// It takes none, and does not stop.
    Broken,
}

/// What a [`Played`] unit has cached of [`ID`] and [`DOMAIN`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Cached {
    entry: bool,
    translations: bool,
}

impl Cached {
    const NOTHING: Self = Self {
        entry: false,
        translations: false,
    };
}

/// A unit in software.
#[pin_data]
struct Played {
    memory: KernelMemory,
    #[pin]
    state: RawSpinLock<(Buffer, Cached)>,
    /// Whether it was off since [`set`](Self::set).
    passed: Atomic<bool>,
}

impl Played {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                state <- new_raw_spinlock!((Buffer::Works, Cached::NOTHING)),
                passed: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// From now on this happens, and something is cached.
    fn set(&self, buffer: Buffer) {
        let all = Cached {
            entry: true,
            translations: true,
        };
        *self.state.lock() = (buffer, all);
        self.passed.store(false, Relaxed);
    }

    fn cached(&self) -> Cached {
        self.state.lock().1
    }

    fn words(&self, address: u64, count: usize) -> &[KernelEntry] {
        self.memory
            .entries(Table::at(PhysAddr::new(address)), count)
    }

    fn execute(&self, cached: &mut Cached, command: [u64; 2]) {
        match command[0] >> 60 {
            1 if command[0] & 1 != 0 => {
                self.words(command[0] & 0xf_ffff_ffff_fff8, 1)[0].store(command[1]);
            }
            2 => cached.entry &= command[0] & 0xffff != ID,
            // The unit fills its caches again through an entry that it has still cached.
            3 if command[0] >> 32 & 0xffff == DOMAIN => cached.translations = cached.entry,
            8 => *cached = Cached::NOTHING,
            _ => {}
        }
    }
}

impl Player<BYTES> for Played {
    fn act(&self, window: &Window<BYTES>) {
        let io = window.io();
        let mut state = self.state.lock();
        let (buffer, cached) = &mut *state;
        let control = io.read(CONTROL_LOW);
        if !control.enable() {
            self.passed.store(true, Relaxed);
        }
        let takes = control.enable() && control.commands();
        if !takes && *buffer == Buffer::Stuck {
            *buffer = Buffer::Works;
        }
        io.write_reg(STATUS::zeroed().with_commands(takes || *buffer == Buffer::Broken));
        if !takes || *buffer != Buffer::Works {
            return;
        }
        let base = join(
            io.read(COMMAND_BASE_LOW).into(),
            io.read(COMMAND_BASE_HIGH).into(),
        );
        let slots = 1usize << (base >> 56 & 0xf);
        let words = self.words(base & 0xf_ffff_ffff_f000, slots * 2);
        let mut head = u32::from(io.read(COMMAND_HEAD)) as usize / 16;
        let tail = u32::from(io.read(COMMAND_TAIL)) as usize / 16;
        while head != tail {
            self.execute(cached, [words[head * 2].load(), words[head * 2 + 1].load()]);
            head = (head + 1) % slots;
        }
        io.write_reg(COMMAND_HEAD::from(head as u32 * 16));
    }
}

/// A batch of one command.
fn batch(hardware: &Hardware) -> Result<(), Failure> {
    let mut batch = hardware.batch();
    batch.pages(5, Space::Host, Pages::All, false);
    batch.run()
}

fn milliseconds(f: impl FnOnce()) -> i64 {
    let start = Instant::<Monotonic>::now();
    f();
    start.elapsed().as_millis()
}

/// Makes the registers say that the unit takes commands, or does not.
fn set_taking_commands(hardware: &Hardware, taking: bool) {
    let io = hardware.registers.io();
    io.write_reg(STATUS::zeroed().with_commands(taking));
}

/// Stops the unit, so that its memory can be freed.
pub(in super::super) fn forget(hardware: &Hardware) {
    set_taking_commands(hardware, false);
    assert_eq!(hardware.stop(), Ok(()));
}

fn host(domain: u16, root: u64, levels: u8) -> Translation {
    Translation::Host {
        domain,
        root,
        levels,
        dirty: false,
    }
}

#[kunit_tests(iommu_core_amd_hardware)]
mod suite {
    use super::*;

    #[test]
    fn queue_that_never_completes() -> Result {
        let hardware = unit()?;
        // The unit does not know the queue yet.
        assert_eq!(batch(&hardware), Err(Failure::Earlier));

        hardware.start()?;
        // The unit is off and has nothing cached.
        assert_eq!(batch(&hardware), Ok(()));
        assert_eq!(u32::from(hardware.registers.io().read(COMMAND_TAIL)), 0);

        hardware.queue.run(&hardware.registers);
        set_taking_commands(&hardware, true);
        let took = milliseconds(|| {
            assert!(matches!(
                batch(&hardware),
                Err(Failure::Timeout {
                    head: 0,
                    tail: 32,
                    status: 0x10
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
        assert_eq!(u32::from(hardware.registers.io().read(COMMAND_TAIL)), 32);
        // An empty batch succeeds without the unit.
        assert_eq!(hardware.batch().run(), Ok(()));
        forget(&hardware);
        Ok(())
    }

    /// A batch that is longer than the buffer waits for room, but not for ever.
    #[test]
    fn queue_that_is_full() -> Result {
        let hardware = unit()?;
        hardware.start()?;
        hardware.queue.run(&hardware.registers);
        set_taking_commands(&hardware, true);
        let mut result = Ok(());
        let took = milliseconds(|| {
            let mut batch = hardware.batch();
            for id in 0..600 {
                batch.entry(RequesterId::new(id));
            }
            result = batch.run();
        });
        assert!(matches!(result, Err(Failure::Timeout { head: 0, .. })));
        assert!((1000..5000).contains(&took));
        forget(&hardware);
        Ok(())
    }

    #[test]
    fn queue_that_refuses() -> Result {
        let hardware = unit()?;
        hardware.start()?;
        hardware.queue.run(&hardware.registers);
        // The unit is stuck at the first command, and stays stuck when INVALIDATE_IOMMU_ALL
        // replaces it.
        assert_eq!(
            batch(&hardware),
            Err(Failure::Refused {
                command: Command::all()
            })
        );
        assert_eq!(hardware.queue.counts().repairs, 1);
        assert_eq!(hardware.queue.counts().batches, 1);
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        forget(&hardware);

        // For a unit without that command there is no replacement.
        let hardware = unit_with(FEATURES_SPLIT)?;
        hardware.start()?;
        hardware.queue.run(&hardware.registers);
        assert_eq!(
            batch(&hardware),
            Err(Failure::Refused {
                command: Command::pages(5, Space::Host, Pages::All, false)
            })
        );
        assert_eq!(hardware.queue.counts().repairs, 0);
        forget(&hardware);
        Ok(())
    }

    #[test]
    fn unit_that_does_not_answer() -> Result {
        let hardware = unit()?;
        hardware.start()?;
        set_taking_commands(&hardware, true);
        let mut result = Ok(());
        let took = milliseconds(|| result = hardware.enable());
        assert_eq!(result, Err(ETIMEDOUT));
        assert!((1000..5000).contains(&took));
        forget(&hardware);
        // Another start is possible.
        hardware.start()?;
        assert_eq!(batch(&hardware), Ok(()));
        forget(&hardware);
        Ok(())
    }

    #[test]
    fn unit_that_does_not_come_back() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        hardware.start()?;
        let before = u32::from(io.read(CONTROL_LOW));

        assert_eq!(hardware.suspend(), Ok(()));
        // Batches of any length are done without the unit.
        let mut long = hardware.batch();
        for domain in 0..600 {
            long.pages(domain, Space::Host, Pages::All, false);
        }
        assert_eq!(long.run(), Ok(()));
        assert_eq!(u32::from(io.read(COMMAND_TAIL)), 0);

        // The registers are lost.
        for offset in (0..0x20).step_by(4) {
            io.try_write32(0, offset)?;
        }
        let id = RequesterId::pci(1, 0);
        hardware.tables.change(id, host(5, 0x1000, 3));
        assert_eq!(hardware.resume(), Err(ETIMEDOUT));
        // At last the unit was told to translate with a table that blocks.
        assert!(io.read(CONTROL_LOW).enable());
        assert_eq!(u32::from(io.read(CONTROL_LOW)) & before, before);
        assert_eq!(
            hardware.tables.read(id).map(|entry| entry.translation),
            Some(Translation::Blocked)
        );
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        forget(&hardware);
        Ok(())
    }

    /// Law 7: the unit may go on with what it has cached, and its buffer is the only way to tell it
    /// otherwise.
    #[test]
    fn law_7_nothing_is_reachable_after_the_queue_has_failed() -> Result {
        for words in [FEATURES, FEATURES_SPLIT] {
            let played = Played::new()?;
            let registers = Registers::played(played.clone())?;
            let hardware = describe_unit_with(words, false, registers)?;
            let id = RequesterId::new(ID as u32);
            hardware.start()?;
            hardware.enable()?;
            assert_eq!(batch(&hardware), Ok(()));
            hardware.tables.change(id, host(DOMAIN as u16, 0x1000, 3));

            played.set(Buffer::Stuck);
            assert_eq!(hardware.answered(batch(&hardware)), Err(EIO));
            assert!(hardware.health.has_failed());
            assert_eq!(played.cached(), Cached::NOTHING);
            assert_eq!(
                hardware.tables.read(id).map(|entry| entry.translation),
                Some(Translation::Blocked)
            );
            assert!(hardware.registers.io().read(CONTROL_LOW).enable());
            // The buffer was for that only.
            assert_eq!(batch(&hardware), Err(Failure::Earlier));
            hardware.stop()?;
        }
        Ok(())
    }

    /// What the unit has cached is not known then. A person is told.
    #[test]
    fn buffer_that_never_stops() -> Result {
        let played = Played::new()?;
        let registers = Registers::played(played.clone())?;
        let hardware = describe_unit_with(FEATURES, false, registers)?;
        hardware.start()?;
        hardware.enable()?;
        played.set(Buffer::Broken);
        hardware.give_up();
        hardware.block_entries();
        assert_eq!(hardware.refuse_all(), Err(ETIMEDOUT));
        // Law 8: as it does not stop, batches must not count as done.
        assert_eq!(hardware.stop(), Err(ETIMEDOUT));
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        played.set(Buffer::Works);
        hardware.stop()?;
        Ok(())
    }

    /// A unit that works until it does not stop.
    #[test]
    fn law_8_batches_fail_on_a_unit_that_does_not_stop() -> Result {
        let played = Played::new()?;
        let registers = Registers::played(played.clone())?;
        let hardware = describe_unit_with(FEATURES, false, registers)?;
        for stop in [Hardware::stop, Hardware::suspend] {
            hardware.start()?;
            hardware.enable()?;
            assert_eq!(batch(&hardware), Ok(()));
            played.set(Buffer::Broken);
            assert_eq!(stop(&hardware), Err(ETIMEDOUT));
            assert_eq!(batch(&hardware), Err(Failure::Earlier));
            played.set(Buffer::Works);
            hardware.stop()?;
        }
        Ok(())
    }

    /// A processor that waits for the unit must not switch it on again, after another one has
    /// switched it off.
    #[test]
    fn unit_that_is_off_stays_off() -> Result {
        let hardware = unit()?;
        hardware.start()?;
        hardware.queue.run(&hardware.registers);
        hardware.suspend()?;
        let off = u32::from(hardware.registers.io().read(CONTROL_LOW));
        assert!(hardware.queue.repair_now(&hardware.registers).is_none());
        hardware.fail(Failure::Timeout {
            head: 0,
            tail: 0,
            status: 0,
        });
        assert!(hardware.health.has_failed());
        assert_eq!(u32::from(hardware.registers.io().read(CONTROL_LOW)), off);
        forget(&hardware);
        Ok(())
    }

    /// Nothing stays of what another kernel or firmware has set, such as x2APIC mode.
    #[test]
    fn whole_control_register_is_set() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        io.write_reg(
            CONTROL_LOW::from(u32::MAX)
                .with_enable(false)
                .with_commands(false),
        );
        io.write_reg(CONTROL_HIGH::from(u32::MAX));
        hardware.start()?;
        assert_eq!(u32::from(io.read(CONTROL_LOW)), TAKEN);
        assert_eq!(u32::from(io.read(CONTROL_HIGH)), 0);
        forget(&hardware);
        Ok(())
    }

    /// A unit that somebody has left on: it translates, takes commands, and logs all there is.
    fn unit_left_on(buffer: Buffer) -> Result<(Arc<Played>, Arc<Hardware>)> {
        let played = Played::new()?;
        let registers = Registers::played(played.clone())?;
        let hardware = describe_unit_with(FEATURES, false, registers)?;
        let io = hardware.registers.io();
        // IommuEn, all logs with their interrupts, GTEn, GAEn; XTEn and IntCapXTEn above.
        io.write_reg(CONTROL_LOW::from(0x3003_f41d));
        io.write_reg(CONTROL_HIGH::from(3 << 18));
        io.write_reg(DEVICE_TABLE_LOW::from(0x1234_51ff));
        played.set(buffer);
        Ok((played, hardware))
    }

    /// Law 7: a unit that was left on goes on translating, with a table that blocks.
    #[test]
    fn unit_that_was_left_on() -> Result {
        let (played, hardware) = unit_left_on(Buffer::Works)?;
        let io = hardware.registers.io();
        assert_eq!(hardware.start(), Ok(true));
        assert_eq!(played.cached(), Cached::NOTHING);
        let table = io.read(DEVICE_TABLE_LOW);
        assert_ne!(u32::from(table) & !0xfff, 0x1234_5000);
        // 0x400 entries of 32 bytes are 8 pages.
        assert_eq!(u32::from(table) & 0x1ff, 7);
        // It takes commands, and nothing else is on of what was on before.
        assert_eq!(u32::from(io.read(CONTROL_LOW)), TAKEN | 1 << 12 | 1);
        assert_eq!(u32::from(io.read(CONTROL_HIGH)), 0);
        assert_eq!(hardware.enable(), Ok(()));
        assert_eq!(batch(&hardware), Ok(()));
        assert!(!played.passed.load(Relaxed));
        assert_eq!(hardware.stop(), Ok(()));
        assert!(played.passed.load(Relaxed));
        Ok(())
    }

    /// Law 7: if a unit that was left on does not obey, or is given back, it is not switched off.
    #[test]
    fn unit_that_was_left_on_is_not_let_go() -> Result {
        let (played, hardware) = unit_left_on(Buffer::Broken)?;
        assert_eq!(hardware.start(), Err(ETIMEDOUT));
        assert!(!played.passed.load(Relaxed));
        assert!(hardware.registers.io().read(CONTROL_LOW).enable());
        played.set(Buffer::Works);
        forget(&hardware);

        let (played, hardware) = unit_left_on(Buffer::Works)?;
        assert_eq!(hardware.start(), Ok(true));
        hardware.leave_blocking();
        assert!(!played.passed.load(Relaxed));
        assert!(hardware.registers.io().read(CONTROL_LOW).enable());
        // It can be taken again.
        assert_eq!(hardware.start(), Ok(true));
        assert!(!played.passed.load(Relaxed));
        assert_eq!(hardware.stop(), Ok(()));
        Ok(())
    }

    /// A command buffer that was left on in a unit that is off has no effect, and goes.
    #[test]
    fn buffer_that_was_left_on() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        io.write_reg(CONTROL_LOW::zeroed().with_commands(true));
        assert_eq!(hardware.start(), Ok(false));
        assert_eq!(u32::from(io.read(CONTROL_LOW)), TAKEN);
        forget(&hardware);
        Ok(())
    }

    /// The registers are set as the C driver sets them for the same features.
    #[test]
    fn registers_at_takeover() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        hardware.start()?;
        // 512 entries each: 9 in bits 59:56.
        assert_eq!(u32::from(io.read(COMMAND_BASE_HIGH)) >> 24, 9);
        assert_eq!(u32::from(io.read(EVENT_BASE_HIGH)) >> 24, 9);
        // 0x400 entries of 32 bytes are 8 pages.
        assert_eq!(u32::from(io.read(DEVICE_TABLE_LOW)) & 0x1ff, 7);
        assert_eq!(u32::from(io.read(CONTROL_LOW)), TAKEN);
        forget(&hardware);

        let hardware = unit_with(FEATURES_SPLIT)?;
        let io = hardware.registers.io();
        hardware.start()?;
        assert_eq!(hardware.tables.count(), 0x1_0000);
        // 8 segments of 256 KiB: 3 in bits 36:34, and 64 pages each.
        assert_eq!(u32::from(io.read(CONTROL_HIGH)), 3 << 2);
        assert_eq!(u32::from(io.read(DEVICE_TABLE_LOW)) & 0x1ff, 63);
        for segment in 0..7 {
            assert_eq!(io.try_read32(0x100 + segment * 8)? & 0x1ff, 63);
        }
        forget(&hardware);
        Ok(())
    }

    /// Law 7: no DMA passes before an attach, and the settings that firmware wants stay.
    #[test]
    fn device_table() -> Result {
        let hardware = unit()?;
        let tables = &hardware.tables;
        let blocked = |id: u32| {
            tables
                .read(RequesterId::new(id))
                .is_some_and(|entry| entry.translation == Translation::Blocked)
        };
        assert!((0..0x400).all(blocked));
        assert_eq!(tables.count(), 0x400);
        assert!(!tables.covers(RequesterId::new(0x400)));

        let (a, b, c) = (0x11, 0x12, 0x3ff);
        let change = |id, translation| tables.change(RequesterId::new(id), translation);
        let read = |id| tables.read(RequesterId::new(id));
        assert_eq!(change(a, host(5, 0x1000, 3)), Some(Translation::Blocked));
        assert_eq!(change(b, host(5, 0x1000, 3)), Some(Translation::Blocked));
        assert_eq!(change(c, host(6, 0x2000, 3)), Some(Translation::Blocked));
        // Law 4.
        assert_eq!(change(a, host(5, 0x1000, 3)), None);
        assert_eq!(tables.unblocked(), 3);
        assert_eq!(change(0x400, host(5, 0x1000, 3)), None);
        assert_eq!(read(a).map(|entry| entry.settings), Some(Settings(0x31)));

        // The table of domain 5 grows.
        let grown = |levels| {
            move |old: PhysAddr| {
                [0x1000, 0x9000, 0xa000]
                    .contains(&old.raw())
                    .then_some(Top {
                        root: PhysAddr::new(if levels == 4 { 0x9000 } else { 0xa000 }),
                        levels,
                    })
            }
        };
        let mut told = [0u32; 4];
        let mut count = 0;
        tables.follow(grown(4), |id| {
            told[count] = id.raw();
            count += 1;
        });
        assert_eq!(&told[..count], &[a, b]);
        // A thread that finds the entries changed by another one has to invalidate them as well.
        let mut again = 0;
        tables.follow(grown(4), |_| again += 1);
        assert_eq!(again, 2);
        for (id, translation) in [
            (a, host(5, 0x9000, 4)),
            (b, host(5, 0x9000, 4)),
            (c, host(6, 0x2000, 3)),
        ] {
            assert_eq!(read(id).map(|entry| entry.translation), Some(translation));
        }
        assert_eq!(read(a).map(|entry| entry.settings), Some(Settings(0x31)));

        // An entry that gets a later top meanwhile keeps it.
        let later = Cell::new(false);
        let old = tables.change_to(RequesterId::new(a), || match later.replace(true) {
            false => {
                tables.follow(grown(5), |_| {});
                host(5, 0x9000, 4)
            }
            true => host(5, 0xa000, 5),
        });
        assert_eq!(old, None);
        assert_eq!(
            read(a).map(|entry| entry.translation),
            Some(host(5, 0xa000, 5))
        );

        // An id that was blocked meanwhile stays blocked.
        assert_eq!(change(b, Translation::Blocked), Some(host(5, 0xa000, 5)));
        tables.follow(grown(5), |id| assert_eq!(id.raw(), a));
        assert!(blocked(b));

        tables.block_all();
        assert!((0..0x400).all(blocked));
        assert_eq!(tables.unblocked(), 0);
        assert_eq!(read(a).map(|entry| entry.settings), Some(Settings(0x31)));
        Ok(())
    }

    /// Which tables a unit gets.
    #[test]
    fn kinds_of_tables() {
        let kind = |words, disabled| table_config(words, disabled, 0).map(|(_, tables)| tables);
        let host = |levels, bits| {
            Ok(TableConfig {
                kind: TableKind::Host,
                levels,
                bits,
                no_execute: false,
            })
        };
        assert_eq!(kind(FEATURES, false), host(6, 64));
        assert_eq!(kind([0; 2], false), host(4, 48));
        // Host tables have no NX bit, whether or not the unit has NXSup.
        assert_eq!(kind([FEATURES[0] | 1 << 3, 0], false), host(6, 64));
        // Without host tables: only if requests without a PASID can use guest tables (GIOSup).
        assert_eq!(kind(FEATURES, true), Err(Refusal::NoHostTables));
        assert_eq!(
            kind([FEATURES[0] | 1 << 48, 0], true),
            Ok(TableConfig {
                kind: TableKind::Guest,
                levels: 5,
                bits: 56,
                no_execute: false,
            })
        );
        assert_eq!(
            kind([3 << 10 | 1 << 3 | 1 << 4 | 1 << 48, 0], false),
            Ok(TableConfig {
                kind: TableKind::Guest,
                levels: 4,
                bits: 47,
                no_execute: true,
            })
        );
    }

    #[test]
    fn ids_run_out_and_come_back() -> Result {
        let hardware = unit()?;
        let mut ids = hardware.ids.lock();
        let mut count = 0;
        while let Some(id) = ids.take() {
            // Id 0 is reserved.
            assert_ne!(id, 0);
            count += 1;
        }
        assert_eq!(count, 65535);
        assert!(ids.give_back(17));
        assert_eq!(ids.take(), Some(17));
        Ok(())
    }
}
