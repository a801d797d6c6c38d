// SPDX-License-Identifier: GPL-2.0

//! Units that announce faults which they do not have, with memory in place of registers.

#![forbid(unsafe_code)]

use kernel::{
    macros::kunit_tests,
    prelude::*,
    sync::{atomic::Atomic, Arc},
};

use super::*;
use crate::{
    drivers::intel::{capability::Capability, mmio::Registers},
    health::Health,
};

/// As in the suite of `hardware`, with two fault records.
const CAP: u64 = 0x018c_222f_0602;
const ECAP: u64 = 0xf0_0f02;

/// Counts faults.
struct Sink(Atomic<u64>);

impl FaultSink for Sink {
    fn report(&self, _fault: &Fault) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn unit() -> Result<Arc<Hardware>> {
    let (capability, space) = Capability::judge(CAP, ECAP).map_err(|_| EINVAL)?;
    assert_eq!(capability.fault_records, 2);
    let health = Arc::new(Health::new("test".into()), GFP_KERNEL)?;
    Hardware::with(&health, Registers::dead()?, capability, space, -1, false)
}

/// How many faults are reported if the fault status register always reads `status`.
fn reported(hardware: &Hardware, status: u32) -> u64 {
    let sink = Sink(Atomic::new(0));
    hardware.registers.io().write_reg(FSTS::from(status));
    // Returns although the register never changes.
    report(hardware, &sink, || false);
    sink.0.load(Relaxed)
}

#[kunit_tests(iommu_core_intel_faults)]
mod suite {
    use super::*;

    #[test]
    fn unit_that_is_gone() -> Result {
        let hardware = unit()?;
        let offset = hardware.fault_record_offset(0) + 12;
        hardware.registers.io().try_write32(u32::MAX, offset)?;
        assert_eq!(reported(&hardware, u32::MAX), 0);
        assert_eq!(hardware.overflows.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn faults_that_are_not_there() -> Result {
        let hardware = unit()?;
        for (count, status) in [
            FaultStatus::PENDING,
            // The first pending record is one that the unit does not have.
            FaultStatus::PENDING | 0xff << 8,
            FaultStatus::OVERFLOW,
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(reported(&hardware, status), 0);
            assert_eq!(hardware.false_alarms.load(Relaxed), count as u64 + 1);
        }
        Ok(())
    }

    /// A fault that is there is reported, also by a unit that then goes on to announce it.
    #[test]
    fn fault_that_is_there() -> Result {
        let hardware = unit()?;
        let offset = hardware.fault_record_offset(1) + 12;
        let io = hardware.registers.io();
        io.try_write32(1 << 31, offset)?;
        // The registers are memory: the unit would clear F when 1 is written to it.
        let sink = Sink(Atomic::new(0));
        io.write_reg(FSTS::from(FaultStatus::PENDING | 1 << 8));
        let reads = Atomic::new(0u32);
        report(&hardware, &sink, || {
            if reads.fetch_add(1, Relaxed) == 1 {
                let _ = io.try_write32(0, offset);
            }
            false
        });
        assert_eq!(sink.0.load(Relaxed), 1);
        Ok(())
    }
}
