// SPDX-License-Identifier: GPL-2.0

//! The unit remaps the interrupts of devices, from when C has put a device into its group, or from
//! when its driver is unbound, if it had one then (law 9). A device keeps what it has while a
//! driver is bound.

use kernel::prelude::*;

use super::{
    device::ProviderDevice,
    instance::Instance,
    interrupts::{MessageDomain, Remapped},
    layer::Layer,
    module_count::ModuleCount,
    served::Served,
    unit::ProviderUnit,
};
#[cfg(CONFIG_X86_64)]
use crate::ffi::msi::may_remap;
use crate::{
    ffi::device::{Device, DeviceLock},
    interrupt::NotRemapped,
    log::log_err,
};

impl<D: Served> ProviderDevice<D> {
    /// C has put the device into its group, or its driver is unbound: from now on the unit remaps
    /// the device's messages, if it can.
    ///
    /// Somebody who has the device's lock is about to bind a driver, and another call follows then.
    pub fn remap_interrupts(&self) {
        if let Some(lock) = self.device().try_lock() {
            self.remap_interrupts_of(&lock);
        }
    }

    /// As [`remap_interrupts`](Self::remap_interrupts), with the device's lock held.
    pub fn remap_interrupts_of(&self, device: &DeviceLock<'_>) {
        let (Ok(group), true) = (self.group(), self.unit().is_active()) else {
            return;
        };
        let mut state = self.interrupts().lock();
        if state.is_ok() {
            return;
        }
        let group = group.core();
        *state = remap(self, device);
        match (&*state, device.device().driver()) {
            (Ok(_), _) => {}
            (Err(why), _) if !D::passes_plain_messages(self.unit().core().data()) => log_err!(
                "{}: the unit refuses its interrupts: {}",
                self.endpoint().name(),
                why,
            ),
            (Err(_), Some(_)) => group.rely_on_messages(self.endpoint()),
            (Err(_), None) => group.forgo_messages(self.endpoint()),
        }
    }

    /// C releases the device, which has no driver. If it gets one at this moment, `module` stays
    /// loaded for ever.
    pub fn end_interrupts(&self, module: &'static ThisModule) {
        let mut state = self.interrupts().lock();
        let before = core::mem::replace(&mut *state, Err(NotRemapped::Unsupported));
        drop(state);
        if let Ok(domain) = before {
            if dismiss(domain, self.device()).is_err() {
                core::mem::forget(ModuleCount::new(module));
            }
        }
    }
}

#[cfg(CONFIG_X86_64)]
impl<D: Layer> ProviderUnit<D> {
    /// C knows the devices behind the unit. A unit that remaps the messages of all of them or of
    /// none is told which ones there are, and remaps them from now on if it can.
    ///
    /// No driver comes meanwhile: the locks of all these devices are held. A device whose lock
    /// somebody else has is about to get a driver or to lose it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. The unit then remaps none.
    pub fn remap_together(&self, instance: &Instance<D>) -> Result {
        if !D::REMAPS_TOGETHER {
            return Ok(());
        }
        let devices = self.find_devices(instance)?;
        let mut locks = KVec::with_capacity(devices.len(), GFP_KERNEL)?;
        let mut known = KVec::with_capacity(devices.len(), GFP_KERNEL)?;
        let mut plain = None;
        for device in devices.iter().map(|device| device.get()) {
            match (device.try_lock(), instance.device(device)) {
                (Some(lock), Some(its)) if may_remap(&lock).is_ok() => {
                    locks.push(lock, GFP_KERNEL)?;
                    known.push(its, GFP_KERNEL)?;
                }
                _ => plain = plain.or(Some(device.name())),
            }
        }
        let ids = known.iter().map(|known| known.endpoint().ids());
        D::remap_together(self.core().data(), ids, plain);
        for (known, lock) in known.iter().zip(&locks) {
            known.remap_interrupts_of(lock);
        }
        Ok(())
    }
}

#[cfg(not(CONFIG_X86_64))]
impl<D: Layer> ProviderUnit<D> {
    /// Other architectures have interrupt controllers that isolate messages by themselves.
    pub fn remap_together(&self, _instance: &Instance<D>) -> Result {
        Ok(())
    }
}

#[cfg(CONFIG_X86_64)]
fn remap<D: Served>(known: &ProviderDevice<D>, device: &DeviceLock<'_>) -> Remapped {
    may_remap(device)?;
    let (core, endpoint) = (known.group()?.core(), known.endpoint());
    let table = core.remap(endpoint)?;
    let domain = MessageDomain::new(endpoint.name(), endpoint.ids(), table)
        .inspect_err(|_| core.end_remapping(endpoint))?;
    domain.serve(device);
    Ok(domain)
}

#[cfg(CONFIG_X86_64)]
fn dismiss(domain: MessageDomain, device: Device<'_>) -> Result {
    domain.dismiss(device)
}

#[cfg(not(CONFIG_X86_64))]
fn remap<D: Served>(_known: &ProviderDevice<D>, _device: &DeviceLock<'_>) -> Remapped {
    Err(NotRemapped::Unsupported)
}

#[cfg(not(CONFIG_X86_64))]
fn dismiss(domain: MessageDomain, _device: Device<'_>) -> Result {
    match domain {}
}
