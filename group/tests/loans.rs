// SPDX-License-Identifier: GPL-2.0

//! Drivers that attach their own domain without a claim: law 5, and the effect of loans on other
//! users.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{group_of, group_on_default, leave_all};
use crate::{
    drivers::mock::{
        machine::{owner, Machine},
        Options,
    },
    group::Reason,
    ownership::Ownership,
};

fn lent(users: usize, to: &str) -> Ownership {
    Ownership::Lent {
        users,
        to: to.into(),
    }
}

#[kunit_tests(iommu_core_loans)]
mod suite {
    use super::*;

    #[test]
    fn law_5_a_loan_excludes_owners_and_other_drivers() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let default = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let own = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        group.set_default(&default)?;
        group.start_dma_api(&endpoints[0], "first".into())?;
        let other = machine.group("other")?;

        let loan = group.lend("first".into(), &own)?;
        assert_eq!(loan.driver(), "first".into());
        assert_eq!(group.ownership(), lent(1, "first"));
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xb000));
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));

        let before = machine.snapshot()?;
        assert_eq!(group.claim(owner(1, "tester")).err(), Some(EBUSY));
        assert_eq!(group.lend("second".into(), &default).err(), Some(EBUSY));
        assert_eq!(
            group.start_dma_api(&endpoints[1], "second".into()),
            Err(EBUSY)
        );
        // One that the kernel has admitted is counted for later.
        group.count_dma_api(&endpoints[1], "second".into())?;
        assert_eq!(group.ownership(), lent(2, "first"));
        group.end_dma_api(&endpoints[1]);
        assert_eq!(group.ownership(), lent(1, "first"));
        assert_eq!(other.adopt(group), Err(EBUSY));
        assert!(machine.snapshot()? == before);

        drop(loan);
        assert_eq!(group.ownership(), Ownership::Kernel { users: 1 });
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        group.end_dma_api(&endpoints[0]);
        leave_all(&test_group);
        drop((own, default, other, test_group));
        machine.finish()
    }

    #[test]
    fn law_5_an_owner_excludes_loans() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 0)?;
        let own = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let claim = group.claim(owner(1, "tester"))?;
        let before = machine.snapshot()?;
        assert_eq!(group.lend("driver".into(), &own).err(), Some(EBUSY));
        assert!(machine.snapshot()? == before);
        drop(claim);
        let loan = group.lend("driver".into(), &own)?;
        assert_eq!(group.ownership(), lent(0, "driver"));
        drop(loan);
        assert_eq!(group.ownership(), Ownership::Free);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        group.leave(&endpoint);
        drop((own, default, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_7_a_loan_begins_and_ends_in_one_step() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let default = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        let own = machine.paging(&test_group.1[0], &[(0x1000, 0xb000)])?;
        let next = machine.paging(&test_group.1[0], &[(0x1000, 0xc000)])?;
        group.set_default(&default)?;

        let commits = || machine.hardware(0).counts().commits;
        let before = commits();
        let loan = group.lend("driver".into(), &own)?;
        assert_eq!(commits(), before + 1);
        // Law 4 holds for loans as well.
        loan.attach(&own)?;
        assert_eq!(commits(), before + 1);
        loan.attach(&next)?;
        assert_eq!(commits(), before + 2);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xc000));
        drop(loan);
        assert_eq!(commits(), before + 3);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        leave_all(&test_group);
        drop((own, next, default, test_group));
        machine.finish()
    }

    #[test]
    fn law_3_a_loan_that_fails_changes_nothing() -> Result {
        for size in [1, 2, 8] {
            let machine = Machine::new(&[Options::default()])?;
            let test_group = group_of(&machine, 0, size)?;
            let group = &test_group.0;
            let default = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
            let own = machine.paging(&test_group.1[0], &[(0x1000, 0xb000)])?;
            group.set_default(&default)?;
            let before = machine.snapshot()?;
            // The loan first prepares every member's return to the default domain, then every
            // member's attach.
            for n in 1..=2 * i64::from(size) {
                machine.hardware(0).fail_prepare.arm(n);
                assert_eq!(group.lend("driver".into(), &own).err(), Some(ENOMEM));
                assert!(machine.hardware(0).fail_prepare.is_done());
                assert!(machine.snapshot()? == before);
                assert_eq!(group.ownership(), Ownership::Free);
            }
            let loan = group.lend("driver".into(), &own)?;
            let before = machine.snapshot()?;
            let next = machine.paging(&test_group.1[0], &[])?;
            for n in 1..=i64::from(size) {
                machine.hardware(0).fail_prepare.arm(n);
                assert_eq!(loan.attach(&next), Err(ENOMEM));
            }
            drop(next);
            assert!(machine.snapshot()? == before);
            // The end of a loan prepares nothing, so this failure does not occur.
            machine.hardware(0).fail_prepare.arm(1);
            drop(loan);
            machine.hardware(0).fail_prepare.arm(0);
            assert_eq!(machine.dma(0, size - 1, 0x1000), Some(0xa000));
            leave_all(&test_group);
            drop((own, default, test_group));
            machine.finish()?;
        }
        Ok(())
    }

    #[test]
    fn a_default_domain_cannot_change_while_drivers_will_return_to_it() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 0)?;
        let own = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let other = machine.paging(&endpoint, &[(0x1000, 0xc000)])?;
        group.start_dma_api(&endpoint, "driver".into())?;
        let loan = group.lend("driver".into(), &own)?;
        let before = machine.snapshot()?;
        assert_eq!(group.set_default(&other), Err(EBUSY));
        group.set_default(&default)?;
        assert!(machine.snapshot()? == before);

        // The driver is unbound without ending its loan.
        group.end_dma_api(&endpoint);
        assert_eq!(group.ownership(), lent(0, "driver"));
        group.set_default(&other)?;
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xb000));
        drop(loan);
        assert_eq!(group.ownership(), Ownership::Free);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xc000));
        group.leave(&endpoint);
        drop((own, other, default, endpoint, group));
        machine.finish()
    }

    #[test]
    fn members_join_leave_and_are_reset_while_a_group_is_lent() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 0)?;
        let own = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let late = machine.endpoint(0, &[1])?;
        group.start_dma_api(&endpoint, "driver".into())?;
        let loan = group.lend("driver".into(), &own)?;

        group.join(&late, Reason::Platform)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));
        group.suspend(&late)?;
        // The endpoint's driver no longer counts once the endpoint has left.
        group.leave(&endpoint);
        assert_eq!(group.ownership(), lent(0, "driver"));
        drop(loan);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        group.resume(&late);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        group.leave(&late);
        drop((own, default, endpoint, late, group));
        machine.finish()
    }

    #[test]
    fn a_group_without_a_default_domain_is_blocked_when_a_loan_ends() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(0)?;
        let own = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let loan = group.lend("driver".into(), &own)?;
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xb000));
        drop(loan);
        assert!(group.is_on(&machine.blocked));
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        group.leave(&endpoint);
        drop((own, endpoint, group));
        machine.finish()
    }
}
