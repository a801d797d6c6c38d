// SPDX-License-Identifier: GPL-2.0

//! An emulated unit for the suites: it works on registers that are memory.
//!
//! It executes commands whenever the driver waits for it, and records them. It has no caches.
//! Devices answer CMD_ATC_INV, but for the one that a suite makes unresponsive.

#![forbid(unsafe_code)]

use kernel::{io::Io, prelude::*, sync::Arc};

use super::super::{
    records::capability::{self, Capability, Firmware},
    smmu::SmmuV3,
    unit::{
        firmware::Description,
        hardware::Hardware,
        mmio::{Emulator, Registers},
        regs::{
            CMDQ_BASE_HIGH, CMDQ_BASE_LOW, CMDQ_CONS, CMDQ_PROD, CR0, CR0ACK, GBPA, GERROR,
            GERRORN, IRQ_CTRL, IRQ_CTRLACK, PRIQ_BASE_HIGH, PRIQ_BASE_LOW, PRIQ_PROD,
        },
        smmu_unit::SmmuUnit,
    },
};
use crate::{
    addr::PhysAddr,
    device::FirmwareNode,
    drivers::shell::{registers::join, unit::UnitHardware},
    ffi::compat::{new_spinlock_irq, SpinLockIrq},
    health::Health,
    label::Label,
    pgtable::{
        kernel_memory::{KernelEntry, KernelMemory},
        Entry, Table, TableMemory,
    },
    unit::Unit,
};

/// Both stages, tables of 64-bit processors, coherent, ASIDs of 16 bits, no messages, no stalls,
/// two levels of stream table.
pub const IDR0: u32 = 3 | 2 << 2 | 1 << 4 | 1 << 12 | 2 << 21 | 1 << 24 | 1 << 27;
/// Stream ids of 16 bits, queues of 2^10 commands and 2^10 events, 2^4 page requests.
const IDR1: u32 = 16 | 4 << 11 | 10 << 16 | 10 << 21;
/// 44 bits of physical addresses, all granules.
const IDR5: u32 = 4 | 7 << 4;
/// The name of the unit in a device's description.
pub const NODE: FirmwareNode = FirmwareNode::at(1);

/// How much is recorded.
const ROOM: usize = 64;
/// Operations (IHI 0070 4.1.1).
const ATC_INV: u64 = 0x40;
const SYNC: u64 = 0x46;
/// CERROR_ILL and CERROR_ATC_INV_SYNC in CMDQ_CONS (7.1), and CMDQ_ERR in GERROR.
const ILLEGAL: u32 = 1 << 24;
const ATC_INV_SYNC: u32 = 3 << 24;
const CMDQ_ERR: u32 = 1;

/// A command, or something else that a suite has recorded between commands.
pub type Seen = [u64; 2];

struct State {
    seen: [Seen; ROOM],
    count: usize,
    /// The stream id of the device that does not answer.
    unresponsive: Option<u32>,
    /// Whether DMA passed that the unit did not translate.
    passed: bool,
    /// Whether it got a CMD_ATC_INV since the last CMD_SYNC.
    owes_answer: bool,
    /// How often the driver looks at the unit before it does the next thing.
    pause: usize,
    /// How often the driver looks at the unit before it gives up on a device.
    patience: usize,
    /// How many of these looks are left.
    looks_left: usize,
    /// The unit takes no commands.
    is_stuck: bool,
    /// The operation that it does not know.
    unknown: Option<u64>,
    /// GBPA does not change.
    keeps_bypass: bool,
}

impl State {
    fn record(&mut self, what: Seen) {
        if let Some(place) = self.seen.get_mut(self.count) {
            *place = what;
            self.count += 1;
        }
    }
}

/// What tells which errata the unit has.
#[derive(Copy, Clone)]
pub struct Product {
    pub iidr: u32,
    pub repeat_invalidations: bool,
}

impl Product {
    /// One without errata.
    pub const NONE: Self = Self {
        iidr: 0,
        repeat_invalidations: false,
    };
}

