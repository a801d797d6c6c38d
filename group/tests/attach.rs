// SPDX-License-Identifier: GPL-2.0

//! Attaching: laws 3, 4, 6 and 7.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{group_of, leave_all};
use crate::{
    addr::{Iova, PhysAddr},
    drivers::mock::{
        machine::{ensure, owner, Machine},
        Dma, Hardware, Options,
    },
    group::Reason,
    requester::RequesterId,
};

/// Makes one step of the preparation of an attach fail.
type Spoil<'a> = &'a dyn Fn(&Machine);

/// Makes each step of the preparation of an attach of `count` endpoints fail in turn. After each
/// failure everything must be unchanged.
fn failures_change_nothing(count: u32) -> Result {
    let machine = Machine::new(&[Options::default()])?;
    let test_group = group_of(&machine, 0, count)?;
    let (group, endpoints) = (&test_group.0, &test_group.1);
    let home = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
    let other = machine.paging(&endpoints[0], &[(0x1000, 0xb000)])?;
    let hardware = machine.hardware(0);

    // Change of the default domain.
    for n in 1..=i64::from(count) {
        refuses(&machine, &|m| m.hardware(0).fail_prepare.arm(n), || {
            group.set_default(&home)
        })?;
        let endpoint = &endpoints[n as usize - 1];
        refuses(&machine, &|_| endpoint.data().fail_prepare.arm(1), || {
            group.set_default(&home)
        })?;
    }
    refuses(&machine, &|m| m.hardware(0).fail_tag.arm(1), || {
        group.set_default(&home)
    })?;
    group.set_default(&home)?;

    // A claim, which prepares the return to the default domain.
    let who = owner(1, "tester");
    for n in 1..=i64::from(count) {
        let claim = || group.claim(who).map(|_| ());
        refuses(&machine, &|m| m.hardware(0).fail_prepare.arm(n), claim)?;
    }
    let claim = group.claim(who)?;

    // The owner's attach, from the blocked domain and from a domain of its own.
    let another = machine.paging(&endpoints[0], &[(0x1000, 0xc000)])?;
    for domain in [&other, &another] {
        for n in 1..=i64::from(count) {
            refuses(&machine, &|m| m.hardware(0).fail_prepare.arm(n), || {
                claim.attach(domain)
            })?;
        }
        refuses(&machine, &|m| m.hardware(0).fail_tag.arm(1), || {
            claim.attach(domain)
        })?;
        claim.attach(domain)?;
    }

    // Change of the default domain while the group is claimed.
    for n in 1..=i64::from(count) {
        refuses(&machine, &|m| m.hardware(0).fail_prepare.arm(n), || {
            group.set_default(&other)
        })?;
    }

    // A member that joins.
    let late = machine.endpoint(0, &[40])?;
    for n in 1..=2 {
        let join = || group.join(&late, Reason::Platform);
        refuses(&machine, &|m| m.hardware(0).fail_prepare.arm(n), join)?;
    }

    // A reset.
    let reset = || group.suspend(&endpoints[0]);
    refuses(&machine, &|m| m.hardware(0).fail_prepare.arm(1), reset)?;

    // What was prepared before the failures is still valid: the end of the claim returns the group
    // to its default domain.
    drop(claim);
    for id in 0..count {
        ensure!(machine.dma(0, id, 0x1000) == Some(0xa000));
    }
    ensure!(hardware.tags_in_use() == 1);
    leave_all(&test_group);
    drop((home, other, another, late, test_group));
    machine.finish()
}

fn refuses(machine: &Machine, spoil: Spoil<'_>, attempt: impl FnOnce() -> Result) -> Result {
    let before = machine.snapshot()?;
    spoil(machine);
    let result = attempt();
    machine.hardware(0).fail_prepare.arm(0);
    machine.hardware(0).fail_tag.arm(0);
    ensure!(result.is_err());
    ensure!(machine.snapshot()? == before);
    Ok(())
}

/// Whether each outcome is one of `allowed`.
fn only(seen: &[Option<Dma>; Hardware::SEEN], allowed: &[Dma]) -> bool {
    seen.iter().flatten().all(|dma| allowed.contains(dma))
}

fn at(phys: u64) -> Dma {
    Dma::At(PhysAddr::new(phys))
}

#[kunit_tests(iommu_core_attach)]
mod suite {
    use super::*;

    #[test]
    fn law_3_failures_change_nothing_for_1_endpoint() -> Result {
        failures_change_nothing(1)
    }

    #[test]
    fn law_3_failures_change_nothing_for_2_endpoints() -> Result {
        failures_change_nothing(2)
    }

    #[test]
    fn law_3_failures_change_nothing_for_8_endpoints() -> Result {
        failures_change_nothing(8)
    }

