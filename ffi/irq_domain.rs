// SPDX-License-Identifier: GPL-2.0

//! What the module's interrupt domains share, and the processors' interrupt controller.

use core::ptr;

use kernel::{bindings, prelude::*, str::CStrExt};

/// The firmware node of an interrupt domain: its name.
///
/// # Invariants
///
/// [`DomainName::new`] has allocated the node. When this is dropped, no domain refers to it.
pub(crate) struct DomainName(*mut bindings::fwnode_handle);

// SAFETY: The value owns the node, which does not change.
unsafe impl Send for DomainName {}
// SAFETY: As above.
unsafe impl Sync for DomainName {}

impl DomainName {
    /// Makes a node called `name`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The name is copied.
        let node = unsafe {
            bindings::__irq_domain_alloc_fwnode(
                bindings::IRQCHIP_FWNODE_NAMED,
                0,
                name.as_char_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        match node.is_null() {
            true => Err(ENOMEM),
            // INVARIANT: Just allocated.
            false => Ok(Self(node)),
        }
    }

    /// The C pointer to the node.
    pub(crate) fn as_raw(&self) -> *mut bindings::fwnode_handle {
        self.0
    }
}

impl Drop for DomainName {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::irq_domain_free_fwnode(self.0) }
    }
}

/// The domain that manages the processors' vectors.
///
/// # Errors
///
/// `ENODEV` if the kernel has none.
pub(crate) fn vectors() -> Result<*mut bindings::irq_domain> {
    // SAFETY: The kernel writes the variable during boot only.
    match unsafe { bindings::x86_vector_domain } {
        domain if domain.is_null() => Err(ENODEV),
        domain => Ok(domain),
    }
}

/// `struct msi_msg`, of which the bindings have only the name.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MsiMessage {
    /// Lower half of the address.
    pub(crate) address_low: u32,
    /// Upper half of the address.
    pub(crate) address_high: u32,
    /// The data.
    pub(crate) data: u32,
}

/// The message that the parent domain composes for an interrupt.
///
/// # Safety
///
/// `data` is that of an interrupt in a domain on top of [`vectors`].
pub(crate) unsafe fn parent_message(data: *mut bindings::irq_data) -> MsiMessage {
    let mut message = MsiMessage::default();
    // SAFETY: By the requirements the interrupt has the parent's data, with a chip, and
    // `MsiMessage` has the layout of the kernel's structure.
    unsafe {
        let parent = (*data).parent_data;
        if let Some(compose) = (*(*parent).chip).irq_compose_msi_msg {
            compose(parent, (&raw mut message).cast());
        }
    }
    message
}

/// Whether the processors' interrupt controllers are in x2APIC mode: processors have ids of 32
/// bits.
pub(crate) fn is_x2apic() -> bool {
    #[cfg(CONFIG_X86_X2APIC)]
    {
        extern "C" {
            static x2apic_mode: kernel::ffi::c_int;
        }
        // SAFETY: The kernel exports the variable, and writes it during boot only.
        unsafe { x2apic_mode != 0 }
    }
    #[cfg(not(CONFIG_X86_X2APIC))]
    false
}
