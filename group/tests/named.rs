// SPDX-License-Identifier: GPL-2.0

//! Devices on buses without ids: the vendor driver takes their ids from firmware's tables.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use crate::{
    drivers::mock::{machine::Machine, Options},
    endpoint::Endpoint,
    group::Reason,
    requester::RequesterId,
};

#[kunit_tests(iommu_core_named)]
mod suite {
    use super::*;

    #[test]
    fn a_device_is_found_by_its_acpi_path() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let device = machine.named("\\_SB_.I2C0", "ACME0001", "")?;
        let endpoint = Endpoint::new(&machine.units, device)?;
        assert_eq!(
            endpoint.ids(),
            [RequesterId::new(40), RequesterId::new(41)].as_slice()
        );

        let group = machine.group("group")?;
        group.join(&endpoint, Reason::Isolated)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        for id in [40, 41] {
            assert_eq!(machine.dma(0, id, 0x1000), Some(0xa000));
        }
        assert_eq!(machine.dma(0, 42, 0x1000), None);

        group.leave(&endpoint);
        for id in [40, 41] {
            assert_eq!(machine.dma(0, id, 0x1000), None);
        }
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn a_device_is_found_by_its_hardware_id_and_unique_id() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let endpoint = |uid| {
            let device = machine.named("\\_SB_.ABCD", "MOCK0001", uid)?;
            Endpoint::new(&machine.units, device)
        };
        assert_eq!(endpoint("7")?.ids(), [RequesterId::new(42)].as_slice());
        assert_eq!(endpoint("8").err(), Some(ENODEV));
        assert_eq!(endpoint("").err(), Some(ENODEV));
        machine.finish()
    }

    #[test]
    fn a_device_that_firmware_does_not_name_has_no_unit() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let device = machine.named("\\_SB_.I2C1", "ACME0001", "")?;
        assert_eq!(Endpoint::new(&machine.units, device).err(), Some(ENODEV));
        machine.finish()
    }

    #[test]
    fn a_device_without_an_id_is_einval() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let device = machine.named("\\_SB_.NOID", "ACME0001", "")?;
        assert_eq!(Endpoint::new(&machine.units, device).err(), Some(EINVAL));
        machine.finish()
    }

    /// If a PCI function and a device that firmware names have the same id, the unit cannot
    /// distinguish them: they are one.
    #[test]
    fn law_3_a_named_device_and_a_function_with_its_id_are_one() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let device = machine.named("\\_SB_.I2C0", "ACME0001", "")?;
        let named = Endpoint::new(&machine.units, device)?;
        let function = machine.endpoint(0, &[41])?;
        let other = machine.endpoint(0, &[43])?;
        assert_eq!(named.shared_id(&function), Some(RequesterId::new(41)));
        assert_eq!(named.shared_id(&other), None);

        let group = machine.group("group")?;
        group.join(&named, Reason::Isolated)?;
        let second = machine.group("second")?;
        assert_eq!(second.join(&function, Reason::Isolated), Err(EBUSY));
        group.join(&function, Reason::Platform)?;

        let domain = machine.paging(&function, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        assert_eq!(machine.hardware(0).counts().entries, 2);
        group.leave(&named);
        assert_eq!(machine.dma(0, 40, 0x1000), None);
        assert_eq!(machine.dma(0, 41, 0x1000), Some(0xa000));
        group.leave(&function);
        drop((domain, named, function, other, group, second));
        machine.finish()
    }
}