    #[test]
    fn law_3_one_commit_for_each_unit() -> Result {
        let machine = Machine::new(&[Options::default(), Options::default()])?;
        let test_group = group_of(&machine, 0, 3)?;
        let mut behind_other = KVec::new();
        for id in 10..13 {
            let endpoint = machine.endpoint(1, &[id])?;
            test_group.0.join(&endpoint, Reason::Platform)?;
            behind_other.push(endpoint, GFP_KERNEL)?;
        }
        let domain = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        test_group.0.set_default(&domain)?;
        for unit in 0..2 {
            let counts = machine.hardware(unit).counts();
            assert_eq!(counts.commits, 1);
            assert_eq!(counts.waits, 1);
            assert_eq!(counts.entries, 3);
            assert_eq!(machine.hardware(unit).tags_in_use(), 1);
        }
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(1, 12, 0x1000), Some(0xa000));

        // A failure on the second unit leaves the first unit unchanged, too.
        let other = machine.paging(&test_group.1[0], &[])?;
        for n in 1..=3 {
            let before = machine.snapshot()?;
            machine.hardware(1).fail_prepare.arm(n);
            assert!(test_group.0.set_default(&other).is_err());
            assert!(machine.snapshot()? == before);
        }
        let before = machine.snapshot()?;
        machine.hardware(1).fail_tag.arm(1);
        assert_eq!(test_group.0.set_default(&other), Err(ENOSPC));
        assert!(machine.snapshot()? == before);

