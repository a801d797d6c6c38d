// SPDX-License-Identifier: GPL-2.0

//! What the ACPI namespace says of a device.

use core::{marker::PhantomData, mem::offset_of, ptr::NonNull};

use kernel::{bindings, ffi::c_char, prelude::*, str::CStrExt};

use super::device::Device;
use crate::device::AcpiName;

/// Lets ACPICA allocate the answer (`ACPI_ALLOCATE_BUFFER`).
const ALLOCATE: bindings::acpi_size = bindings::acpi_size::MAX;

/// An object in the ACPI namespace that describes a device.
///
/// # Invariants
///
/// `raw` is valid for `'a`.
pub(crate) struct Companion<'a> {
    raw: NonNull<bindings::acpi_device>,
    _life: PhantomData<&'a bindings::acpi_device>,
}

impl<'a> Companion<'a> {
    /// The object that describes `device`, if there is one.
    pub(crate) fn of(device: Device<'a>) -> Option<Self> {
        // SAFETY: The device is valid. Its node is set before it is on a bus and stays, and the
        // function tells from any node, null included, whether it is a part of an ACPI device.
        let node = unsafe {
            let node = (*device.as_raw()).fwnode;
            bindings::is_acpi_device_node(node).then_some(node)?
        };
        // SAFETY: The node is embedded in an ACPI device, which a device that it describes keeps.
        let raw = unsafe { node.byte_sub(offset_of!(bindings::acpi_device, fwnode)) };
        // INVARIANT: See above.
        Some(Self {
            raw: NonNull::new(raw.cast())?,
            _life: PhantomData,
        })
    }

    /// Its names.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENODEV` if the object is about to go.
    pub(crate) fn name(&self) -> Result<AcpiName> {
        // SAFETY: By the invariant; ids and strings live as long as the object.
        let (hid, uid) = unsafe {
            (
                bytes(bindings::acpi_device_hid(self.raw.as_ptr()))?,
                bytes((*self.raw.as_ptr()).pnp.unique_id)?,
            )
        };
        Ok(AcpiName {
            path: self.path()?,
            hid,
            uid,
        })
    }

    fn path(&self) -> Result<KVec<u8>> {
        // SAFETY: By the invariant.
        let handle = unsafe { (*self.raw.as_ptr()).handle };
        if handle.is_null() {
            // Made by the kernel, as for a button of the chipset's; ACPICA takes null for the root.
            return Err(ENODEV);
        }
        let mut answer = bindings::acpi_buffer {
            length: ALLOCATE,
            pointer: core::ptr::null_mut(),
        };
        // SAFETY: ACPICA looks whether the handle is one. A buffer that asks for an allocation is
        // filled on success.
        let status = unsafe {
            bindings::acpi_get_name(handle, bindings::ACPI_FULL_PATHNAME, &raw mut answer)
        };
        if status != 0 {
            return Err(ENODEV);
        }
        // SAFETY: On success the buffer has a C string.
        let path = unsafe { bytes(answer.pointer.cast()) };
        // SAFETY: ACPICA allocates with kmalloc(), and what it allocated for an answer is ours.
        unsafe { bindings::kfree(answer.pointer) };
        path
    }
}

/// A copy of a C string, without its end.
///
/// # Safety
///
/// `text` is null, which is taken as empty, or a valid C string.
unsafe fn bytes(text: *const c_char) -> Result<KVec<u8>> {
    let mut copy = KVec::new();
    if !text.is_null() {
        // SAFETY: By the requirements.
        let text = unsafe { CStr::from_char_ptr(text) };
        copy.extend_from_slice(text.to_bytes(), GFP_KERNEL)?;
    }
    Ok(copy)
}
