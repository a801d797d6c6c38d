// SPDX-License-Identifier: GPL-2.0

//! Devices and tasks as C passes them to callbacks.

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
    sync::rcu,
};

use crate::label::Label;

/// A `struct device` that other code keeps alive.
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
    /// Wraps a pointer that C passed to a callback. `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// The device stays valid for `'a`.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::device) -> Option<Self> {
        // SAFETY: By the requirements.
        NonNull::new(raw).map(|raw| unsafe { Self::new(raw) })
    }

    /// Like [`from_raw`](Self::from_raw), for a pointer that is not null.
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

    /// The C pointer to the device.
    pub(crate) fn as_raw(self) -> *mut bindings::device {
        self.raw.as_ptr()
    }

    /// The device's name, for example `0000:00:1f.2`.
    pub(crate) fn name(self) -> Label {
        // SAFETY: By the invariant; the name is a C string that is valid as long as the device. A
        // device on a bus is not renamed.
        unsafe { label(bindings::dev_name(self.as_raw())) }
    }

    /// The driver that is bound, or is being bound, to the device, as it is now.
    pub(crate) fn driver(self) -> Option<Driver> {
        // A driver can be unbound at any time, and its module unloaded, unless the device's lock is
        // held, which not all callers can take. A module's memory is freed only after a grace
        // period of RCU that begins when its drivers are unbound from all devices.
        let guard = rcu::read_lock();
        // SAFETY: By the invariant. C changes the field without a lock that could be taken here.
        // All readers read it without a lock, so this is one volatile access.
        let raw = unsafe { ptr::read_volatile(&raw const (*self.as_raw()).driver) };
        let found = NonNull::new(raw).map(|raw| {
            // SAFETY: The driver was bound after the guard was taken, so it is valid until the
            // guard is dropped. It is on the device's bus.
            unsafe { Driver::copy(raw.as_ptr(), self.bus()) }
        });
        drop(guard);
        found
    }

    pub(super) fn bus(self) -> *const bindings::bus_type {
        // SAFETY: By the invariant; a device's bus does not change.
        unsafe { (*self.as_raw()).bus }
    }

    /// Whether the device is on the platform bus.
    pub(crate) fn is_platform(self) -> bool {
        ptr::eq(self.bus(), &raw const bindings::platform_bus_type)
    }

    /// The kernel's IOMMU group of the device.
    pub(crate) fn iommu_group(self) -> *mut bindings::iommu_group {
        // SAFETY: By the invariant.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).iommu_group) }
    }

    /// The domain that C has the device's group attached to; null if none. It may be another one by
    /// now, and be freed: the pointer is good for comparisons only.
    ///
    /// # Safety
    ///
    /// The device does not leave its group meanwhile.
    // Only the hosted frontend asks.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub(crate) unsafe fn domain_of_group(self) -> *mut bindings::iommu_domain {
        // SAFETY: By the invariant and the requirement.
        unsafe { bindings::iommu_get_domain_for_dev(self.as_raw()) }
    }

    /// The domain that C has the device attached to: the blocked domain while it is reset,
    /// otherwise that of its group.
    ///
    /// # Safety
    ///
    /// The caller holds the mutex of the device's group, and C has attached the device.
    // Only the hosted frontend asks.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub(crate) unsafe fn domain(self) -> *mut bindings::iommu_domain {
        // SAFETY: By the invariant and the requirements.
        unsafe { bindings::iommu_driver_get_domain_for_dev(self.as_raw()) }
    }

    /// The pointer that `dev_iommu_priv_set()` has stored; null if none.
    ///
    /// The caller is in a callback of the IOMMU layer for the device, so the device's `dev_iommu`
    /// stays valid.
    pub(crate) fn iommu_private(self) -> *mut c_void {
        // SAFETY: By the invariant, and because of the callback that the caller is in.
        unsafe {
            match (*self.as_raw()).iommu {
                record if record.is_null() => ptr::null_mut(),
                record => (*record).priv_,
            }
        }
    }

    /// Whether an interrupt controller, or a unit, checks the device's interrupt messages: it can
    /// raise only interrupts that it was given.
    pub(crate) fn has_isolated_messages(self) -> bool {
        // SAFETY: By the invariant. Interrupt controllers stay, and a domain that this module has
        // made stays as long as the module knows the device.
        unsafe {
            let mut domain = ptr::read_volatile(&raw const (*self.as_raw()).msi.domain);
            while let Some(it) = domain.as_ref() {
                if it.flags & bindings::IRQ_DOMAIN_FLAG_ISOLATED_MSI != 0 {
                    return true;
                }
                domain = it.parent;
            }
        }
        false
    }

    /// Takes the device's lock, unless somebody has it: somebody who binds a driver, or unbinds
    /// one, has it.
    // Only processors that are told of interrupts by messages ask.
    #[cfg_attr(not(CONFIG_X86_64), allow(dead_code))]
    pub(crate) fn try_lock(self) -> Option<DeviceLock<'a>> {
        // SAFETY: By the invariant the mutex is valid.
        let locked = unsafe { bindings::mutex_trylock(&raw mut (*self.as_raw()).mutex) } != 0;
        // INVARIANT: The lock has just been taken.
        locked.then_some(DeviceLock {
            device: self,
            ours: true,
        })
    }

    /// For a callback that the kernel calls with the device's lock held.
    ///
    /// # Safety
    ///
    /// The caller of this function has been called with the device's lock held, and does not return
    /// before the value is dropped.
    #[cfg_attr(not(CONFIG_X86_64), allow(dead_code))]
    pub(crate) unsafe fn locked(self) -> DeviceLock<'a> {
        // INVARIANT: By the requirements.
        DeviceLock {
            device: self,
            ours: false,
        }
    }

    /// Takes a reference to the device.
    pub(crate) fn counted(self) -> DeviceRef {
        // SAFETY: By the invariant the device is valid.
        unsafe { bindings::get_device(self.as_raw()) };
        // INVARIANT: The reference has just been taken.
        DeviceRef(self.raw)
    }
}

