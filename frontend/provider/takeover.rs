// SPDX-License-Identifier: GPL-2.0

//! A unit from takeover to release.

use kernel::{prelude::*, sync::Arc};

use super::{bus, hold, instance::Instance, served::Served, unit::ProviderUnit};
use crate::{
    ffi::device::{Counted, Device},
    log::{log_err, log_info, log_warn},
};

/// How often drivers are unbound before we give up on those that come back meanwhile.
const UNBIND_ROUNDS: usize = 8;

impl<D: Served> ProviderUnit<D> {
    /// Takes the unit and registers it with C. `parent` is the device that stands for it.
    ///
    /// # Errors
    ///
    /// Those of [`Unit::take_over`] and of the registration. The unit is then given back.
    pub fn bind(&self, instance: &Arc<Instance<D>>, parent: Device<'_>) -> Result {
        self.core().take_over()?;
        let result = hold::hold_all(instance, self.core()).and_then(|()| self.core().enable());
        if let Err(error) = result {
            self.core().release();
            instance.held.let_go(self.core());
            log_err!(
                "{}: not taken: error {}; the unit is as it was",
                self.core().name(),
                error.to_errno()
            );
            return Err(error);
        }
        self.set_active(true);
        // SAFETY: The unit is not registered; it stays with the instance, and is unregistered before
        // that goes.
        unsafe { self.register(parent, instance.ops()) }.inspect_err(|error| {
            self.give_up(instance);
            log_err!(
                "{}: the kernel's IOMMU layer refused the unit: error {}; it was given back",
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
        Ok(())
    }

    /// Unregisters the unit and gives it back. Drivers of devices behind it are unbound first; held
    /// devices go on.
    pub fn release(&self, instance: &Arc<Instance<D>>) {
        self.set_leaving(true);
        self.unbind_drivers(instance);
        // SAFETY: The unit is registered.
        unsafe { self.unregister() };
        self.give_up(instance);
        self.set_leaving(false);
        log_info!(
            "{}: given back; DMA is no longer translated; drivers that were unbound come back with \
             'echo <device> > /sys/bus/<its bus>/drivers_probe'",
            self.core().name()
        );
    }

    /// Gives the unit back when C does not know it any more. Everything but held devices is
    /// blocked by now.
    fn give_up(&self, instance: &Arc<Instance<D>>) {
        // From here on nothing may do DMA that was translated before, and what has no driver has
        // no DMA to do.
        let devices = bus::collect_devices(|device| {
            let is_ours = || {
                bus::describe(device)
                    .and_then(|info| D::probe(&instance.cores, info))
                    .is_ok_and(|probed| {
                        Arc::ptr_eq(&probed.unit, self.core())
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
        self.core().release();
        instance.held.let_go(self.core());
    }

    /// Switches the unit off for the kernel that comes next. Drivers have stopped their devices.
    ///
    /// A device whose driver has not, as one that a user process drives, does no DMA from here on
    /// either: without translation it would reach any memory (law 7). Held devices go on.
    pub fn shut_down(&self, instance: &Instance<D>) {
        for device in instance.devices_behind(self).iter().flatten() {
            if instance.held.is_held(device.device()) {
                continue;
            }
            bus::silence(device.device());
        }
        self.core().suspend();
    }

    fn quiesce(&self, device: &Counted) {
        if device.get().driver().is_some() {
            // It was bound in the moment between the last look and the end of the registration.
            self.unbind(device);
        }
        bus::silence(device.get());
    }

    /// Unbinds the drivers of all devices behind the unit, which have addresses that are good only
    /// as long as it translates.
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

    fn unbind(&self, device: &Counted) {
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
