// SPDX-License-Identifier: GPL-2.0

//! Page requests that an emulated unit puts into its queue, and the commands that it gets then.

#![forbid(unsafe_code)]

use kernel::{io::Io, macros::kunit_tests, prelude::*, sync::atomic::Relaxed};

use super::super::super::{
    smmu::SmmuV3,
    tests::fake_unit::{self, FakeUnit},
};
use super::super::regs::{PRIQ_CONS, PRIQ_PROD};
use super::*;
use crate::driver::VendorDriver;

/// The unit has a PRI queue.
const PRI: u32 = 1 << 16;

#[kunit_tests(iommu_core_arm_smmu_v3_requests)]
mod suite {
    use super::*;

    #[test]
    fn the_last_of_a_group_is_answered() -> Result {
        let fake = FakeUnit::new()?;
        let unit = fake.unit(fake_unit::IDR0 | PRI)?;
        let hardware = unit.data().hardware()?;
        let page1 = hardware.registers.page1();
        // Stream 8: R and W of two pages, group 5; a Stop PASID marker; R, substream 3, group
        // 0x1ff.
        for record in [
            [0x3000_0000_0000_0008, 0x1005],
            [0x7000_0000_0000_0008, 0x2005],
            [0xc000_0003_0000_0008, 0],
            [0xd000_0003_0000_0008, 0x31ff],
        ] {
            fake.request_page(&hardware.registers, record);
        }
        refuse_all(hardware, || false);
        // CMD_PRI_RESP with response 0, and CMD_SYNC.
        let seen = fake.take_seen()?;
        assert_eq!(
            seen[..],
            [
                [0x8_0000_0041, 5],
                [0x46, 0],
                [0x8_0000_3841, 0x1ff],
                [0x46, 0]
            ]
        );
        assert_eq!(u32::from(page1.read(PRIQ_CONS)), 4);
        assert_eq!(hardware.refused_requests.load(Relaxed), 3);
        assert_eq!(hardware.lost_requests.load(Relaxed), 0);
        SmmuV3::release(unit.data())?;
        Ok(())
    }

    /// What found no place is counted, and the queue goes on.
    #[test]
    fn overflow_is_acknowledged() -> Result {
        let fake = FakeUnit::new()?;
        let unit = fake.unit(fake_unit::IDR0 | PRI)?;
        let hardware = unit.data().hardware()?;
        let page1 = hardware.registers.page1();
        // All 16 places, and one more: OVFLG.
        for group in 0..16 {
            fake.request_page(&hardware.registers, [0x7000_0000_0000_0008, 0x1000 | group]);
        }
        let full = u32::from(page1.read(PRIQ_PROD));
        page1.write_reg(PRIQ_PROD::from(full | 1 << 31));
        refuse_all(hardware, || false);
        assert_eq!(fake.take_seen()?.len(), 32);
        assert_eq!(u32::from(page1.read(PRIQ_CONS)), full | 1 << 31);
        assert_eq!(hardware.lost_requests.load(Relaxed), 1);

        fake.request_page(&hardware.registers, [0x7000_0000_0000_0008, 0x1003]);
        refuse_all(hardware, || false);
        assert_eq!(fake.take_seen()?[..], [[0x8_0000_0041, 3], [0x46, 0]]);
        assert_eq!(hardware.lost_requests.load(Relaxed), 1);
        SmmuV3::release(unit.data())?;
        Ok(())
    }

    #[test]
    fn unit_without_a_queue() -> Result {
        let fake = FakeUnit::new()?;
        let unit = fake.unit(fake_unit::IDR0)?;
        refuse_all(unit.data().hardware()?, || false);
        assert!(fake.take_seen()?.is_empty());
        SmmuV3::release(unit.data())?;
        Ok(())
    }
}
