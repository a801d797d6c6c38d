// SPDX-License-Identifier: GPL-2.0

//! Members that are blocked individually while their devices are reset.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{group_of, group_on_default, group_sharing_id, leave_all, SHARED};
use crate::{
    drivers::mock::{
        machine::{owner, Machine},
        Entry, Options,
    },
    group::Reason,
    requester::RequesterId,
};

#[kunit_tests(iommu_core_reset)]
mod suite {
    use super::*;

    #[test]
    fn a_member_is_blocked_and_attached_again() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.suspend(&endpoints[0])?;
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        // A second suspend changes nothing.
        let before = machine.snapshot()?;
        group.suspend(&endpoints[0])?;
        assert!(machine.snapshot()? == before);

        let hardware = machine.hardware(0);
        hardware.fail_prepare.arm(1);
        hardware.fail_tag.arm(1);
        group.resume(&endpoints[0]);
        hardware.fail_prepare.arm(0);
        hardware.fail_tag.arm(0);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        let before = machine.snapshot()?;
        group.resume(&endpoints[0]);
        assert!(machine.snapshot()? == before);

        let stranger = machine.endpoint(0, &[7])?;
        assert_eq!(group.suspend(&stranger), Err(ENODEV));
        group.resume(&stranger);
        leave_all(&test_group);
        drop((domain, stranger, test_group));
        machine.finish()
    }

    #[test]
    fn a_member_is_cut_off_where_its_return_cannot_be_prepared() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let other = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        group.set_default(&domain)?;
        let hardware = machine.hardware(0);
        hardware.fail_prepare.arm(1);
        assert_eq!(group.suspend(&endpoints[0]), Err(ENOMEM));
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        group.cut(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        // There is no way back that could be taken.
        group.resume(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        hardware.fail_prepare.arm(1);
        assert_eq!(group.prepare_resume(&endpoints[0]), Err(ENOMEM));
        hardware.fail_prepare.arm(0);
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        group.prepare_resume(&endpoints[0])?;
        group.resume(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        // For one that is not cut off there is nothing to prepare.
        hardware.fail_prepare.arm(1);
        assert_eq!(group.prepare_resume(&endpoints[0]), Ok(()));
        hardware.fail_prepare.arm(0);

        // An attach of the group prepares the way back.
        group.cut(&endpoints[0]);
        group.set_default(&other)?;
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));
        group.resume(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xb000));
        group.cut(&endpoints[1]);
        group.leave(&endpoints[1]);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        leave_all(&test_group);
        drop((domain, other, test_group));
        machine.finish()
    }

    #[test]
    fn a_member_of_a_blocked_group_is_suspended_without_fail() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let default = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        group.set_default(&default)?;
        let claim = group.claim(owner(1, "tester"))?;
        let hardware = machine.hardware(0);
        hardware.fail_prepare.arm(1);
        hardware.fail_tag.arm(1);
        group.suspend(&endpoints[0])?;
        hardware.fail_prepare.arm(0);
        hardware.fail_tag.arm(0);
        claim.attach(&domain)?;
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));
        group.resume(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xb000));
        claim.detach();
        group.suspend(&endpoints[0])?;
        drop(claim);
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        group.resume(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        leave_all(&test_group);
        drop((default, domain, test_group));
        machine.finish()
    }

    #[test]
    fn law_7_a_member_in_reset_stays_blocked_whatever_the_group_does() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let default = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let other = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xc000)])?;
        group.set_default(&default)?;
        group.suspend(&endpoints[0])?;

        group.set_default(&other)?;
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&domain)?;
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xc000));
        group.set_default(&default)?;
        claim.detach();
        claim.attach(&domain)?;
        drop(claim);
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        group.resume(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        assert_eq!(machine.hardware(0).tags_in_use(), 1);
        leave_all(&test_group);
        drop((default, other, domain, test_group));
        machine.finish()
    }

    #[test]
    fn a_claim_can_begin_or_end_during_a_reset() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 1)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        group.suspend(&endpoint)?;
        let claim = group.claim(owner(1, "tester"))?;
        group.resume(&endpoint);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        claim.attach(&domain)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));
        group.suspend(&endpoint)?;
        drop(claim);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        group.resume(&endpoint);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        group.leave(&endpoint);
        drop((default, domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn a_member_can_leave_during_its_reset() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.suspend(&endpoints[0])?;
        group.leave(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        leave_all(&test_group);
        drop((domain, test_group));
        machine.finish()
    }

    #[test]
    fn a_reset_does_not_block_an_id_shared_with_another_member() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_sharing_id(&machine, 2)?;
        let (group, a, b) = (&test_group.0, &test_group.1[0], &test_group.1[1]);
        let domain = machine.paging(a, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.suspend(a)?;
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        // The shared id is blocked when the last of its members is suspended, and attached again
        // when the first of them resumes.
        group.suspend(b)?;
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.resume(a);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(0, 2, 0x1000), None);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        group.resume(b);
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0xa000));
        leave_all(&test_group);
        drop((domain, test_group));
        machine.finish()
    }

    #[test]
    fn law_7_an_id_is_blocked_when_all_its_members_are_in_reset() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_sharing_id(&machine, 2)?;
        let (group, a, b) = (&test_group.0, &test_group.1[0], &test_group.1[1]);
        let first = machine.paging(a, &[(0x1000, 0xa000)])?;
        let second = machine.paging(a, &[(0x1000, 0xb000)])?;
        group.set_default(&first)?;
        group.suspend(b)?;
        group.leave(a);
        // Only `b` is left. It is suspended, so all of its ids are blocked.
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.set_default(&second)?;
        drop(first);
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.resume(b);
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0xb000));
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xb000));
        group.leave(b);
        assert!(machine.hardware(0).is_blocked());
        drop((second, test_group));
        machine.finish()
    }

    #[test]
    fn a_joining_member_attaches_a_shared_id_that_a_reset_blocked() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let group = machine.group("group")?;
        let a = machine.endpoint(0, &[1, SHARED])?;
        let b = machine.endpoint(0, &[2, SHARED])?;
        let domain = machine.paging(&a, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.join(&a, Reason::Platform)?;
        group.suspend(&a)?;
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        machine.hardware(0).fail_prepare.arm(1);
        assert_eq!(group.join(&b, Reason::Platform), Err(ENOMEM));
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.join(&b, Reason::Platform)?;
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        group.leave(&b);
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.resume(&a);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        group.leave(&a);
        let shared = RequesterId::new(SHARED);
        assert_eq!(machine.hardware(0).entry(shared), Entry::Blocked);
        drop((domain, a, b, group));
        machine.finish()
    }

    /// What the group switches to during the reset is prepared for the time after it.
    #[test]
    fn a_switch_during_a_reset_is_prepared_for_later() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let default = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let other = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xc000)])?;
        group.set_default(&default)?;
        let claim = group.claim(owner(1, "tester"))?;
        group.suspend(&endpoints[0])?;
        let commits = machine.hardware(0).counts().commits;
        claim.attach(&domain)?;
        // One commit for the unit, although its first member has no step.
        assert_eq!(machine.hardware(0).counts().commits, commits + 1);
        // The mock counts a violation if this comes between a plan for now and its commit.
        group.set_default(&other)?;
        group.resume(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xc000));
        drop(claim);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xb000));
        leave_all(&test_group);
        drop((default, other, domain, test_group));
        machine.finish()
    }

    /// Blocking must always be possible, also on a unit that has failed. The member stays blocked
    /// afterwards, as do all members of a failed unit.
    #[test]
    fn law_7_a_member_of_a_failed_unit_can_be_reset() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 1)?;
        machine.units[0].fail(format_args!("a test says so"));
        group.suspend(&endpoint)?;
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        group.resume(&endpoint);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        group.leave(&endpoint);
        drop((default, endpoint, group));
        machine.finish()
    }
}
