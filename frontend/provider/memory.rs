// SPDX-License-Identifier: GPL-2.0

//! Says once for each unit that it cannot address all memory of the machine.
//!
//! Such memory cannot be kept from drivers: the DMA API has limits for what a *device* can address,
//! and none for its unit. A refused map does not help: `dma_map_phys()` reports no error number, so
//! block drivers take each failure for a lack of resources and try again for ever. So on VT-d the
//! map succeeds, as with the kernel's own driver, and the unit refuses the DMA with a fault, which
//! a device may or may not notice, above all when it writes. On an SMMU the map fails, as with the
//! kernel's own driver: its page tables must not hold such an address. Either way a person has to
//! be told beforehand.

#![forbid(unsafe_code)]

use kernel::{prelude::*, sync::Arc};

use super::{instance::Instance, served::Served, unit::ProviderUnit};
use crate::{
    addr::PhysAddr,
    ffi::memory::{self, MemoryHandler, MemoryNotifier},
    log::log_warn,
};

impl<D: Served> ProviderUnit<D> {
    /// Compares the unit's width with the memory that the machine has now.
    pub fn compare_with_memory(&self) {
        if let Some(last) = memory::last_address() {
            self.compare_with(last);
        }
    }

    fn compare_with(&self, last: PhysAddr) {
        let bits = D::output_bits(self.core().data());
        let is_reached = u32::from(bits) >= u64::BITS || last.raw() >> bits == 0;
        if is_reached || self.set_has_far_memory() {
            return;
        }
        log_warn!(
            "{}: the unit puts out {} bits of physical addresses, and memory ends at {:#x}: DMA to \
             memory from {:#x} on fails; boot with mem={}M if drivers use it",
            self.core().name(),
            bits,
            last.raw(),
            1_u64 << bits,
            (1_u64 << bits) >> 20,
        );
    }
}

/// The units of one vendor driver.
// Nobody reads it on a kernel whose memory cannot grow.
#[cfg_attr(not(CONFIG_MEMORY_HOTPLUG), allow(dead_code))]
pub struct Units<D: Served>(Arc<Instance<D>>);

/// Compares the units of a vendor driver with new memory, until it is dropped.
pub type MemoryWatch<D> = MemoryNotifier<Units<D>>;

impl<D: Served> Units<D> {
    /// Compares the units of `instance` with new memory from now on.
    pub fn watch(instance: &Arc<Instance<D>>) -> Result<MemoryWatch<D>> {
        MemoryNotifier::new(Self(instance.clone()))
    }
}

impl<D: Served> MemoryHandler for Units<D> {
    fn added(&self, last: PhysAddr) {
        for unit in self.0.units.iter().filter(|unit| unit.is_active()) {
            unit.compare_with(last);
        }
    }
}
