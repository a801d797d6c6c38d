// SPDX-License-Identifier: GPL-2.0

//! The PASID capability of PCI functions (PCIe 7.8.9).

use kernel::prelude::*;
#[cfg(CONFIG_PCI_PASID)]
use kernel::{
    error::to_result,
    ffi::{c_int, c_void},
};

#[cfg(CONFIG_PCI_PASID)]
use super::device::DeviceRef;
use super::pci::Pci;
use crate::device::PasidControl;

// The kernel exports these; the kernel crate's bindings do not include the header.
#[cfg(CONFIG_PCI_PASID)]
extern "C" {
    fn pci_max_pasids(dev: *mut c_void) -> c_int;
    fn pci_enable_pasid(dev: *mut c_void, features: c_int) -> c_int;
    fn pci_disable_pasid(dev: *mut c_void);
}

/// The control of a function's PASID capability; `None` if it has none.
///
/// # Errors
///
/// `ENOMEM`.
#[cfg(CONFIG_PCI_PASID)]
pub(super) fn control(function: Pci<'_>) -> Result<Option<KBox<dyn PasidControl>>> {
    // SAFETY: The function is valid.
    let count = unsafe { pci_max_pasids(function.as_raw().cast()) };
    let Some(bits) = u32::try_from(count).ok().and_then(u32::checked_ilog2) else {
        return Ok(None);
    };
    let capability = Capability {
        function: function.device().counted(),
        // A device may say anything.
        bits: bits.min(crate::pasid::Pasid::BITS) as u8,
    };
    Ok(Some(KBox::new(capability, GFP_KERNEL)?))
}

/// Without CONFIG_PCI_PASID the kernel does not look for the capability.
#[cfg(not(CONFIG_PCI_PASID))]
pub(super) fn control(_function: Pci<'_>) -> Result<Option<KBox<dyn PasidControl>>> {
    Ok(None)
}

/// A PCI function with the capability, or a virtual one, which has that of its physical function.
#[cfg(CONFIG_PCI_PASID)]
struct Capability {
    function: DeviceRef,
    bits: u8,
}

/// Whether the kernel has enabled the function's PASIDs.
#[cfg(CONFIG_PCI_PASID)]
fn is_on(function: Pci<'_>) -> bool {
    // SAFETY: The function is valid. Only the driver of its unit enables and disables them.
    unsafe { (*function.as_raw()).pasid_enabled() != 0 }
}

/// Whether the kernel has enabled the function's ATS. PASIDs must not be enabled then (PCIe
/// 10.5.1).
#[cfg(all(CONFIG_PCI_PASID, CONFIG_PCI_ATS))]
fn has_ats_on(function: Pci<'_>) -> bool {
    // SAFETY: As above.
    unsafe { (*function.as_raw()).ats_enabled() != 0 }
}

#[cfg(all(CONFIG_PCI_PASID, not(CONFIG_PCI_ATS)))]
fn has_ats_on(_function: Pci<'_>) -> bool {
    false
}

#[cfg(CONFIG_PCI_PASID)]
impl PasidControl for Capability {
    fn bits(&self) -> u8 {
        self.bits
    }

    fn enable(&self) -> Result {
        let function = self.function.get().pci().ok_or(ENODEV)?;
        if is_on(function) || has_ats_on(function) {
            return Err(EBUSY);
        }
        // No permissions are asked for: neither to execute nor to be privileged.
        //
        // SAFETY: The function is valid.
        to_result(unsafe { pci_enable_pasid(function.as_raw().cast(), 0) })
    }

    fn disable(&self) {
        if let Some(function) = self.function.get().pci().filter(|f| is_on(*f)) {
            // SAFETY: The function is valid, and its PASIDs are enabled.
            unsafe { pci_disable_pasid(function.as_raw().cast()) }
        }
    }
}
