// SPDX-License-Identifier: GPL-2.0

//! Endpoints that share requester ids: an attach treats the shared id once (law 3). When one of the
//! endpoints leaves, the others keep the shared id, and it does not stay open for the one that left
//! (law 7).

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*, sync::Arc};

use super::{group_sharing_id, leave_all, SHARED};
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
        // All members were blocked before, so nothing is written.
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
    fn a_member_that_drives_no_id_makes_no_call_to_the_unit() -> Result {
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
    fn law_7_a_shared_id_is_transferred_to_another_member() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let mut test_group = group_sharing_id(&machine, 3)?;
        let group = &test_group.0;
        let a = test_group.1.remove(0)?;
        let (b, c) = (&test_group.1[0], &test_group.1[1]);
        let first = machine.paging(&a, &[(0x1000, 0xa000)])?;
        let second = machine.paging(&a, &[(0x1000, 0xb000)])?;
        group.set_default(&first)?;
        let entries = machine.hardware(0).counts().entries;
        group.leave(&a);
        // Only the entry of the leaving member's own id is written.
        assert_eq!(machine.hardware(0).counts().entries, entries + 1);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xa000));
        // The remaining member drives the shared id now: its next attach includes the id, and the
        // driver gets the id in the member's step.
        group.set_default(&second)?;
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xb000));
        drop((first, a));
        group.leave(b);
        assert_eq!(machine.dma(0, SHARED, 0x1000), Some(0xb000));
        group.leave(c);
        assert_eq!(machine.dma(0, SHARED, 0x1000), None);
        let shared = RequesterId::new(SHARED);
        assert_eq!(machine.hardware(0).entry(shared), Entry::Blocked);
        drop((second, test_group));
        machine.finish()
    }

    #[test]
    fn a_fault_of_a_shared_id_is_attributed_to_the_remaining_member() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let mut test_group = group_sharing_id(&machine, 2)?;
        let group = &test_group.0;
        let a = test_group.1.remove(0)?;
        let fault = Fault {
            requester: RequesterId::new(SHARED),
            pasid: None,
            address: None,
            access: Some(Access::Read),
            code: 1,
            reason: "blocked",
        };
        let is_of = |endpoint: &Arc<_>| {
            let found = machine.endpoint_of(0, &fault);
            found.is_some_and(|found| Arc::ptr_eq(&found, endpoint))
        };
        assert!(is_of(&a));
        group.leave(&a);
        assert!(is_of(&test_group.1[0]));
        drop(a);
        machine.report_fault(0, &fault);
        assert_eq!(group.faults.lock().count, 1);
        leave_all(&test_group);
        drop(test_group);
        machine.finish()
    }

    #[test]
    fn a_return_to_the_default_domain_includes_transferred_ids() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let test_group = group_sharing_id(&machine, 2)?;
        let (group, a, b) = (&test_group.0, &test_group.1[0], &test_group.1[1]);
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
        drop((default, domain, test_group));
        machine.finish()
    }
}
