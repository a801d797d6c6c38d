// SPDX-License-Identifier: GPL-2.0

//! How a unit is taken and given back.

use kernel::{bindings, io::poll::read_poll_timeout, prelude::*, sync::Arc, time::Delta};

use super::{
    bus, device::ProviderDevice, hold, instance::Instance, layer::Layer, served::Served,
    trace::TracedFaults, unit::ProviderUnit,
};
use crate::{
    count::Count,
    endpoint,
    ffi::{
        device::{Device, DeviceRef},
        pci::NoHotplug,
    },
    log::{log_err, log_info, log_warn},
};

/// How many times all drivers are unbound before giving up: others may be bound meanwhile.
const UNBIND_ROUNDS: usize = 8;

/// How long a device that is coming or going when its unit is given back is waited for, and how
/// often it is looked at.
const WAIT_LIMIT: Delta = Delta::from_secs(5);
const WAIT_DELAY: Delta = Delta::from_millis(10);

impl<D: Layer> ProviderUnit<D> {
    /// Takes the unit and registers it with C. `parent` is its platform device.
    ///
    /// # Errors
    ///
    /// Those of [`take_over`](crate::unit::Unit::take_over) and of the registration. The unit is
    /// given back then.
    pub fn bind(&self, instance: &Arc<Instance<D>>, parent: Device<'_>) -> Result {
        D::prepare_all(instance.cores.iter().map(|unit| unit.data()));
        self.core().take_over(TracedFaults::new(self.faults())?)?;
        instance.no_driver_starts(|| self.start(instance, parent))?;
        // Those that C probes from now on add their files themselves.
        let devices = instance.devices_behind(self).unwrap_or_default();
        devices.iter().for_each(|known| known.add_files());
        if let Err(error) = self.remap_together(instance) {
            log_warn!(
                "{}: interrupts are not remapped: error {}",
                self.core().name(),
                error.to_errno()
            );
        }
        log_info!(
            "{}: translates for {}, holds {} more",
            self.core().name(),
            Count::new(devices.len(), "device"),
            instance.held.count(self.core()),
        );
        self.compare_with_memory();
        Ok(())
    }

    /// Lets the unit, which was taken, translate, and registers it with C.
    fn start(&self, instance: &Arc<Instance<D>>, parent: Device<'_>) -> Result {
        let result = hold::hold_all(instance, self.core()).and_then(|()| self.core().enable());
        if let Err(error) = result {
            let stopped = self.core().release();
            instance.held.drop_all(self.core());
            log_err!(
                "{}: not taken: error {}; {}",
                self.core().name(),
                error.to_errno(),
                match stopped {
                    Ok(()) => "the unit is as it was",
                    Err(_) => "the unit does not stop",
                },
            );
            return Err(error);
        }
        self.set_active(true);
        self.show_to_c(instance, parent).inspect_err(|error| {
            self.start_leaving(instance);
            // If the unit does not stop, the log says so.
            let _ = self.give_up(instance);
            self.set_leaving(false);
            log_err!(
                "{}: the kernel's IOMMU layer refused the unit: error {}; it is not used",
                self.core().name(),
                error.to_errno()
            );
        })?;
        self.set_accepted(true);
        if let Err(error) = hold::hold_new_drivers(instance, self.core()) {
            log_err!(
                "{}: a device whose driver has come meanwhile stays blocked, its DMA fails: error {}",
                self.core().name(),
                error.to_errno()
            );
        }
        Ok(())
    }

    /// Unregisters the unit and gives it back, after unbinding the drivers of devices behind it.
    /// Held devices keep theirs.
    pub fn release(&self, instance: &Arc<Instance<D>>) {
        self.start_leaving(instance);
        self.unbind_drivers(instance);
        instance.hide_devices(self);
        self.hide_from_c(instance);
        let result = self.give_up(instance);
        self.set_accepted(false);
        self.set_leaving(false);
        match result {
            Ok(()) => log_info!(
                "{}: given back; DMA is no longer translated; drivers that were unbound come back \
                 with 'echo <device> > /sys/bus/<its bus>/drivers_probe'",
                self.core().name()
            ),
            Err(_) => log_err!(
                "{}: not given back: it goes on with the entries that it has, and refuses DMA of all \
                 devices that were not held; reset the machine",
                self.core().name()
            ),
        }
    }

    /// The caller keeps devices from going: C looks at groups after it has made them, and does not
    /// count them.
    fn show_to_c(&self, instance: &Instance<D>, parent: Device<'_>) -> Result {
        // SAFETY: The unit is neither in sysfs nor registered. It is a part of the instance, which
        // stays until `release` has unregistered the unit.
        unsafe {
            self.show_in_sysfs(parent)?;
            self.register(parent, instance.ops())
                .inspect_err(|_| self.remove_from_sysfs(instance))
        }
    }

    /// Unregisters the unit and takes it out of sysfs.
    fn hide_from_c(&self, instance: &Instance<D>) {
        // C looks at all devices once. It finds none that it has not put into its group yet, nor
        // one that is on its bus no longer and has not been released.
        let _guard = NoHotplug::lock();
        self.settle(instance);
        // SAFETY: The unit is registered.
        unsafe { self.unregister() };
        self.remove_from_sysfs(instance);
    }

