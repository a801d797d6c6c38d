// SPDX-License-Identifier: GPL-2.0

//! Units that do not answer, and units that somebody left on. Their registers are mere memory.

#![forbid(unsafe_code)]

use kernel::{
    macros::kunit_tests,
    time::{Instant, Monotonic},
};

use super::super::super::records::{
    capability::{self, Firmware},
    cd::ContextDescriptor,
    command::Command,
    event::CommandError,
    ste::{Sharing, Ste, Walk},
    update,
};
use super::super::super::{
    smmu::SmmuV3,
    tests::fake_unit::{self, FakeUnit},
};
use super::super::regs::{CMDQ_CONS, CMDQ_PROD, GERROR, GERRORN};
use super::*;
use crate::{label::Label, pgtable::armv8::GranuleSize, requester::RequesterId, unit::Unit};

/// Both stages, tables of 64-bit processors, coherent, ASIDs of 16 and VMIDs of 8 bits, no
/// messages, two levels of stream table.
const IDR0: u32 = 1 << 0 | 1 << 1 | 2 << 2 | 1 << 4 | 1 << 12 | 2 << 21 | 1 << 24 | 1 << 27;
/// Stream ids of 16 bits, queues of 2^10 commands and 2^10 events.
const IDR1: u32 = 16 | 10 << 16 | 10 << 21;
/// 44 bits of physical addresses, all granules.
const IDR5: u32 = 4 | 7 << 4;

fn unit_with(idr0: u32) -> Result<Arc<Hardware>> {
    let registers = capability::Registers {
        idr0,
        idr1: IDR1,
        idr3: 0,
        idr5: IDR5,
        iidr: 0,
        aidr: 0,
    };
    let firmware = Firmware {
        coherent: true,
        flag_updates: None,
        page0_only: false,
        window: 0x2_0000,
        repeat_invalidations: false,
    };
    let capability = Capability::judge(&registers, &firmware).map_err(|_| EINVAL)?;
    let health = Arc::new(Health::new(Label::from("test")), GFP_KERNEL)?;
    Hardware::with(&health, Registers::dead()?, capability, -1)
}

fn unit() -> Result<Arc<Hardware>> {
    unit_with(IDR0)
}

/// A batch of one command.
fn batch(hardware: &Hardware) -> Result<(), Failure> {
    let mut batch = hardware.batch();
    batch.push(Command::invalidate_el1());
    batch.run()
}

fn milliseconds(f: impl FnOnce()) -> i64 {
    let start = Instant::<Monotonic>::now();
    f();
    start.elapsed().as_millis()
}

/// A unit that translates, and a stream that bypasses.
fn playing() -> Result<(Arc<FakeUnit>, Arc<Unit<SmmuV3>>)> {
    let fake = FakeUnit::new()?;
    let unit = fake.unit(fake_unit::IDR0)?;
    let hardware = unit.data().hardware()?;
    hardware.stream_table.add(STREAM)?;
    let bypass = Ste::Bypass {
        sharing: Sharing::Incoming,
    };
    let now = hardware.stream_table.read(STREAM);
    for step in update::steps(&now, &bypass.encode()) {
        hardware.stream_table.write(STREAM, &step);
    }
    Ok((fake, unit))
}

const STREAM: RequesterId = RequesterId::new(0x1234);

/// Whether the unit refuses everything: no valid STE, and no translation or anything cached.
fn refuses_all(hardware: &Hardware) -> bool {
    let io = hardware.registers.io();
    let acknowledged = CR0::from(u32::from(io.read(CR0ACK)));
    hardware.stream_table.read(STREAM)[0] == 0
        && !acknowledged.translation()
        && io.read(GBPA).abort()
}

#[kunit_tests(iommu_core_arm_smmu_v3_hardware)]
mod suite {
    use super::*;

    /// Law 7: the unit may go on with what it has cached, and cannot be told otherwise by its
    /// queue.
    #[test]
    fn law_7_nothing_is_reachable_after_the_queue_has_failed() -> Result {
        let (fake, unit) = playing()?;
        let hardware = unit.data().hardware()?;
        assert_eq!(batch(hardware), Ok(()));
        fake.set_stuck(true);
        assert_eq!(hardware.answered(batch(hardware)), Err(EIO));
        assert!(unit.has_failed());
        assert!(refuses_all(hardware));
        fake.set_stuck(false);
        unit.release()?;
        // As it was found.
        assert!(!hardware.registers.io().read(GBPA).abort());
        Ok(())
    }

    /// The unit that does not come back has lost its registers: all DMA would pass.
    #[test]
    fn law_7_unit_that_does_not_come_back() -> Result {
        let (fake, unit) = playing()?;
        let hardware = unit.data().hardware()?;
        unit.suspend();
        assert!(!unit.has_failed());
        hardware.registers.io().write_reg(GBPA::zeroed());
        fake.set_stuck(true);
        unit.resume();
        assert!(unit.has_failed());
        assert!(refuses_all(hardware));
        fake.set_stuck(false);
        unit.release()?;
        Ok(())
    }

