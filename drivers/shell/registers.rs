// SPDX-License-Identifier: GPL-2.0

//! A window of a unit's registers.
//!
//! Firmware says where registers are, but another driver may use them. So a driver first maps the
//! registers only to read whether the unit is in use. Before it changes anything it claims them: it
//! requests their memory region, as every driver in the kernel does, so that two drivers never have
//! the same unit.

#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
use kernel::sync::Arc;
use kernel::{
    bindings,
    ffi::c_void,
    io::{
        register::{FixedRegister, FixedRegisterLoc},
        Io,
    },
    prelude::*,
    str::{CStr, CStrExt},
};

use crate::ffi::compat::{Mmio, MmioRaw, Region};

/// Mapped registers, `MIN` bytes or more. The compiler checks that a register is within the first
/// `MIN` bytes.
///
/// # Invariants
///
/// `raw` is a mapping of `raw.size()` bytes, which `_source` keeps mapped.
pub(crate) struct Window<const MIN: usize> {
    raw: MmioRaw<Region<MIN>>,
    _source: Source,
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    player: Option<Arc<dyn Player<MIN>>>,
}

/// What keeps registers mapped.
enum Source {
    Device {
        // Dropped in this order: first unmapped, then free for others to request.
        _mapping: Mapping,
        _claim: Option<Claim>,
    },
    /// Memory in place of registers.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    Memory { _words: KVec<u64> },
}

/// A unit in software, for suites: it works on registers that are memory.
#[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
pub(crate) trait Player<const MIN: usize>: Send + Sync {
    /// Does what the registers ask for. A driver's [`read`](Window::read) calls this before it
    /// reads, so the unit can act between any two reads.
    fn act(&self, window: &Window<MIN>);
}

/// Device memory, mapped until the value is dropped.
///
/// # Invariants
///
/// `ioremap()` has returned the address, and this owns the mapping.
struct Mapping(usize);

impl Mapping {
    fn new(phys: u64, bytes: usize) -> Result<Self> {
        // SAFETY: Firmware says that there are registers. If it is wrong nothing answers. The
        // kernel refuses to map its own memory in this way.
        let virt = unsafe { bindings::ioremap(phys, bytes) };
        match virt.is_null() {
            true => Err(ENOMEM),
            // INVARIANT: Just mapped.
            false => Ok(Self(virt as usize)),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::iounmap(self.0 as *mut c_void) };
    }
}

/// A memory region, requested until the value is dropped.
///
/// # Invariants
///
/// The region of `bytes` bytes at `phys` is requested, and this owns the request.
struct Claim {
    phys: u64,
    bytes: u64,
}

impl Claim {
    const NAME: &'static CStr = c"iommu_core";

    fn new(phys: u64, bytes: u64) -> Result<Self> {
        // SAFETY: The resource tree lives as long as the kernel, and takes any range.
        let region = unsafe {
            bindings::__request_region(
                &raw mut bindings::iomem_resource,
                phys,
                bytes,
                Self::NAME.as_char_ptr(),
                0,
            )
        };
        match region.is_null() {
            true => Err(EBUSY),
            // INVARIANT: Just requested.
            false => Ok(Self { phys, bytes }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // SAFETY: By the invariant the region is requested. The resource tree lives as long as the
        // kernel.
        unsafe {
            bindings::__release_region(&raw mut bindings::iomem_resource, self.phys, self.bytes)
        };
    }
}

impl<const MIN: usize> Window<MIN> {
    /// Maps the first `MIN` bytes of the registers at physical address `phys`, for reading only:
    /// another driver may use them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn look(phys: u64) -> Result<Self> {
        Self::map(phys, MIN, None)
    }

    /// Maps `bytes` bytes of registers at physical address `phys`, and keeps other drivers off them
    /// until the window is dropped.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another driver has requested the memory region; `EINVAL` if `bytes` is less than
    /// `MIN` or no multiple of 4; `ENOMEM`.
    pub(crate) fn claim(phys: u64, bytes: usize) -> Result<Self> {
        let claim = Claim::new(phys, bytes as u64)?;
        Self::map(phys, bytes, Some(claim))
    }

    /// Maps registers that other code of the kernel has claimed, which shares them with the caller.
    ///
    /// # Errors
    ///
    /// As those of [`claim`](Self::claim), but not `EBUSY`.
    pub(crate) fn share(phys: u64, bytes: usize) -> Result<Self> {
        Self::map(phys, bytes, None)
    }

    fn map(phys: u64, bytes: usize, claim: Option<Claim>) -> Result<Self> {
        let mapping = Mapping::new(phys, bytes)?;
        // INVARIANT: Just mapped.
        Ok(Self {
            raw: MmioRaw::new_region(mapping.0, bytes)?,
            _source: Source::Device {
                _mapping: mapping,
                _claim: claim,
            },
            #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
            player: None,
        })
    }

    /// Memory in place of registers, all 0: a unit that does not answer.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(crate) fn dead() -> Result<Self> {
        let mut words = KVec::from_elem(0u64, MIN / 8, GFP_KERNEL)?;
        // INVARIANT: The window owns the memory, whose address does not change when the vector
        // moves.
        Ok(Self {
            raw: MmioRaw::new_region(words.as_mut_ptr() as usize, MIN)?,
            _source: Source::Memory { _words: words },
            player: None,
        })
    }

    /// As [`dead`](Self::dead), but with `player` for the unit.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub(crate) fn played(player: Arc<dyn Player<MIN>>) -> Result<Self> {
        Ok(Self {
            player: Some(player),
            ..Self::dead()?
        })
    }

    /// Reads register `R`. To be used for what the unit changes by itself; otherwise
    /// [`io`](Self::io) does as well.
    #[inline(always)]
    pub(crate) fn read<R>(&self) -> R
    where
        R: FixedRegister<Storage = u32>,
        u32: From<R> + Into<R>,
    {
        self.play();
        self.io().read(FixedRegisterLoc::<R>::new())
    }

    /// Lets a unit in software do what the registers ask for. Real units do so all the time.
    #[inline(always)]
    pub(crate) fn play(&self) {
        #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
        if let Some(player) = &self.player {
            player.act(self);
        }
    }

    /// The registers.
    #[inline(always)]
    pub(crate) fn io(&self) -> Mmio<'_, Region<MIN>> {
        // SAFETY: By the invariant the mapping lives as long as `self`.
        unsafe { Mmio::from_raw(self.raw) }
    }

    /// Reads a register of 64 bits, its lower half `L` first.
    ///
    /// The kernel's register type requires a region aligned to 32 bits only, so each half is a
    /// register of its own.
    #[inline(always)]
    pub(crate) fn read_halves<L, H>(&self) -> u64
    where
        L: FixedRegister<Storage = u32>,
        H: FixedRegister<Storage = u32>,
        u32: From<L> + Into<L> + From<H> + Into<H>,
    {
        let io = self.io();
        let low: L = io.read(FixedRegisterLoc::<L>::new());
        let high: H = io.read(FixedRegisterLoc::<H>::new());
        join(low.into(), high.into())
    }

    /// Writes a register of 64 bits, its lower half `L` first.
    #[inline(always)]
    pub(crate) fn write_halves<L, H>(&self, value: u64)
    where
        L: FixedRegister<Storage = u32>,
        H: FixedRegister<Storage = u32>,
        u32: From<L> + Into<L> + From<H> + Into<H>,
    {
        let io = self.io();
        let low: L = (value as u32).into();
        let high: H = ((value >> 32) as u32).into();
        io.write_reg(low);
        io.write_reg(high);
    }
}

/// 64 bits from their halves.
pub(crate) const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}
