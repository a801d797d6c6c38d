// SPDX-License-Identifier: GPL-2.0

//! How a unit is taken and given back.

use kernel::{prelude::*, sync::Arc};

use super::{bus, hold, instance::Instance, served::Served, unit::ProviderUnit};
use crate::{
    endpoint,
    ffi::device::{Device, DeviceRef},
    log::{log_err, log_info, log_warn},
};

/// How many times all drivers are unbound before giving up: others may be bound meanwhile.
const UNBIND_ROUNDS: usize = 8;

impl<D: Served> ProviderUnit<D> {
    /// Takes the unit and registers it with C. `parent` is its platform device.
    ///
    /// # Errors
    ///
    /// Those of [`take_over`](crate::unit::Unit::take_over) and of the registration. The unit is
    /// given back then.
    pub fn bind(&self, instance: &Arc<Instance<D>>, parent: Device<'_>) -> Result {
        D::prepare_all(instance.cores.iter().map(|unit| unit.data()));
        self.core().take_over(self.faults().clone())?;
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
        // SAFETY: The unit is not registered. It is a part of the instance, which stays until
        // `release` has unregistered the unit.
        unsafe { self.register(parent, instance.ops()) }.inspect_err(|error| {
            // If the unit does not stop, the log says so.
            let _ = self.give_up(instance);
            log_err!(
                "{}: the kernel's IOMMU layer refused the unit: error {}; it is not used",
                self.core().name(),
                error.to_errno()
            );
        })?;
        let devices = instance
            .devices_behind(self)
            .map_or(0, |devices| devices.len());
        log_info!(
            "{}: translates for {} devices, {} more are held",
            self.core().name(),
            devices,
            instance.held.count(self.core()),
        );
        self.compare_with_memory();
        Ok(())
    }

    /// Unregisters the unit and gives it back, after unbinding the drivers of devices behind it.
    /// Held devices keep theirs.
    pub fn release(&self, instance: &Arc<Instance<D>>) {
        self.set_leaving(true);
        self.unbind_drivers(instance);
        // SAFETY: The unit is registered.
        unsafe { self.unregister() };
        let result = self.give_up(instance);
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
            let is_ours = || {
                bus::describe(device)
                    .and_then(|info| endpoint::probe(&instance.cores, info))
                    .is_ok_and(|(unit, probed)| {
                        Arc::ptr_eq(&unit, self.core())
                            && !probed.reserved.iter().any(|region| region.is_direct())
                    })
            };
            !bus::is_bridge(device) && !instance.held.is_held(device) && is_ours()
        });
        match devices {
            Ok(devices) => devices.iter().for_each(|device| self.quiesce(device)),
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

    fn quiesce(&self, device: &DeviceRef) {
        if device.get().driver().is_some() {
            // It was bound after the last round, before the unit was unregistered.
            self.unbind(device);
        }
        bus::silence(device.get());
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