        for endpoint in behind_other.iter() {
            test_group.0.leave(endpoint);
        }
        assert_eq!(machine.hardware(1).tags_in_use(), 0);
        leave_all(&test_group);
        drop((domain, other, test_group, behind_other));
        machine.finish()
    }

    #[test]
    fn law_3_a_domain_that_does_not_fit_is_einval() -> Result {
        let wide = Options {
            levels: 4,
            ..Options::default()
        };
        let machine = Machine::new(&[Options::default(), wide])?;
        let test_group = group_of(&machine, 0, 2)?;
        let stranger = machine.endpoint(1, &[0])?;
        let domain = machine.paging(&stranger, &[])?;
        let before = machine.snapshot()?;
        assert_eq!(test_group.0.set_default(&domain), Err(EINVAL));
        assert!(machine.snapshot()? == before);
        leave_all(&test_group);
        drop((domain, stranger, test_group));
        machine.finish()
    }

    #[test]
    fn law_3_no_tag_left_is_enospc() -> Result {
        let few = Options {
            tags: 2,
            ..Options::default()
        };
        let machine = Machine::new(&[few])?;
        let (first, a) = machine.alone(1)?;
        let (second, b) = machine.alone(2)?;
        let (third, c) = machine.alone(3)?;
        let one = machine.paging(&a, &[])?;
        let two = machine.paging(&a, &[])?;
        let three = machine.paging(&a, &[(0x1000, 0xa000)])?;
        first.set_default(&one)?;
        second.set_default(&two)?;
        let before = machine.snapshot()?;
        assert_eq!(third.set_default(&three), Err(ENOSPC));
        assert!(machine.snapshot()? == before);
        // A domain with a tag on the unit needs no other tag, and a domain whose last group leaves
        // frees its tag.
        third.set_default(&one)?;
        second.set_default(&one)?;
        third.set_default(&three)?;
        assert_eq!(machine.dma(0, 3, 0x1000), Some(0xa000));
        first.leave(&a);
        second.leave(&b);
        third.leave(&c);
        drop((one, two, three, a, b, c, first, second, third));
        machine.finish()
    }

    #[test]
    fn law_4_attaching_the_current_domain_again_does_nothing() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let paging = machine.paging(&test_group.1[0], &[])?;
        let identity = machine.identity()?;
        for domain in [&paging, &identity, &machine.blocked] {
            group.set_default(domain)?;
            let before = machine.snapshot()?;
            group.set_default(domain)?;
            assert!(machine.snapshot()? == before);
        }
        let claim = group.claim(owner(1, "tester"))?;
        for domain in [&paging, &identity] {
            claim.attach(domain)?;
            let before = machine.snapshot()?;
            claim.attach(domain)?;
            assert!(machine.snapshot()? == before);
        }
        claim.detach();
        let before = machine.snapshot()?;
        claim.detach();
        assert!(machine.snapshot()? == before);
        drop(claim);
        leave_all(&test_group);
        drop((paging, identity, test_group));
        machine.finish()
    }

    #[test]
    fn law_4_holds_when_nothing_could_be_prepared() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let domain = machine.paging(&endpoint, &[])?;
        group.set_default(&domain)?;
        let hardware = machine.hardware(0);
        hardware.fail_prepare.arm(1);
        hardware.fail_tag.arm(1);
        group.set_default(&domain)?;
        assert!(!hardware.fail_prepare.is_done());
        assert!(!hardware.fail_tag.is_done());
        hardware.fail_prepare.arm(0);
        hardware.fail_tag.arm(0);
        group.leave(&endpoint);
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_6_each_endpoint_is_prepared_by_its_own_data() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 3)?;
        let domain = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        for endpoint in test_group.1.iter() {
            endpoint.data().fail_prepare.arm(1);
            assert_eq!(test_group.0.set_default(&domain), Err(ENOMEM));
            assert!(endpoint.data().fail_prepare.is_done());
        }
        test_group.0.set_default(&domain)?;
        leave_all(&test_group);
        drop((domain, test_group));
        machine.finish()
    }

    #[test]
    fn law_7_a_device_sees_its_old_domain_or_its_new_one_or_nothing() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let hardware = machine.hardware(0);
        let old = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        let new = machine.paging(&test_group.1[0], &[(0x1000, 0xb000)])?;
        let identity = machine.identity()?;
        for id in 0..2 {
            group.set_default(&old)?;
            hardware.start_witness(RequesterId::new(id), Iova::new(0x1000));
            group.set_default(&new)?;
            let seen = hardware.stop_witness();
            assert!(only(&seen, &[Dma::Refused, at(0xa000), at(0xb000)]));
            assert!(seen.contains(&Some(at(0xb000))));

            hardware.start_witness(RequesterId::new(id), Iova::new(0x1000));
            group.set_default(&identity)?;
            let seen = hardware.stop_witness();
            assert!(only(&seen, &[Dma::Refused, at(0xb000), at(0x1000)]));

            hardware.start_witness(RequesterId::new(id), Iova::new(0x1000));
            group.set_default(&machine.blocked)?;
            let seen = hardware.stop_witness();
            assert!(only(&seen, &[Dma::Refused, at(0x1000)]));
            assert!(seen.contains(&Some(Dma::Refused)));
        }
        leave_all(&test_group);
        drop((old, new, identity, test_group));
        machine.finish()
    }

    #[test]
    fn law_7_nothing_passes_before_joining_and_after_leaving() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let hardware = machine.hardware(0);
        let id = RequesterId::new(5);
        assert_eq!(machine.dma(0, 5, 0x1000), None);
        let group = machine.group("group")?;
        let endpoint = machine.endpoint(0, &[5])?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        assert_eq!(machine.dma(0, 5, 0x1000), None);

        hardware.start_witness(id, Iova::new(0x1000));
        group.join(&endpoint, Reason::Isolated)?;
        let seen = hardware.stop_witness();
        assert!(only(&seen, &[Dma::Refused, at(0xa000)]));
        assert_eq!(machine.dma(0, 5, 0x1000), Some(0xa000));

        hardware.start_witness(id, Iova::new(0x1000));
        group.leave(&endpoint);
        let seen = hardware.stop_witness();
        assert!(only(&seen, &[Dma::Refused, at(0xa000)]));
        assert_eq!(machine.dma(0, 5, 0x1000), None);
        assert_eq!(machine.dma(0, 5, 0x2000), None);
        drop((domain, endpoint, group));
        machine.finish()
    }

    #[test]
    fn law_7_a_failed_attach_opens_nothing() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 4)?;
        let hardware = machine.hardware(0);
        let old = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        let new = machine.paging(&test_group.1[0], &[(0x1000, 0xb000)])?;
        test_group.0.set_default(&old)?;
        for n in 1..=4 {
            hardware.start_witness(RequesterId::new(0), Iova::new(0x1000));
            hardware.fail_prepare.arm(n);
            assert!(test_group.0.set_default(&new).is_err());
            let seen = hardware.stop_witness();
            assert!(only(&seen, &[at(0xa000)]));
        }
        leave_all(&test_group);
        drop((old, new, test_group));
        machine.finish()
    }

    #[test]
    fn law_7_a_unit_that_stops_answering_is_blocked() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_of(&machine, 0, 2)?;
        let group = &test_group.0;
        let domain = machine.paging(&test_group.1[0], &[(0x1000, 0xa000)])?;
        let other = machine.paging(&test_group.1[0], &[])?;
        machine.hardware(0).stop_answering();
        // A commit cannot fail, but the unit can.
        group.set_default(&domain)?;
        assert!(machine.units[0].has_failed());
        assert!(machine.hardware(0).is_blocked());
        assert_eq!(machine.dma(0, 1, 0x1000), None);

        // From now on attaches fail with a clear error, while detaching and leaving still work.
        assert_eq!(group.set_default(&other), Err(EIO));
        assert_eq!(machine.paging(&test_group.1[0], &[]).err(), Some(EIO));
        let late = machine.endpoint(0, &[9])?;
        assert_eq!(group.join(&late, Reason::Platform), Err(EIO));
        group.set_default(&machine.blocked)?;
        let claim = group.claim(owner(1, "tester"))?;
        assert_eq!(claim.attach(&other), Err(EIO));
        drop(claim);
        leave_all(&test_group);
        drop((domain, other, late, test_group));
        machine.finish()
    }
}
