// SPDX-License-Identifier: GPL-2.0

//! What belongs to one vendor driver: its units, devices, groups and fixed domains.

use core::ptr;

use kernel::{
    bindings, new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

use super::{
    device::ProviderDevice, domain::FixedDomains, group::ProviderGroup, held::HeldDevices,
    served::Served, unit::ProviderUnit,
};
use crate::{
    domain::Domain,
    endpoint::Endpoint,
    ffi::{
        device::{Device, DeviceRef},
        pci::NoHotplug,
    },
    id_map::IdMap,
    registry::Registry,
    unit::Unit,
};

/// All that belongs to one vendor driver.
#[pin_data]
pub struct Instance<D: Served> {
    module: &'static ThisModule,
    ops: KBox<bindings::iommu_ops>,
    domains: FixedDomains<D>,
    pub registry: Arc<Registry>,
    /// The ids of all members of groups.
    pub ids: Arc<IdMap<D>>,
    /// What the kernel's IOMMU layer keeps with the driver.
    // The native frontend keeps nothing.
    #[cfg_attr(not(CONFIG_IOMMU_CORE_HOSTED), allow(dead_code))]
    pub layer: D::LayerData,
    /// All units that firmware tells of.
    pub cores: KVec<Arc<Unit<D>>>,
    pub units: KVec<Arc<ProviderUnit<D>>>,
    #[pin]
    pub devices: Mutex<KVec<Arc<ProviderDevice<D>>>>,
    #[pin]
    pub groups: Mutex<KVec<Arc<ProviderGroup<D>>>>,
    #[pin]
    pub held: HeldDevices<D>,
    /// Somebody takes a unit. See [`no_driver_starts`](Self::no_driver_starts).
    #[pin]
    taking: Mutex<()>,
}

// SAFETY: The table of functions and the domains that it points to do not change once they are
// there; everything else is `Send` and `Sync` by itself.
unsafe impl<D: Served> Send for Instance<D> {}
// SAFETY: As above.
unsafe impl<D: Served> Sync for Instance<D> {}

impl<D: Served> Instance<D> {
    /// Puts together what belongs to a driver that has found units.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(
        module: &'static ThisModule,
        units: KVec<Arc<ProviderUnit<D>>>,
        ids: Arc<IdMap<D>>,
        registry: Arc<Registry>,
        domains: FixedDomains<D>,
        ops: KBox<bindings::iommu_ops>,
    ) -> Result<Arc<Self>> {
        let layer = D::layer_data()?;
        let mut cores = KVec::with_capacity(units.len(), GFP_KERNEL)?;
        for unit in &units {
            cores.push(unit.core().clone(), GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                module,
                ops,
                domains,
                registry,
                layer,
                cores,
                units,
                devices <- new_mutex!(KVec::new()),
                groups <- new_mutex!(KVec::new()),
                held <- HeldDevices::new(ids.clone()),
                taking <- new_mutex!(()),
                ids,
            }),
            GFP_KERNEL,
        )
    }

    /// No driver starts to use a device while `call` runs. A driver that comes meanwhile waits in
    /// [`wait_until_taken`](Self::wait_until_taken).
    ///
    /// From the moment that a unit translates until the kernel's IOMMU layer has its devices, a
    /// device that had no driver is blocked: DMA of a driver that came meanwhile would be lost.
    pub fn no_driver_starts<T>(&self, call: impl FnOnce() -> T) -> T {
        // Whoever adds a PCI device has this lock when the device's driver waits, and `call` shows
        // PCI devices to C, which needs it.
        let _no_hotplug = NoHotplug::lock();
        let _taking = self.taking.lock();
        call()
    }

    /// A driver waits here that is about to start. Its device names it already, so whoever looks at
    /// the device then knows that it has a driver.
    pub fn wait_until_taken(&self) {
        drop(self.taking.lock());
    }

    /// This module.
    pub fn module(&self) -> &'static ThisModule {
        self.module
    }

    /// The functions that C calls.
    pub fn ops(&self) -> *const bindings::iommu_ops {
        &*self.ops
    }

    /// The blocked domain.
    pub fn blocked(&self) -> &Arc<Domain<D>> {
        self.domains.blocked.core()
    }

    /// The pointer that C knows the blocked domain by.
    pub fn blocked_as_c(&self) -> *mut bindings::iommu_domain {
        self.domains.blocked.as_c()
    }

    /// The identity domain.
    pub fn identity(&self) -> &Arc<Domain<D>> {
        self.domains.identity.core()
    }

    /// The frontend's part of a unit.
    pub fn unit(&self, core: &Arc<Unit<D>>) -> Option<&Arc<ProviderUnit<D>>> {
        self.units
            .iter()
            .find(|unit| Arc::ptr_eq(unit.core(), core))
    }

    /// The provider's record of a device, if C knows the device by this vendor driver.
    pub fn device(&self, device: Device<'_>) -> Option<Arc<ProviderDevice<D>>> {
        self.devices
            .lock()
            .iter()
            .find(|known| known.is(device))
            .cloned()
    }

    /// The device of an endpoint, whether C knows it or it is held.
    pub fn device_of(&self, endpoint: &Arc<Endpoint<D>>) -> Option<DeviceRef> {
        let known = {
            let devices = self.devices.lock();
            let mut known = devices.iter();
            let found = known.find(|known| Arc::ptr_eq(known.endpoint(), endpoint));
            found.map(|known| known.device().counted())
        };
        known.or_else(|| self.held.device_of(endpoint))
    }

    /// All devices, as of now.
    pub fn snapshot_devices(&self) -> Result<KVec<Arc<ProviderDevice<D>>>> {
        snapshot(&self.devices)
    }

    /// The devices behind a unit that C knows.
    pub fn devices_behind(&self, unit: &ProviderUnit<D>) -> Result<KVec<Arc<ProviderDevice<D>>>> {
        let mut devices = self.snapshot_devices()?;
        devices.retain(|device| ptr::eq(&**device.unit(), unit));
        Ok(devices)
    }

    /// Removes the files of all devices behind a unit from sysfs. The unit leaves, so there will be
    /// no more.
    pub fn hide_devices(&self, unit: &ProviderUnit<D>) {
        let next = || {
            let devices = self.devices.lock();
            let mut shown = devices.iter().filter(|known| !known.files_are_gone());
            shown.find(|known| ptr::eq(&**known.unit(), unit)).cloned()
        };
        while let Some(known) = next() {
            known.remove_files();
        }
    }

    /// All groups, as of now.
    pub fn snapshot_groups(&self) -> Result<KVec<Arc<ProviderGroup<D>>>> {
        snapshot(&self.groups)
    }
}

/// A copy of a table, to walk through without its lock.
fn snapshot<T: ?Sized>(table: &Mutex<KVec<Arc<T>>>) -> Result<KVec<Arc<T>>> {
    let table = table.lock();
    let mut copy = KVec::with_capacity(table.len(), GFP_KERNEL)?;
    for entry in table.iter() {
        copy.push(entry.clone(), GFP_KERNEL)?;
    }
    Ok(copy)
}
