// SPDX-License-Identifier: GPL-2.0

//! Interrupt tables of a unit that is off, and so carries out every batch at once; and of a unit in
//! software that caches what it has used.

#![forbid(unsafe_code)]

use kernel::{io::Io, macros::kunit_tests};

use super::*;
use crate::{
    addr::PhysAddr,
    drivers::{
        amd::{
            capability::TableKind,
            hardware::tests::{describe_unit_with, forget, unit_with_tables, FEATURES},
            mmio::{Registers, BYTES},
            regs::{
                COMMAND_BASE_HIGH, COMMAND_BASE_LOW, COMMAND_HEAD, COMMAND_TAIL, CONTROL_LOW,
                DEVICE_TABLE_HIGH, DEVICE_TABLE_LOW, STATUS,
            },
        },
        shell::{
            registers::{join, Player, Window},
            unit::UnitHardware,
        },
    },
    interrupt::Delivery,
    pgtable::{kernel_memory::KernelMemory, Table, TableMemory},
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

const ELSEWHERE: Target = Target {
    vector: 0x42,
    destination: 1,
    ..TARGET
};

/// What the unit in software has cached: the third word of a device table entry by device id, and
/// an entry of an interrupt table by device id and index.
#[derive(Default)]
struct Cache {
    devices: [Option<(u16, u64)>; 4],
    interrupts: [Option<(u16, u16, [u64; 2])>; 8],
}

/// A unit in software that remaps messages, and executes the commands of its buffer.
#[pin_data]
struct Remapper {
    memory: KernelMemory,
    #[pin]
    cache: RawSpinLock<Cache>,
}

/// Stores `new` where there is none yet.
fn keep<T: Copy>(cache: &mut [Option<T>], new: T) -> Option<T> {
    let place = cache.iter_mut().find(|place| place.is_none())?;
    *place = Some(new);
    Some(new)
}

impl Remapper {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                cache <- new_raw_spinlock!(Cache::default()),
            }),
            GFP_KERNEL,
        )
    }

    fn words(&self, address: u64, count: usize) -> &[KernelEntry] {
        self.memory
            .entries(Table::at(PhysAddr::new(address)), count)
    }

    /// A device with id `id` sends the message for entry `index`. Returns vector and destination;
    /// `None` if the unit refuses. 2.2.2: IV bit 128, IntTabLen bits 132:129, table bits 179:134,
    /// IntCtl bits 189:188. 2.2.5.2: RemapEn bit 0, destination bits 31:8, vector bits 71:64.
    fn send(&self, hardware: &Hardware, id: RequesterId, index: u16) -> Option<(u8, u8)> {
        let mut cache = self.cache.lock();
        let device = id.raw() as u16;
        let known = cache
            .devices
            .iter()
            .flatten()
            .find(|known| known.0 == device);
        let third = match known {
            Some(known) => known.1,
            None => {
                let io = hardware.registers.io();
                let (low, high) = (io.read(DEVICE_TABLE_LOW), io.read(DEVICE_TABLE_HIGH));
                let base = join(low.into(), high.into()) & 0xf_ffff_ffff_f000;
                let third = self.words(base, 4 << 10)[4 * usize::from(device) + 2].load();
                keep(&mut cache.devices, (device, third))?.1
            }
        };
        if third & 1 == 0 || third >> 60 & 3 != 2 || index >> (third >> 1 & 0xf) != 0 {
            return None;
        }
        let is_it = |known: &&(u16, u16, [u64; 2])| (known.0, known.1) == (device, index);
        let known = cache.interrupts.iter().flatten().find(is_it);
        let [low, high] = match known {
            Some(known) => known.2,
            None => {
                let words = self.words(third & 0xf_ffff_ffff_ffc0, 2 << (third >> 1 & 0xf));
                let at = 2 * usize::from(index);
                let entry = [words[at].load(), words[at + 1].load()];
                keep(&mut cache.interrupts, (device, index, entry))?.2
            }
        };
        (low & 1 != 0).then_some((high as u8, (low >> 8) as u8))
    }

    fn execute(&self, cache: &mut Cache, command: [u64; 2]) {
        let device = command[0] as u16;
        match command[0] >> 60 {
            1 if command[0] & 1 != 0 => {
                self.words(command[0] & 0xf_ffff_ffff_fff8, 1)[0].store(command[1]);
            }
            2 => cache.devices.iter_mut().for_each(|known| {
                known.take_if(|known| known.0 == device);
            }),
            5 => cache.interrupts.iter_mut().for_each(|known| {
                known.take_if(|known| known.0 == device);
            }),
            8 => *cache = Cache::default(),
            _ => {}
        }
    }
}

