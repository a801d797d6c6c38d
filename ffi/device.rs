// SPDX-License-Identifier: GPL-2.0

//! Devices and tasks as C hands them to callbacks.

use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::{self, NonNull},
};

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_char, c_int, c_void},
    prelude::*,
};

use crate::label::Label;

/// A `struct device`, for as long as somebody else keeps it.
///
/// # Invariants
///
/// `raw` is valid for `'a`.
#[derive(Copy, Clone)]
pub(crate) struct Device<'a> {
    raw: NonNull<bindings::device>,
    _life: PhantomData<&'a bindings::device>,
}

impl<'a> Device<'a> {
    /// Takes what C passed to a callback. `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// The device stays valid for `'a`.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::device) -> Option<Self> {
        // SAFETY: By the requirements.
        NonNull::new(raw).map(|raw| unsafe { Self::new(raw) })
    }

    /// As [`from_raw`](Self::from_raw), for a pointer that is not null.
    ///
    /// # Safety
    ///
    /// The device stays valid for `'a`.
    pub(super) unsafe fn new(raw: NonNull<bindings::device>) -> Self {
        // INVARIANT: By the requirements.
        Self {
            raw,
            _life: PhantomData,
        }
    }

    /// The pointer that C knows the device by.
    pub(crate) fn as_raw(self) -> *mut bindings::device {
        self.raw.as_ptr()
    }

    /// The device's name, for example `0000:00:1f.2`.
    pub(crate) fn name(self) -> Label {
        // SAFETY: By the invariant; the name is a C string that lives as long as the device, which
        // is not renamed while it is on a bus.
        unsafe { label(bindings::dev_name(self.as_raw())) }
    }

    /// The driver that is bound to the device or being bound.
    pub(crate) fn driver(self) -> Option<Driver<'a>> {
        // SAFETY: By the invariant. C changes the field without a lock that could be taken here and
        // reads it so everywhere, for which it is one volatile access.
        let raw = unsafe { ptr::read_volatile(&raw const (*self.as_raw()).driver) };
        NonNull::new(raw).map(|raw| Driver {
            raw,
            bus: self.bus(),
            _life: PhantomData,
        })
    }

    pub(super) fn bus(self) -> *const bindings::bus_type {
        // SAFETY: By the invariant; a device's bus does not change.
        unsafe { (*self.as_raw()).bus }
    }

    /// Whether the device is on the platform bus.
    pub(crate) fn is_platform(self) -> bool {
        ptr::eq(self.bus(), &raw const bindings::platform_bus_type)
    }

    /// The kernel's IOMMU group that the device is in.
    pub(crate) fn iommu_group(self) -> *mut bindings::iommu_group {
        // SAFETY: By the invariant.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).iommu_group) }
    }

    /// What `dev_iommu_priv_set()` has set; null if nobody has.
    ///
    /// The caller is in a callback of the IOMMU layer for the device, so that its record is there
    /// to stay.
    pub(crate) fn iommu_private(self) -> *mut c_void {
        // SAFETY: By the invariant, and by what the caller promises for the record.
        unsafe {
            match (*self.as_raw()).iommu {
                record if record.is_null() => ptr::null_mut(),
                record => (*record).priv_,
            }
        }
    }

    /// Takes a count on the device.
    pub(crate) fn counted(self) -> Counted {
        // SAFETY: By the invariant the device is valid.
        unsafe { bindings::get_device(self.as_raw()) };
        // INVARIANT: The count has just been taken.
        Counted(self.raw)
    }
}

/// A device with a count on it.
///
/// # Invariants
///
/// The pointer is valid, and one of the device's counts is ours.
pub(crate) struct Counted(NonNull<bindings::device>);

// SAFETY: A device may be used and its count dropped from any task.
unsafe impl Send for Counted {}
// SAFETY: As above.
unsafe impl Sync for Counted {}

