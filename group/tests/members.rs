// SPDX-License-Identifier: GPL-2.0

//! Members that join and leave: law 2 for groups, faults, and what debugfs shows of a group.

#![forbid(unsafe_code)]

use core::fmt;

use kernel::{macros::kunit_tests, prelude::*};

use crate::{
    addr::Iova,
    drivers::mock::{
        machine::{map, Machine},
        Options,
    },
    fault::{Access, Fault},
    group::Reason,
    requester::RequesterId,
};

/// Text that a test examines when it is complete.
struct Text {
    bytes: KVec<u8>,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes
            .extend_from_slice(text.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}

impl Text {
    fn says(&self, what: &str) -> bool {
        core::str::from_utf8(&self.bytes).is_ok_and(|text| text.contains(what))
    }
}

fn fault_of(id: u32) -> Fault {
    Fault {
        requester: RequesterId::new(id),
        pasid: None,
        address: Some(Iova::new(0x1000)),
        access: Some(Access::Write),
        code: 5,
        reason: "the page is not writable",
    }
}

#[kunit_tests(iommu_core_members)]
mod suite {
    use super::*;

    #[test]
    fn law_2_unplug_of_the_device_a_domain_was_allocated_with() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (first, a) = machine.alone(1)?;
        let (second, b) = machine.alone(2)?;
        let domain = machine.paging(&a, &[(0x1000, 0xa000)])?;
        first.set_default(&domain)?;
        second.set_default(&domain)?;
        assert_eq!(domain.record().groups(), 2);
        assert_eq!(machine.hardware(0).tags_in_use(), 1);

