// SPDX-License-Identifier: GPL-2.0

//! Commits, with what may happen in between: a table that grows, and a unit that executes commands
//! in any order that the specification allows. And the longest batches, those of a takeover.

#![forbid(unsafe_code)]

use kernel::{io::Io, macros::kunit_tests, prelude::*, sync::Arc};

use super::{super::*, hardware, map_with, read, unit, unit_with};
use crate::{
    drivers::{
        amd::{
            hardware::tests::{describe_unit_with, FEATURES, FEATURES_SPLIT},
            mmio::{Registers, BYTES},
            regs::{
                COMMAND_BASE_HIGH, COMMAND_BASE_LOW, COMMAND_HEAD, COMMAND_TAIL, CONTROL_LOW,
                STATUS,
            },
        },
        shell::registers::{join, Player, Window},
    },
    ffi::raw_spinlock::{new_raw_spinlock, RawSpinLock},
    pgtable::{Entry, Table, TableMemory},
};

/// The attach of one endpoint with one id to `paging`. `between` is called before the driver visits
/// the step for the second time.
struct OneStep<'a, F> {
    id: RequesterId,
    data: EndpointData,
    plan: Plan,
    paging: &'a Paging,
    tag: DomainId,
    visits: usize,
    between: F,
}

impl<'a, F: FnMut()> OneStep<'a, F> {
    fn new(id: RequesterId, paging: &'a Paging, tag: DomainId, between: F) -> Self {
        Self {
            id,
            data: EndpointData {
                needs_identity: false,
            },
            plan: Plan::EMPTY,
            paging,
            tag,
            visits: 0,
            between,
        }
    }
}

impl<F: FnMut()> Steps<AmdVi> for OneStep<'_, F> {
    fn for_each(&mut self, mut f: impl FnMut(Step<'_, AmdVi>)) {
        if self.visits == 1 {
            (self.between)();
        }
        self.visits += 1;
        f(Step {
            endpoint: &self.data,
            selector: Selector::NoPasid,
            ids: &[self.id],
            plan: &mut self.plan,
            target: Some(Target::Paging {
                paging: self.paging,
                tag: self.tag,
            }),
        });
    }
}

/// Commands that the unit has taken and not executed, the last one first, and what it has cached of
/// [`ID`] and [`DOMAIN`].
struct Taken {
    pending: KVec<[u64; 2]>,
    /// By id: whether the unit was told that the entry has changed.
    told: KVec<bool>,
    entry: bool,
    translations: bool,
}

const ID: u16 = 0x12;
const DOMAIN: u16 = 5;

/// A unit in software that executes the commands between two fences in the opposite order (2.4).
#[pin_data]
struct Reversing {
    memory: KernelMemory,
    #[pin]
    taken: RawSpinLock<Taken>,
}

impl Reversing {
    fn new() -> Result<Arc<Self>> {
        let taken = Taken {
            // More than a ring holds.
            pending: KVec::with_capacity(1 << 15, GFP_KERNEL)?,
            told: KVec::from_elem(false, 1 << 16, GFP_KERNEL)?,
            entry: false,
            translations: false,
        };
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                taken <- new_raw_spinlock!(taken),
            }),
            GFP_KERNEL,
        )
    }

    fn words(&self, address: u64, count: usize) -> &[<KernelMemory as TableMemory>::Entry] {
        let table = Table::at(PhysAddr::new(address));
        self.memory.entries(table, count)
    }

    fn execute(&self, taken: &mut Taken) {
        while let Some([low, high]) = taken.pending.pop() {
            let is_it = |value: u64| low >> 32 & 0xffff == value;
            match low >> 60 {
                1 if low & 1 != 0 => {
                    self.words(low & 0xf_ffff_ffff_fff8, 1)[0].store(high);
                }
                2 => {
                    taken.told[low as usize & 0xffff] = true;
                    taken.entry &= low & 0xffff != u64::from(ID);
                }
                // The unit fills its caches again through an entry that it has still cached.
                3 if is_it(DOMAIN.into()) => taken.translations = taken.entry,
                8 => (taken.entry, taken.translations) = (false, false),
                _ => {}
            }
        }
    }
}

