// SPDX-License-Identifier: GPL-2.0

//! Members that are blocked on their own while their devices are reset.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{disband, party, settled, sharing, SHARED};
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
    fn a_member_is_blocked_and_comes_back() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let party = party(&machine, 0, 2)?;
        let (group, endpoints) = (&party.0, &party.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.suspend(&endpoints[0])?;
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        // Once is enough.
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
        disband(&party);
        drop((domain, stranger, party));
        machine.finish()
    }

    #[test]
    fn law_7_a_member_in_reset_stays_blocked_whatever_the_group_does() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let party = party(&machine, 0, 2)?;
        let (group, endpoints) = (&party.0, &party.1);
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
        disband(&party);
        drop((default, other, domain, party));
        machine.finish()
    }

    #[test]
    fn a_claim_that_began_and_one_that_ended_during_a_reset() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint, default) = settled(&machine, 1)?;
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
    fn a_member_that_leaves_during_its_reset() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let party = party(&machine, 0, 2)?;
        let (group, endpoints) = (&party.0, &party.1);
        let domain = machine.paging(&endpoints[0], &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.suspend(&endpoints[0])?;
        group.leave(&endpoints[0]);
        assert_eq!(machine.dma(0, 0, 0x1000), None);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        disband(&party);
        drop((domain, party));
        machine.finish()
    }

    #[test]
    fn a_reset_does_not_cut_off_who_shares_an_id() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let party = sharing(&machine, 2)?;
        let (group, a, b) = (&party.0, &party.1[0], &party.1[1]);
        let domain = machine.paging(a, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        group.suspend(a)?;
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        // The last of them that stops stops it, and the first that comes back brings it back.
        group.suspend(b)?;
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.resume(a);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        assert_eq!(machine.dma(0, 2, 0x1000), None);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        group.resume(b);
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0xa000));
        disband(&party);
        drop((domain, party));
        machine.finish()
    }

    #[test]
    fn law_7_a_shared_id_is_not_left_open_for_a_member_in_reset() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let party = sharing(&machine, 2)?;
        let (group, a, b) = (&party.0, &party.1[0], &party.1[1]);
        let first = machine.paging(a, &[(0x1000, 0xa000)])?;
        let second = machine.paging(a, &[(0x1000, 0xb000)])?;
        group.set_default(&first)?;
        group.suspend(b)?;
        group.leave(a);
        // Only b is left, and b is blocked, under all of its ids.
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.set_default(&second)?;
        drop(first);
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        group.resume(b);
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0xb000));
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xb000));
        group.leave(b);
        assert!(machine.hardware(0).is_blocked());
        drop((second, party));
        machine.finish()
    }

    #[test]
    fn a_member_that_joins_brings_a_shared_id_back() -> Result {
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
}
