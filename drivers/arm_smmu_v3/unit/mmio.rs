// SPDX-License-Identifier: GPL-2.0

//! A unit's registers, mapped.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use kernel::sync::Arc;
use kernel::{
    io::{register::FixedRegister, Io},
    prelude::*,
};

use super::super::records::capability;
use super::regs::{
    AIDR, CMDQ_BASE_HIGH, CMDQ_BASE_LOW, EVENTQ_BASE_HIGH, EVENTQ_BASE_LOW, EVENTQ_IRQ_CFG0_HIGH,
    EVENTQ_IRQ_CFG0_LOW, EVENTQ_IRQ_CFG1, EVENTQ_IRQ_CFG2, GERROR_IRQ_CFG0_HIGH,
    GERROR_IRQ_CFG0_LOW, GERROR_IRQ_CFG1, GERROR_IRQ_CFG2, IDR0, IDR1, IDR3, IDR5, IIDR,
    PRIQ_BASE_HIGH, PRIQ_BASE_LOW, PRIQ_IRQ_CFG0_HIGH, PRIQ_IRQ_CFG0_LOW, PRIQ_IRQ_CFG1,
    PRIQ_IRQ_CFG2, STRTAB_BASE_HIGH, STRTAB_BASE_LOW,
};
use crate::{
    drivers::shell::registers::Window,
    ffi::compat::{Mmio, Region},
};

/// Bytes of each page of registers that are mapped and requested. The registers behind them may be
/// a performance monitor's (PMCG), which has a driver of its own.
pub(super) const WINDOW: usize = 0xe00;
/// Where page 1 starts.
const PAGE1: u64 = 0x1_0000;

/// One of a unit's interrupts that can be a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Events = 0,
    Errors = 1,
    PageRequests = 2,
}

impl Line {
    pub(super) const COUNT: usize = 3;
    /// That of the PRI queue comes last: not every unit has one.
    pub(super) const ALL: [Self; Self::COUNT] = [Self::Events, Self::Errors, Self::PageRequests];
}

/// An interrupt message. Without an address the unit sends nothing.
#[derive(Copy, Clone, Default)]
pub(super) struct Message {
    pub(super) address: u64,
    pub(super) data: u32,
}

/// A unit in software, for suites: it works on registers that are mere memory.
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
pub trait Emulator: Send + Sync {
    /// Does what the registers ask for.
    fn run(&self, registers: &Registers);
}

/// The mapped registers of one unit.
pub struct Registers {
    page0: Window<WINDOW>,
    /// `None` if page 0 has the registers of page 1 as well.
    page1: Option<Window<WINDOW>>,
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    emulator: Option<Arc<dyn Emulator>>,
}

impl Registers {
    fn new(page0: Window<WINDOW>, page1: Option<Window<WINDOW>>) -> Self {
        Self {
            page0,
            page1,
            #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
            emulator: None,
        }
    }

    /// Maps the identification registers of the unit at physical address `phys`, to look at.
    pub(super) fn look(phys: u64) -> Result<Self> {
        Ok(Self::new(Window::look(phys)?, None))
    }

    /// Maps the registers at physical address `phys`, and keeps other drivers off.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has requested the memory region; `ENOMEM`.
    pub(super) fn claim(phys: u64, page0_only: bool) -> Result<Self> {
        let page0 = Window::claim(phys, WINDOW)?;
        let page1 = match page0_only {
            true => None,
            false => Some(Window::claim(phys + PAGE1, WINDOW)?),
        };
        Ok(Self::new(page0, page1))
    }

    /// Registers that are mere memory: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn dead() -> Result<Self> {
        Ok(Self::new(Window::dead()?, Some(Window::dead()?)))
    }

    /// Registers that are mere memory, on which `emulator` works.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn emulated(emulator: Arc<dyn Emulator>) -> Result<Self> {
        Ok(Self {
            emulator: Some(emulator),
            ..Self::dead()?
        })
    }

    /// Lets a unit in software do what the registers ask for. Real units do so all the time.
    #[inline]
    pub(super) fn run_emulator(&self) {
        #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
        if let Some(emulator) = &self.emulator {
            emulator.run(self);
        }
    }

    /// Reads a register of page 0 that the unit changes by itself. A unit in software can act
    /// before each such read.
    #[inline]
    pub(super) fn read<R>(&self) -> R
    where
        R: FixedRegister<Storage = u32>,
        u32: From<R> + Into<R>,
    {
        self.run_emulator();
        self.page0.read()
    }

    /// The registers of page 0.
    #[inline]
    pub fn io(&self) -> Mmio<'_, Region<WINDOW>> {
        self.page0.io()
    }

    /// The registers of page 1: indexes of the event and the PRI queue.
    #[inline]
    pub fn page1(&self) -> Mmio<'_, Region<WINDOW>> {
        self.page1.as_ref().unwrap_or(&self.page0).io()
    }

    /// The identification registers.
    pub(super) fn identification(&self) -> capability::Registers {
        let io = self.io();
        capability::Registers {
            idr0: io.read(IDR0).into(),
            idr1: io.read(IDR1).into(),
            idr3: io.read(IDR3).into(),
            idr5: io.read(IDR5).into(),
            iidr: io.read(IIDR).into(),
            aidr: io.read(AIDR).into(),
        }
    }

    /// Sets SMMU_STRTAB_BASE.
    pub(super) fn set_stream_table(&self, base: u64) {
        self.page0
            .write_halves::<STRTAB_BASE_LOW, STRTAB_BASE_HIGH>(base);
    }

    /// Sets SMMU_CMDQ_BASE.
    pub(super) fn set_command_queue(&self, base: u64) {
        self.page0
            .write_halves::<CMDQ_BASE_LOW, CMDQ_BASE_HIGH>(base);
    }

    /// Sets SMMU_EVENTQ_BASE.
    pub(super) fn set_event_queue(&self, base: u64) {
        self.page0
            .write_halves::<EVENTQ_BASE_LOW, EVENTQ_BASE_HIGH>(base);
    }

    /// Sets SMMU_PRIQ_BASE.
    pub(super) fn set_pri_queue(&self, base: u64) {
        self.page0
            .write_halves::<PRIQ_BASE_LOW, PRIQ_BASE_HIGH>(base);
    }

    /// Sets what the unit sends for `line`, as a write to device memory (Device-nGnRE).
    pub(super) fn set_message(&self, line: Line, message: &Message) {
        const DEVICE: u32 = 1;
        let io = self.io();
        let address = message.address & 0xf_ffff_ffff_fffc;
        match line {
            Line::Events => {
                self.page0
                    .write_halves::<EVENTQ_IRQ_CFG0_LOW, EVENTQ_IRQ_CFG0_HIGH>(address);
                io.write_reg(EVENTQ_IRQ_CFG1::from(message.data));
                io.write_reg(EVENTQ_IRQ_CFG2::from(DEVICE));
            }
            Line::Errors => {
                self.page0
                    .write_halves::<GERROR_IRQ_CFG0_LOW, GERROR_IRQ_CFG0_HIGH>(address);
                io.write_reg(GERROR_IRQ_CFG1::from(message.data));
                io.write_reg(GERROR_IRQ_CFG2::from(DEVICE));
            }
            Line::PageRequests => {
                self.page0
                    .write_halves::<PRIQ_IRQ_CFG0_LOW, PRIQ_IRQ_CFG0_HIGH>(address);
                io.write_reg(PRIQ_IRQ_CFG1::from(message.data));
                io.write_reg(PRIQ_IRQ_CFG2::from(DEVICE));
            }
        }
    }
}
