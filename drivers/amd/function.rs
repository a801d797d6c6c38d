// SPDX-License-Identifier: GPL-2.0

//! The PCI function that a unit is.
//!
//! A unit's registers are where the IVRS table says, but some of what it can do is in its
//! configuration space, and its interrupt is an ordinary one of that function.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_uint},
    prelude::*,
};

use super::capability::Encryption;
use crate::requester::RequesterId;

// Exported by the kernel; the kernel crate's bindings leave the headers out.
#[cfg(CONFIG_AMD_MEM_ENCRYPT)]
extern "C" {
    static sme_me_mask: u64;
    fn cc_platform_has(attr: bindings::cc_attr) -> bool;
}

/// What the kernel says of the encryption of its memory.
pub(super) fn encryption() -> Encryption {
    #[cfg(CONFIG_AMD_MEM_ENCRYPT)]
    // SAFETY: The mask and what is known of the processor are written during boot only. Any
    // attribute may be asked for.
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

/// A unit's PCI function, with a count on it.
///
/// # Invariants
///
/// `raw` is valid, and one of its counts is ours.
pub(super) struct Function {
    raw: NonNull<bindings::pci_dev>,
}

// SAFETY: A device may be used and its count dropped from any task.
unsafe impl Send for Function {}
// SAFETY: As above.
unsafe impl Sync for Function {}

impl Function {
    /// What is put into the function's `driver_override`: no driver has this name.
    const NO_DRIVER: &'static CStr = c"iommu_core";

    /// Finds the function.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    pub(super) fn find(segment: u16, id: RequesterId) -> Result<Self> {
        // SAFETY: Any numbers may be asked for.
        let raw = unsafe {
            bindings::pci_get_domain_bus_and_slot(
                c_int::from(segment),
                c_uint::from(id.bus()),
                c_uint::from(id.devfn()),
            )
        };
        // INVARIANT: What is found comes with a count.
        NonNull::new(raw).map(|raw| Self { raw }).ok_or(ENODEV)
    }

    /// Reads 32 bits of configuration space at byte offset `at`.
    pub(super) fn read_config(&self, at: u16) -> Result<u32> {
        let mut value = 0;
        // SAFETY: By the invariant, and `value` is for the answer.
        to_result(unsafe {
            bindings::pci_read_config_dword(self.raw.as_ptr(), c_int::from(at & !3), &mut value)
        })?;
        // What all ones are read from does not answer.
        match value {
            u32::MAX => Err(ENODEV),
            value => Ok(value),
        }
    }

    /// The memory node that the function is close to, negative for none.
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
        // SAFETY: By the invariant. C changes the field without a lock that could be taken here and
        // reads it so everywhere, for which it is one volatile access.
        let driver = unsafe { (&raw const (*self.raw.as_ptr()).dev.driver).read_volatile() };
        !driver.is_null()
    }

    /// Keeps drivers off the function, or lets them have it again.
    pub(super) fn reserve(&self, reserve: bool) -> Result {
        let name = match reserve {
            true => Self::NO_DRIVER,
            false => c"",
        };
        // SAFETY: By the invariant; the name is copied.
        to_result(unsafe {
            bindings::__device_set_driver_override(
                &raw mut (*self.raw.as_ptr()).dev,
                name.as_char_ptr(),
                name.to_bytes().len(),
            )
        })
    }

    /// Has the function send its interrupt as a message. Returns the interrupt's number.
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

    /// Ends [`enable_interrupt`](Self::enable_interrupt). Nobody handles the interrupt any more.
    pub(super) fn disable_interrupt(&self) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_free_irq_vectors(self.raw.as_ptr()) }
    }

    /// Sets the interrupt's message again, after the function has lost it.
    ///
    /// Context: any; does not sleep.
    pub(super) fn restore_interrupt(&self) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_restore_msi_state(self.raw.as_ptr()) }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_dev_put(self.raw.as_ptr()) }
    }
}
