// SPDX-License-Identifier: GPL-2.0

//! A unit's registers, mapped.

#![forbid(unsafe_code)]

use kernel::{
    io::{Io, Mmio, Region},
    prelude::*,
};

use super::{
    fault_record::FaultRecord,
    regs::{CAP_HIGH, CAP_LOW, ECAP_HIGH, ECAP_LOW, IQA_HIGH, IQA_LOW, RTADDR_HIGH, RTADDR_LOW},
};
use crate::{
    addr::PhysAddr,
    drivers::shell::registers::{join, Window},
};

/// The size of the smallest window: all registers of [`regs`](super::regs) are in the first page.
pub(super) const MIN_BYTES: usize = 4096;

/// The mapped registers of one unit.
pub(super) struct Registers(Window<MIN_BYTES>);

impl Registers {
    /// Maps the first page of the registers at physical address `phys`, for reading only.
    pub(super) fn look(phys: u64) -> Result<Self> {
        Ok(Self(Window::look(phys)?))
    }

    /// Maps `bytes` (a multiple of 4096) of registers at physical address `phys`, and keeps other
    /// drivers off them.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another driver has requested the memory region; `ENOMEM`.
    pub(super) fn claim(phys: u64, bytes: usize) -> Result<Self> {
        Ok(Self(Window::claim(phys, bytes)?))
    }

    /// Memory in place of registers: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn dead() -> Result<Self> {
        Ok(Self(Window::dead()?))
    }

    /// The registers at fixed offsets.
    #[inline]
    pub(super) fn io(&self) -> Mmio<'_, Region<MIN_BYTES>> {
        self.0.io()
    }

    /// The capability and the extended capability register.
    pub(super) fn capabilities(&self) -> (u64, u64) {
        (
            self.0.read_halves::<CAP_LOW, CAP_HIGH>(),
            self.0.read_halves::<ECAP_LOW, ECAP_HIGH>(),
        )
    }

    /// Sets the root table address (RTADDR). The unit uses it after the command Set Root Table
    /// Pointer.
    pub(super) fn set_root_table(&self, address: PhysAddr) {
        self.0
            .write_halves::<RTADDR_LOW, RTADDR_HIGH>(address.raw());
    }

    /// Sets the invalidation queue address (IQA): one page, descriptors of 128 bits.
    pub(super) fn set_queue(&self, address: PhysAddr) {
        self.0.write_halves::<IQA_LOW, IQA_HIGH>(address.raw());
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