        first.leave(&a);
        drop((first, a));
        assert_eq!(domain.record().groups(), 1);
        assert_eq!(machine.dma(0, 1, 0x1000), None);
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0xa000));
        map(&domain, 0x2000, 0xb000, 0x1000)?;
        assert_eq!(machine.dma(0, 2, 0x2000), Some(0xb000));
        second.leave(&b);
        drop((domain, second, b));
        machine.finish()
    }

    #[test]
    fn law_2_a_group_keeps_its_domain_and_the_last_detach_frees_it() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (first, a) = machine.alone(1)?;
        let (second, b) = machine.alone(2)?;
        let domain = machine.paging(&a, &[(0x1000, 0xa000)])?;
        first.set_default(&domain)?;
        second.set_default(&domain)?;
        let domains = machine.domains();
        drop(domain);
        assert_eq!(machine.domains(), domains);
        assert_eq!(machine.dma(0, 1, 0x1000), Some(0xa000));
        first.set_default(&machine.blocked)?;
        assert_eq!(machine.domains(), domains);
        assert_eq!(machine.dma(0, 2, 0x1000), Some(0xa000));
        second.set_default(&machine.blocked)?;
        assert_eq!(machine.domains(), domains - 1);
        assert_eq!(machine.dma(0, 2, 0x1000), None);
        first.leave(&a);
        second.leave(&b);
        drop((a, b, first, second));
        machine.finish()
    }

    #[test]
    fn a_device_is_in_one_group() -> Result {
        let machine = Machine::new(&[Options::default(), Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        assert_eq!(group.join(&endpoint, Reason::Isolated), Err(EEXIST));
        let other = machine.group("other")?;
        let before = machine.snapshot()?;
        // The last of its ids is taken: the join fails, and the other two ids are free again.
        let sharer = machine.endpoint(0, &[2, 3, 1])?;
        assert_eq!(other.join(&sharer, Reason::Isolated), Err(EBUSY));
        assert!(machine.snapshot()? == before);
        assert!(other.is_empty());
        let free = machine.endpoint(0, &[3])?;
        other.join(&free, Reason::Isolated)?;
        // The same id behind another unit belongs to another device.
        let elsewhere = machine.endpoint(1, &[1])?;
        other.join(&elsewhere, Reason::Platform)?;
        other.leave(&free);
        other.leave(&elsewhere);
        other.leave(&elsewhere);
        group.leave(&endpoint);
        // The id is free now, so the other group can have it.
        other.join(&sharer, Reason::Isolated)?;
        other.leave(&sharer);
        drop((endpoint, sharer, free, elsewhere, group, other));
        machine.finish()
    }

    #[test]
    fn a_driver_stops_counting_when_its_device_leaves() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let other = machine.endpoint(0, &[2])?;
        group.join(&other, Reason::Platform)?;
        group.start_dma_api(&endpoint, "first".into())?;
        group.start_dma_api(&other, "second".into())?;
        group.leave(&endpoint);
        assert_eq!(
            group.ownership(),
            crate::ownership::Ownership::Kernel { users: 1 }
        );
        group.leave(&other);
        assert_eq!(group.ownership(), crate::ownership::Ownership::Free);
        drop((endpoint, other, group));
        machine.finish()
    }

    #[test]
    fn a_device_without_ids_is_einval() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let mut device = machine.device(0, &[1])?;
        device.ids.clear();
        let endpoint = crate::endpoint::Endpoint::new(&machine.units, device);
        assert_eq!(endpoint.err(), Some(EINVAL));
        // A device behind no unit has no endpoint.
        assert_eq!(machine.endpoint(3, &[1]).err(), Some(ENODEV));
        machine.finish()
    }

    #[test]
    fn faults_are_counted_by_group_and_few_are_printed() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (first, a) = machine.alone(1)?;
        let (second, b) = machine.alone(2)?;
        for _ in 0..100 {
            machine.report_fault(0, &fault_of(1));
        }
        machine.report_fault(0, &fault_of(2));
        machine.report_fault(0, &fault_of(3));
        assert_eq!(first.faults.lock().count, 100);
        assert_eq!(second.faults.lock().count, 1);
        assert_eq!(machine.faults_of_unknown_ids(0), 1);
        // Ten faults are printed in the first five seconds. Faults of another group are not
        // suppressed.
        assert_eq!(
            first.faults.lock().limit.check(0),
            crate::fault::Verdict::Suppress
        );
        assert!(matches!(
            second.faults.lock().limit.check(0),
            crate::fault::Verdict::Print { suppressed: 0 }
        ));
        first.leave(&a);
        machine.report_fault(0, &fault_of(1));
        assert_eq!(first.faults.lock().count, 100);
        assert_eq!(machine.faults_of_unknown_ids(0), 2);
        second.leave(&b);
        drop((first, a, second, b));
        machine.finish()
    }

    #[test]
    fn debugfs_shows_a_group() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let sharer = machine.endpoint(0, &[2, 1])?;
        let reason = Reason::SharedId {
            id: RequesterId::new(1),
            with: endpoint.name(),
        };
        group.join(&sharer, reason)?;
        let domain = machine.identity()?;
        group.set_default(&domain)?;
        group.start_dma_api(&sharer, "nvme".into())?;
        machine.report_fault(0, &fault_of(1));
        let mut text = Text { bytes: KVec::new() };
        assert!(group.show(&mut text).is_ok());
        assert!(text.says("domain   identity domain"));
        assert!(text.says("owner    kernel (1 driver)"));
        assert!(text.says("faults   1, last: 00:00.1 write at 0x1000"));
        assert!(text.says("member   device 0:1 behind mock0, tag 0, ids 00:00.1: isolated"));
        assert!(text.says("driver nvme, ids 00:00.2 00:00.1: shares requester id 00:00.1 with"));
        group.leave(&endpoint);
        group.leave(&sharer);
        drop((domain, endpoint, sharer, group));
        machine.finish()
    }

    #[test]
    fn sysfs_shows_a_group_and_no_address() -> Result {
        let machine = Machine::new(&[Options::default()])?;
        let (group, endpoint) = machine.alone(1)?;
        let (other, stranger) = machine.alone(2)?;
        let mut before = Text { bytes: KVec::new() };
        assert!(group.show_fault_count(&mut before).is_ok());
        assert!(group.show_last_fault(&mut before).is_ok());
        assert_eq!(&before.bytes[..], b"0\nnone\n");
        machine.report_fault(0, &fault_of(1));
        let mut text = Text { bytes: KVec::new() };
        assert!(group.show_owner(&mut text).is_ok());
        assert!(group.show_domain(&mut text).is_ok());
        assert!(group.show_reason(&endpoint, &mut text).is_ok());
        assert!(group.show_fault_count(&mut text).is_ok());
        assert!(group.show_last_fault(&mut text).is_ok());
        assert!(text.says("nobody\nblocked domain "));
        assert!(text.says("\nisolated\n1\n"));
        assert!(text.says("\n00:00.1 write: the page is not writable (reason 0x05)\n"));
        assert!(!text.says("0x1000"));
        let mut nothing = Text { bytes: KVec::new() };
        assert!(group.show_reason(&stranger, &mut nothing).is_ok());
        assert!(nothing.bytes.is_empty());
        group.leave(&endpoint);
        other.leave(&stranger);
        drop((endpoint, group, stranger, other));
        machine.finish()
    }
}
