// SPDX-License-Identifier: GPL-2.0

//! The PCI function of a unit.
//!
//! The IVRS table has the address of a unit's registers. Some capabilities are only in the
//! function's configuration space, and the unit's interrupt is the function's MSI.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_uint},
    prelude::*,
};

use super::{
    capability::Encryption,
    quirks::{ConfigSpace, Machine},
};
use crate::requester::RequesterId;

// The kernel exports these; the kernel crate's bindings leave their headers out.
#[cfg(CONFIG_AMD_MEM_ENCRYPT)]
extern "C" {
    static sme_me_mask: u64;
    fn cc_platform_has(attr: bindings::cc_attr) -> bool;
}

/// Whether and how the kernel encrypts memory.
pub(super) fn encryption() -> Encryption {
    #[cfg(CONFIG_AMD_MEM_ENCRYPT)]
    // SAFETY: The kernel writes the mask and `boot_cpu_data` during boot only. The function takes
    // any attribute.
    unsafe {
        let cpu = &raw const bindings::boot_cpu_data;
        Encryption::judge(
            sme_me_mask,
            cc_platform_has(bindings::cc_attr_CC_ATTR_HOST_MEM_ENCRYPT),
            (*cpu).__bindgen_anon_1.__bindgen_anon_1.x86,
            (*cpu).microcode,
        )
    }
    #[cfg(not(CONFIG_AMD_MEM_ENCRYPT))]
    Encryption::None
}

/// A unit's PCI function, with a reference to it.
///
/// # Invariants
///
/// `raw` is valid, and this owns one reference to it.
pub(super) struct Function {
    raw: NonNull<bindings::pci_dev>,
}

// SAFETY: Any task may use a device and drop a reference to it.
unsafe impl Send for Function {}
// SAFETY: As above.
unsafe impl Sync for Function {}

impl Function {
    /// The function's `driver_override` while the unit is in use. No driver has this name.
    const NO_DRIVER: &'static CStr = c"iommu_core";

    /// Finds the function.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    pub(super) fn find(segment: u16, id: RequesterId) -> Result<Self> {
        // SAFETY: The function takes any numbers.
        let raw = unsafe {
            bindings::pci_get_domain_bus_and_slot(
                c_int::from(segment),
                c_uint::from(id.bus()),
                c_uint::from(id.devfn()),
            )
        };
        // INVARIANT: The kernel has taken a reference for the caller.
        NonNull::new(raw).map(|raw| Self { raw }).ok_or(ENODEV)
    }

    /// Finds device 0, function 0 on this function's bus.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    pub(super) fn root(&self, segment: u16) -> Result<Self> {
        // SAFETY: By the invariant; a function keeps its bus alive.
        let bus = unsafe { (*(*self.raw.as_ptr()).bus).number };
        Self::find(segment, RequesterId::pci(bus, 0))
    }

    /// The function's ids, and the processor.
    pub(super) fn machine(&self) -> Machine {
        // SAFETY: By the invariant. The kernel writes the ids when it finds the function, and
        // `boot_cpu_data` during boot only.
        unsafe {
            let processor = bindings::boot_cpu_data.__bindgen_anon_1.__bindgen_anon_1;
            Machine {
                family: processor.x86,
                model: processor.x86_model,
                vendor: (*self.raw.as_ptr()).vendor,
                device: (*self.raw.as_ptr()).device,
            }
        }
    }

    /// Reads 32 bits of configuration space at byte offset `at`.
    pub(super) fn read_config(&self, at: u16) -> Result<u32> {
        let mut value = 0;
        // SAFETY: By the invariant the device is valid, and `value` may be written to.
        to_result(unsafe {
            bindings::pci_read_config_dword(self.raw.as_ptr(), c_int::from(at & !3), &mut value)
        })?;
        // A function that does not answer reads as all ones.
        match value {
            u32::MAX => Err(ENODEV),
            value => Ok(value),
        }
    }

    /// The memory node next to the function, negative for none.
    pub(super) fn node(&self) -> i32 {
        #[cfg(CONFIG_NUMA)]
        // SAFETY: By the invariant.
        unsafe {
            (*self.raw.as_ptr()).dev.numa_node
        }
        #[cfg(not(CONFIG_NUMA))]
        bindings::NUMA_NO_NODE
    }

    /// Whether a driver is bound to the function.
    pub(super) fn has_driver(&self) -> bool {
        // SAFETY: By the invariant. C changes the field under a lock that cannot be taken here, and
        // reads it everywhere without that lock, with one volatile access as here.
        let driver = unsafe { (&raw const (*self.raw.as_ptr()).dev.driver).read_volatile() };
        !driver.is_null()
    }

    /// Keeps drivers off the function, or lets them bind to it again.
    ///
    /// # Errors
    ///
    /// Those of `__device_set_driver_override()`.
    pub(super) fn reserve(&self, reserve: bool) -> Result {
        let name = match reserve {
            true => Self::NO_DRIVER,
            false => c"",
        };
        // SAFETY: By the invariant the device is valid, and the kernel copies the name.
        to_result(unsafe {
            bindings::__device_set_driver_override(
                &raw mut (*self.raw.as_ptr()).dev,
                name.as_char_ptr(),
                name.to_bytes().len(),
            )
        })
    }

    /// Enables the function's MSI. Returns the interrupt's number.
    ///
    /// # Errors
    ///
    /// Those of `pci_alloc_irq_vectors()`.
    pub(super) fn enable_interrupt(&self) -> Result<c_uint> {
        // SAFETY: By the invariant.
        unsafe {
            to_result(bindings::pci_alloc_irq_vectors(
                self.raw.as_ptr(),
                1,
                1,
                bindings::PCI_IRQ_MSI,
            ))?;
            let irq = bindings::pci_irq_vector(self.raw.as_ptr(), 0);
            to_result(irq).inspect_err(|_| bindings::pci_free_irq_vectors(self.raw.as_ptr()))?;
            Ok(irq as c_uint)
        }
    }

    /// Disables the function's MSI. The interrupt has no handler any more.
    pub(super) fn disable_interrupt(&self) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_free_irq_vectors(self.raw.as_ptr()) }
    }

    /// Writes the MSI registers again after the function has lost them.
    ///
    /// Context: any; does not sleep.
    pub(super) fn restore_interrupt(&self) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_restore_msi_state(self.raw.as_ptr()) }
    }
}

impl ConfigSpace for Function {
    fn read(&self, at: u16) -> u32 {
        let mut value = u32::MAX;
        // SAFETY: By the invariant the device is valid, and `value` may be written to.
        unsafe { bindings::pci_read_config_dword(self.raw.as_ptr(), at.into(), &mut value) };
        value
    }

    fn write(&self, at: u16, value: u32) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_write_config_dword(self.raw.as_ptr(), at.into(), value) };
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_dev_put(self.raw.as_ptr()) }
    }
}
