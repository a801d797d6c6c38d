// SPDX-License-Identifier: GPL-2.0

//! Devices as C knows them, with the core's endpoint beside them.

use kernel::{
    bindings, new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
};

use super::{group::ProviderGroup, served::Served, unit::ProviderUnit};
use crate::{
    endpoint::Endpoint,
    ffi::device::{Device, DeviceRef},
    group::Group,
};

/// A device that C's IOMMU layer knows; what `dev_iommu_priv_get()` returns.
#[pin_data]
pub struct ProviderDevice<D: Served> {
    device: DeviceRef,
    endpoint: Arc<Endpoint<D>>,
    unit: Arc<ProviderUnit<D>>,
    group: SetOnce<Arc<ProviderGroup<D>>>,
    /// While the device is handed over: the group that it was held in, and is still a member of.
    #[pin]
    held_in: Mutex<Option<Arc<Group<D>>>>,
}

impl<D: Served> ProviderDevice<D> {
    /// A device that C is probing. `held_in` is the group that it was held in until now, if it was.
    pub fn new(
        device: Device<'_>,
        endpoint: Arc<Endpoint<D>>,
        unit: Arc<ProviderUnit<D>>,
        held_in: Option<Arc<Group<D>>>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                device: device.counted(),
                endpoint,
                unit,
                group: SetOnce::new(),
                held_in <- new_mutex!(held_in),
            }),
            GFP_KERNEL,
        )
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

    /// The group that the device was held in, if it is handed over.
    pub fn held_in(&self) -> Option<Arc<Group<D>>> {
        self.held_in.lock().clone()
    }

    /// As [`held_in`](Self::held_in); the device is not handed over any more.
    pub fn take_held_in(&self) -> Option<Arc<Group<D>>> {
        self.held_in.lock().take()
    }

    /// Undoes [`take_held_in`](Self::take_held_in).
    pub fn stay_in(&self, group: Arc<Group<D>>) {
        *self.held_in.lock() = Some(group);
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
