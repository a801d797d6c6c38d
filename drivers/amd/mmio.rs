// SPDX-License-Identifier: GPL-2.0

//! A unit's registers, mapped.

use kernel::{
    bindings,
    ffi::c_void,
    io::{register::Array, Io, Mmio, MmioRaw, Region},
    prelude::*,
    str::{CStr, CStrExt},
    sync::{new_spinlock_irq, SpinLockIrq},
};

use super::regs::{
    COMMAND_BASE_HIGH, COMMAND_BASE_LOW, CONTROL_HIGH, CONTROL_LOW, DEVICE_TABLE_HIGH,
    DEVICE_TABLE_LOW, EVENT_BASE_HIGH, EVENT_BASE_LOW, FEATURES2_HIGH, FEATURES2_LOW,
    FEATURES_HIGH, FEATURES_LOW, SEGMENT_HIGH, SEGMENT_LOW,
};
use crate::{addr::PhysAddr, pgtable::encrypted};

/// What every unit has: all registers of [`regs`](super::regs). Counters that some have behind
/// them (3.4.1) are not used here.
pub(super) const BYTES: usize = 0x4000;

type Window = Region<BYTES>;

/// The mapped registers of one unit.
///
/// # Invariants
///
/// `raw` is a mapping of [`BYTES`] bytes of what `origin` says, until the value is dropped.
pub(super) struct Registers {
    raw: MmioRaw<Window>,
    origin: Origin,
    /// Held while the control register is changed: it is read, and written as a whole. The
    /// innermost of the driver's locks.
    control: Pin<KBox<SpinLockIrq<()>>>,
}

/// Where registers come from.
enum Origin {
    /// Device memory, mapped with `ioremap()`.
    Looked,
    /// The same at this physical address, and the memory region is requested.
    Claimed(u64),
    /// Memory that plays a unit which never does anything.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    Memory(KVec<u64>),
}

impl Registers {
    const NAME: &'static CStr = c"iommu_core";

    /// Maps the registers at physical address `phys`, to look at: they may belong to somebody else.
    pub(super) fn look(phys: u64) -> Result<Self> {
        let control = KBox::pin_init(new_spinlock_irq!(()), GFP_KERNEL)?;
        // SAFETY: Firmware says that there are registers. At worst nobody answers.
        let virt = unsafe { bindings::ioremap(phys, BYTES) };
        if virt.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: The mapping was just made.
        Ok(Self {
            raw: MmioRaw::new_region(virt as usize, BYTES)?,
            origin: Origin::Looked,
            control,
        })
    }

    /// Maps the registers at physical address `phys`, and keeps others off.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has requested the memory region; `ENOMEM`.
    pub(super) fn claim(phys: u64) -> Result<Self> {
        let control = KBox::pin_init(new_spinlock_irq!(()), GFP_KERNEL)?;
        // SAFETY: The resource tree is there for as long as the kernel runs, and takes any range.
        let region = unsafe {
            bindings::__request_region(
                &raw mut bindings::iomem_resource,
                phys,
                BYTES as u64,
                Self::NAME.as_char_ptr(),
                0,
            )
        };
        if region.is_null() {
            return Err(EBUSY);
        }
        // SAFETY: The region was just requested, so it is no memory of the kernel's.
        let virt = unsafe { bindings::ioremap(phys, BYTES) };
        if virt.is_null() {
            Self::unclaim(phys);
            return Err(ENOMEM);
        }
        // INVARIANT: Both were just made.
        Ok(Self {
            raw: MmioRaw::new_region(virt as usize, BYTES)?,
            origin: Origin::Claimed(phys),
            control,
        })
    }

