// SPDX-License-Identifier: GPL-2.0

//! A unit's registers, mapped.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use kernel::sync::Arc;
use kernel::{
    io::{register::FixedRegister, Io},
    prelude::*,
};

use super::{
    fault_record::FaultRecord,
    invalidation::by_register,
    regs::{
        CAP_HIGH, CAP_LOW, ECAP_HIGH, ECAP_LOW, GCMD, GSTS, IQA_HIGH, IQA_LOW, IRTA_HIGH, IRTA_LOW,
        RTADDR_HIGH, RTADDR_LOW,
    },
};
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use crate::drivers::shell::registers::Player;
use crate::{
    addr::PhysAddr,
    drivers::shell::registers::{join, Window},
    ffi::{
        compat::{Mmio, Region},
        dmar::SharedUnit,
    },
};

/// The size of the smallest window: all registers of [`regs`](super::regs) are in the first page.
pub(super) const MIN_BYTES: usize = 4096;

/// The mapped registers of one unit.
pub(super) struct Registers {
    window: Window<MIN_BYTES>,
    /// If the kernel's own code remaps interrupts with the unit: its unit.
    shared: Option<SharedUnit>,
}

impl Registers {
    /// Maps the first page of the registers at physical address `phys`, for reading only.
    pub(super) fn look(phys: u64) -> Result<Self> {
        Ok(Self::alone(Window::look(phys)?))
    }

    fn alone(window: Window<MIN_BYTES>) -> Self {
        Self {
            window,
            shared: None,
        }
    }

    /// Maps `bytes` (a multiple of 4096) of registers at physical address `phys`, and keeps other
    /// drivers off them. Shares them with the kernel's own code for interrupts, where it can.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another driver has requested the memory region; `ENOMEM`.
    pub(super) fn claim(phys: u64, bytes: usize) -> Result<Self> {
        match SharedUnit::find(phys) {
            None => Ok(Self::alone(Window::claim(phys, bytes)?)),
            shared => Ok(Self {
                window: Window::share(phys, bytes)?,
                shared,
            }),
        }
    }

    /// Memory in place of registers: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn dead() -> Result<Self> {
        Ok(Self::alone(Window::dead()?))
    }

    /// Memory in place of registers, and `player` for the unit.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn played(player: Arc<dyn Player<MIN_BYTES>>) -> Result<Self> {
        Ok(Self::alone(Window::played(player)?))
    }

    /// Reads a register that the unit changes by itself.
    #[inline]
    pub(super) fn read<R>(&self) -> R
    where
        R: FixedRegister<Storage = u32>,
        u32: From<R> + Into<R>,
    {
        self.window.read()
    }

    /// Lets a unit in software act, where a test plays the unit.
    #[inline]
    pub(super) fn play(&self) {
        self.window.play();
    }

    /// The registers at fixed offsets.
    #[inline]
    pub(super) fn io(&self) -> Mmio<'_, Region<MIN_BYTES>> {
        self.window.io()
    }

    /// What the kernel's own code has of the unit, if it remaps interrupts with it.
    #[inline]
    pub(super) fn shared(&self) -> Option<&SharedUnit> {
        self.shared.as_ref()
    }

    /// Gives the unit the command that `change` makes of the bits that last, then calls `wait`,
    /// which waits until the unit has done it. The caller orders commands.
    ///
    /// # Errors
    ///
    /// Those of `wait`.
    pub(super) fn command(
        &self,
        change: impl FnOnce(GCMD) -> GCMD,
        wait: impl FnOnce() -> Result,
    ) -> Result {
        let io = self.io();
        match &self.shared {
            None => {
                io.write_reg(change(self.read::<GSTS>().repeat()));
                wait()
            }
            Some(unit) => unit.command(|lasting| {
                let command = change(GCMD::from(lasting));
                io.write_reg(command);
                (command.lasting(), wait())
            }),
        }
    }

    /// The capability and the extended capability register.
    pub(super) fn capabilities(&self) -> (u64, u64) {
        (
            self.window.read_halves::<CAP_LOW, CAP_HIGH>(),
            self.window.read_halves::<ECAP_LOW, ECAP_HIGH>(),
        )
    }

    /// The mode in RTADDR (TTM, bits 11:10).
    pub(super) fn table_mode(&self) -> u32 {
        u32::from(self.read::<RTADDR_LOW>()) >> 10 & 3
    }

    /// Sets the root table address (RTADDR) and the mode (TTM, bits 11:10: 0 legacy, 1 scalable).
    /// The unit uses them after the command Set Root Table Pointer.
    pub(super) fn set_root_table(&self, address: PhysAddr, scalable: bool) {
        let mode = u64::from(scalable) << 10;
        self.window
            .write_halves::<RTADDR_LOW, RTADDR_HIGH>(address.raw() | mode);
    }

    /// Sets the invalidation queue address (IQA) for 256 descriptors: one page with descriptors of
    /// 128 bits, or two pages (QS 1) with descriptors of 256 bits (DW 1).
    pub(super) fn set_queue(&self, address: PhysAddr, wide: bool) {
        let (width, size) = (u64::from(wide) << 11, u64::from(wide));
        self.window
            .write_halves::<IQA_LOW, IQA_HIGH>(address.raw() | width | size);
    }

    /// Sets the interrupt table address (IRTA) for a table of 65,536 entries, with destinations of
    /// 32 bits or of 8. The unit uses them after the command Set Interrupt Remap Table Pointer.
    pub(super) fn set_interrupt_table(&self, address: PhysAddr, x2apic: bool) {
        /// 2^(15+1) entries.
        const SIZE: u64 = 15;
        self.window
            .write_halves::<IRTA_LOW, IRTA_HIGH>(address.raw() | u64::from(x2apic) << 11 | SIZE);
    }

    /// Writes `command` of [`by_register`] to the register at byte offset `offset`, which starts an
    /// invalidation.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not mapped.
    pub(super) fn start_invalidation(&self, offset: usize, command: u64) -> Result {
        let io = self.io();
        // The upper half starts it.
        io.try_write32(command as u32, offset)?;
        io.try_write32((command >> 32) as u32, offset + 4)
    }

    /// Whether the invalidation that was started there goes on.
    pub(super) fn is_invalidating(&self, offset: usize) -> bool {
        self.window.play();
        self.io()
            .try_read32(offset + 4)
            .is_ok_and(|high| join(0, high) & by_register::PENDING != 0)
    }

    /// The fault recording register at byte offset `offset`; `None` if it holds no fault.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not mapped.
    pub(super) fn fault_record(&self, offset: usize) -> Result<Option<FaultRecord>> {
        let io = self.io();
        // The unit sets the F bit last. So the word with F is read first: the words that are read
        // after it belong to the same fault.
        let top = io.try_read32(offset + 12)?;
        let low = join(io.try_read32(offset)?, io.try_read32(offset + 4)?);
        let high = join(io.try_read32(offset + 8)?, top);
        Ok(FaultRecord::decode([low, high]))
    }

    /// Clears the fault recording register at byte offset `offset`, so that the unit can use it
    /// again.
    pub(super) fn clear_fault_record(&self, offset: usize) -> Result {
        self.io()
            .try_write32((FaultRecord::FAULT >> 32) as u32, offset + 12)
    }
}
