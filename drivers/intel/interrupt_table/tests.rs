// SPDX-License-Identifier: GPL-2.0

//! A unit in software remaps messages with the table that the driver writes.

#![forbid(unsafe_code)]

use kernel::{io::Io, macros::kunit_tests};

use super::*;
use crate::{
    addr::PhysAddr,
    drivers::{
        intel::{
            hardware::tests::{with, CAP, ECAP},
            mmio::{Registers, MIN_BYTES},
            regs::{
                FSTS, GCMD, GSTS, IQA_HIGH, IQA_LOW, IQH, IQT, IRTA_HIGH, IRTA_LOW, RTADDR_HIGH,
                RTADDR_LOW,
            },
        },
        shell::registers::{Player, Window},
    },
    ffi::raw_spinlock::{new_raw_spinlock, RawSpinLock},
    interrupt::Delivery,
    pgtable::{
        kernel_memory::{KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
};

/// The unit can remap interrupts (IR).
const ECAP_IR: u64 = 1 << 3;

const ID: RequesterId = RequesterId::pci(3, 0x10);
const OTHER: RequesterId = RequesterId::pci(3, 0x18);
const OF_BRIDGE: RequesterId = RequesterId::pci(3, 0);
const FAR: RequesterId = RequesterId::pci(4, 0);

const TARGET: Target = Target {
    vector: 0x31,
    delivery: Delivery::Fixed,
    logical: false,
    destination: 2,
};

const ELSEWHERE: Target = Target {
    vector: 0x42,
    destination: 1,
    ..TARGET
};

/// What the unit in software knows.
#[derive(Default)]
struct State {
    /// IRTA, once the unit was told to take it.
    table: u64,
    /// Entries that it has used.
    cache: [Option<(u16, [u64; 2])>; 8],
    remaps: bool,
    /// It remapped messages while messages in compatibility format passed, or with entries that it
    /// had cached before.
    was_open: bool,
}

/// A unit in software that obeys its registers and executes the descriptors of its queue. It caches
/// every entry that it uses.
#[pin_data]
struct Remapper {
    memory: KernelMemory,
    #[pin]
    state: RawSpinLock<State>,
}

impl Remapper {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                state <- new_raw_spinlock!(State::default()),
            }),
            GFP_KERNEL,
        )
    }

    fn words(&self, address: u64, count: usize) -> &[KernelEntry] {
        self.memory
            .entries(Table::at(PhysAddr::new(address)), count)
    }

    /// A device with id `id` sends the message for entry `index`. Returns vector and destination
    /// (9.9); `None` if the unit refuses.
    fn send(&self, id: RequesterId, index: u16) -> Option<(u8, u8)> {
        let mut state = self.state.lock();
        let known = state.cache.iter().flatten().find(|known| known.0 == index);
        let entry = match known {
            Some(known) => known.1,
            None => {
                let words = self.words(state.table & !0xfff, 2 << 16);
                let at = 2 * usize::from(index);
                let entry = [words[at].load(), words[at + 1].load()];
                let place = state.cache.iter().position(Option::is_none)?;
                state.cache[place] = Some((index, entry));
                entry
            }
        };
        let [low, high] = entry;
        let (first, last) = ((high >> 8) as u8, high as u8);
        let is_from_source = match high >> 18 & 3 {
            1 => high & 0xffff == u64::from(id.raw()),
            2 => (first..=last).contains(&id.bus()),
            _ => true,
        };
        (low & 1 != 0 && is_from_source).then_some(((low >> 16) as u8, (low >> 40) as u8))
    }

    /// Types and granularities of descriptors: 6.5.2.7, 6.5.2.8.
    fn execute(&self, state: &mut State, descriptor: [u64; 2]) {
        let index = (descriptor[0] >> 32) as u16;
        match (descriptor[0] & 0xf, descriptor[0] >> 4 & 1) {
            (4, 0) => state.cache = Default::default(),
            (4, _) => {
                let is_it = |known: &mut (u16, _)| known.0 == index;
                state.cache.iter_mut().for_each(|known| {
                    known.take_if(is_it);
                });
            }
            (5, _) => self.words(descriptor[1], 1)[0].store(descriptor[0] >> 32),
            _ => {}
        }
    }
}

impl Player<MIN_BYTES> for Remapper {
    fn act(&self, window: &Window<MIN_BYTES>) {
        let io = window.io();
        let mut state = self.state.lock();
        let (command, status) = (io.read(GCMD), io.read(GSTS));
        // Nothing but 1s to clear bits that were 0 is ever written there.
        io.write_reg(FSTS::from(0));
        if command.set_interrupt_table() {
            state.table = window.read_halves::<IRTA_LOW, IRTA_HIGH>();
        }
        let command = command
            .with_set_root_table(false)
            .with_set_interrupt_table(false);
        io.write_reg(command);
        let root = window.read_halves::<RTADDR_LOW, RTADDR_HIGH>();
        io.write_reg(
            GSTS::from(u32::from(command))
                .with_root_table_set(root != 0)
                .with_interrupt_table_set(state.table != 0),
        );
        if command.interrupt_remapping() && !state.remaps {
            state.was_open |=
                command.compatibility_interrupts() || state.cache.iter().any(Option::is_some);
        }
        state.remaps = command.interrupt_remapping();
        if !(status.queue() && command.queue()) {
            return io.write_reg(IQH::from(0));
        }
        let queue = window.read_halves::<IQA_LOW, IQA_HIGH>();
        let tail = u32::from(io.read(IQT));
        let mut head = u32::from(io.read(IQH));
        while head != tail {
            let words = self.words(queue & !0xfff, 512);
            let at = head as usize / 8;
            self.execute(&mut state, [words[at].load(), words[at + 1].load()]);
            head = (head + 16) % 4096;
        }
        io.write_reg(IQH::from(head));
    }
}

