// SPDX-License-Identifier: GPL-2.0

//! A unit's registers, mapped.

use kernel::{
    bindings,
    ffi::c_void,
    io::{Io, Mmio, MmioRaw, Region},
    prelude::*,
    processor::cpu_relax,
    str::{CStr, CStrExt},
};

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use kernel::sync::Arc;

use super::super::records::capability;
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use super::super::tests::fake_unit::Played;
use super::regs::{
    AIDR, CMDQ_BASE_HIGH, CMDQ_BASE_LOW, EVENTQ_BASE_HIGH, EVENTQ_BASE_LOW, EVENTQ_IRQ_CFG0_HIGH,
    EVENTQ_IRQ_CFG0_LOW, EVENTQ_IRQ_CFG1, EVENTQ_IRQ_CFG2, GERROR_IRQ_CFG0_HIGH,
    GERROR_IRQ_CFG0_LOW, GERROR_IRQ_CFG1, GERROR_IRQ_CFG2, IDR0, IDR1, IDR3, IDR5, IIDR,
    PRIQ_BASE_HIGH, PRIQ_BASE_LOW, PRIQ_IRQ_CFG0_HIGH, PRIQ_IRQ_CFG0_LOW, PRIQ_IRQ_CFG1,
    PRIQ_IRQ_CFG2, STRTAB_BASE_HIGH, STRTAB_BASE_LOW,
};

/// Bytes of each page of registers that are mapped and requested. What follows may be a performance
/// monitor's, which has a driver of its own.
pub(super) const WINDOW: usize = 0xe00;
/// Where page 1 starts.
const PAGE1: u64 = 0x1_0000;

type Window = Region<WINDOW>;

/// One of a unit's interrupts that can be a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Events = 0,
    Errors = 1,
    Requests = 2,
}

impl Line {
    pub(super) const COUNT: usize = 3;
    /// Those of the PRI queue come last: not every unit has one.
    pub(super) const ALL: [Self; Self::COUNT] = [Self::Events, Self::Errors, Self::Requests];
}

/// An interrupt message. Without an address nothing is sent.
#[derive(Copy, Clone, Default)]
pub(super) struct Message {
    pub(super) address: u64,
    pub(super) data: u32,
}

/// One page of registers.
///
/// # Invariants
///
/// `raw` is a mapping of [`WINDOW`] bytes of what `origin` says, until the value is dropped.
struct Page {
    raw: MmioRaw<Window>,
    origin: Origin,
}

/// Where registers come from.
enum Origin {
    /// Device memory at this physical address, mapped with `ioremap()`.
    Looked,
    /// The same, and the memory region is requested.
    Claimed(u64),
    /// Memory that plays a unit which never does anything.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    Memory(KVec<u64>),
}

impl Page {
    const NAME: &'static CStr = c"iommu_core";

    fn look(phys: u64) -> Result<Self> {
        // SAFETY: Firmware says that there are registers. At worst nobody answers.
        let virt = unsafe { bindings::ioremap(phys, WINDOW) };
        if virt.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: The mapping was just made.
        Ok(Self {
            raw: MmioRaw::new_region(virt as usize, WINDOW)?,
            origin: Origin::Looked,
        })
    }

    fn claim(phys: u64) -> Result<Self> {
        // SAFETY: The resource tree is there for as long as the kernel runs, and takes any range.
        let region = unsafe {
            bindings::__request_region(
                &raw mut bindings::iomem_resource,
                phys,
                WINDOW as u64,
                Self::NAME.as_char_ptr(),
                0,
            )
        };
        if region.is_null() {
            return Err(EBUSY);
        }
        match Self::look(phys) {
            Ok(mut page) => {
                page.origin = Origin::Claimed(phys);
                Ok(page)
            }
            Err(error) => {
                Self::unclaim(phys);
                Err(error)
            }
        }
    }

    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    fn dead() -> Result<Self> {
        let mut memory = KVec::from_elem(0u64, WINDOW / 8, GFP_KERNEL)?;
        // INVARIANT: The memory is owned, and moving the vector does not move it.
        Ok(Self {
            raw: MmioRaw::new_region(memory.as_mut_ptr() as usize, WINDOW)?,
            origin: Origin::Memory(memory),
        })
    }

    /// Lets others have the region, which was requested here.
    fn unclaim(phys: u64) {
        // SAFETY: The resource tree is there for as long as the kernel runs.
        unsafe {
            bindings::__release_region(&raw mut bindings::iomem_resource, phys, WINDOW as u64)
        };
    }

    #[inline]
    fn io(&self) -> Mmio<'_, Window> {
        // SAFETY: By the invariants the mapping is valid as long as `self` is.
        unsafe { Mmio::from_raw(self.raw) }
    }
}

