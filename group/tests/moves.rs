// SPDX-License-Identifier: GPL-2.0

//! Endpoints that move from one group to another, and units that are released.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use crate::{
    addr::{Iova, PhysAddr},
    domain::Domain,
    driver::Scope,
    drivers::mock::{
        live_tables as live,
        machine::{owner, unmap, Machine},
        Dma, Mock, Options,
    },
    endpoint::Endpoint,
    group::Reason,
    ownership::Ownership,
    requester::RequesterId,
};

#[kunit_tests(iommu_core_moves)]
mod suite {
    use super::*;

    #[test]
    fn law_7_memory_that_both_groups_map_stays_reachable_during_a_move() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (from, endpoint) = machine.alone(1)?;
        let direct = machine.paging(&endpoint, &[(0x1000, 0x1000)])?;
        let identity = machine.identity()?;
        from.set_default(&direct)?;
        let to = machine.group("to")?;
        to.set_default(&identity)?;
        let hardware = machine.hardware(0);
        hardware.start_witness(RequesterId::new(1), Iova::new(0x1000));
        to.adopt(&from)?;
        let seen = hardware.stop_witness();
        assert_eq!(seen[..2], [Some(Dma::At(PhysAddr::new(0x1000))), None]);
        assert!(from.is_empty());
        assert_eq!(machine.dma(0, 1, 0x2000), Some(0x2000));
        // There is nothing left to move.
        to.adopt(&from)?;
        assert_eq!(machine.dma(0, 1, 0x2000), Some(0x2000));