/// A unit that remaps messages, and the table of a group behind it.
fn remapping() -> Result<(Arc<Remapper>, Arc<Hardware>, Arc<GroupTable>)> {
    let unit = Remapper::new()?;
    let registers = Registers::played(unit.clone())?;
    let hardware = with(CAP, ECAP | ECAP_IR, registers, false)?;
    // Firmware lets messages in compatibility format pass, and has used the unit.
    let lets_pass = GSTS::zeroed().with_compatibility_interrupts(true);
    hardware.registers.io().write_reg(lets_pass);
    hardware.registers.io().write_reg(lets_pass.repeat());
    unit.state.lock().cache[0] = Some((0, [0x0000_0100_0011_0001, 0]));
    hardware.start()?;
    hardware.remap_messages(false)?;
    hardware.remapping.set(Ok(()));
    let table = hardware.remapping.wanted().ok_or(ENODEV)?.clone();
    let group = GroupTable::new(&hardware, &table)?;
    Ok((unit, hardware, group))
}

#[kunit_tests(iommu_core_intel_interrupts)]
mod cases {
    use super::*;

    #[test]
    fn a_unit_starts_to_remap_without_a_moment_in_which_others_pass() -> Result {
        let (unit, hardware, _group) = remapping()?;
        let state = unit.state.lock();
        assert!(state.remaps && !state.was_open);
        // 65,536 entries (S is 15), destinations of 8 bits (EIME is 0).
        assert_eq!(state.table & 0xfff, 15);
        drop(state);
        assert_eq!(unit.send(ID, 0), None);
        hardware.stop()?;
        assert!(!unit.state.lock().remaps);
        Ok(())
    }

    #[test]
    fn entries_take_messages_of_their_device_only() -> Result {
        let (unit, hardware, group) = remapping()?;
        let own = group.reserve(Label::from("a device"), &[ID], 2)?;
        let of_bus = group.reserve(Label::from("another"), &[OTHER, OF_BRIDGE], 1)?;
        assert_eq!(unit.send(ID, own), None);
        for index in [own, own + 1, of_bus] {
            group.point(index, Some(TARGET))?;
        }
        let arrives = Some((0x31, 2));
        assert_eq!(
            (unit.send(ID, own), unit.send(ID, own + 1)),
            (arrives, arrives)
        );
        assert_eq!((unit.send(OTHER, own), unit.send(FAR, own)), (None, None));
        for id in [OTHER, OF_BRIDGE] {
            assert_eq!(unit.send(id, of_bus), arrives);
        }
        assert_eq!(unit.send(FAR, of_bus), None);
        // No entry can check these and no others.
        let several = group.reserve(Label::from("a third"), &[ID, FAR], 1);
        assert_eq!(several, Err(EINVAL));
        hardware.stop()
    }

    #[test]
    fn a_change_takes_effect_before_it_returns() -> Result {
        let (unit, hardware, group) = remapping()?;
        let first = group.reserve(Label::from("a device"), &[ID], 1)?;
        for (target, expected) in [
            (Some(TARGET), Some((0x31, 2))),
            (Some(ELSEWHERE), Some((0x42, 1))),
            (None, None),
            (Some(TARGET), Some((0x31, 2))),
        ] {
            group.point(first, target)?;
            assert_eq!(unit.send(ID, first), expected);
        }
        let far = Target {
            destination: 0x100,
            ..TARGET
        };
        assert_eq!(group.point(first, Some(far)), Err(EINVAL));
        assert_eq!(unit.send(ID, first), Some((0x31, 2)));
        group.free(first);
        assert_eq!(unit.send(ID, first), None);
        hardware.stop()
    }

    /// Law 9: what was given to a device ends with it.
    #[test]
    fn a_device_that_left_raises_nothing() -> Result {
        let (unit, hardware, group) = remapping()?;
        let gone = group.reserve(Label::from("a device"), &[ID], 1)?;
        let stays = group.reserve(Label::from("another"), &[OTHER], 1)?;
        for index in [gone, stays] {
            group.point(index, Some(TARGET))?;
        }
        assert!(unit.send(ID, gone).is_some() && unit.send(OTHER, stays).is_some());
        group.expel(&[ID]);
        assert_eq!(unit.send(ID, gone), None);
        assert!(unit.send(OTHER, stays).is_some());
        hardware.stop()
    }

    #[test]
    fn a_full_table_is_refused() -> Result {
        let (_unit, hardware, group) = remapping()?;
        let user = Label::from("a device");
        assert_eq!(group.reserve(user, &[ID], 0x8000)?, 0);
        assert_eq!(group.reserve(user, &[ID], 0x4000)?, 0x8000);
        assert_eq!(group.reserve(user, &[ID], 0x8000), Err(ENOSPC));
        assert_eq!(group.reserve(user, &[ID], 0x4000)?, 0xc000);
        assert_eq!(group.reserve(user, &[ID], 1), Err(ENOSPC));
        group.free(0xc000);
        assert_eq!(group.reserve(user, &[ID], 1)?, 0xc000);
        hardware.stop()
    }

    #[test]
    fn a_unit_remaps_again_after_a_sleep() -> Result {
        let (unit, hardware, group) = remapping()?;
        let first = group.reserve(Label::from("a device"), &[ID], 1)?;
        group.point(first, Some(TARGET))?;
        hardware.suspend()?;
        assert!(!unit.state.lock().remaps);
        hardware.resume()?;
        let state = unit.state.lock();
        assert!(state.remaps && !state.was_open);
        drop(state);
        assert_eq!(unit.send(ID, first), Some((0x31, 2)));
        hardware.stop()
    }
}