/// The proof that a device's lock is held: no driver is bound to the device or unbound meanwhile.
///
/// # Invariants
///
/// The lock is held. If `ours`, this value has taken it.
pub(crate) struct DeviceLock<'a> {
    device: Device<'a>,
    ours: bool,
}

impl<'a> DeviceLock<'a> {
    /// The device.
    #[cfg_attr(not(CONFIG_X86_64), allow(dead_code))]
    pub(crate) fn device(&self) -> Device<'a> {
        self.device
    }
}

impl Drop for DeviceLock<'_> {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: By the invariant.
            unsafe { bindings::mutex_unlock(&raw mut (*self.device.as_raw()).mutex) }
        }
    }
}

/// A reference to a device.
///
/// # Invariants
///
/// The pointer is valid, and this object owns one reference to the device.
pub(crate) struct DeviceRef(NonNull<bindings::device>);

// SAFETY: Any task may use a device and drop a reference to it.
unsafe impl Send for DeviceRef {}
// SAFETY: As above.
unsafe impl Sync for DeviceRef {}

impl DeviceRef {
    /// The device.
    pub(crate) fn get(&self) -> Device<'_> {
        // INVARIANT: The device is valid as long as the reference.
        Device {
            raw: self.0,
            _life: PhantomData,
        }
    }

    /// Takes over a reference that other code has taken.
    ///
    /// # Safety
    ///
    /// The caller owns one reference to the device.
    pub(crate) unsafe fn adopt(device: Device<'_>) -> Self {
        // INVARIANT: By the requirements.
        Self(device.raw)
    }

    /// Unbinds the device's driver and returns when that has completed.
    ///
    /// Context: the caller does not hold the device's lock.
    pub(crate) fn release_driver(&self) {
        // SAFETY: By the invariant; the function accepts a device without a driver.
        unsafe { bindings::device_release_driver(self.0.as_ptr()) }
    }
}

impl Drop for DeviceRef {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::put_device(self.0.as_ptr()) }
    }
}

/// What is known of a driver: a copy, since the driver may go at any time.
#[derive(Copy, Clone)]
pub(crate) struct Driver {
    name: Label,
    manages_dma: bool,
}

impl Driver {
    /// The driver's name.
    pub(crate) fn name(&self) -> Label {
        self.name
    }

    /// Whether the driver manages DMA itself (VFIO, bridges) instead of using the DMA API.
    pub(crate) fn manages_dma(&self) -> bool {
        self.manages_dma
    }

    /// # Safety
    ///
    /// `raw` is a driver on `bus`, and valid during the call.
    unsafe fn copy(raw: *const bindings::device_driver, bus: *const bindings::bus_type) -> Self {
        let manages_dma = if ptr::eq(bus, &raw const bindings::pci_bus_type) {
            // SAFETY: Every driver on the PCI bus is embedded in a `struct pci_driver`.
            unsafe {
                let pci: *const bindings::pci_driver = raw
                    .byte_sub(offset_of!(bindings::pci_driver, driver))
                    .cast();
                (*pci).driver_managed_dma
            }
        } else if ptr::eq(bus, &raw const bindings::platform_bus_type) {
            // SAFETY: Every driver on the platform bus is embedded in a `struct platform_driver`.
            unsafe {
                let platform: *const bindings::platform_driver = raw
                    .byte_sub(offset_of!(bindings::platform_driver, driver))
                    .cast();
                (*platform).driver_managed_dma
            }
        } else {
            false
        };
        Self {
            // SAFETY: By the requirements; the name is a C string that is valid as long as the
            // driver.
            name: unsafe { label((*raw).name) },
            manages_dma,
        }
    }
}

/// Calls `f` for every device on the platform bus.
pub(crate) fn for_each_on_platform<F: FnMut(Device<'_>) -> Result>(mut f: F) -> Result {
    extern "C" fn call<F: FnMut(Device<'_>) -> Result>(
        raw: *mut bindings::device,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: The bus keeps the device alive during the call, and `data` is the pointer that is
        // passed below.
        let (device, f) = unsafe { (Device::from_raw(raw), &mut *data.cast::<F>()) };
        match device.map(f) {
            Some(Err(error)) => error.to_errno(),
            _ => 0,
        }
    }
    // SAFETY: `call` interprets its data as the pointer that is passed here, and no other code uses
    // `f` during the call.
    to_result(unsafe {
        bindings::bus_for_each_dev(
            &raw const bindings::platform_bus_type,
            ptr::null_mut(),
            (&raw mut f).cast(),
            Some(call::<F>),
        )
    })
}

/// The running process, as messages name it.
pub(crate) struct Process {
    /// Its process id, which all of its threads share.
    // Only the hosted frontend asks: it has no other name for an owner.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub(crate) id: i32,
    /// `name (pid 12)`.
    pub(crate) label: Label,
}

impl Process {
    /// The process of the calling task.
    pub(crate) fn current() -> Self {
        // SAFETY: The running task and its thread group leader are valid while it runs. The name
        // may change while it is copied; any bytes will do.
        let (id, name) = unsafe {
            let task = bindings::get_current();
            let leader = (*task).group_leader;
            ((*task).tgid, (*leader).comm)
        };
        Self {
            id,
            label: Label::process(&name, id as u32),
        }
    }
}

/// Copies a C string; a string that is not valid UTF-8 becomes a question mark.
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
