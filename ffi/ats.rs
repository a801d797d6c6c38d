// SPDX-License-Identifier: GPL-2.0

//! Address translation services of PCI functions: the device's own cache of translations (PCIe
//! 10.5.1).

use kernel::prelude::*;
#[cfg(CONFIG_PCI_ATS)]
use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_void},
};

#[cfg(CONFIG_PCI_ATS)]
use super::device::DeviceRef;
use super::pci::Pci;
use crate::device::DeviceTlb;

// The kernel exports these; the kernel crate's bindings do not include the header.
#[cfg(CONFIG_PCI_ATS)]
extern "C" {
    fn pci_prepare_ats(dev: *mut c_void, shift: c_int) -> c_int;
    fn pci_enable_ats(dev: *mut c_void, shift: c_int) -> c_int;
    fn pci_disable_ats(dev: *mut c_void);
}

/// The control of a function's ATS capability; `None` if the function has none, or if the kernel
/// does not trust it with ATS.
///
/// # Errors
///
/// `ENOMEM`.
#[cfg(CONFIG_PCI_ATS)]
pub(super) fn control(function: Pci<'_>) -> Result<Option<KBox<dyn DeviceTlb>>> {
    if !function.supports_ats() {
        return Ok(None);
    }
    Ok(Some(KBox::new(
        Ats(function.device().counted()),
        GFP_KERNEL,
    )?))
}

/// Without CONFIG_PCI_ATS the kernel cannot enable ATS.
#[cfg(not(CONFIG_PCI_ATS))]
pub(super) fn control(_function: Pci<'_>) -> Result<Option<KBox<dyn DeviceTlb>>> {
    Ok(None)
}

/// A PCI function with the ATS capability.
#[cfg(CONFIG_PCI_ATS)]
struct Ats(DeviceRef);

#[cfg(CONFIG_PCI_ATS)]
impl Ats {
    fn function(&self) -> Result<Pci<'_>> {
        self.0.get().pci().ok_or(ENODEV)
    }
}

/// Whether the kernel has enabled the function's ATS.
#[cfg(CONFIG_PCI_ATS)]
fn is_on(function: Pci<'_>) -> bool {
    // SAFETY: The function is valid. Only the driver of its unit enables and disables ATS, and it
    // holds the lock of the function's group.
    unsafe { (*function.as_raw()).ats_enabled() != 0 }
}

#[cfg(CONFIG_PCI_ATS)]
impl DeviceTlb for Ats {
    fn prepare(&self, lg2: u32) -> Result {
        let function = self.function()?;
        if is_on(function) {
            return Err(EBUSY);
        }
        // SAFETY: The function is valid.
        to_result(unsafe { pci_prepare_ats(function.as_raw().cast(), lg2 as c_int) })
    }

    fn enable(&self, lg2: u32) -> Result {
        let function = self.function()?;
        if is_on(function) {
            return Err(EBUSY);
        }
        // SAFETY: The function is valid.
        to_result(unsafe { pci_enable_ats(function.as_raw().cast(), lg2 as c_int) })
    }

    fn disable(&self) {
        if let Some(function) = self.function().ok().filter(|function| is_on(*function)) {
            // SAFETY: The function is valid, and its ATS is enabled.
            unsafe { pci_disable_ats(function.as_raw().cast()) }
        }
    }

    fn is_present(&self) -> bool {
        self.function().is_ok_and(|function| {
            // SAFETY: The function is valid. C changes the field when it finds that a function is
            // gone. All readers read it without a lock, so this is one volatile access.
            let state = unsafe { (&raw const (*function.as_raw()).error_state).read_volatile() };
            state != bindings::pci_channel_io_perm_failure
        })
    }
}
