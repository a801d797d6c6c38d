// SPDX-License-Identifier: GPL-2.0

//! A unit's registers, mapped.

#![forbid(unsafe_code)]

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use kernel::sync::Arc;
use kernel::{
    io::{
        register::{FixedRegister, Register},
        Io,
    },
    prelude::*,
};

use super::regs::{
    COMMAND_BASE_HIGH, COMMAND_BASE_LOW, CONTROL_HIGH, CONTROL_LOW, DEVICE_TABLE_LOW,
    EVENT_BASE_HIGH, EVENT_BASE_LOW, FEATURES2_HIGH, FEATURES2_LOW, FEATURES_HIGH, FEATURES_LOW,
    SEGMENT_LOW,
};
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use crate::drivers::shell::registers::Player;
use crate::{
    addr::PhysAddr,
    drivers::shell::registers::Window,
    ffi::{
        compat::{Mmio, Region},
        raw_spinlock::{new_raw_spinlock, RawSpinLock},
    },
    pgtable::encrypted,
};

/// The size of the window: all registers of [`regs`](super::regs). Some units have counters behind
/// them (3.4.1), which this driver does not use.
pub(super) const BYTES: usize = 0x4000;

/// The mapped registers of one unit.
pub(super) struct Registers {
    window: Window<BYTES>,
    /// Held while the control register is read, changed and written. The innermost of the driver's
    /// locks.
    control: Pin<KBox<RawSpinLock<()>>>,
}

impl Registers {
    fn new(window: Window<BYTES>) -> Result<Self> {
        Ok(Self {
            window,
            control: KBox::pin_init(new_raw_spinlock!(()), GFP_KERNEL)?,
        })
    }

    /// Maps the registers at physical address `phys`, for reading only.
    pub(super) fn look(phys: u64) -> Result<Self> {
        Self::new(Window::look(phys)?)
    }

    /// Maps the registers at physical address `phys`, and keeps other drivers off them.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another driver has requested the memory region; `ENOMEM`.
    pub(super) fn claim(phys: u64) -> Result<Self> {
        Self::new(Window::claim(phys, BYTES)?)
    }

    /// Memory in place of registers: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn dead() -> Result<Self> {
        Self::new(Window::dead()?)
    }

    /// Memory in place of registers, and `player` for the unit.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn played(player: Arc<dyn Player<BYTES>>) -> Result<Self> {
        Self::new(Window::played(player)?)
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

    /// The registers at fixed offsets.
    #[inline]
    pub(super) fn io(&self) -> Mmio<'_, Region<BYTES>> {
        self.window.io()
    }

    /// The two extended feature registers.
    pub(super) fn features(&self) -> [u64; 2] {
        [
            self.window.read_halves::<FEATURES_LOW, FEATURES_HIGH>(),
            self.window.read_halves::<FEATURES2_LOW, FEATURES2_HIGH>(),
        ]
    }

    /// Changes the lower half of the control register, and returns when the unit has got the write.
    pub(super) fn control(&self, change: impl FnOnce(CONTROL_LOW) -> CONTROL_LOW) {
        let io = self.io();
        let _order = self.control.lock();
        io.write_reg(change(io.read(CONTROL_LOW)));
        // The read returns after the unit has got the write.
        let _: CONTROL_LOW = self.read();
    }

    /// Sets the control register to `low` and `high`, so that nothing stays of what another kernel
    /// or firmware has set; only the number of segments of the device table stays.
    pub(super) fn reset_control(&self, low: CONTROL_LOW, high: CONTROL_HIGH) {
        let io = self.io();
        let _order = self.control.lock();
        let segments = io.read(CONTROL_HIGH).segments_lg2();
        io.write_reg(low);
        io.write_reg(high.with_segments_lg2(segments));
        // The read returns after the unit has got the writes.
        let _ = io.read(CONTROL_HIGH);
    }

    /// Sets in how many segments (a power of 2, 8 at most) the device table is.
    pub(super) fn set_segments(&self, count: usize) {
        let io = self.io();
        let _order = self.control.lock();
        let control = io.read(CONTROL_HIGH);
        let lg2 = count.trailing_zeros();
        io.write_reg(control.try_with_segments_lg2(lg2).unwrap_or(control));
    }

    /// Sets address and size of segment `number` of the device table; `bytes` is a multiple of
    /// 4096. The unit, which may be on, gets both at once.
    pub(super) fn set_device_table(&self, number: usize, address: PhysAddr, bytes: usize) {
        let value = encrypted::seen(address).raw() | (bytes / 4096 - 1) as u64;
        let offset = match number.checked_sub(1) {
            None => DEVICE_TABLE_LOW::OFFSET,
            Some(index) => SEGMENT_LOW::OFFSET + index * size_of::<u64>(),
        };
        // All segments are in the window.
        let _ = self.io().try_write64(value, offset);
    }

    /// Sets the address of the command buffer, which has room for `1 << length_lg2` commands.
    pub(super) fn set_commands(&self, address: PhysAddr, length_lg2: u32) {
        self.window
            .write_halves::<COMMAND_BASE_LOW, COMMAND_BASE_HIGH>(base(address, length_lg2));
    }

    /// Sets the address of the event log, which has room for `1 << length_lg2` events.
    pub(super) fn set_events(&self, address: PhysAddr, length_lg2: u32) {
        self.window
            .write_halves::<EVENT_BASE_LOW, EVENT_BASE_HIGH>(base(address, length_lg2));
    }
}

/// The base register of a buffer: the length is in bits 59:56.
fn base(address: PhysAddr, length_lg2: u32) -> u64 {
    encrypted::seen(address).raw() | u64::from(length_lg2) << 56
}
