// SPDX-License-Identifier: GPL-2.0

//! Units that do not answer, and units that somebody else uses, with memory in place of registers.

#![forbid(unsafe_code)]

use kernel::{
    macros::kunit_tests,
    time::{Instant, Monotonic},
};

use super::*;
use crate::{
    drivers::intel::{
        entries::{ContextEntry, Translation},
        regs::{IQH, IQT},
        removal::Removal,
    },
    requester::RequesterId,
};

/// A unit with queued invalidation, tables of 39 and 48 bits, 256 domain ids, and nothing else.
const CAP: u64 = 0x008c_222f_0602;
const ECAP: u64 = 0xf0_0f02;

fn unit() -> Result<Arc<Hardware>> {
    let (capability, space) = Capability::judge(CAP, ECAP).map_err(|_| EINVAL)?;
    let health = Arc::new(Health::new(Label::from("test")), GFP_KERNEL)?;
    Hardware::with(&health, Registers::dead()?, capability, space, -1)
}

/// A batch of one descriptor.
fn batch(hardware: &Hardware) -> Result<(), Failure> {
    let mut batch = hardware.batch();
    batch.iotlb(TlbScope::Domain { domain: 5 });
    batch.run()
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
        let took = milliseconds(|| result = hardware.start());
        assert_eq!(result, Err(ETIMEDOUT));
        assert!((1000..5000).contains(&took));
        // Its status says that translation and queue are off, so it can be stopped.
        hardware.stop();
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
            long.iotlb(TlbScope::Domain { domain });
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
        // At last the unit was told to translate with tables that block.
        assert!(io.read(GCMD).translation());
        assert_eq!(batch(&hardware), Err(Failure::Earlier));
        hardware.stop();
        Ok(())
    }

    /// Law 7: a unit that is in use is left alone.
    #[test]
    fn unit_of_somebody_else() -> Result {
        for status in [
            GSTS::zeroed().with_translation(true),
            GSTS::zeroed().with_queue(true),
            GSTS::zeroed().with_interrupt_remapping(true),
            GSTS::zeroed()
                .with_queue(true)
                .with_interrupt_remapping(true),
        ] {
            let hardware = unit()?;
            let io = hardware.registers.io();
            io.write_reg(status);
            assert_eq!(hardware.start(), Err(EBUSY));
            for offset in (0..0x1000).step_by(4) {
                let expected = match offset {
                    0x1c => u32::from(status),
                    _ => 0,
                };
                assert_eq!(io.try_read32(offset), Ok(expected));
            }
        }
        Ok(())
    }

    /// Law 8: as long as the unit has an entry cached, it may fill its IOTLB through the entry.
    #[test]
    fn all_entries_are_forgotten_before_the_domains_that_they_lead_to() -> Result {
        let hardware = unit()?;
        let tables = &hardware.tables;
        tables.add_bus(0)?;
        let ids = [1, 2, 3].map(RequesterId::new);
        for (id, domain) in ids.into_iter().zip([7, 8, 7]) {
            let translation = Translation::PassThrough {
                width: hardware.space.width,
            };
            let entry = ContextEntry {
                translation,
                domain,
            };
            tables.write(id, entry.encode());
        }
        hardware.queue.hand_over(&hardware.registers);

        let mut removal = Removal::new(&hardware);
        ids.into_iter().for_each(|id| removal.remove(id));
        // The unit does not answer, but the descriptors are in the ring.
        assert!(removal.run().is_err());
        assert!(ids.into_iter().all(|id| tables.read(id) == [0, 0]));
        let words = (0..7).map(|slot| hardware.queue.descriptor(slot).0[0]);
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
        assert!(words.eq(expected));
        hardware.queue.take_back(&Off::observed());
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
