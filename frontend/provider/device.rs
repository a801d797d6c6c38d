// SPDX-License-Identifier: GPL-2.0

//! Devices as C knows them, with the core's endpoint beside them.

use kernel::{
    bindings,
    ffi::c_int,
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
};

use super::{
    bus,
    group::HostedGroup,
    held::{Held, Member},
    instance::{Hosted, Instance},
    unit::HostedUnit,
};
use crate::{
    driver::Capability,
    endpoint::Endpoint,
    ffi::{
        device::{Counted, Device},
        firmware,
        pci::Pci,
    },
    frontend::answer,
    group::Group,
    log::log_err,
    reserved::Kind,
};

/// A device that C's IOMMU layer knows; what `dev_iommu_priv_get()` returns.
#[pin_data]
pub struct HostedDevice<D: Hosted> {
    instance: Arc<Instance<D>>,
    device: Counted,
    endpoint: Arc<Endpoint<D>>,
    unit: Arc<HostedUnit<D>>,
    group: SetOnce<Arc<HostedGroup<D>>>,
    /// The group that kept the device's direct regions mapped until now.
    #[pin]
    parking: Mutex<Option<Arc<Group<D>>>>,
    /// C blocks the device alone while it is reset.
    may_be_reset: bool,
}

impl<D: Hosted> HostedDevice<D> {
    /// The device of a call from C.
    ///
    /// # Errors
    ///
    /// `ENODEV` if C does not know it through us.
    ///
    /// # Safety
    ///
    /// `dev` is valid for `'a`, and [`probe`] has made it known to C for the same vendor driver,
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

    /// The instance that the device belongs to.
    pub fn instance(&self) -> &Arc<Instance<D>> {
        &self.instance
    }

    /// The core's record.
    pub fn endpoint(&self) -> &Arc<Endpoint<D>> {
        &self.endpoint
    }

    /// The unit that the device is behind.
    pub fn unit(&self) -> &Arc<HostedUnit<D>> {
        &self.unit
    }

    /// The group, once C has asked for it.
    pub fn group(&self) -> Result<&Arc<HostedGroup<D>>> {
        self.group.as_ref().ok_or(ENODEV)
    }

    /// Where the device is parked, if it is; it is going to be no more.
    pub fn take_parking(&self) -> Option<Arc<Group<D>>> {
        self.parking.lock().take()
    }

    /// Whether it is parked.
    #[cfg(CONFIG_IOMMU_CORE_NATIVE)]
    pub fn is_parked(&self) -> bool {
        self.parking.lock().is_some()
    }

    /// Undoes [`take_parking`](Self::take_parking).
    pub fn stay_parked(&self, parking: Arc<Group<D>>) {
        *self.parking.lock() = Some(parking);
    }

    /// Whether C blocks the device alone while it is reset.
    pub fn may_be_reset(&self) -> bool {
        self.may_be_reset
    }

    /// The device itself.
    pub fn device(&self) -> Device<'_> {
        self.device.get()
    }

    /// The device itself, with its count.
    pub fn counted(&self) -> &Counted {
        &self.device
    }

    /// Whether the device stays attached while its unit is given back, because firmware does DMA
    /// with it.
    pub fn lingers(&self) -> bool {
        self.unit.is_leaving() && self.endpoint.has_direct_regions()
    }

    /// Whether this is `device`.
    pub fn is(&self, device: Device<'_>) -> bool {
        self.device.get().as_raw() == device.as_raw()
    }
}

/// C has found a device, or looks at all devices because a unit was registered.
pub extern "C" fn probe<D: Hosted>(dev: *mut bindings::device) -> *mut bindings::iommu_device {
    // SAFETY: C keeps the device.
    let device = unsafe { Device::from_raw(dev) };
    let (Some(instance), Some(device)) = (D::slot().get(), device) else {
        return ENODEV.to_ptr();
    };
    match try_probe(&instance, device) {
        Ok(known) => {
            let unit = known.unit.as_c();
            // SAFETY: C's probe mutex is held and the device has a record. The count is C's until
            // `release`.
            unsafe {
                bindings::dev_iommu_priv_set(dev, Arc::into_raw(known).cast_mut().cast());
            }
            unit
        }
        Err(error) => {
            if error != ENODEV {
                log_err!(
                    "{}: stays blocked, its DMA fails: error {}",
                    device.name(),
                    error.to_errno()
                );
            }
            // Anything else would make C give up on the unit and all of its devices.
            ENODEV.to_ptr()
        }
    }
}

fn try_probe<D: Hosted>(
    instance: &Arc<Instance<D>>,
    device: Device<'_>,
) -> Result<Arc<HostedDevice<D>>> {
    if device.driver().is_some() {
        // C does not take a device that has a driver already. It is on identity since its unit was
        // taken over, or it has got its driver since.
        Held::keep_late(instance, device)?;
        return Err(ENODEV);
    }
    bus::isolate(device);
    let (endpoint, parking) = match Held::take(instance, device) {
        Some(Member { endpoint, group }) => (endpoint, Some(group)),
        None => (
            Endpoint::new(&instance.cores, bus::describe_known(device)?)?,
            None,
        ),
    };
    let unit = instance.unit(endpoint.unit()).ok_or(ENODEV)?;
    if !unit.is_active() {
        return Err(ENODEV);
    }
    if unit.shadows() {
        // The unit is an emulated one that follows our page tables: each flush costs it much, so C
        // is told to collect more before it flushes.
        //
        // SAFETY: C has given the device its record before it calls.
        unsafe { (*(*device.as_raw()).iommu).set_shadow_on_flush(1) };
    }
    let may_be_reset = device.pci().is_some_and(Pci::supports_ats);
    let known = Arc::pin_init(
        pin_init!(HostedDevice {
            instance: instance.clone(),
            device: device.counted(),
            endpoint,
            unit: unit.clone(),
            group: SetOnce::new(),
            parking <- new_mutex!(parking),
            may_be_reset,
        }),
        GFP_KERNEL,
    )?;
    instance.devices.lock().push(known.clone(), GFP_KERNEL)?;
    Ok(known)
}

