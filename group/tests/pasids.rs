// SPDX-License-Identifier: GPL-2.0

//! PASIDs: the laws for requests with one, and what is refused.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{group_of, leave_all, TestGroup};
use crate::{
    addr::{Iova, PhysAddr},
    drivers::mock::{
        machine::{ensure, owner, unmap, Machine},
        Dma, Hardware, Options, PASIDS,
    },
    group::Reason,
    pasid::{Pasid, Selector},
    requester::RequesterId,
};

/// A unit whose devices use PASIDs.
fn options(tags_by_pasid: bool) -> Options {
    Options {
        pasids: PASIDS as u32,
        tags_by_pasid,
        ..Options::default()
    }
}

fn pasid(number: u32) -> Result<Pasid> {
    Pasid::new(number).ok_or(EINVAL)
}

/// A machine with one group of `count` devices that use PASIDs.
fn machine_of(count: u32) -> Result<(Machine, TestGroup)> {
    let machine = Machine::new(&[options(true)])?;
    let test_group = group_of(&machine, 0, count)?;
    Ok((machine, test_group))
}

/// Makes each step of an attach fail in turn. After each failure everything must be unchanged.
fn each_failure_changes_nothing(
    machine: &Machine,
    steps: i64,
    attempt: impl Fn() -> Result,
) -> Result {
    let hardware = machine.hardware(0);
    let before = machine.snapshot()?;
    for n in 1..=steps {
        hardware.fail_prepare.arm(n);
        let result = attempt();
        ensure!(hardware.fail_prepare.is_done());
        ensure!(result == Err(ENOMEM));
        ensure!(machine.snapshot()? == before);
    }
    hardware.fail_tag.arm(1);
    let result = attempt();
    ensure!(hardware.fail_tag.is_done());
    ensure!(result == Err(ENOSPC));
    ensure!(machine.snapshot()? == before);
    Ok(())
}

/// Whether each outcome is one of `allowed`, or nothing came through.
fn only(seen: &[Option<Dma>; Hardware::SEEN], allowed: &[u64]) -> bool {
    let mut seen = seen.iter().flatten();
    seen.all(|dma| match dma {
        Dma::Refused => true,
        Dma::At(phys) => allowed.iter().any(|at| PhysAddr::new(*at) == *phys),
    })
}

#[kunit_tests(iommu_core_pasids)]
mod suite {
    use super::*;

    #[test]
    fn a_pasid_is_not_0_and_has_20_bits() -> Result {
        assert_eq!(Pasid::new(0), None);
        assert_eq!(Pasid::new(1).map(Pasid::number), Some(1));
        assert_eq!(Pasid::new(0xf_ffff).map(Pasid::number), Some(0xf_ffff));
        assert_eq!(Pasid::new(0x10_0000), None);
        Ok(())
    }

    #[test]
    fn each_pasid_has_an_address_space_of_its_own() -> Result {
        let (machine, test_group) = machine_of(1)?;
        let (group, endpoint) = (&test_group.0, &test_group.1[0]);
        let default = machine.paging(endpoint, &[(0x1000, 0xa000)])?;
        let one = machine.paging(endpoint, &[(0x1000, 0xb000)])?;
        let two = machine.identity()?;
        group.set_default(&default)?;
        group.attach_pasid(pasid(1)?, &one)?;
        group.attach_pasid(pasid(2)?, &two)?;
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        assert_eq!(machine.dma_with(0, pasid(1)?, 0x1000), Some(0xb000));
        assert_eq!(machine.dma_with(0, pasid(2)?, 0x1000), Some(0x1000));
        assert_eq!(machine.dma_with(0, pasid(3)?, 0x1000), None);

        group.attach_pasid(pasid(1)?, &machine.blocked)?;
        assert_eq!(machine.dma_with(0, pasid(1)?, 0x1000), None);
        assert_eq!(machine.dma_with(0, pasid(2)?, 0x1000), Some(0x1000));
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        group.attach_pasid(pasid(2)?, &machine.blocked)?;
        leave_all(&test_group);
        drop((default, one, two, test_group));
        machine.finish()
    }

