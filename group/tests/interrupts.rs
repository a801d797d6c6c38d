// SPDX-License-Identifier: GPL-2.0

//! Law 9 for groups: which messages of members a unit remaps, and what becomes of them.

#![forbid(unsafe_code)]

use kernel::{macros::kunit_tests, prelude::*, sync::Arc};

use super::{group_of, group_sharing_id, leave_all, SHARED};
use crate::{
    drivers::mock::{machine::Machine, MessageEntry, Options},
    group::Reason,
    interrupt::NotRemapped,
};

const CONTROLLER: u32 = 13;

fn machine() -> Result<Machine> {
    Machine::new(&[Options {
        controller: Some(CONTROLLER),
        ..Options::default()
    }])
}

#[kunit_tests(iommu_core_interrupts)]
mod cases {
    use super::*;

    #[test]
    fn messages_pass_until_they_are_remapped_and_are_refused_after_the_device_has_left() -> Result {
        let machine = machine()?;
        let members = group_of(&machine, 1, 1)?;
        let (group, endpoint) = (&members.0, &members.1[0]);
        let messages = &machine.hardware(0).messages;
        assert_eq!(messages.get(1), MessageEntry::Pass);

        let table = group.remap(endpoint).map_err(|_| EINVAL)?;
        assert_eq!(messages.get(1), MessageEntry::Table(0));
        let again = group.remap(endpoint).map_err(|_| EINVAL)?;
        assert!(Arc::ptr_eq(&table, &again));

        leave_all(&members);
        assert_eq!(messages.get(1), MessageEntry::Refused);
        assert!(group.remap(endpoint).is_err());
        assert_eq!(messages.get(1), MessageEntry::Refused);
        drop((table, again));
        drop(members);
        machine.finish()
    }

    #[test]
    fn members_of_a_group_have_one_table_and_groups_have_different_ones() -> Result {
        let machine = machine()?;
        let (first, second) = (group_of(&machine, 1, 2)?, group_of(&machine, 3, 1)?);
        for (group, endpoints) in [&first, &second] {
            for endpoint in endpoints {
                drop(group.remap(endpoint).map_err(|_| EINVAL)?);
            }
        }
        let messages = &machine.hardware(0).messages;
        assert_eq!(messages.get(1), messages.get(2));
        assert_ne!(messages.get(1), messages.get(3));
        leave_all(&first);
        leave_all(&second);
        drop((first, second));
        machine.finish()
    }

    #[test]
    fn an_id_that_another_member_has_stays_remapped() -> Result {
        let machine = machine()?;
        let members = group_sharing_id(&machine, 2)?;
        let group = &members.0;
        for endpoint in &members.1 {
            drop(group.remap(endpoint).map_err(|_| EINVAL)?);
        }
        group.leave(&members.1[0]);
        let messages = &machine.hardware(0).messages;
        assert_eq!(messages.get(1), MessageEntry::Refused);
        assert_eq!(messages.get(2), MessageEntry::Table(0));
        assert_eq!(messages.get(SHARED), MessageEntry::Table(0));
        group.leave(&members.1[1]);
        assert_eq!(messages.get(SHARED), MessageEntry::Refused);
        drop(members);
        machine.finish()
    }

    #[test]
    fn a_driver_that_relies_on_a_shared_id_keeps_others_from_being_remapped() -> Result {
        let machine = machine()?;
        let members = group_sharing_id(&machine, 2)?;
        let (group, endpoints) = (&members.0, &members.1);
        group.rely_on_messages(&endpoints[0]);
        let refused = group.remap(&endpoints[1]).err();
        assert_eq!(
            refused,
            Some(NotRemapped::SharedWithDevice(endpoints[0].name()))
        );
        let messages = &machine.hardware(0).messages;
        for id in [1, 2, SHARED] {
            assert_eq!(messages.get(id), MessageEntry::Pass);
        }

        group.forgo_messages(&endpoints[0]);
        drop(group.remap(&endpoints[1]).map_err(|_| EINVAL)?);
        assert_eq!(messages.get(SHARED), MessageEntry::Table(0));
        assert_eq!(messages.get(1), MessageEntry::Pass);
        leave_all(&members);
        drop(members);
        machine.finish()
    }

    /// The next device in the place of one that has left may have a driver that relies on messages.
    #[test]
    fn messages_that_were_refused_pass_for_a_driver_that_relies_on_them() -> Result {
        let machine = machine()?;
        let members = group_sharing_id(&machine, 2)?;
        let (group, endpoints) = (&members.0, &members.1);
        drop(group.remap(&endpoints[1]).map_err(|_| EINVAL)?);
        drop(group.remap(&endpoints[0]).map_err(|_| EINVAL)?);
        group.leave(&endpoints[0]);
        let messages = &machine.hardware(0).messages;
        assert_eq!(messages.get(1), MessageEntry::Refused);
        group.join(&endpoints[0], Reason::Platform)?;
        group.rely_on_messages(&endpoints[0]);
        assert_eq!(messages.get(1), MessageEntry::Pass);
        assert_eq!(messages.get(SHARED), MessageEntry::Table(0));
        leave_all(&members);
        drop(members);
        machine.finish()
    }

    #[test]
    fn remapping_that_was_undone_or_has_failed_leaves_messages_as_they_were() -> Result {
        let machine = machine()?;
        let members = group_sharing_id(&machine, 2)?;
        let (group, endpoints) = (&members.0, &members.1);
        let messages = &machine.hardware(0).messages;
        messages.fail_admit.arm(1);
        let failed = group.remap(&endpoints[0]).err();
        assert_eq!(failed, Some(NotRemapped::Failed(ENOMEM.to_errno())));
        assert_eq!(messages.get(1), MessageEntry::Pass);

        for endpoint in endpoints {
            drop(group.remap(endpoint).map_err(|_| EINVAL)?);
        }
        group.end_remapping(&endpoints[0]);
        assert_eq!(messages.get(1), MessageEntry::Pass);
        assert_eq!(messages.get(2), messages.get(SHARED));
        assert_ne!(messages.get(SHARED), MessageEntry::Pass);
        group.end_remapping(&endpoints[1]);
        assert_eq!(messages.get(SHARED), MessageEntry::Pass);
        leave_all(&members);
        drop(members);
        machine.finish()
    }

    #[test]
    fn an_interrupt_controller_keeps_its_messages() -> Result {
        let machine = machine()?;
        let group = machine.group("with a controller")?;
        let endpoint = machine.endpoint(0, &[1, CONTROLLER])?;
        group.join(&endpoint, Reason::Platform)?;
        assert!(group.remap(&endpoint).is_err());
        let messages = &machine.hardware(0).messages;
        assert_eq!(messages.get(1), MessageEntry::Pass);
        assert_eq!(messages.get(CONTROLLER), MessageEntry::Pass);
        group.leave(&endpoint);
        drop((group, endpoint));
        machine.finish()
    }
}