        // A blocked group blocks a member that moves there.
        let blocked = machine.group("blocked")?;
        blocked.adopt(&to)?;
        assert_eq!(machine.dma(0, 1, 0x2000), None);
        assert_eq!(hardware.tags_in_use(), 0);
        blocked.leave(&endpoint);
        drop((from, to, blocked, endpoint, direct, identity));
        machine.finish()
    }

    #[test]
    fn law_3_a_move_that_fails_changes_nothing() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (from, endpoint) = machine.alone(1)?;
        let old = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        let new = machine.paging(&endpoint, &[(0x1000, 0xb000)])?;
        let default = machine.paging(&endpoint, &[(0x1000, 0xc000)])?;
        from.set_default(&old)?;
        let to = machine.group("to")?;
        to.set_default(&default)?;
        let claim = to.claim(owner(1, "tester"))?;
        claim.attach(&new)?;
        let before = machine.snapshot()?;
        let hardware = machine.hardware(0);
        for n in 1..=2 {
            hardware.fail_prepare.arm(n);
            assert_eq!(to.adopt(&from), Err(ENOMEM));
            hardware.fail_tag.arm(n);
            assert_eq!(to.adopt(&from), Err(ENOSPC));
            assert!(machine.snapshot()? == before);
            assert!(!from.is_empty());
            assert!(to.is_empty());
            assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        }
        // The endpoint is a member of its old group again: it has its ids in the id map, and
        // follows the group's attaches.
        let rival = machine.group("rival")?;
        let double = machine.endpoint(0, &[1])?;
        assert_eq!(rival.join(&double, Reason::Isolated), Err(EBUSY));
        to.adopt(&from)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));
        drop(claim);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xc000));
        to.leave(&endpoint);
        drop((from, to, rival, double, endpoint, old, new, default));
        machine.finish()
    }

    #[test]
    fn a_member_in_use_or_in_reset_does_not_move() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (from, a) = machine.alone(1)?;
        let b = machine.endpoint(0, &[3])?;
        from.join(&b, Reason::Platform)?;
        let to = machine.group("to")?;
        to.set_default(&machine.identity()?)?;
        let before = machine.snapshot()?;
        // Its driver would lose its domain.
        from.start_dma_api(&b, "driver".into())?;
        assert_eq!(to.adopt(&from), Err(EBUSY));
        from.end_dma_api(&b);
        let claim = from.claim(owner(1, "tester"))?;
        assert_eq!(to.adopt(&from), Err(EBUSY));
        drop(claim);
        assert!(machine.snapshot()? == before);
        from.suspend(&b)?;
        assert_eq!(to.adopt(&from), Err(EBUSY));
        from.resume(&b);
        to.adopt(&from)?;
        assert!(from.is_empty() && to.has(&a) && to.has(&b));
        to.leave(&a);
        to.leave(&b);
        drop((from, to, a, b));
        machine.finish()
    }

    #[test]
    fn law_7_members_with_one_id_move_together() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (from, a) = machine.alone(1)?;
        let b = machine.endpoint(0, &[2, 1])?;
        from.join(&b, Reason::Platform)?;
        let direct = machine.paging(&a, &[(0x1000, 0x1000)])?;
        from.set_default(&direct)?;
        let new = machine.paging(&a, &[(0x1000, 0x1000), (0x2000, 0xa000)])?;
        let to = machine.group("to")?;
        to.set_default(&new)?;
        let hardware = machine.hardware(0);
        hardware.start_witness(RequesterId::new(1), Iova::new(0x1000));
        // The second of them cannot be prepared: none has moved.
        let before = machine.snapshot()?;
        hardware.fail_prepare.arm(2);
        assert_eq!(to.adopt(&from), Err(ENOMEM));
        assert!(machine.snapshot()? == before);
        assert!(from.has(&a) && from.has(&b) && to.is_empty());
        to.adopt(&from)?;
        let seen = hardware.stop_witness();
        assert_eq!(seen[..2], [Some(Dma::At(PhysAddr::new(0x1000))), None]);
        for id in [1, 2] {
            assert_eq!(machine.dma(0, id, 0x2000), Some(0xa000));
        }
        // The ids are the new group's, for both: the second drives the first's when that leaves.
        let rival = machine.group("rival")?;
        let double = machine.endpoint(0, &[1])?;
        assert_eq!(rival.join(&double, Reason::Isolated), Err(EBUSY));
        to.leave(&a);
        assert_eq!(machine.dma(0, 1, 0x2000), Some(0xa000));
        to.leave(&b);
        assert_eq!(machine.dma(0, 1, 0x2000), None);
        rival.join(&double, Reason::Isolated)?;
        rival.leave(&double);
        drop((from, to, rival, a, b, double, direct, new));
        machine.finish()
    }

    #[test]
    fn law_5_users_move_with_their_devices_to_a_group_on_their_domain() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let identity = machine.identity()?;
        let (from, a) = machine.alone(1)?;
        let (to, b) = machine.alone(2)?;
        for (group, endpoint) in [(&from, &a), (&to, &b)] {
            group.set_default(&identity)?;
            group.start_dma_api(endpoint, "driver".into())?;
        }
        let writes = machine.hardware(0).counts();
        to.adopt(&from)?;
        // They were there already.
        assert_eq!(machine.hardware(0).counts(), writes);
        assert_eq!(to.ownership(), Ownership::Kernel { users: 2 });
        assert_eq!(from.ownership(), Ownership::Free);
        assert_eq!(to.claim(owner(1, "tester")).err(), Some(EBUSY));
        to.end_dma_api(&a);
        to.end_dma_api(&b);
        let claim = to.claim(owner(1, "tester"))?;
        assert_eq!(machine.dma(0, 1, 0x2000), None);
        drop(claim);
        to.leave(&a);
        to.leave(&b);
        drop((from, to, a, b, identity));
        machine.finish()
    }

    #[test]
    fn law_7_a_unit_is_released_with_endpoints_attached() -> Result {
        let machine = Machine::new(&[Options::default(), Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let elsewhere = machine.endpoint(1, &[2])?;
        group.join(&elsewhere, Reason::Platform)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        machine.units[0].release()?;
        let counts = machine.hardware(0).counts();
        // An endpoint that leaves, or an unmap, no longer touches the released unit.
        unmap(&domain, 0x1000, 0x1000);
        group.leave(&endpoint);
        assert_eq!(machine.hardware(0).counts(), counts);
        assert_eq!(machine.hardware(0).tags_in_use(), 0);
        // The other unit still works, and the first unit can be taken over again.
        assert_eq!(machine.dma(1, 2, 0x1000), None);
        machine.take_over(0)?;
        machine.units[0].enable()?;
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        group.join(&endpoint, Reason::Platform)?;
        crate::drivers::mock::machine::map(&domain, 0x1000, 0xb000, 0x1000)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xb000));
        group.leave(&endpoint);
        group.leave(&elsewhere);
        drop((group, endpoint, elsewhere, domain));
        machine.finish()
    }

    /// The unit goes on with its entries, and may read its tables at any time.
    #[test]
    fn law_8_a_unit_that_does_not_stop_keeps_its_tables() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let (untranslated, other) = machine.alone(2)?;
        let domain = machine.paging(&endpoint, &[(0x1000, 0xa000), (0x20_0000, 0xb000)])?;
        let identity = machine.identity()?;
        group.set_default(&domain)?;
        untranslated.set_default(&identity)?;
        let (unit, hardware) = (&machine.units[0], machine.hardware(0));
        let entry = |endpoint: &Endpoint<Mock>| hardware.entry(endpoint.ids()[0]);
        let before = (entry(&endpoint), entry(&other));
        hardware.set_stops(false);
        assert_eq!(unit.release(), Err(ETIMEDOUT));

        assert!(unit.has_failed());
        // Devices that go on do not notice.
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0x1000));
        // An unmap cannot be invalidated, so it frees no page-table page.
        let tables = live();
        assert_eq!(domain.invalidate(Scope::All), Err(EIO));
        unmap(&domain, 0x20_0000, 0x1000);
        assert_eq!(live(), tables);
        // Nor does the end of the domain. The entries stay.
        group.leave(&endpoint);
        untranslated.leave(&other);
        assert!((entry(&endpoint), entry(&other)) == before);
        drop((group, untranslated, domain, identity));
        assert_eq!(live(), tables);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));

        // Somebody uses the unit, although nobody does: it stays failed, and gets no new domain.
        assert_eq!(machine.take_over(0), Err(EBUSY));
        assert!(unit.has_failed());
        assert_eq!(
            Domain::paging(&machine.registry, &endpoint).err(),
            Some(EIO)
        );
        // At last it stops, and works again.
        hardware.set_stops(true);
        unit.release()?;
        assert!(hardware.is_blocked());
        machine.take_over(0)?;
        unit.enable()?;
        assert!(!unit.has_failed());
        let (group, again) = machine.alone(1)?;
        let domain = machine.paging(&again, &[(0x1000, 0xc000)])?;
        group.set_default(&domain)?;
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xc000));
        group.leave(&again);
        drop((group, again, domain, endpoint, other));
        // The tables that were kept are left: that many, and no more.
        let kept = live() - machine.tables();
        assert!(kept > 0);
        machine.finish_with(kept)
    }

    #[test]
    fn taking_over_a_unit_in_use_is_ebusy() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        assert_eq!(machine.take_over(0), Err(EBUSY));
        machine.finish()
    }
}