/// The unit.
#[pin_data]
pub struct FakeUnit {
    memory: KernelMemory,
    #[pin]
    state: SpinLockIrq<State>,
}

impl FakeUnit {
    const FIRMWARE: Firmware = Firmware {
        coherent: true,
        flag_updates: None,
        page0_only: false,
        window: 0x2_0000,
        repeat_invalidations: false,
    };

    /// A unit that is off.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                state <- new_spinlock_irq!(State {
                    seen: [[0; 2]; ROOM],
                    count: 0,
                    unresponsive: None,
                    passed: false,
                    owes_answer: false,
                    pause: 0,
                    patience: 0,
                    looks_left: 0,
                    is_stuck: false,
                    unknown: None,
                    keeps_bypass: false,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// The driver's hardware for it, which was not taken over yet. IDR0 is `idr0`.
    pub fn hardware(self: &Arc<Self>, idr0: u32) -> Result<Arc<Hardware>> {
        self.hardware_of(idr0, Product::NONE)
    }

    /// As [`hardware`](Self::hardware), for a product with errata.
    fn hardware_of(self: &Arc<Self>, idr0: u32, product: Product) -> Result<Arc<Hardware>> {
        let registers = capability::Registers {
            idr0,
            idr1: IDR1,
            idr3: 0,
            idr5: IDR5,
            iidr: product.iidr,
            aidr: 0,
        };
        let firmware = Firmware {
            repeat_invalidations: product.repeat_invalidations,
            ..Self::FIRMWARE
        };
        let capability = Capability::judge(&registers, &firmware).map_err(|_| EINVAL)?;
        let health = Arc::new(Health::new(Label::from("fake")), GFP_KERNEL)?;
        Hardware::with(&health, Registers::emulated(self.clone())?, capability, -1)
    }

    /// The driver's unit for it, which was taken over and translates. IDR0 is `idr0`.
    pub fn unit(self: &Arc<Self>, idr0: u32) -> Result<Arc<Unit<SmmuV3>>> {
        self.unit_of(idr0, Product::NONE)
    }

    /// As [`unit`](Self::unit), for a product with errata.
    pub fn unit_of(self: &Arc<Self>, idr0: u32, product: Product) -> Result<Arc<Unit<SmmuV3>>> {
        let hardware = self.hardware_of(idr0, product)?;
        hardware.start()?;
        hardware.enable()?;
        self.take_seen()?;
        let description = Description::of_nothing(NODE, Self::FIRMWARE)?;
        let health = hardware.health.clone();
        Unit::new(SmmuUnit::taken_over(health, description, hardware)?)
    }

    /// Puts a record into the PRI queue.
    pub fn request_page(&self, registers: &Registers, record: [u64; 2]) {
        let (io, page1) = (registers.io(), registers.page1());
        let base = join(
            io.read(PRIQ_BASE_LOW).into(),
            io.read(PRIQ_BASE_HIGH).into(),
        );
        let (words, slots) = self.ring(base);
        let producer = u32::from(page1.read(PRIQ_PROD));
        let at = (producer & (slots - 1)) as usize * 2;
        words[at].store(record[0]);
        words[at + 1].store(record[1]);
        let next = (producer + 1) & (slots * 2 - 1) | producer & 1 << 31;
        page1.write_reg(PRIQ_PROD::from(next));
    }

    /// The words of a queue of 128-bit records, and how many records there are.
    fn ring(&self, base: u64) -> (&[KernelEntry], u32) {
        let slots = 1u32 << (base & 0x1f);
        let ring = Table::at(PhysAddr::new(base & 0xf_ffff_ffff_ffe0));
        (self.memory.entries(ring, slots as usize * 2), slots)
    }

    /// From now on this device does not answer, and all others do.
    pub fn set_unresponsive(&self, stream: Option<u32>) {
        self.state.lock().unresponsive = stream;
    }

    /// From now on the driver reads `looks` registers before the unit takes commands, and again
    /// before it goes on after an error.
    pub fn set_pause(&self, looks: usize) {
        let mut state = self.state.lock();
        state.pause = looks;
        state.looks_left = looks;
    }

