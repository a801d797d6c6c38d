// SPDX-License-Identifier: GPL-2.0

//! Interrupt tables of a unit that is off, and so carries out every batch at once.

#![forbid(unsafe_code)]

use kernel::macros::kunit_tests;

use super::*;
use crate::{
    drivers::{
        amd::{
            capability::TableKind,
            hardware::tests::{forget, unit_with_tables},
        },
        shell::unit::UnitHardware,
    },
    interrupt::Delivery,
};

const IDS: [RequesterId; 2] = [RequesterId::new(0x12), RequesterId::new(0x13)];

const TARGET: Target = Target {
    vector: 0x31,
    delivery: Delivery::Fixed,
    logical: false,
    destination: 2,
};

/// A table, on a unit that was taken over.
fn table() -> Result<(Arc<Hardware>, Arc<GroupTable>)> {
    let hardware = unit_with_tables(TableKind::Host)?;
    hardware.start()?;
    let remapping = hardware.properties.remapping.map_err(|_| ENODEV)?;
    let table = GroupTable::new(&hardware, remapping)?;
    Ok((hardware, table))
}

/// The number of entries, as a power of two, that the device table says for `id`; `None` if its
/// messages are not remapped.
fn length_of(hardware: &Hardware, id: RequesterId) -> Option<u8> {
    match hardware.tables.read(id)?.interrupts {
        Interrupts::Remapped { length_lg2, .. } => Some(length_lg2),
        _ => None,
    }
}

#[kunit_tests(iommu_core_amd_interrupts)]
mod cases {
    use super::*;

    #[test]
    fn ids_lead_to_a_table_from_admission_on_and_refuse_when_they_are_expelled() -> Result {
        let (hardware, table) = table()?;
        let interrupts = |id| hardware.tables.read(id).map(|entry| entry.interrupts);
        assert_eq!(interrupts(IDS[0]), Some(Interrupts::Pass));
        table.admit(&IDS)?;
        let address = table.memory.lock().pages.addr().raw();
        for id in IDS {
            let expected = Interrupts::Remapped {
                table: address,
                length_lg2: 8,
            };
            assert_eq!(interrupts(id), Some(expected));
        }
        table.expel(&IDS[..1]);
        table.dismiss(&IDS[1..]);
        assert_eq!(interrupts(IDS[0]), Some(Interrupts::Refused));
        assert_eq!(interrupts(IDS[1]), Some(Interrupts::Pass));
        assert!(!table.memory.lock().pages.is_in_use());
        drop(table);
        forget(&hardware);
        Ok(())
    }

    #[test]
    fn a_table_that_is_full_grows_and_keeps_its_entries() -> Result {
        let (hardware, table) = table()?;
        table.admit(&IDS)?;
        let user = Label::from("a device");
        let first = table.reserve(user, &IDS, 1)?;
        table.point(first, Some(TARGET))?;
        // The entries of a page are 256; 32 in a row begin at a multiple of 32.
        for _ in 0..7 {
            assert_eq!(table.reserve(user, &IDS, 32)? % 32, 0);
        }
        assert_eq!(length_of(&hardware, IDS[0]), Some(8));
        assert_eq!(table.reserve(user, &IDS, 32)?, 256);
        for id in IDS {
            assert_eq!(length_of(&hardware, id), Some(9));
        }
        assert_eq!(table.target(&table.memory.lock(), first), Some(TARGET));

        // A unit without NumIntRemapSup has 512 at most.
        while table.reserve(user, &IDS, 32).is_ok() {}
        assert_eq!(table.reserve(user, &IDS, 32), Err(ENOSPC));
        assert_eq!(table.reserve(user, &IDS, 1)?, 1);
        table.expel(&IDS);
        drop(table);
        forget(&hardware);
        Ok(())
    }

    #[test]
    fn entries_refuse_until_they_have_a_target_and_after_they_were_freed() -> Result {
        let (hardware, table) = table()?;
        let user = Label::from("a device");
        let first = table.reserve(user, &IDS, 2)?;
        let target = |index| table.target(&table.memory.lock(), index);
        assert_eq!(target(first), None);
        table.point(first, Some(TARGET))?;
        table.point(first + 1, Some(TARGET))?;
        table.point(first + 1, None)?;
        assert_eq!((target(first), target(first + 1)), (Some(TARGET), None));
        let far = Target {
            destination: 0x100,
            ..TARGET
        };
        assert_eq!(table.point(first, Some(far)), Err(EINVAL));
        assert_eq!(target(first), Some(TARGET));
        table.free(first);
        assert_eq!(target(first), None);
        assert_eq!(table.reserve(user, &IDS, 2)?, first);
        drop(table);
        forget(&hardware);
        Ok(())
    }

    #[test]
    fn a_message_names_the_entry_and_nothing_else() -> Result {
        let (hardware, table) = table()?;
        let message = table.message(0x1a5);
        assert_eq!((message.address, message.data), (0xfee0_0000, 0x1a5));
        drop(table);
        forget(&hardware);
        Ok(())
    }
}