impl Counted {
    /// The device.
    pub(crate) fn get(&self) -> Device<'_> {
        // INVARIANT: Valid as long as the count is.
        Device {
            raw: self.0,
            _life: PhantomData,
        }
    }

    /// Takes over a count that somebody has taken for us.
    ///
    /// # Safety
    ///
    /// One of the device's counts is the caller's.
    pub(crate) unsafe fn adopt(device: Device<'_>) -> Self {
        // INVARIANT: By the requirements.
        Self(device.raw)
    }

    /// Unbinds the device's driver and waits until it is gone.
    ///
    /// Context: the device's lock is not held.
    pub(crate) fn release_driver(&self) {
        // SAFETY: By the invariant; a device without a driver is no error.
        unsafe { bindings::device_release_driver(self.0.as_ptr()) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::put_device(self.0.as_ptr()) }
    }
}

/// A driver.
///
/// # Invariants
///
/// `raw` is valid for `'a`: a driver outlives its bond with a device.
#[derive(Copy, Clone)]
pub(crate) struct Driver<'a> {
    raw: NonNull<bindings::device_driver>,
    bus: *const bindings::bus_type,
    _life: PhantomData<&'a bindings::device_driver>,
}

impl Driver<'_> {
    /// The driver's name.
    pub(crate) fn name(self) -> Label {
        // SAFETY: By the invariant; the name is a C string that lives as long.
        unsafe { label((*self.raw.as_ptr()).name) }
    }

    /// Whether the driver looks after DMA itself (VFIO, bridges) instead of using the DMA API.
    pub(crate) fn manages_dma(self) -> bool {
        let raw = self.raw.as_ptr();
        if ptr::eq(self.bus, &raw const bindings::pci_bus_type) {
            // SAFETY: All drivers on the PCI bus are embedded in a `struct pci_driver`.
            unsafe {
                let pci: *const bindings::pci_driver = raw
                    .byte_sub(offset_of!(bindings::pci_driver, driver))
                    .cast();
                (*pci).driver_managed_dma
            }
        } else if ptr::eq(self.bus, &raw const bindings::platform_bus_type) {
            // SAFETY: All drivers on the platform bus are embedded in a `struct platform_driver`.
            unsafe {
                let platform: *const bindings::platform_driver = raw
                    .byte_sub(offset_of!(bindings::platform_driver, driver))
                    .cast();
                (*platform).driver_managed_dma
            }
        } else {
            false
        }
    }
}

/// Calls `f` for every device on the platform bus.
pub(crate) fn for_each_on_platform<F: FnMut(Device<'_>) -> Result>(mut f: F) -> Result {
    extern "C" fn call<F: FnMut(Device<'_>) -> Result>(
        raw: *mut bindings::device,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: The bus keeps the device during the call, and `data` is what is passed below.
        let (device, f) = unsafe { (Device::from_raw(raw), &mut *data.cast::<F>()) };
        match device.map(f) {
            Some(Err(error)) => error.to_errno(),
            _ => 0,
        }
    }
    // SAFETY: The function takes what it is passed as its data, which nobody else uses meanwhile.
    to_result(unsafe {
        bindings::bus_for_each_dev(
            &raw const bindings::platform_bus_type,
            ptr::null_mut(),
            (&raw mut f).cast(),
            Some(call::<F>),
        )
    })
}

/// The process that is running, as messages name it.
pub(crate) struct Process {
    /// Its id, the same for all of its threads.
    pub(crate) id: i32,
    /// `name (pid 12)`.
    pub(crate) label: Label,
}

impl Process {
    /// The process that makes the call.
    pub(crate) fn current() -> Self {
        // SAFETY: The running task and the leader of its threads are valid while it runs. The name
        // may change while it is copied; it ends with a zero at all times, at the latest in its
        // last byte.
        let (id, name) = unsafe {
            let task = bindings::get_current();
            let leader = (*task).group_leader;
            ((*task).tgid, (*leader).comm)
        };
        let text = CStr::from_bytes_until_nul(&name)
            .ok()
            .and_then(|name| name.to_str().ok())
            .unwrap_or("?");
        Self {
            id,
            label: Label::new(format_args!("{text} (pid {id})")),
        }
    }
}

/// Copies a C string; what is not UTF-8 is a question mark.
///
/// # Safety
///
/// `text` is null or a valid C string.
pub(crate) unsafe fn label(text: *const c_char) -> Label {
    if text.is_null() {
        return Label::from("?");
    }
    // SAFETY: By the requirements.
    let text = unsafe { CStr::from_char_ptr(text) };
    Label::from(text.to_str().unwrap_or("?"))
}