    /// Without GBPA the unit has to go on to translate. A person is told that what it has cached is
    /// not known.
    #[test]
    fn unit_whose_bypass_does_not_change() -> Result {
        let (fake, unit) = playing()?;
        let hardware = unit.data().hardware()?;
        fake.set_keeps_bypass(true);
        hardware.give_up();
        hardware.block_entries();
        assert_eq!(hardware.refuse_all(), Err(ETIMEDOUT));
        let io = hardware.registers.io();
        assert!(CR0::from(u32::from(io.read(CR0ACK))).translation());
        assert_eq!(hardware.stream_table.read(STREAM)[0], 0);
        fake.set_keeps_bypass(false);
        unit.release()?;
        Ok(())
    }

    #[test]
    fn queue_that_never_completes() -> Result {
        let hardware = unit()?;
        // The unit does not know the queue yet.
        assert_eq!(batch(&hardware), Err(Failure::Earlier));

        hardware.commands.hand_over(&hardware.registers);
        let took = milliseconds(|| {
            assert_eq!(
                batch(&hardware),
                Err(Failure::Timeout {
                    consumer: 0,
                    producer: 2,
                    errors: 0
                })
            );
        });
        assert!((1000..5000).contains(&took));
        // From then on batches fail at once, without the unit.
        let took = milliseconds(|| {
            for _ in 0..100 {
                assert_eq!(batch(&hardware), Err(Failure::Earlier));
            }
        });
        assert!(took < 500);
        assert_eq!(u32::from(hardware.registers.io().read(CMDQ_PROD)), 2);
        // An empty batch has nothing to do.
        assert_eq!(hardware.batch().run(), Ok(()));
        hardware.commands.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn message_that_never_comes() -> Result {
        let hardware = unit_with(IDR0 | 1 << 13)?;
        assert!(hardware.capability.poll_messages());
        hardware.commands.hand_over(&hardware.registers);
        // The consumer index passes the commands, but only the message shows completion.
        hardware.registers.io().write_reg(CMDQ_CONS::from(2));
        assert!(matches!(batch(&hardware), Err(Failure::Timeout { .. })));
        hardware.commands.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn queue_that_refuses() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        hardware.commands.hand_over(&hardware.registers);
        // The unit stops at the first command (CERROR_ILL), and at whatever replaces it.
        io.write_reg(CMDQ_CONS::from(1 << 24));
        io.write_reg(GERROR::from(1));

        // The command that invalidates everything of EL1.
        assert_eq!(
            batch(&hardware),
            Err(Failure::Refused {
                command: Command([0x30, 0]),
                error: CommandError::Illegal,
            })
        );
        // The error was acknowledged.
        assert_eq!(u32::from(io.read(GERRORN)), 1);
        let counts = hardware.commands.counts();
        assert!((1..=4).contains(&counts.illegal));
        assert_eq!(counts.batches, 1);
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        hardware.commands.take_back(&Off::observed());
        Ok(())
    }

    #[test]
    fn errors_of_commands_are_left_to_batches() -> Result {
        let hardware = unit()?;
        let io = hardware.registers.io();
        // CMDQ_ERR, EVENTQ_ABT_ERR and SFM_ERR.
        io.write_reg(GERROR::from(0x105));
        let errors = hardware.take_errors();
        assert_eq!(errors.raw(), 0x104);
        assert_eq!(u32::from(io.read(GERRORN)), 0x104);
        assert!(hardware.take_errors().is_empty());
        Ok(())
    }

    #[test]
    fn unit_that_does_not_answer() -> Result {
        let hardware = unit()?;
        let mut result = Ok(());
        let took = milliseconds(|| result = hardware.start().map(drop));
        assert_eq!(result, Err(ETIMEDOUT));
        assert!((1000..5000).contains(&took));
        // If its registers later say that it is off, the memory can be taken back.
        let io = hardware.registers.io();
        io.write_reg(CR0::zeroed());
        io.write_reg(GBPA::zeroed());
        hardware.take_back(&Off::observed());
        Ok(())
    }

    /// A unit that somebody has left on.
    fn unit_left_on(control: CR0) -> Result<(Arc<FakeUnit>, Arc<Hardware>)> {
        let fake = FakeUnit::new()?;
        let hardware = fake.hardware(fake_unit::IDR0)?;
        let io = hardware.registers.io();
        io.write_reg(control);
        io.write_reg(IRQ_CTRL::zeroed().with_events(true).with_errors(true));
        Ok((fake, hardware))
    }

    /// All that a unit without page requests has.
    fn all_on() -> CR0 {
        CR0::zeroed()
            .with_translation(true)
            .with_commands(true)
            .with_events(true)
    }

    /// Law 7: a unit that was left on aborts all DMA until it translates with tables that block.
    #[test]
    fn unit_that_was_left_on() -> Result {
        let (fake, hardware) = unit_left_on(all_on())?;
        let io = hardware.registers.io();
        assert_eq!(hardware.start(), Ok(true));
        assert!(!fake.take_passed());
        assert!(!io.read(CR0).translation());
        assert!(io.read(GBPA).abort());
        assert_eq!(hardware.enable(), Ok(()));
        assert!(io.read(CR0).translation());
        assert_eq!(batch(&hardware), Ok(()));
        assert!(!fake.take_passed());

        assert_eq!(hardware.stop(), Ok(()));
        assert!(fake.take_passed());
        Ok(())
    }

    /// Law 7: if a unit that was left on is given back, it goes on aborting.
    #[test]
    fn unit_that_was_left_on_is_not_let_go() -> Result {
        let (fake, hardware) = unit_left_on(all_on())?;
        let io = hardware.registers.io();
        assert_eq!(hardware.start(), Ok(true));
        hardware.leave_blocking();
        assert!(!fake.take_passed());
        assert!(io.read(GBPA).abort());
        assert!(hardware.stream_table.is_in_use());
        assert_eq!(hardware.stop(), Ok(()));

        // One that does not answer goes on translating.
        let hardware = unit()?;
        let io = hardware.registers.io();
        io.write_reg(all_on());
        assert_eq!(hardware.start(), Err(ETIMEDOUT));
        assert_eq!(u32::from(io.read(CR0)), u32::from(all_on()));
        hardware.take_back(&Off::observed());
        Ok(())
    }

    /// Queues of a unit that does not translate go, and what DMA may do stays as it is.
    #[test]
    fn queues_that_were_left_on() -> Result {
        for control in [
            CR0::zeroed().with_commands(true),
            CR0::zeroed().with_events(true),
            CR0::zeroed().with_requests(true),
        ] {
            let (fake, hardware) = unit_left_on(control)?;
            assert_eq!(hardware.start(), Ok(false));
            assert!(fake.take_passed());
            assert!(!hardware.registers.io().read(GBPA).abort());
            assert_eq!(hardware.stop(), Ok(()));
        }
        Ok(())
    }

    #[test]
    fn streams_are_blocked_until_they_are_written() -> Result {
        let hardware = unit()?;
        let tables = &hardware.stream_table;
        let id = RequesterId::new(0x1234);
        assert_eq!(tables.level2_tables(), 0);
        assert_eq!(tables.read(id), [0; 8]);
        tables.add(id)?;
        tables.add(id)?;
        assert_eq!(tables.level2_tables(), 1);
        assert_eq!(tables.read(id), [0; 8]);
        // Beyond what the unit has.
        assert_eq!(tables.add(RequesterId::new(0x1_0000)), Err(ERANGE));

        let bypass = Ste::Bypass {
            sharing: Sharing::Incoming,
        };
        for step in update::steps(&tables.read(id), &bypass.encode()) {
            tables.write(id, &step);
        }
        // V, Config 0b100; SHCFG 1.
        assert_eq!(tables.read(id), [0x9, 1 << 44, 0, 0, 0, 0, 0, 0]);
        // Its neighbours are as they were.
        for other in [0x1233, 0x1235, 0x1334, 0x0034] {
            assert_eq!(tables.read(RequesterId::new(other)), [0; 8]);
        }
        tables.clear_all();
        assert_eq!(tables.read(id)[0], 0);
        Ok(())
    }

    #[test]
    fn names_run_out_and_come_back() -> Result {
        let hardware = unit()?;
        let mut tags = hardware.tags.lock();
        let mut count = 0;
        while tags.take_vmid().is_ok() {
            count += 1;
        }
        // VMID 0 is that of stage 1.
        assert_eq!(count, 255);
        tags.give_vmid_back(17);
        assert_eq!(tags.take_vmid(), Ok(17));
        Ok(())
    }

    #[test]
    fn each_asid_has_a_context_descriptor() -> Result {
        let hardware = unit()?;
        let context = |asid| ContextDescriptor {
            table: 0x1234_5000,
            input_bits: 48,
            output_bits: 44,
            granule: GranuleSize::K4,
            walk: Walk::Cached,
            memory_types: 0xf404_ff44,
            asid,
            updates: capability::FlagUpdates::None,
            stall: false,
        };
        let mut tags = hardware.tags.lock();
        let mut seen = KVec::new();
        for _ in 0..200 {
            let asid = tags.take_asid(context)?;
            let address = tags.address(asid).ok_or(EINVAL)?;
            assert_eq!(address % 64, 0);
            assert!(!seen.contains(&address));
            assert_eq!(tags.asid_at(address), Some(asid));
            seen.push(address, GFP_KERNEL)?;
        }
        assert_eq!(tags.asid_at(0x1000), None);
        tags.give_asid_back(5);
        Ok(())
    }
}
