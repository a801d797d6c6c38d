// SPDX-License-Identifier: GPL-2.0

//! Errata of command queues: what an emulated unit gets.

#![forbid(unsafe_code)]

use kernel::macros::kunit_tests;

use super::super::super::{
    smmu::SmmuV3,
    tests::fake_unit::{FakeUnit, Product, Seen, IDR0},
};
use super::*;
use crate::driver::VendorDriver;

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
