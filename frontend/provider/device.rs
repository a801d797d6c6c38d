// SPDX-License-Identifier: GPL-2.0

//! Devices as C knows them, with the core's endpoint beside them.

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SetOnce,
    },
};

use super::{
    group::ProviderGroup,
    served::Served,
    stage::{HoldReason, Stage},
    unit::ProviderUnit,
};
use crate::{
    endpoint::Endpoint,
    ffi::device::{Device, DeviceRef},
};

/// A device that C's IOMMU layer knows; what `dev_iommu_priv_get()` returns.
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
        let known = Self {
            device: device.counted(),
            endpoint,
            unit,
            key,
            group: SetOnce::new(),
            was_held,
            attached: Atomic::new(false),
            removed: Atomic::new(false),
        };
        Ok(Arc::new(known, GFP_KERNEL)?)
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