    /// Registers that are mere memory: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn dead() -> Result<Self> {
        let mut memory = KVec::from_elem(0u64, BYTES / 8, GFP_KERNEL)?;
        // INVARIANT: The memory is owned, and moving the vector does not move it.
        Ok(Self {
            raw: MmioRaw::new_region(memory.as_mut_ptr() as usize, BYTES)?,
            origin: Origin::Memory(memory),
            control: KBox::pin_init(new_spinlock_irq!(()), GFP_KERNEL)?,
        })
    }

    /// Lets others have the region, which was requested here.
    fn unclaim(phys: u64) {
        // SAFETY: The resource tree is there for as long as the kernel runs.
        unsafe {
            bindings::__release_region(&raw mut bindings::iomem_resource, phys, BYTES as u64)
        };
    }

    /// The registers at fixed offsets.
    #[inline]
    pub(super) fn io(&self) -> Mmio<'_, Window> {
        // SAFETY: By the invariants the mapping is valid as long as `self` is.
        unsafe { Mmio::from_raw(self.raw) }
    }

    /// The two extended feature registers.
    pub(super) fn features(&self) -> [u64; 2] {
        let io = self.io();
        [
            join(io.read(FEATURES_LOW).into(), io.read(FEATURES_HIGH).into()),
            join(
                io.read(FEATURES2_LOW).into(),
                io.read(FEATURES2_HIGH).into(),
            ),
        ]
    }

    /// Changes the lower half of the control register, and returns when the unit has got it.
    pub(super) fn control(&self, change: impl FnOnce(CONTROL_LOW) -> CONTROL_LOW) {
        let io = self.io();
        let _order = self.control.lock();
        io.write_reg(change(io.read(CONTROL_LOW)));
        // The read returns after the write has arrived.
        let _ = io.read(CONTROL_LOW);
    }

    /// Says in how many parts (a power of 2, 8 at most) the device table is.
    pub(super) fn set_segments(&self, count: usize) {
        let io = self.io();
        let _order = self.control.lock();
        let control = io.read(CONTROL_HIGH);
        let lg2 = count.trailing_zeros();
        io.write_reg(control.try_with_segments_lg2(lg2).unwrap_or(control));
    }

    /// Says where part `number` of the device table is; `bytes` is a multiple of 4096.
    pub(super) fn set_device_table(&self, number: usize, address: PhysAddr, bytes: usize) {
        let io = self.io();
        let address = encrypted::seen(address);
        let low = address.raw() as u32 | (bytes / 4096 - 1) as u32;
        let high = (address.raw() >> 32) as u32;
        match number.checked_sub(1) {
            None => {
                io.write_reg(DEVICE_TABLE_LOW::from(low));
                io.write_reg(DEVICE_TABLE_HIGH::from(high));
            }
            Some(index) => {
                if let (Some(at_low), Some(at_high)) =
                    (SEGMENT_LOW::try_at(index), SEGMENT_HIGH::try_at(index))
                {
                    io.write(at_low, SEGMENT_LOW::from(low));
                    io.write(at_high, SEGMENT_HIGH::from(high));
                }
            }
        }
    }

    /// Says where the command buffer is, with room for `1 << length_lg2` commands.
    pub(super) fn set_commands(&self, address: PhysAddr, length_lg2: u32) {
        let io = self.io();
        let address = encrypted::seen(address);
        io.write_reg(COMMAND_BASE_LOW::from(address.raw() as u32));
        io.write_reg(COMMAND_BASE_HIGH::from(base_high(address, length_lg2)));
    }

    /// Says where the event log is, with room for `1 << length_lg2` events.
    pub(super) fn set_events(&self, address: PhysAddr, length_lg2: u32) {
        let io = self.io();
        let address = encrypted::seen(address);
        io.write_reg(EVENT_BASE_LOW::from(address.raw() as u32));
        io.write_reg(EVENT_BASE_HIGH::from(base_high(address, length_lg2)));
    }
}

/// A register of 64 bits from its halves.
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The upper half of the base of a buffer: the length is in bits 59:56.
const fn base_high(address: PhysAddr, length_lg2: u32) -> u32 {
    (address.raw() >> 32) as u32 | length_lg2 << 24
}

impl Drop for Registers {
    fn drop(&mut self) {
        let phys = match &self.origin {
            Origin::Looked => None,
            Origin::Claimed(phys) => Some(*phys),
            #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
            Origin::Memory(_) => return,
        };
        // SAFETY: By the invariants the mapping is there, and this is its end.
        unsafe { bindings::iounmap(self.raw.addr() as *mut c_void) };
        if let Some(phys) = phys {
            Self::unclaim(phys);
        }
    }
}
