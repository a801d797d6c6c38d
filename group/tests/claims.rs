// SPDX-License-Identifier: GPL-2.0

//! Ownership of groups: law 5, and law 7 during claims.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{group_of, group_on_default, leave_all};
use crate::{
    addr::{Iova, PhysAddr},
    drivers::mock::{
        machine::{owner, Machine},
        Dma, Options,
    },
    group::Reason,
    ownership::Ownership,
    requester::RequesterId,
    reserved::Kind,
};

fn at(phys: u64) -> Option<Dma> {
    Some(Dma::At(PhysAddr::new(phys)))
}

const REFUSED: Option<Dma> = Some(Dma::Refused);

#[kunit_tests(iommu_core_claims)]
mod suite {
    use super::*;

    #[test]
    fn law_5_kernel_drivers_share_a_group() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        assert_eq!(group.ownership(), Ownership::Free);
        group.start_dma_api(&endpoints[0], "first".into())?;
        assert_eq!(group.ownership(), Ownership::Kernel { users: 1 });
        group.start_dma_api(&endpoints[1], "second".into())?;
        assert_eq!(group.ownership(), Ownership::Kernel { users: 2 });
        // A driver counts once.
        group.start_dma_api(&endpoints[1], "second".into())?;
        assert_eq!(group.ownership(), Ownership::Kernel { users: 2 });
        group.end_dma_api(&endpoints[0]);
        group.end_dma_api(&endpoints[0]);
        assert_eq!(group.ownership(), Ownership::Kernel { users: 1 });
        group.end_dma_api(&endpoints[1]);
        assert_eq!(group.ownership(), Ownership::Free);
        leave_all(&test_group);
        assert_eq!(
            group.start_dma_api(&endpoints[0], "late".into()),
            Err(ENODEV)
        );
        drop(test_group);
        machine.finish()
    }

    #[test]
    fn drivers_that_use_a_group_are_named() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let (group, endpoints) = (&test_group.0, &test_group.1);
        let says = |what| group.used_by().is_some_and(|text| text.as_str() == what);
        assert!(group.used_by().is_none());
        assert!(group.only_user().is_none());

        group.start_dma_api(&endpoints[0], "first".into())?;
        assert!(says("driver first uses device 0:0"));
        assert_eq!(group.only_user(), Some("first".into()));

        group.start_dma_api(&endpoints[1], "second".into())?;
        assert!(says("2 drivers use it, first on device 0:0"));
        assert!(group.only_user().is_none());

        group.end_dma_api(&endpoints[0]);
        assert!(says("driver second uses device 0:1"));
        assert_eq!(group.only_user(), Some("second".into()));

        group.end_dma_api(&endpoints[1]);
        let claim = group.claim(owner(1, "tester"))?;
        assert!(group.used_by().is_none());
        assert!(group.only_user().is_none());
        drop(claim);
        leave_all(&test_group);
        drop(test_group);
        machine.finish()
    }

    #[test]
    fn law_5_claim_alone_refuses_a_second_claim() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 0)?;
        let first = group.claim_alone(owner(1, "tester"))?;
        let before = machine.snapshot()?;
        assert_eq!(group.claim_alone(owner(1, "tester")).err(), Some(EBUSY));
        assert_eq!(group.claim_alone(owner(2, "other")).err(), Some(EBUSY));
        assert!(machine.snapshot()? == before);
        // A plain `claim`, which accepts further claims of the owner, succeeds.
        drop(group.claim(owner(1, "tester"))?);
        drop(first);
        assert_eq!(group.ownership(), Ownership::Free);
        group.leave(&endpoint);
        drop((default, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_7_a_group_with_a_pinned_device_cannot_be_claimed() -> Result {
        for (kind, answer) in [(Kind::Direct, Some(EINVAL)), (Kind::DirectRelaxable, None)] {
            let machine = Machine::new(&[Options {
                firmware: Some((1, kind)),
                ..Options::default()
            }])?;
            let test_group = group_of(&machine, 0, 2)?;
            let group = &test_group.0;
            assert_eq!(test_group.1[1].is_pinned(), answer.is_some());
            assert!(!test_group.1[0].is_pinned());
            let default = machine.paging(&test_group.1[0], &[(0x9000, 0x9000)])?;
            group.set_default(&default)?;
            let before = machine.snapshot()?;
            let claim = group.claim(owner(1, "tester"));
            assert_eq!(claim.as_ref().err(), answer.as_ref());
            // A refused claim changes nothing: the memory that firmware uses stays mapped
            // throughout.
            let untouched = machine.snapshot()? == before;
            assert_eq!(untouched, answer.is_some());
            drop(claim);
            // A loan replaces the default domain by the driver's domain in one step, so the device
            // is never blocked.
            let own = machine.paging(&test_group.1[0], &[(0x9000, 0x9000)])?;
            drop(group.lend("driver".into(), &own)?);
            assert_eq!(machine.dma(0, 1, 0x9000), Some(0x9000));
            leave_all(&test_group);
            drop((own, default, test_group));
            machine.finish()?;
        }
        Ok(())
    }

    /// The claim's owner decides what the group reaches, and may block the memory that firmware
    /// uses.
    #[test]
    fn law_7_a_pinned_device_does_not_join_a_claimed_group() -> Result {
        let machine = Machine::new(&[Options {
            firmware: Some((1, Kind::Direct)),
            ..Options::default()
        }])?;
        let (group, endpoint, default) = group_on_default(&machine, 0)?;
        let pinned = machine.endpoint(0, &[1])?;
        let claim = group.claim(owner(1, "tester"))?;
        let before = machine.snapshot()?;
        assert_eq!(group.join(&pinned, Reason::Platform), Err(EINVAL));
        assert!(machine.snapshot()? == before);
        assert!(!group.has(&pinned));
        drop(claim);
        group.join(&pinned, Reason::Platform)?;
        group.leave(&pinned);
        // A loan replaces the default domain in one step. So the device may join a lent group.
        let own = machine.paging(&endpoint, &[(0x9000, 0x9000)])?;
        let loan = group.lend("driver".into(), &own)?;
        group.join(&pinned, Reason::Platform)?;
        assert_eq!(machine.dma(0, 1, 0x9000), Some(0x9000));
        drop(loan);
        group.leave(&pinned);
        group.leave(&endpoint);
        drop((own, default, pinned, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_5_kernel_drivers_exclude_owners() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let default = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        group.set_default(&default)?;
        group.start_dma_api(&test_group.1[0], "driver".into())?;
        let before = machine.snapshot()?;
        assert_eq!(group.claim(owner(1, "tester")).err(), Some(EBUSY));
        // A change of the default domain must not take the device from its driver either.
        assert_eq!(group.set_default(&machine.blocked), Err(EBUSY));
        group.set_default(&default)?;
        assert!(machine.snapshot()? == before);
        assert_eq!(group.ownership(), Ownership::Kernel { users: 1 });
        group.end_dma_api(&test_group.1[0]);
        drop(group.claim(owner(1, "tester"))?);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        leave_all(&test_group);
        drop((default, test_group));
        machine.finish()
    }

    #[test]
    fn law_5_an_owner_excludes_everybody_else() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let (one, two) = (owner(1, "one"), owner(2, "two"));
        let claim = group.claim(one)?;
        let before = machine.snapshot()?;
        assert_eq!(group.claim(two).err(), Some(EBUSY));
        assert_eq!(
            group.start_dma_api(&test_group.1[0], "driver".into()),
            Err(EBUSY)
        );
        assert!(machine.snapshot()? == before);
        // The refusal names the owner that the ownership state contains.
        let Ownership::Claimed { owner: holder, .. } = group.ownership() else {
            return Err(EINVAL);
        };
        assert_eq!(holder.name.as_str(), "one");
        assert_eq!(
            group.ownership(),
            Ownership::Claimed {
                owner: one,
                claims: 1,
                attached: false
            }
        );
        assert!(claim.release().is_ok());
        assert_eq!(group.ownership(), Ownership::Free);
        drop(group.claim(two)?);
        group.start_dma_api(&test_group.1[0], "driver".into())?;
        leave_all(&test_group);
        assert_eq!(group.ownership(), Ownership::Free);
        drop(test_group);
        machine.finish()
    }

    #[test]
    fn law_5_a_claim_takes_the_group_off_its_default_domain() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 3)?;
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
        let claim = group.claim(owner(1, "tester"))?;
        assert_eq!(machine.dma(0, 3, 0x1000), None);
        assert!(group.is_on(&machine.blocked));
        assert_eq!(default.record().groups(), 0);
        assert!(claim.release().is_ok());
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
        assert!(group.is_on(&default));
        assert_eq!(default.record().groups(), 1);
        group.leave(&endpoint);
        drop((default, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_5_a_claim_does_not_end_while_a_domain_is_attached() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(3)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let who = owner(1, "tester");
        let claim = group.claim(who)?;
        claim.attach(&domain)?;
        let before = machine.snapshot()?;
        let Err((claim, error)) = claim.release() else {
            return Err(EINVAL);
        };
        assert_eq!(error, EBUSY);
        assert!(machine.snapshot()? == before);
        assert_eq!(
            group.ownership(),
            Ownership::Claimed {
                owner: who,
                claims: 1,
                attached: true
            }
        );
        claim.detach();
        assert_eq!(machine.dma(0, 3, 0x1000), None);
        assert!(claim.release().is_ok());
        assert_eq!(group.ownership(), Ownership::Free);
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_5_a_dropped_claim_passes_through_blocked() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 3)?;
        let hardware = machine.hardware(0);
        let domain = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;

        hardware.start_witness(RequesterId::new(3), Iova::new(0x1000));
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&domain)?;
        let seen = hardware.stop_witness();
        assert_eq!(seen[..4], [at(0xa000), REFUSED, at(0xb000), None]);

        hardware.start_witness(RequesterId::new(3), Iova::new(0x1000));
        drop(claim);
        let seen = hardware.stop_witness();
        assert_eq!(seen[..4], [at(0xb000), REFUSED, at(0xa000), None]);
        assert_eq!(group.ownership(), Ownership::Free);
        group.leave(&endpoint);
        drop((default, domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_5_an_owner_may_claim_twice() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 3)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let who = owner(1, "tester");
        let first = group.claim(who)?;
        first.attach(&domain)?;
        let before = machine.snapshot()?;
        let second = group.claim(who)?;
        assert!(machine.snapshot()? == before);
        // The first claim can end although a domain is attached, because the second claim
        // continues.
        assert!(first.release().is_ok());
        assert!(machine.snapshot()? == before);
        assert_eq!(
            group.ownership(),
            Ownership::Claimed {
                owner: who,
                claims: 1,
                attached: true
            }
        );
        let third = group.claim(who)?;
        drop(second);
        assert!(machine.snapshot()? == before);
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xb000));
        drop(third);
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
        assert_eq!(group.ownership(), Ownership::Free);
        group.leave(&endpoint);
        drop((default, domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_5_the_end_of_a_claim_prepares_nothing() -> Result {
        let tight = Options {
            tags: 2,
            ..Options::default()
        };
        let machine = Machine::new(&[tight])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let default = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        let domain = machine.paging(&test_group.1[0], &[])?;
        group.set_default(&default)?;
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&domain)?;
        let hardware = machine.hardware(0);
        hardware.fail_prepare.arm(1);
        hardware.fail_tag.arm(1);
        drop(claim);
        assert!(!hardware.fail_prepare.is_done());
        assert!(!hardware.fail_tag.is_done());
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        hardware.fail_prepare.arm(0);
        hardware.fail_tag.arm(0);
        leave_all(&test_group);
        drop((default, domain, test_group));
        machine.finish()
    }

    #[test]
    fn a_claimed_group_returns_to_a_new_default_domain() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let default = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        let domain = machine.paging(&test_group.1[0], &[(0x1000, 0xb000)])?;
        let other = machine.paging(&test_group.1[0], &[(0x1000, 0xc000)])?;
        group.set_default(&default)?;
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&domain)?;
        let counts = machine.hardware(0).counts();
        group.set_default(&other)?;
        // Hardware sees none of this, and the group keeps no reference to the old default domain.
        assert_eq!(machine.hardware(0).counts(), counts);
        assert_eq!(machine.hardware(0).tags_in_use(), 2);
        let domains = machine.domains();
        drop(default);
        assert_eq!(machine.domains(), domains - 1);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xb000));
        drop(claim);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xc000));
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xc000));
        leave_all(&test_group);
        drop((domain, other, test_group));
        machine.finish()
    }

    #[test]
    fn a_failed_default_domain_leaves_the_old_prepared_return() -> Result {
        let tight = Options {
            tags: 3,
            ..Options::default()
        };
        let machine = Machine::new(&[tight])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let default = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        let other = machine.paging(&test_group.1[0], &[])?;
        group.set_default(&default)?;
        let claim = group.claim(owner(1, "tester"))?;
        // The second member's preparation fails. A second attempt to prepare the return to the old
        // default domain would fail as well.
        test_group.1[1].data().fail_prepare.arm(1);
        machine.hardware(0).fail_prepare.arm(2);
        assert_eq!(group.set_default(&other), Err(ENOMEM));
        machine.hardware(0).fail_prepare.arm(0);
        assert_eq!(machine.hardware(0).tags_in_use(), 1);
        drop(claim);
        assert_eq!(machine.dma(0, 0, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        leave_all(&test_group);
        drop((default, other, test_group));
        machine.finish()
    }

    #[test]
    fn a_default_domain_can_be_set_after_the_claim() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(3)?;
        let default = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        let claim = group.claim(owner(1, "tester"))?;
        group.set_default(&default)?;
        assert_eq!(machine.dma(0, 3, 0x1000), None);
        drop(claim);
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
        group.leave(&endpoint);
        drop((default, endpoint, group));
        machine.finish()
    }

    #[test]
    fn an_owner_that_attaches_blocked_can_release() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(3)?;
        let own = crate::domain::Domain::blocked(&machine.registry)?;
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&own)?;
        assert!(claim.release().is_ok());
        // Without a default domain the group stays blocked, but no longer by the owner's own
        // blocked domain.
        let domains = machine.domains();
        drop(own);
        assert_eq!(machine.domains(), domains - 1);
        assert!(group.is_on(&machine.blocked));
        group.leave(&endpoint);
        drop((endpoint, group));
        machine.finish()
    }

    #[test]
    fn a_device_that_joins_a_claimed_group_belongs_to_the_owner() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = group_on_default(&machine, 3)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let claim = group.claim(owner(1, "tester"))?;
        let early = machine.endpoint(0, &[4])?;
        group.join(&early, Reason::Platform)?;
        assert_eq!(machine.dma(0, 4, 0x1000), None);
        claim.attach(&domain)?;
        let late = machine.endpoint(0, &[5])?;
        group.join(&late, Reason::Platform)?;
        for id in 3..6 {
            assert_eq!(machine.dma(0, id, 0x1000), Some(0xb000));
        }
        assert_eq!(group.start_dma_api(&late, "driver".into()), Err(EBUSY));
        // The owner's device is removed; the claim continues.
        group.leave(&endpoint);
        assert_eq!(machine.dma(0, 3, 0x1000), None);
        drop(claim);
        for id in 4..6 {
            assert_eq!(machine.dma(0, id, 0x1000), Some(0xa000));
        }
        group.leave(&early);
        group.leave(&late);
        drop((default, domain, endpoint, early, late, group));
        machine.finish()
    }

    #[test]
    fn a_claim_outlives_the_members() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(3)?;
        let domain = machine.paging(&endpoint, &[])?;
        let default = machine.identity()?;
        group.set_default(&default)?;
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&domain)?;
        group.leave(&endpoint);
        assert!(machine.hardware(0).is_blocked());
        assert_eq!(machine.hardware(0).tags_in_use(), 0);
        drop((group, endpoint, domain, default));
        claim.detach();
        assert!(claim.release().is_ok());
        machine.finish()
    }
}