    /// As [`set_pause`](Self::set_pause), but only while a device does not answer.
    pub fn set_patience(&self, looks: usize) {
        self.state.lock().patience = looks;
    }

    /// From now on the unit takes no commands, or takes them again.
    pub fn set_stuck(&self, stuck: bool) {
        self.state.lock().is_stuck = stuck;
    }

    /// From now on the unit does not know this operation, and all others.
    pub fn set_unknown(&self, operation: Option<u64>) {
        self.state.lock().unknown = operation;
    }

    /// From now on the unit does not change GBPA, or does so again.
    pub fn set_keeps_bypass(&self, keeps: bool) {
        self.state.lock().keeps_bypass = keeps;
    }

    /// Records something that is no command.
    pub fn record(&self, what: Seen) {
        self.state.lock().record(what);
    }

    /// Whether DMA passed since the last call that the unit neither translated nor aborted.
    pub fn take_passed(&self) -> bool {
        core::mem::take(&mut self.state.lock().passed)
    }

    /// What was recorded since the last call.
    pub fn take_seen(&self) -> Result<KVec<Seen>> {
        let (seen, count) = {
            let mut state = self.state.lock();
            (state.seen, core::mem::take(&mut state.count))
        };
        let mut all = KVec::new();
        all.extend_from_slice(&seen[..count], GFP_KERNEL)?;
        Ok(all)
    }
}

impl Emulator for FakeUnit {
    fn run(&self, registers: &Registers) {
        let io = registers.io();
        let control = io.read(CR0);
        io.write_reg(CR0ACK::from(u32::from(control)));
        io.write_reg(IRQ_CTRLACK::from(u32::from(io.read(IRQ_CTRL))));
        let mut state = self.state.lock();
        if !state.keeps_bypass {
            io.write_reg(io.read(GBPA).with_update(false));
        }
        state.passed |= !control.translation() && !io.read(GBPA).abort();

        let (errors, acknowledged): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
        if !control.commands() || (errors ^ acknowledged) & CMDQ_ERR != 0 {
            return;
        }
        let base = join(
            io.read(CMDQ_BASE_LOW).into(),
            io.read(CMDQ_BASE_HIGH).into(),
        );
        let (words, slots) = self.ring(base);

        let wrap = slots * 2 - 1;
        let mut consumer = u32::from(io.read(CMDQ_CONS)) & wrap;
        if state.is_stuck || consumer == u32::from(io.read(CMDQ_PROD)) & wrap {
            return;
        }
        if state.looks_left > 0 {
            state.looks_left -= 1;
            return;
        }
        state.looks_left = state.pause;
        while consumer != u32::from(io.read(CMDQ_PROD)) & wrap {
            let at = (consumer & (slots - 1)) as usize * 2;
            let command = [words[at].load(), words[at + 1].load()];
            if command[0] & 0xff == SYNC && state.owes_answer && state.patience > 0 {
                state.patience -= 1;
                return;
            }
            state.record(command);
            let stop = |reason: u32| {
                io.write_reg(CMDQ_CONS::from(consumer | reason));
                io.write_reg(GERROR::from(errors ^ CMDQ_ERR));
            };
            match command[0] & 0xff {
                operation if state.unknown == Some(operation) => return stop(ILLEGAL),
                ATC_INV => {
                    state.owes_answer |= state.unresponsive == Some((command[0] >> 32) as u32)
                }
                SYNC if core::mem::take(&mut state.owes_answer) => return stop(ATC_INV_SYNC),
                // The completion signal (4.7.3): 1 is a message, to bits 51:2 of the upper word.
                SYNC if command[0] >> 12 & 3 == 1 => {
                    let address = command[1] & 0xf_ffff_ffff_fffc;
                    let page = Table::at(PhysAddr::new(address & !0xfff));
                    self.memory.entries(page, 512)[(address & 0xfff) as usize / 8]
                        .store(command[0] >> 32);
                }
                _ => {}
            }
            consumer = (consumer + 1) & wrap;
            io.write_reg(CMDQ_CONS::from(consumer));
        }
    }
}
