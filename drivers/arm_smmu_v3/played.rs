// SPDX-License-Identifier: GPL-2.0

//! A unit that answers, for the suites: it plays on registers that are memory.
//!
//! It carries commands out whenever the driver waits for it, and remembers them. What they do to a
//! unit's caches is nothing here; devices answer the CMD_ATC_INV commands that are for them, unless
//! they are said not to.

#![forbid(unsafe_code)]

use kernel::{
    io::Io,
    new_spinlock_irq,
    prelude::*,
    sync::{Arc, SpinLockIrq},
};

use super::{
    mmio::Registers,
    regs::{
        CMDQ_BASE_HIGH, CMDQ_BASE_LOW, CMDQ_CONS, CMDQ_PROD, CR0, CR0ACK, GBPA, GERROR, GERRORN,
        IRQ_CTRL, IRQ_CTRLACK,
    },
};
use crate::{
    addr::PhysAddr,
    pgtable::{kernel_memory::KernelMemory, Entry, Table, TableMemory},
};

/// How much is remembered.
const ROOM: usize = 64;
/// Operations (IHI 0070 4.1.1).
const ATC_INV: u64 = 0x40;
const SYNC: u64 = 0x46;
/// The command queue's error that a device did not answer (7.1), and its bit among global errors.
const ATC_INV_SYNC: u32 = 3 << 24;
const CMDQ_ERR: u32 = 1;

/// A command, or what else the suites want to be remembered between commands.
pub(super) type Seen = [u64; 2];

struct State {
    seen: [Seen; ROOM],
    count: usize,
    /// The stream id of the device that does not answer.
    silent: Option<u32>,
    /// It has been asked since the last CMD_SYNC.
    owes: bool,
}

impl State {
    fn note(&mut self, what: Seen) {
        if let Some(place) = self.seen.get_mut(self.count) {
            *place = what;
            self.count += 1;
        }
    }
}

/// The unit.
#[pin_data]
pub(super) struct Played {
    memory: KernelMemory,
    #[pin]
    state: SpinLockIrq<State>,
}

impl Played {
    /// A unit that is off.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                memory: KernelMemory::new(-1),
                state <- new_spinlock_irq!(State {
                    seen: [[0; 2]; ROOM],
                    count: 0,
                    silent: None,
                    owes: false,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// From now on this device does not answer, and all others do.
    pub(super) fn silence(&self, stream: Option<u32>) {
        self.state.lock().silent = stream;
    }

    /// Remembers something that is no command.
    pub(super) fn note(&self, what: Seen) {
        self.state.lock().note(what);
    }

    /// All that was seen since the last time.
    pub(super) fn take_seen(&self) -> Result<KVec<Seen>> {
        let (seen, count) = {
            let mut state = self.state.lock();
            (state.seen, core::mem::take(&mut state.count))
        };
        let mut all = KVec::new();
        all.extend_from_slice(&seen[..count], GFP_KERNEL)?;
        Ok(all)
    }

    /// Does what the registers ask for.
    pub(super) fn play(&self, registers: &Registers) {
        let io = registers.io();
        let control = io.read(CR0);
        io.write_reg(CR0ACK::from(u32::from(control)));
        io.write_reg(IRQ_CTRLACK::from(u32::from(io.read(IRQ_CTRL))));
        io.write_reg(io.read(GBPA).with_update(false));

        let (errors, acknowledged): (u32, u32) = (io.read(GERROR).into(), io.read(GERRORN).into());
        if !control.commands() || (errors ^ acknowledged) & CMDQ_ERR != 0 {
            return;
        }
        let (low, high): (u32, u32) = (
            io.read(CMDQ_BASE_LOW).into(),
            io.read(CMDQ_BASE_HIGH).into(),
        );
        let base = u64::from(high) << 32 | u64::from(low);
        let slots = 1u32 << (base & 0x1f);
        let ring = Table::at(PhysAddr::new(base & 0xf_ffff_ffff_ffe0));
        let words = self.memory.entries(ring, slots as usize * 2);

        let mut state = self.state.lock();
        let wrap = slots * 2 - 1;
        let mut consumer = u32::from(io.read(CMDQ_CONS)) & wrap;
        while consumer != u32::from(io.read(CMDQ_PROD)) & wrap {
            let at = (consumer & (slots - 1)) as usize * 2;
            let command = [words[at].load(), words[at + 1].load()];
            state.note(command);
            match command[0] & 0xff {
                ATC_INV => state.owes |= state.silent == Some((command[0] >> 32) as u32),
                SYNC if core::mem::take(&mut state.owes) => {
                    io.write_reg(CMDQ_CONS::from(consumer | ATC_INV_SYNC));
                    io.write_reg(GERROR::from(errors ^ CMDQ_ERR));
                    return;
                }
                _ => {}
            }
            consumer = (consumer + 1) & wrap;
            io.write_reg(CMDQ_CONS::from(consumer));
        }
    }
}
