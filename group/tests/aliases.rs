// SPDX-License-Identifier: GPL-2.0

//! Endpoints that share requester ids: one for an attach (law 3), and nobody loses the shared id or
//! keeps it open when the other goes (law 7).

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*};

use super::{disband, sharing, SHARED};
use crate::{
    drivers::mock::{
        machine::{owner, Machine},
        Entry, Options,
    },
    fault::{Access, Fault},
    group::Reason,
    requester::RequesterId,
};

#[kunit_tests(iommu_core_aliases)]
mod suite {
    use super::*;

    #[test]
    fn law_3_a_shared_id_is_written_once() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let group = machine.group("group")?;
        let a = machine.endpoint(0, &[1, SHARED])?;
        let b = machine.endpoint(0, &[2, SHARED])?;
        let c = machine.endpoint(0, &[SHARED])?;
        for endpoint in [&a, &b, &c] {
            group.join(endpoint, Reason::Platform)?;
        }
        // All of them were blocked, and are.
        assert_eq!(machine.hardware(0).counts().entries, 0);
        let domain = machine.paging(&a, &[(0x1000, 0xa000)])?;
        group.set_default(&domain)?;
        let counts = machine.hardware(0).counts();
        assert_eq!(counts.entries, 3);
        assert_eq!(counts.commits, 1);
        assert_eq!(counts.waits, 1);
        for id in [1, 2, SHARED] {
            assert_eq!(machine.dma(0, id, 0x1000), Some(0xa000));
        }
        for endpoint in [&c, &b, &a] {
            group.leave(endpoint);
        }
        assert_eq!(machine.hardware(0).counts().entries, 6);
        drop((domain, a, b, c, group));
        machine.finish()
    }

    #[test]
    fn a_member_that_drives_nothing_asks_nothing_of_the_unit() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let group = machine.group("group")?;
        let a = machine.endpoint(0, &[1, SHARED])?;
        let b = machine.endpoint(0, &[SHARED])?;
        let domain = machine.paging(&a, &[])?;
        group.set_default(&domain)?;
        group.join(&a, Reason::Platform)?;
        let counts = machine.hardware(0).counts();
        group.join(&b, Reason::Platform)?;
        assert_eq!(machine.hardware(0).counts(), counts);
        group.leave(&b);
        assert_eq!(machine.hardware(0).counts(), counts);
        group.leave(&a);
        drop((domain, a, b, group));
        machine.finish()
    }

    #[test]
    fn law_7_a_shared_id_is_handed_over() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let mut party = sharing(&machine, 3)?;
        let group = &party.0;
        let a = party.1.remove(0)?;
        let (b, c) = (&party.1[0], &party.1[1]);
        let first = machine.paging(&a, &[(0x1000, 0xa000)])?;
        let second = machine.paging(&a, &[(0x1000, 0xb000)])?;
        group.set_default(&first)?;
        let entries = machine.hardware(0).counts().entries;
        group.leave(&a);
        // Its own id only.
        assert_eq!(machine.hardware(0).counts().entries, entries + 1);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        // Who has it now takes it along, and the driver is told of it.
        group.set_default(&second)?;
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xb000));
        drop((first, a));
        group.leave(b);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xb000));
        group.leave(c);
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        let shared = RequesterId::new(SHARED);
        assert_eq!(machine.hardware(0).entry(shared), Entry::Blocked);
        drop((second, party));
        machine.finish()
    }

    #[test]
    fn a_fault_is_named_after_who_is_left() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let mut party = sharing(&machine, 2)?;
        let group = &party.0;
        let a = party.1.remove(0)?;
        group.leave(&a);
        drop(a);
        let fault = Fault {
            requester: RequesterId::new(SHARED),
            address: None,
            access: Some(Access::Read),
            code: 1,
            reason: "blocked",
        };
        machine.report_fault(0, &fault);
        assert_eq!(group.faults.lock().count, 1);
        disband(&party);
        drop(party);
        machine.finish()
    }

    #[test]
    fn the_way_home_includes_ids_that_were_handed_over() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let party = sharing(&machine, 2)?;
        let (group, a, b) = (&party.0, &party.1[0], &party.1[1]);
        let default = machine.paging(a, &[(0x1000, 0xa000)])?;
        let domain = machine.paging(a, &[(0x1000, 0xb000)])?;
        group.set_default(&default)?;
        let claim = group.claim(owner(1, "tester"))?;
        claim.attach(&domain)?;
        group.leave(a);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xb000));
        drop(claim);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        group.leave(b);
        drop((default, domain, party));
        machine.finish()
    }
}