    /// Takes the unit, which is not registered any more, out of sysfs.
    fn remove_from_sysfs(&self, instance: &Instance<D>) {
        // Off the PCI bus a device may still be about to be released: C is going to look for its
        // link in sysfs.
        self.wait_for(instance, |devices| devices.is_empty());
        for known in instance.devices_behind(self).iter().flatten() {
            // SAFETY: The device is counted, and C knows it.
            unsafe { bindings::iommu_group_remove_device(known.device().as_raw()) };
        }
        // SAFETY: The unit is in sysfs, and has no devices any more.
        unsafe { self.hide() };
    }

    /// Waits until something is so of the devices behind the unit that C knows. It takes no longer
    /// than a device takes to come or to go. Returns whether it is so.
    fn wait_for(
        &self,
        instance: &Instance<D>,
        is_so: impl Fn(&[Arc<ProviderDevice<D>>]) -> bool,
    ) -> bool {
        let look = || {
            let devices = instance.devices_behind(self);
            Ok(devices.is_ok_and(|devices| is_so(&devices)))
        };
        read_poll_timeout(look, |is_so| *is_so, WAIT_DELAY, WAIT_LIMIT).is_ok()
    }

    /// From here on C's probes find no device behind the unit. The table of known devices has all
    /// that they found before.
    fn start_leaving(&self, instance: &Instance<D>) {
        // A probe looks, and enters its device, with the lock held.
        let _devices = instance.devices.lock();
        self.set_leaving(true);
    }

    /// Waits until C has attached every device that it was probing. One that C attached only after
    /// it has unregistered the unit would keep its group and its domain, and its addresses would
    /// reach physical memory once the unit is off (law 7).
    fn settle(&self, instance: &Instance<D>) {
        let is_attached = |known: &Arc<ProviderDevice<D>>| known.is_attached();
        if !self.wait_for(instance, |devices| devices.iter().all(is_attached)) {
            log_warn!(
                "{}: some device was probed and never attached; its DMA is going to fail",
                self.core().name()
            );
        }
    }

    /// Gives the unit back. C does not know it any more, and all devices but the held ones are
    /// blocked.
    ///
    /// # Errors
    ///
    /// Those of [`release`](crate::unit::Unit::release): the unit goes on with its entries.
    fn give_up(&self, instance: &Arc<Instance<D>>) -> Result {
        // A device that is not held was translated until now: without translation its DMA would
        // reach any memory (law 7). It has no driver, so it needs no DMA.
        let devices = bus::collect_devices(|device| {
            !bus::is_bridge(device)
                && !instance.held.has_driver(device)
                && self.is_above(instance, device)
        });
        match devices {
            Ok(devices) => {
                for device in &devices {
                    self.quiesce(instance, device);
                }
            }
            Err(error) => log_warn!(
                "{}: devices without a driver keep the right to do DMA: error {}",
                self.core().name(),
                error.to_errno()
            ),
        }
        self.set_active(false);
        let result = self.core().release();
        instance.held.drop_all(self.core());
        result
    }

    /// Whether `device` is behind the unit, whether C knows it or not.
    fn is_above(&self, instance: &Instance<D>, device: Device<'_>) -> bool {
        bus::describe(device)
            .and_then(|info| endpoint::probe(&instance.cores, info))
            .is_ok_and(|(unit, _)| Arc::ptr_eq(&unit, self.core()))
    }

    /// All devices behind the unit, whether C knows them or not.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    // Only x86 has units that remap messages.
    #[cfg_attr(not(CONFIG_X86_64), allow(dead_code))]
    pub fn find_devices(&self, instance: &Instance<D>) -> Result<KVec<DeviceRef>> {
        bus::collect_devices(|device| self.is_above(instance, device))
    }

    fn quiesce(&self, instance: &Instance<D>, device: &DeviceRef) {
        if device.get().driver().is_some() {
            // It was bound after the last round, before the unit was unregistered.
            self.unbind(device);
        }
        // Firmware goes on to do DMA with a held device that has no driver.
        if !instance.held.is_held(device.get()) {
            bus::silence(device.get());
        }
    }

    /// Unbinds the drivers of all devices behind the unit: their DMA addresses are valid only while
    /// the unit translates.
    fn unbind_drivers(&self, instance: &Instance<D>) {
        for _ in 0..UNBIND_ROUNDS {
            let Ok(devices) = instance.devices_behind(self) else {
                break;
            };
            let mut found = false;
            for device in devices
                .iter()
                .filter(|device| device.device().driver().is_some())
            {
                found = true;
                self.unbind(device.counted());
            }
            if !found {
                return;
            }
        }
        log_warn!(
            "{}: some device gets a new driver each time one is unbound; its DMA is going to fail",
            self.core().name()
        );
    }

    fn unbind(&self, device: &DeviceRef) {
        if let Some(driver) = device.get().driver() {
            log_info!(
                "{}: unbinds driver {} from {}: its unit is given back",
                self.core().name(),
                driver.name(),
                device.get().name(),
            );
        }
        device.release_driver();
    }
}

impl<D: Served> ProviderUnit<D> {
    /// Switches the unit off for the next kernel. Drivers have stopped their devices.
    ///
    /// Also stops the DMA of devices whose driver has not stopped them, for example a user process:
    /// without translation they would reach any memory (law 7). Held devices go on.
    pub fn shut_down(&self, instance: &Instance<D>) {
        for device in instance.devices_behind(self).iter().flatten() {
            if instance.held.is_held(device.device()) {
                continue;
            }
            bus::silence(device.device());
        }
        self.core().suspend();
    }
}