/// C lets go of a device: it was removed, its unit was, or `probe` was followed by an error.
pub extern "C" fn release<D: Hosted>(dev: *mut bindings::device) {
    // SAFETY: C keeps the device.
    let Some(device) = (unsafe { Device::from_raw(dev) }) else {
        return;
    };
    let private: *const HostedDevice<D> = device.iommu_private().cast();
    if private.is_null() {
        return;
    }
    // SAFETY: `probe` made the pointer of a count for C, which ends here.
    let known = unsafe { Arc::from_raw(private) };
    let instance = known.instance.clone();
    let forgotten = {
        let mut devices = instance.devices.lock();
        let index = devices.iter().position(|other| Arc::ptr_eq(other, &known));
        index.and_then(|index| devices.remove(index).ok())
    };
    drop(forgotten);
    if let Ok(group) = known.group() {
        group.forget(&instance, &known);
    } else if let Some(parking) = known.take_parking() {
        // It never got to a group of C's.
        parking.leave(&known.endpoint);
    }
}

/// C wants the group of a device.
pub extern "C" fn group<D: Hosted>(dev: *mut bindings::device) -> *mut bindings::iommu_group {
    // SAFETY: C keeps the device, which was probed.
    let found = unsafe { HostedDevice::<D>::of(dev) }.and_then(|known| {
        let group = HostedGroup::find_or_make(known)?;
        #[cfg(CONFIG_IOMMU_CORE_NATIVE)]
        crate::frontend::native::vendor::bring(&group)?;
        let c = group.as_c();
        known.group.populate(group);
        Ok(c)
    });
    found.unwrap_or_else(Error::to_ptr)
}

/// Whether a device has a capability.
pub extern "C" fn capable<D: Hosted>(
    dev: *mut bindings::device,
    capability: bindings::iommu_cap,
) -> bool {
    // SAFETY: C keeps the device, which was probed.
    let Ok(known) = (unsafe { HostedDevice::<D>::of(dev) }) else {
        return false;
    };
    let capability = match capability {
        bindings::iommu_cap_IOMMU_CAP_CACHE_COHERENCY => Capability::CoherentDma,
        bindings::iommu_cap_IOMMU_CAP_NOEXEC => Capability::NoExec,
        bindings::iommu_cap_IOMMU_CAP_PRE_BOOT_PROTECTION => Capability::PreBootProtection,
        bindings::iommu_cap_IOMMU_CAP_ENFORCE_CACHE_COHERENCY => Capability::EnforcedCoherency,
        bindings::iommu_cap_IOMMU_CAP_DEFERRED_FLUSH => Capability::DeferredFlush,
        _ => return false,
    };
    D::capable(&known.endpoint, capability)
}

/// The default domain that a device needs; 0 for what the kernel's command line says.
pub extern "C" fn default_type<D: Hosted>(dev: *mut bindings::device) -> c_int {
    // SAFETY: C keeps the device, which was probed.
    let known = unsafe { HostedDevice::<D>::of(dev) };
    match known.map(HostedDevice::group) {
        // A driver that C does not know of relies on identity.
        Ok(Ok(group)) if group.has_kept_driver() => bindings::IOMMU_DOMAIN_IDENTITY as c_int,
        _ => 0,
    }
}

/// Adds a device's reserved regions to a list.
pub extern "C" fn reserved_regions<D: Hosted>(
    dev: *mut bindings::device,
    list: *mut bindings::list_head,
) {
    // SAFETY: C keeps the device, which was probed.
    let Ok(known) = (unsafe { HostedDevice::<D>::of(dev) }) else {
        return;
    };
    for region in known.endpoint.reserved() {
        let kind = match region.kind {
            Kind::Direct => bindings::iommu_resv_type_IOMMU_RESV_DIRECT,
            Kind::DirectRelaxable => bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE,
            Kind::Msi => bindings::iommu_resv_type_IOMMU_RESV_MSI,
            Kind::SoftwareMsi => bindings::iommu_resv_type_IOMMU_RESV_SW_MSI,
            Kind::Reserved => bindings::iommu_resv_type_IOMMU_RESV_RESERVED,
        };
        // SAFETY: Any region can be described; C frees it.
        let entry = unsafe {
            bindings::iommu_alloc_resv_region(
                region.first.raw(),
                (region.last.raw() - region.first.raw() + 1) as usize,
                region.prot.raw() as c_int,
                kind,
                bindings::GFP_KERNEL,
            )
        };
        if entry.is_null() {
            return;
        }
        // SAFETY: The list is C's and initialised, the entry new.
        unsafe { bindings::list_add_tail(&raw mut (*entry).list, list) };
    }
    // SAFETY: C calls for the device's regions.
    unsafe { firmware::add_reserved_regions(known.device(), list) };
}

/// A device tree names an id of a device.
pub extern "C" fn tree_id(
    dev: *mut bindings::device,
    args: *const bindings::of_phandle_args,
) -> c_int {
    // SAFETY: C keeps the device.
    let Some(device) = (unsafe { Device::from_raw(dev) }) else {
        return ENODEV.to_errno();
    };
    // SAFETY: C calls with an id of the device.
    let result = unsafe { firmware::add_tree_id(device, args) };
    answer(result)
}