impl Player<BYTES> for Reversing {
    fn act(&self, window: &Window<BYTES>) {
        let io = window.io();
        let mut taken = self.taken.lock();
        let control = io.read(CONTROL_LOW);
        let takes = control.enable() && control.commands();
        io.write_reg(STATUS::zeroed().with_commands(takes));
        if !takes {
            return;
        }
        let base = join(
            io.read(COMMAND_BASE_LOW).into(),
            io.read(COMMAND_BASE_HIGH).into(),
        );
        let slots = 1usize << (base >> 56 & 0xf);
        let words = self.words(base & 0xf_ffff_ffff_f000, slots * 2);
        let mut head = u32::from(io.read(COMMAND_HEAD)) as usize / 16;
        let tail = u32::from(io.read(COMMAND_TAIL)) as usize / 16;
        while head != tail {
            let command = [words[head * 2].load(), words[head * 2 + 1].load()];
            // A COMPLETION_WAIT is done after all that came before.
            if command[0] >> 60 == 1 {
                self.execute(&mut taken);
            }
            assert!(taken.pending.push_within_capacity(command).is_ok());
            // F: nothing that follows is done before it.
            if command[0] >> 60 == 1 && command[0] & 4 != 0 {
                self.execute(&mut taken);
            }
            head = (head + 1) % slots;
        }
        self.execute(&mut taken);
        io.write_reg(COMMAND_HEAD::from(head as u32 * 16));
    }
}

#[kunit_tests(iommu_core_amd_commits)]
mod suite {
    use super::*;

    /// The thread that grows the table has looked for entries before this one was written.
    #[test]
    fn an_entry_that_a_growing_table_has_overtaken_gets_the_new_top() -> Result {
        let unit = unit(TableKind::Host)?;
        let id = RequesterId::pci(1, 0);
        let paging = Paging::new(hardware(&unit)?.properties.tables, -1)?;
        let tag = AmdVi::acquire_tag(&unit, Some(&paging), Selector::NoPasid)?;
        let before = paging.translation(tag.0);
        let mut grown = Ok(());
        // A commit keeps the queue to itself meanwhile, so nothing sleeps.
        let grow = || grown = map_with(&paging, 1 << 39, 0x1000, Gfp::ATOMIC);
        AmdVi::commit(&unit, &mut OneStep::new(id, &paging, tag, grow));
        grown?;
        let after = paging.translation(tag.0);
        assert!(before != after);
        assert_eq!(read(&unit, id), Some(after));
        hardware(&unit)?.tables.block_all();
        AmdVi::release_tag(&unit, tag);
        AmdVi::release(&unit)
    }

    /// There are more of them than one batch takes.
    #[test]
    fn every_entry_is_forgotten_at_a_takeover() -> Result {
        for words in [FEATURES, FEATURES_SPLIT] {
            let played = Reversing::new()?;
            let registers = Registers::played(played.clone())?;
            let hardware = describe_unit_with(words, false, registers)?;
            hardware.start()?;
            hardware.enable()?;
            let told = {
                let taken = played.taken.lock();
                taken.told.iter().filter(|told| **told).count()
            };
            assert_eq!(told, hardware.tables.count());
            hardware.stop()?;
        }
        Ok(())
    }

    /// Law 8: as long as the unit has an entry cached, it may cache translations with it.
    #[test]
    fn law_8_an_entry_is_forgotten_before_its_translations() -> Result {
        let played = Reversing::new()?;
        let registers = Registers::played(played.clone())?;
        let hardware = describe_unit_with(FEATURES, false, registers)?;
        hardware.start()?;
        hardware.enable()?;
        let unit = unit_with(hardware.clone())?;
        let id = RequesterId::new(ID.into());
        let old = Paging::new(hardware.properties.tables, -1)?;
        let new = Paging::new(hardware.properties.tables, -1)?;
        hardware.tables.change(id, old.translation(DOMAIN));
        {
            let mut taken = played.taken.lock();
            (taken.entry, taken.translations) = (true, true);
        }
        AmdVi::commit(&unit, &mut OneStep::new(id, &new, DomainId(6), || {}));
        assert_eq!(read(&unit, id), Some(new.translation(6)));
        let forgotten = {
            let taken = played.taken.lock();
            !taken.entry && !taken.translations
        };
        assert!(forgotten);
        hardware.tables.block_all();
        hardware.stop()
    }
}
