// SPDX-License-Identifier: GPL-2.0

//! A unit's registers, mapped.

use kernel::{
    bindings,
    ffi::c_void,
    io::{Io, Mmio, MmioRaw, Region},
    prelude::*,
    str::{CStr, CStrExt},
};

use super::{
    fault_record::FaultRecord,
    regs::{CAP_HIGH, CAP_LOW, ECAP_HIGH, ECAP_LOW, IQA_HIGH, IQA_LOW, RTADDR_HIGH, RTADDR_LOW},
};
use crate::addr::PhysAddr;

/// What every unit has at least: all registers of [`regs`](super::regs) are in the first page.
pub(super) const MIN_BYTES: usize = 4096;

type Window = Region<MIN_BYTES>;

/// The mapped registers of one unit.
///
/// # Invariants
///
/// `raw` is a mapping of `raw.size()` bytes of what `origin` says, until the value is dropped.
pub(super) struct Registers {
    raw: MmioRaw<Window>,
    origin: Origin,
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

    /// Maps the first page of the registers at physical address `phys`, to look at: they may belong
    /// to somebody else.
    pub(super) fn look(phys: u64) -> Result<Self> {
        // SAFETY: Firmware says that there are registers. At worst nobody answers.
        let virt = unsafe { bindings::ioremap(phys, MIN_BYTES) };
        if virt.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: The mapping was just made.
        Ok(Self {
            raw: MmioRaw::new_region(virt as usize, MIN_BYTES)?,
            origin: Origin::Looked,
        })
    }

    /// Maps `bytes` (a multiple of 4096) of registers at physical address `phys`, and keeps others
    /// off.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has requested the memory region; `ENOMEM`.
    pub(super) fn claim(phys: u64, bytes: usize) -> Result<Self> {
        // SAFETY: The resource tree is there for as long as the kernel runs, and takes any range.
        let region = unsafe {
            bindings::__request_region(
                &raw mut bindings::iomem_resource,
                phys,
                bytes as u64,
                Self::NAME.as_char_ptr(),
                0,
            )
        };
        if region.is_null() {
            return Err(EBUSY);
        }
        // SAFETY: The region was just requested, so it is no memory of the kernel's.
        let virt = unsafe { bindings::ioremap(phys, bytes) };
        if virt.is_null() {
            Self::unclaim(phys, bytes);
            return Err(ENOMEM);
        }
        // INVARIANT: Both were just made. The size is a multiple of 4, and the mapping is aligned.
        Ok(Self {
            raw: MmioRaw::new_region(virt as usize, bytes)?,
            origin: Origin::Claimed(phys),
        })
    }

    /// Registers that are mere memory: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn dead() -> Result<Self> {
        let mut memory = KVec::from_elem(0u64, MIN_BYTES / 8, GFP_KERNEL)?;
        // INVARIANT: The memory is owned, and moving the vector does not move it.
        Ok(Self {
            raw: MmioRaw::new_region(memory.as_mut_ptr() as usize, MIN_BYTES)?,
            origin: Origin::Memory(memory),
        })
    }

    /// Lets others have the region, which was requested here.
    fn unclaim(phys: u64, bytes: usize) {
        // SAFETY: The resource tree is there for as long as the kernel runs.
        unsafe {
            bindings::__release_region(&raw mut bindings::iomem_resource, phys, bytes as u64)
        };
    }

    /// The registers at fixed offsets.
    #[inline]
    pub(super) fn io(&self) -> Mmio<'_, Window> {
        // SAFETY: By the invariants the mapping is valid as long as `self` is.
        unsafe { Mmio::from_raw(self.raw) }
    }

    /// The capability and the extended capability register.
    pub(super) fn capabilities(&self) -> (u64, u64) {
        let io = self.io();
        (
            join(io.read(CAP_LOW).into(), io.read(CAP_HIGH).into()),
            join(io.read(ECAP_LOW).into(), io.read(ECAP_HIGH).into()),
        )
    }

    /// Says where the root table is; the unit takes it with the command for that.
    pub(super) fn set_root_table(&self, address: PhysAddr) {
        let io = self.io();
        io.write_reg(RTADDR_LOW::from(address.raw() as u32));
        io.write_reg(RTADDR_HIGH::from((address.raw() >> 32) as u32));
    }

    /// Says where the invalidation queue is: one page, with descriptors of 128 bits.
    pub(super) fn set_queue(&self, address: PhysAddr) {
        let io = self.io();
        io.write_reg(IQA_LOW::from(address.raw() as u32));
        io.write_reg(IQA_HIGH::from((address.raw() >> 32) as u32));
    }

    /// The fault recording register at byte offset `offset`; `None` if there is nothing in it.
    pub(super) fn fault_record(&self, offset: usize) -> Result<Option<FaultRecord>> {
        let io = self.io();
        // The word with the F bit first: the unit sets that last, so what is read after it is of
        // the same fault.
        let top = io.try_read32(offset + 12)?;
        let low = join(io.try_read32(offset)?, io.try_read32(offset + 4)?);
        let high = join(io.try_read32(offset + 8)?, top);
        Ok(FaultRecord::decode([low, high]))
    }

    /// Clears the fault recording register at byte offset `offset`, for the unit to use again.
    pub(super) fn clear_fault_record(&self, offset: usize) -> Result {
        self.io()
            .try_write32((FaultRecord::FAULT >> 32) as u32, offset + 12)
    }
}

/// A register of 64 bits from its halves.
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
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
            Self::unclaim(phys, self.raw.size());
        }
    }
}