    #[test]
    fn law_2_a_pasid_keeps_its_domain_and_the_last_detach_frees_it() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let others = machine.domains() - 1;
        group.attach_pasid(pasid(1)?, &domain)?;
        group.attach_pasid(pasid(2)?, &domain)?;
        drop(domain);
        assert_eq!(machine.dma_with(1, pasid(1)?, 0x1000), Some(0xa000));
        group.attach_pasid(pasid(1)?, &machine.blocked)?;
        assert_eq!(machine.dma_with(1, pasid(2)?, 0x1000), Some(0xa000));
        assert_eq!(machine.domains(), others + 1);
        group.attach_pasid(pasid(2)?, &machine.blocked)?;
        assert_eq!(machine.domains(), others);
        leave_all(&test_group);
        drop(test_group);
        machine.finish()
    }

    #[test]
    fn law_3_a_pasid_is_attached_for_all_members_or_none() -> Result {
        let (machine, test_group) = machine_of(3)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let first = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let second = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        let five = pasid(5)?;
        for domain in [&first, &second] {
            each_failure_changes_nothing(&machine, 3, || group.attach_pasid(five, domain))?;
            let before = machine.hardware(0).counts();
            group.attach_pasid(five, domain)?;
            let after = machine.hardware(0).counts();
            assert_eq!(after.commits, before.commits + 1);
            assert_eq!(after.waits, before.waits + 1);
        }
        for id in 0..3 {
            assert_eq!(machine.dma_with(id, five, 0x1000), Some(0xb000));
        }
        leave_all(&test_group);
        drop((first, second, test_group));
        machine.finish()
    }

    #[test]
    fn law_3_a_member_that_joins_is_attached_for_each_pasid() -> Result {
        let (machine, test_group) = machine_of(1)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.attach_pasid(pasid(1)?, &domain)?;
        group.attach_pasid(pasid(2)?, &domain)?;
        let late = machine.endpoint(0, &[9])?;
        let before = machine.snapshot()?;
        for n in 1..=3 {
            machine.hardware(0).fail_prepare.arm(n);
            assert_eq!(group.join(&late, Reason::Platform), Err(ENOMEM));
            assert!(machine.snapshot()? == before);
        }
        group.join(&late, Reason::Platform)?;
        assert_eq!(machine.dma(0, 9, 0x1000), Some(0xa000));
        assert_eq!(machine.dma_with(9, pasid(1)?, 0x1000), Some(0xa000));
        assert_eq!(machine.dma_with(9, pasid(2)?, 0x1000), Some(0xa000));
        group.leave(&late);
        assert_eq!(machine.dma_with(9, pasid(1)?, 0x1000), None);
        assert_eq!(machine.dma_with(0, pasid(1)?, 0x1000), Some(0xa000));
        leave_all(&test_group);
        assert!(group.pasid_domain(pasid(1)?).is_none());
        drop((domain, late, test_group));
        machine.finish()
    }

    #[test]
    fn law_4_attaching_the_current_domain_again_does_nothing() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.attach_pasid(pasid(1)?, &domain)?;
        let before = machine.snapshot()?;
        machine.hardware(0).fail_prepare.arm(1);
        group.attach_pasid(pasid(1)?, &domain)?;
        group.attach_pasid(pasid(2)?, &machine.blocked)?;
        machine.hardware(0).fail_prepare.arm(0);
        assert!(machine.snapshot()? == before);
        leave_all(&test_group);
        drop((domain, test_group));
        machine.finish()
    }

    #[test]
    fn law_5_only_the_holder_of_a_claim_attaches_pasids() -> Result {
        let (machine, test_group) = machine_of(1)?;
        let (group, endpoint) = (&test_group.0, &test_group.1[0]);
        let domain = machine.paging(endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        let one = pasid(1)?;

        // A driver of the group: nobody claims it meanwhile.
        group.attach_pasid(one, &domain)?;
        assert_eq!(group.claim(owner(1, "tester")).err(), Some(EBUSY));
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        group.detach_pasid(one);
        assert_eq!(machine.dma_with(0, one, 0x1000), None);

        // An owner.
        let claim = group.claim(owner(1, "tester"))?;
        let before = machine.snapshot()?;
        assert_eq!(group.attach_pasid(one, &domain), Err(EBUSY));
        assert!(machine.snapshot()? == before);
        claim.attach_pasid(one, &domain)?;
        assert_eq!(machine.dma_with(0, one, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        let Err((claim, error)) = claim.release() else {
            return Err(EINVAL);
        };
        assert_eq!(error, EBUSY);
        assert_eq!(machine.dma_with(0, one, 0x1000), Some(0xa000));
        group.detach_pasid(one);
        assert_eq!(machine.dma_with(0, one, 0x1000), Some(0xa000));
        claim.detach_pasid(one);
        assert_eq!(machine.dma_with(0, one, 0x1000), None);
        assert!(claim.release().is_ok());
        leave_all(&test_group);
        drop((domain, test_group));
        machine.finish()
    }

    #[test]
    fn law_5_a_dropped_claim_blocks_all_pasids() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let default = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let own = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        group.set_default(&default)?;
        for attached in [false, true] {
            let claim = group.claim(owner(1, "tester"))?;
            if attached {
                claim.attach(&own)?;
            }
            claim.attach_pasid(pasid(1)?, &own)?;
            claim.attach_pasid(pasid(2)?, &own)?;
            // A detach of the domain for requests without a PASID leaves the others.
            claim.detach();
            assert_eq!(machine.dma(0, 1, 0x1000), None);
            assert_eq!(machine.dma_with(1, pasid(2)?, 0x1000), Some(0xb000));
            drop(claim);
            assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
            assert_eq!(machine.dma_with(1, pasid(1)?, 0x1000), None);
            assert_eq!(machine.dma_with(1, pasid(2)?, 0x1000), None);
        }
        leave_all(&test_group);
        drop((default, own, test_group));
        machine.finish()
    }

    #[test]
    fn law_5_pasids_of_drivers_end_with_the_last_driver() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.start_dma_api(&endpoints[0], "first".into())?;
        group.start_dma_api(&endpoints[1], "second".into())?;
        group.attach_pasid(pasid(1)?, &domain)?;
        group.end_dma_api(&endpoints[0]);
        assert_eq!(machine.dma_with(0, pasid(1)?, 0x1000), Some(0xa000));
        group.end_dma_api(&endpoints[1]);
        assert_eq!(machine.dma_with(0, pasid(1)?, 0x1000), None);

        // As well if its device leaves.
        group.start_dma_api(&endpoints[1], "second".into())?;
        group.attach_pasid(pasid(1)?, &domain)?;
        group.leave(&endpoints[1]);
        assert_eq!(machine.dma_with(0, pasid(1)?, 0x1000), None);
        assert_eq!(machine.dma_with(1, pasid(1)?, 0x1000), None);
        leave_all(&test_group);
        drop((domain, test_group));
        machine.finish()
    }

    #[test]
    fn law_7_requests_see_their_old_domain_or_their_new_one_or_nothing() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let first = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let second = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        let default = machine.paging(&endpoints[0], &[(0x1000, 0xc000)])?;
        let hardware = machine.hardware(0);
        let (id, iova, one) = (RequesterId::new(1), Iova::new(0x1000), pasid(1)?);
        group.set_default(&default)?;

        hardware.start_witness_with(id, Selector::Pasid(one), iova);
        group.attach_pasid(one, &first)?;
        assert!(only(&hardware.stop_witness(), &[0xa000]));
        hardware.start_witness_with(id, Selector::Pasid(one), iova);
        group.attach_pasid(one, &second)?;
        assert!(only(&hardware.stop_witness(), &[0xa000, 0xb000]));

        // Requests of other selectors see nothing of it.
        hardware.start_witness(id, iova);
        group.attach_pasid(one, &first)?;
        group.attach_pasid(one, &machine.blocked)?;
        let seen = hardware.stop_witness();
        assert_eq!(seen[0], Some(Dma::At(PhysAddr::new(0xc000))));
        assert_eq!(seen[1], None);

        group.attach_pasid(one, &first)?;
        hardware.start_witness_with(id, Selector::Pasid(one), iova);
        group.set_default(&second)?;
        let seen = hardware.stop_witness();
        assert_eq!(seen[0], Some(Dma::At(PhysAddr::new(0xa000))));
        assert_eq!(seen[1], None);
        leave_all(&test_group);
        drop((first, second, default, test_group));
        machine.finish()
    }

    #[test]
    fn law_7_a_unit_that_stops_answering_blocks_all_selectors() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let other = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        group.attach_pasid(pasid(1)?, &domain)?;
        machine.hardware(0).stop_answering();
        // The unit fails during the commit.
        group.attach_pasid(pasid(1)?, &other)?;
        assert_eq!(machine.dma_with(0, pasid(1)?, 0x1000), None);
        assert_eq!(group.attach_pasid(pasid(2)?, &domain), Err(EIO));
        leave_all(&test_group);
        drop((domain, other, test_group));
        machine.finish()
    }

    #[test]
    fn law_8_an_unmap_is_invalidated_for_every_selector() -> Result {
        for tags_by_pasid in [false, true] {
            // More selectors than a domain remembers without a lock.
            let last = PASIDS as u32;
            let machine = Machine::new(&[options(tags_by_pasid)])?;
            let (group, endpoint) = machine.alone(3)?;
            let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
            group.set_default(&domain)?;
            for number in 1..last {
                group.attach_pasid(pasid(number)?, &domain)?;
            }
            let tags = if tags_by_pasid { PASIDS } else { 1 };
            assert_eq!(machine.hardware(0).tags_in_use(), tags);
            assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
            for number in 1..last {
                assert_eq!(machine.dma_with(3, pasid(number)?, 0x1000), Some(0xa000));
            }
            assert_eq!(unmap(&domain, 0x1000, 0x1000), 0x1000);
            assert_eq!(machine.dma(0, 3, 0x1000), None);
            for number in 1..last {
                assert_eq!(machine.dma_with(3, pasid(number)?, 0x1000), None);
                group.attach_pasid(pasid(number)?, &machine.blocked)?;
            }
            assert_eq!(machine.hardware(0).tags_in_use(), 1);
            group.leave(&endpoint);
            drop((domain, group, endpoint));
            machine.finish()?;
        }
        Ok(())
    }

    #[test]
    fn a_reset_blocks_all_selectors_and_its_end_prepares_nothing() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let other = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
        let hardware = machine.hardware(0);
        let (one, two) = (pasid(1)?, pasid(2)?);
        group.set_default(&domain)?;
        group.attach_pasid(one, &domain)?;
        group.attach_pasid(two, &domain)?;
        let before = machine.snapshot()?;
        for n in 1..=3 {
            hardware.fail_prepare.arm(n);
            assert_eq!(group.suspend(&endpoints[0]), Err(ENOMEM));
            assert!(machine.snapshot()? == before);
        }
        group.suspend(&endpoints[0])?;
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma_with(0, one, 0x1000), None);
        assert_eq!(machine.dma_with(1, one, 0x1000), Some(0xa000));

        // The group goes on meanwhile.
        group.attach_pasid(one, &other)?;
        group.attach_pasid(two, &machine.blocked)?;
        assert_eq!(machine.dma_with(0, one, 0x1000), None);
        assert_eq!(machine.dma_with(1, one, 0x1000), Some(0xb000));

        hardware.fail_prepare.arm(1);
        hardware.fail_tag.arm(1);
        group.resume(&endpoints[0]);
        hardware.fail_prepare.arm(0);
        hardware.fail_tag.arm(0);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        assert_eq!(machine.dma_with(0, one, 0x1000), Some(0xb000));
        assert_eq!(machine.dma_with(0, two, 0x1000), None);
        leave_all(&test_group);
        drop((domain, other, test_group));
        machine.finish()
    }

    #[test]
    fn members_can_be_detached_and_attached_again_one_by_one() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let others = machine.domains() - 1;
        let one = pasid(1)?;
        group.attach_pasid(one, &domain)?;
        drop(domain);

        group.cut_pasid(&endpoints[0], one);
        assert_eq!(machine.dma_with(0, one, 0x1000), None);
        assert_eq!(machine.dma_with(1, one, 0x1000), Some(0xa000));
        machine.hardware(0).fail_prepare.arm(1);
        assert_eq!(group.resume_pasid(&endpoints[0], one), Err(ENOMEM));
        assert_eq!(machine.dma_with(0, one, 0x1000), None);
        group.resume_pasid(&endpoints[0], one)?;
        assert_eq!(machine.dma_with(0, one, 0x1000), Some(0xa000));

        // With the last member the group is detached.
        group.cut_pasid(&endpoints[0], one);
        group.cut_pasid(&endpoints[1], one);
        assert_eq!(machine.domains(), others);
        group.resume_pasid(&endpoints[1], one)?;
        assert_eq!(machine.dma_with(1, one, 0x1000), None);
        leave_all(&test_group);
        drop(test_group);
        machine.finish()
    }

    #[test]
    fn members_without_pasids_stay_as_they_are() -> Result {
        let machine = Machine::new(&[options(true)])?;
        let group = machine.group("mixed")?;
        let plain = machine.plain_endpoint(0, &[1])?;
        let domain = machine.paging(&plain, &[(0x1000, 0xa000)])?;
        group.join(&plain, Reason::Platform)?;
        assert_eq!(group.attach_pasid(pasid(1)?, &domain), Err(EINVAL));
        let endpoint = machine.endpoint(0, &[2])?;
        group.join(&endpoint, Reason::Platform)?;
        group.attach_pasid(pasid(1)?, &domain)?;
        assert_eq!(machine.dma_with(1, pasid(1)?, 0x1000), None);
        assert_eq!(machine.dma_with(2, pasid(1)?, 0x1000), Some(0xa000));
        group.leave(&plain);
        group.join(&plain, Reason::Platform)?;
        assert_eq!(machine.dma_with(1, pasid(1)?, 0x1000), None);
        group.leave(&plain);
        group.leave(&endpoint);
        drop((group, plain, endpoint, domain));
        machine.finish()
    }

    #[test]
    fn a_pasid_that_a_member_does_not_have_is_einval() -> Result {
        let (machine, test_group) = machine_of(2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        let before = machine.snapshot()?;
        for number in [PASIDS as u32, 0xf_ffff] {
            assert_eq!(group.attach_pasid(pasid(number)?, &domain), Err(EINVAL));
        }
        assert!(machine.snapshot()? == before);
        group.attach_pasid(pasid(PASIDS as u32 - 1)?, &domain)?;
        leave_all(&test_group);
        drop((domain, test_group));
        machine.finish()
    }

    #[test]
    fn members_that_share_an_id_use_no_pasids() -> Result {
        let machine = Machine::new(&[options(true)])?;
        let group = machine.group("sharing")?;
        let (one, two) = (machine.endpoint(0, &[1, 9])?, machine.endpoint(0, &[2, 9])?);
        let domain = machine.paging(&one, &[(0x1000, 0xa000)])?;
        group.join(&one, Reason::Platform)?;
        group.join(&two, Reason::Platform)?;
        let before = machine.snapshot()?;
        assert_eq!(group.attach_pasid(pasid(1)?, &domain), Err(EINVAL));
        assert!(machine.snapshot()? == before);

        group.leave(&two);
        group.attach_pasid(pasid(1)?, &domain)?;
        let before = machine.snapshot()?;
        assert_eq!(group.join(&two, Reason::Platform), Err(EINVAL));
        assert!(machine.snapshot()? == before);
        assert_eq!(machine.dma_with(9, pasid(1)?, 0x1000), Some(0xa000));
        group.leave(&one);
        drop((group, one, two, domain));
        machine.finish()
    }

    #[test]
    fn a_group_with_pasids_does_not_move() -> Result {
        let (machine, test_group) = machine_of(1)?;
        let (group, endpoint) = (&test_group.0, &test_group.1[0]);
        let domain = machine.paging(endpoint, &[(0x1000, 0xa000)])?;
        let to = machine.group("to")?;
        let present = machine.endpoint(0, &[9])?;
        to.join(&present, Reason::Platform)?;
        group.attach_pasid(pasid(1)?, &domain)?;
        let before = machine.snapshot()?;
        assert_eq!(to.adopt(group), Err(EBUSY));
        assert!(machine.snapshot()? == before);

        // The other way it is attached with the rest.
        machine.hardware(0).fail_prepare.arm(1);
        assert_eq!(group.adopt(&to), Err(ENOMEM));
        assert!(machine.snapshot()? == before);
        group.adopt(&to)?;
        assert_eq!(machine.dma_with(9, pasid(1)?, 0x1000), Some(0xa000));
        group.leave(&present);
        leave_all(&test_group);
        drop((domain, to, present, test_group));
        machine.finish()
    }
}