impl Drop for Page {
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

/// The mapped registers of one unit.
pub struct Registers {
    page0: Page,
    /// `None` if what belongs there is in page 0.
    page1: Option<Page>,
    /// Who plays the unit.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    played: Option<Arc<Played>>,
}

impl Registers {
    /// Maps the registers at physical address `phys` that identify the unit, to look at: they may
    /// belong to somebody else.
    pub(super) fn look(phys: u64) -> Result<Self> {
        Ok(Self {
            page0: Page::look(phys)?,
            page1: None,
            #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
            played: None,
        })
    }

    /// Maps the registers at physical address `phys`, and keeps others off.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else has requested the memory region; `ENOMEM`.
    pub(super) fn claim(phys: u64, page0_only: bool) -> Result<Self> {
        Ok(Self {
            page0: Page::claim(phys)?,
            page1: match page0_only {
                true => None,
                false => Some(Page::claim(phys + PAGE1)?),
            },
            #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
            played: None,
        })
    }

    /// Registers that are mere memory: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(super) fn dead() -> Result<Self> {
        Ok(Self {
            page0: Page::dead()?,
            page1: Some(Page::dead()?),
            played: None,
        })
    }

    /// Registers that are mere memory, of a unit that somebody plays.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn played(by: &Arc<Played>) -> Result<Self> {
        Ok(Self {
            played: Some(by.clone()),
            ..Self::dead()?
        })
    }

    /// Lets a moment pass while a unit does something.
    #[inline]
    pub(super) fn relax(&self) {
        #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
        if let Some(played) = &self.played {
            played.play(self);
        }
        cpu_relax();
    }

    /// The registers of page 0.
    #[inline]
    pub fn io(&self) -> Mmio<'_, Window> {
        self.page0.io()
    }

    /// The registers of page 1: indexes of the event and the PRI queue.
    #[inline]
    pub fn page1(&self) -> Mmio<'_, Window> {
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
        let io = self.io();
        io.write_reg(STRTAB_BASE_LOW::from(base as u32));
        io.write_reg(STRTAB_BASE_HIGH::from((base >> 32) as u32));
    }

    /// Sets SMMU_CMDQ_BASE.
    pub(super) fn set_command_queue(&self, base: u64) {
        let io = self.io();
        io.write_reg(CMDQ_BASE_LOW::from(base as u32));
        io.write_reg(CMDQ_BASE_HIGH::from((base >> 32) as u32));
    }

    /// Sets SMMU_EVENTQ_BASE.
    pub(super) fn set_event_queue(&self, base: u64) {
        let io = self.io();
        io.write_reg(EVENTQ_BASE_LOW::from(base as u32));
        io.write_reg(EVENTQ_BASE_HIGH::from((base >> 32) as u32));
    }

    /// Sets what the unit sends as an interrupt: to device memory (Device-nGnRE).
    pub(super) fn set_message(&self, line: Line, message: &Message) {
        const DEVICE: u32 = 1;
        let io = self.io();
        let address = message.address & 0xf_ffff_ffff_fffc;
        let (low, high) = (address as u32, (address >> 32) as u32);
        match line {
            Line::Events => {
                io.write_reg(EVENTQ_IRQ_CFG0_LOW::from(low));
                io.write_reg(EVENTQ_IRQ_CFG0_HIGH::from(high));
                io.write_reg(EVENTQ_IRQ_CFG1::from(message.data));
                io.write_reg(EVENTQ_IRQ_CFG2::from(DEVICE));
            }
            Line::Errors => {
                io.write_reg(GERROR_IRQ_CFG0_LOW::from(low));
                io.write_reg(GERROR_IRQ_CFG0_HIGH::from(high));
                io.write_reg(GERROR_IRQ_CFG1::from(message.data));
                io.write_reg(GERROR_IRQ_CFG2::from(DEVICE));
            }
            Line::Requests => {
                io.write_reg(PRIQ_IRQ_CFG0_LOW::from(low));
                io.write_reg(PRIQ_IRQ_CFG0_HIGH::from(high));
                io.write_reg(PRIQ_IRQ_CFG1::from(message.data));
                io.write_reg(PRIQ_IRQ_CFG2::from(DEVICE));
            }
        }
    }

    /// Sets SMMU_PRIQ_BASE.
    pub(super) fn set_request_queue(&self, base: u64) {
        let io = self.io();
        io.write_reg(PRIQ_BASE_LOW::from(base as u32));
        io.write_reg(PRIQ_BASE_HIGH::from((base >> 32) as u32));
    }
}
