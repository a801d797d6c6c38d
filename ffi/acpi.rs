// SPDX-License-Identifier: GPL-2.0

//! The names of a device in the ACPI namespace.

use core::{marker::PhantomData, mem::offset_of, ptr::NonNull};

use kernel::{bindings, ffi::c_char, prelude::*, str::CStrExt};

use super::device::Device;
use crate::device::AcpiName;

/// Makes ACPICA allocate the buffer for its answer (`ACPI_ALLOCATE_BUFFER`).
const ALLOCATE: bindings::acpi_size = bindings::acpi_size::MAX;

/// The ACPI companion of a device: the object in the ACPI namespace that describes it.
///
/// # Invariants
///
/// `raw` is valid for `'a`.
pub(crate) struct Companion<'a> {
    raw: NonNull<bindings::acpi_device>,
    _life: PhantomData<&'a bindings::acpi_device>,
}

impl<'a> Companion<'a> {
    /// The companion of `device`, if there is one.
    pub(crate) fn of(device: Device<'a>) -> Option<Self> {
        // SAFETY: The device is valid. Its firmware node is set before the device is on a bus, and
        // does not change. The function accepts any node, null included, and returns whether it is
        // part of an ACPI device.
        let node = unsafe {
            let node = (*device.as_raw()).fwnode;
            bindings::is_acpi_device_node(node).then_some(node)?
        };
        // SAFETY: The node is embedded in an ACPI device, which stays valid while the device that
        // it describes exists.
        let raw = unsafe { node.byte_sub(offset_of!(bindings::acpi_device, fwnode)) };
        // INVARIANT: See the previous comment.
        Some(Self {
            raw: NonNull::new(raw.cast())?,
            _life: PhantomData,
        })
    }

    /// The companion's names.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENODEV` if the object is being removed.
    pub(crate) fn name(&self) -> Result<AcpiName> {
        // SAFETY: By the invariant; ids and strings are valid as long as the object.
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
            // The kernel created this object itself, for example for a fixed power button. ACPICA
            // would treat null as the root.
            return Err(ENODEV);
        }
        let mut answer = bindings::acpi_buffer {
            length: ALLOCATE,
            pointer: core::ptr::null_mut(),
        };
        // SAFETY: ACPICA checks that the handle is valid. It fills a buffer that requests an
        // allocation if it succeeds.
        let status = unsafe {
            bindings::acpi_get_name(handle, bindings::ACPI_FULL_PATHNAME, &raw mut answer)
        };
        if status != 0 {
            return Err(ENODEV);
        }
        // SAFETY: After success the buffer contains a C string.
        let path = unsafe { bytes(answer.pointer.cast()) };
        // SAFETY: ACPICA allocates with kmalloc(), and the caller owns what it allocated for an
        // answer.
        unsafe { bindings::kfree(answer.pointer) };
        path
    }
}

/// Copies a C string without its terminating zero.
///
/// # Safety
///
/// `text` is null, which yields an empty copy, or a valid C string.
unsafe fn bytes(text: *const c_char) -> Result<KVec<u8>> {
    let mut copy = KVec::new();
    if !text.is_null() {
        // SAFETY: By the requirements.
        let text = unsafe { CStr::from_char_ptr(text) };
        copy.extend_from_slice(text.to_bytes(), GFP_KERNEL)?;
    }
    Ok(copy)
}
