// SPDX-License-Identifier: GPL-2.0

//! Units that are suspended and resumed, on the mock driver.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use crate::drivers::mock::{machine::Machine, Entry, Options};

#[kunit_tests(iommu_core_sleep)]
mod suite {
    use super::*;

    #[test]
    fn attached_domains_stay_attached_over_a_suspend() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(3)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
        let entry = machine.hardware(0).entry(endpoint.ids()[0]);

        let unit = &machine.units[0];
        unit.suspend();
        unit.resume();
        let counts = machine.hardware(0).counts();
        assert_eq!((counts.suspends, counts.resumes), (1, 1));
        assert!(!unit.has_failed());
        assert!(machine.hardware(0).entry(endpoint.ids()[0]) == entry);
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(0, 3, 0x2000), None);
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn a_domain_attached_during_suspend_takes_effect_at_resume() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(3)?;
        let before = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        let after = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        group.set_default(&before)?;
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));

        machine.units[0].suspend();
        group.set_default(&after)?;
        machine.units[0].resume();
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xb000));
        group.leave(&endpoint);
        drop((before, after, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_7_a_unit_that_does_not_resume_blocks() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(3)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        let other = machine.paging(&endpoint, &[])?;
        group.set_default(&domain)?;

        let unit = &machine.units[0];
        unit.suspend();
        assert!(!unit.has_failed());
        machine.hardware(0).stop_answering();
        unit.resume();
        assert!(unit.has_failed());
        assert!(machine.hardware(0).entry(endpoint.ids()[0]) == Entry::Blocked);
        assert_eq!(machine.dma(0, 3, 0x1000), None);
        // The attach does not wait for the failed unit, and its caller gets an error.
        assert_eq!(group.set_default(&other), Err(EIO));
        // The unit is suspended and resumed once more, and still blocks.
        unit.suspend();
        unit.resume();
        assert_eq!(machine.dma(0, 3, 0x1000), None);
        group.leave(&endpoint);
        drop((domain, other, endpoint, group));
        machine.finish()
    }
}
