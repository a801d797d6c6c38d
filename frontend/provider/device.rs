// SPDX-License-Identifier: GPL-2.0

//! Devices as C knows them, with the core's endpoint beside them.

use kernel::{
    bindings, new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex, SetOnce,
    },
};

use super::{
    group::ProviderGroup,
    interrupts::DeviceInterrupts,
    served::Served,
    stage::{HoldReason, Stage},
    sysfs,
    unit::ProviderUnit,
};
use crate::{
    endpoint::Endpoint,
    ffi::device::{Device, DeviceRef},
    log::log_warn,
};

/// The device's files in sysfs.
#[derive(Copy, Clone, PartialEq)]
enum Files {
    /// C is still probing the device.
    NotYet,
    /// C has probed the device.
    Ready,
    /// The files are there.
    There,
    /// C is about to release the device.
    Gone,
}

/// A device that C's IOMMU layer knows; what `dev_iommu_priv_get()` returns.
#[pin_data]
pub struct ProviderDevice<D: Served> {
    device: DeviceRef,
    endpoint: Arc<Endpoint<D>>,
    unit: Arc<ProviderUnit<D>>,
    /// Equal for devices that cannot be isolated from each other.
    key: Option<u64>,
    group: SetOnce<Arc<ProviderGroup<D>>>,
    /// Why it was held until C probed it.
    was_held: Option<HoldReason>,
    /// C has attached it.
    attached: Atomic<bool>,
    /// It is no longer on its bus.
    removed: Atomic<bool>,
    /// Held while files are added or removed. Whoever reads a file does not take it.
    #[pin]
    files: Mutex<Files>,
    /// The files are gone, for those who cannot take the lock.
    files_are_gone: Atomic<bool>,
    #[pin]
    interrupts: DeviceInterrupts,
}

impl<D: Served> ProviderDevice<D> {
    /// A device that C is probing. `was_held` is why it was held until now, if it was.
    pub fn new(
        device: Device<'_>,
        endpoint: Arc<Endpoint<D>>,
        unit: Arc<ProviderUnit<D>>,
        key: Option<u64>,
        was_held: Option<HoldReason>,
    ) -> Result<Arc<Self>> {
        let known = pin_init!(Self {
            device: device.counted(),
            endpoint,
            unit,
            key,
            group: SetOnce::new(),
            was_held,
            attached: Atomic::new(false),
            removed: Atomic::new(false),
            files <- new_mutex!(Files::NotYet),
            files_are_gone: Atomic::new(false),
            interrupts <- DeviceInterrupts::new(),
        });
        Arc::pin_init(known, GFP_KERNEL)
    }

    /// The device of a call from C.
    ///
    /// # Errors
    ///
    /// `ENODEV` if C does not know it through us.
    ///
    /// # Safety
    ///
    /// `dev` is valid for `'a`, and a probe has made it known to C for the same vendor driver,
    /// or nothing has.
    pub unsafe fn of<'a>(dev: *mut bindings::device) -> Result<&'a Self> {
        // SAFETY: By the requirements.
        let private = unsafe { Device::from_raw(dev) }.map(Device::iommu_private);
        match private {
            Some(private) if !private.is_null() => {
                // SAFETY: `probe` made the pointer of a count, which is C's until `release`.
                Ok(unsafe { &*private.cast() })
            }
            _ => Err(ENODEV),
        }
    }

    /// The core's record.
    pub fn endpoint(&self) -> &Arc<Endpoint<D>> {
        &self.endpoint
    }

    /// The unit that the device is behind.
    pub fn unit(&self) -> &Arc<ProviderUnit<D>> {
        &self.unit
    }

    /// The group, once C has asked for it.
    pub fn group(&self) -> Result<&Arc<ProviderGroup<D>>> {
        self.group.as_ref().ok_or(ENODEV)
    }

    /// Notes the group that C has asked for.
    pub fn set_group(&self, group: Arc<ProviderGroup<D>>) {
        self.group.populate(group);
    }

    /// What is equal for devices that cannot be isolated from each other; `None` off the PCI bus.
    pub fn key(&self) -> Option<u64> {
        self.key
    }

    /// Where the device is.
    pub fn stage(&self) -> Stage {
        match (self.is_attached(), self.was_held) {
            (true, _) => Stage::Member,
            (false, Some(reason)) => Stage::HandedOver(reason),
            (false, None) => Stage::New,
        }
    }

    /// Whether C has attached the device.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Relaxed)
    }

    /// Notes that C has attached the device.
    pub fn set_attached(&self) {
        self.attached.store(true, Relaxed);
    }

    /// Notes that the device is no longer on its bus.
    pub fn set_removed(&self) {
        self.removed.store(true, Relaxed);
    }

    /// Whether firmware does DMA with the device, and the device is still there.
    pub fn firmware_uses(&self) -> bool {
        self.endpoint.has_direct_regions() && !self.removed.load(Relaxed)
    }

    /// C has probed the device. Its files are added to sysfs, unless C may still lose its unit.
    pub fn is_probed(&self) {
        let mut files = self.files.lock();
        if *files == Files::NotYet {
            *files = Files::Ready;
        }
        if !self.unit.may_be_lost() {
            self.add_ready_files(&mut files);
        }
    }

    /// Adds the device's files to sysfs, if C has probed the device.
    pub fn add_files(&self) {
        self.add_ready_files(&mut self.files.lock());
    }

    fn add_ready_files(&self, files: &mut Files) {
        if *files != Files::Ready {
            return;
        }
        // SAFETY: C has probed the device, and `files` says that it is not about to release it.
        match unsafe { sysfs::add_device_files(self.device()) } {
            Ok(()) => *files = Files::There,
            Err(error) => log_warn!(
                "{}: has no folder iommu_core in sysfs: error {}",
                self.device().name(),
                error.to_errno()
            ),
        }
    }

    /// Removes the device's files from sysfs for ever: C is about to release the device.
    ///
    /// Context: the caller does not hold C's mutex of the group.
    pub fn remove_files(&self) {
        let mut files = self.files.lock();
        if *files == Files::There {
            // SAFETY: The files are there.
            unsafe { sysfs::remove_device_files(self.device()) };
        }
        *files = Files::Gone;
        self.files_are_gone.store(true, Relaxed);
    }

    /// Whether [`remove_files`](Self::remove_files) has removed the files.
    pub fn files_are_gone(&self) -> bool {
        self.files_are_gone.load(Relaxed)
    }

    /// Its interrupts.
    pub fn interrupts(&self) -> &DeviceInterrupts {
        &self.interrupts
    }

    /// The device itself.
    pub fn device(&self) -> Device<'_> {
        self.device.get()
    }

    /// The device itself, with its count.
    pub fn counted(&self) -> &DeviceRef {
        &self.device
    }

    /// Whether this is `device`.
    pub fn is(&self, device: Device<'_>) -> bool {
        self.device.get().as_raw() == device.as_raw()
    }
}