impl Player<BYTES> for Remapper {
    fn act(&self, window: &Window<BYTES>) {
        let io = window.io();
        let mut cache = self.cache.lock();
        let control = io.read(CONTROL_LOW);
        let takes = control.enable() && control.commands();
        io.write_reg(STATUS::zeroed().with_commands(takes));
        if !takes {
            return;
        }
        let (low, high) = (io.read(COMMAND_BASE_LOW), io.read(COMMAND_BASE_HIGH));
        let base = join(low.into(), high.into());
        let slots = 1usize << (base >> 56 & 0xf);
        let words = self.words(base & 0xf_ffff_ffff_f000, slots * 2);
        let mut head = u32::from(io.read(COMMAND_HEAD)) as usize / 16;
        let tail = u32::from(io.read(COMMAND_TAIL)) as usize / 16;
        while head != tail {
            let command = [words[head * 2].load(), words[head * 2 + 1].load()];
            self.execute(&mut cache, command);
            head = (head + 1) % slots;
        }
        io.write_reg(COMMAND_HEAD::from(head as u32 * 16));
    }
}

/// A unit that is on, and a table to which [`IDS`] lead.
fn remapping() -> Result<(Arc<Remapper>, Arc<Hardware>, Arc<GroupTable>)> {
    let unit = Remapper::new()?;
    let registers = Registers::played(unit.clone())?;
    let hardware = describe_unit_with(FEATURES, false, registers)?;
    hardware.start()?;
    hardware.enable()?;
    let remapping = hardware.properties.remapping.map_err(|_| ENODEV)?;
    let table = GroupTable::new(&hardware, remapping)?;
    // The unit has cached that messages pass.
    assert!(IDS.iter().all(|&id| unit.send(&hardware, id, 0).is_none()));
    table.admit(&IDS)?;
    Ok((unit, hardware, table))
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

    #[test]
    fn a_change_takes_effect_before_it_returns() -> Result {
        let (unit, hardware, table) = remapping()?;
        let first = table.reserve(Label::from("a device"), &IDS, 1)?;
        for (target, expected) in [
            (Some(TARGET), Some((0x31, 2))),
            (Some(ELSEWHERE), Some((0x42, 1))),
            (None, None),
            (Some(TARGET), Some((0x31, 2))),
        ] {
            table.point(first, target)?;
            for id in IDS {
                assert_eq!(unit.send(&hardware, id, first), expected);
            }
        }
        table.free(first);
        assert_eq!(unit.send(&hardware, IDS[0], first), None);
        drop(table);
        hardware.stop()
    }

    /// Law 9: what was given to a device ends with it.
    #[test]
    fn a_device_that_left_raises_nothing() -> Result {
        let (unit, hardware, table) = remapping()?;
        let first = table.reserve(Label::from("a device"), &IDS, 1)?;
        table.point(first, Some(TARGET))?;
        assert!(IDS
            .iter()
            .all(|&id| unit.send(&hardware, id, first).is_some()));
        table.expel(&IDS[..1]);
        assert_eq!(unit.send(&hardware, IDS[0], first), None);
        assert_eq!(unit.send(&hardware, IDS[1], first), Some((0x31, 2)));
        table.expel(&IDS[1..]);
        drop(table);
        hardware.stop()
    }

    #[test]
    fn messages_arrive_before_and_after_a_table_grows() -> Result {
        let (unit, hardware, table) = remapping()?;
        let user = Label::from("a device");
        let first = table.reserve(user, &IDS, 1)?;
        table.point(first, Some(TARGET))?;
        assert_eq!(unit.send(&hardware, IDS[0], first), Some((0x31, 2)));
        while length_of(&hardware, IDS[0]) == Some(8) {
            table.reserve(user, &IDS, 32)?;
        }
        assert_eq!(unit.send(&hardware, IDS[0], first), Some((0x31, 2)));
        let far = table.reserve(user, &IDS, 32)?;
        assert!(far >= 256);
        table.point(far, Some(ELSEWHERE))?;
        table.point(first, Some(ELSEWHERE))?;
        for index in [first, far] {
            assert_eq!(unit.send(&hardware, IDS[0], index), Some((0x42, 1)));
        }
        drop(table);
        hardware.stop()
    }
}
