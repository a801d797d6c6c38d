// SPDX-License-Identifier: GPL-2.0

//! Listens to the driver core: drivers are bound and unbound, devices are removed.

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_ulong, c_void},
    prelude::*,
    sync::Arc,
    types::Opaque,
};

use super::{instance::Instance, layer::Layer};
use crate::ffi::device::Device;

/// A notifier on a bus.
///
/// C's part is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct Block<D: Layer> {
    c: Opaque<bindings::notifier_block>,
    instance: Arc<Instance<D>>,
    bus: *const bindings::bus_type,
}

/// A registered notifier. Dropping it unregisters it.
struct Registered<D: Layer>(Pin<KBox<Block<D>>>);

// SAFETY: C's part is for C to look after; the instance is shared between tasks; buses stay.
unsafe impl<D: Layer> Send for Registered<D> {}
// SAFETY: As above.
unsafe impl<D: Layer> Sync for Registered<D> {}

impl<D: Layer> Registered<D> {
    /// Starts to listen on a bus.
    fn new(instance: &Arc<Instance<D>>, bus: *const bindings::bus_type) -> Result<Self> {
        let block = KBox::pin(
            Block {
                c: Opaque::new(bindings::notifier_block {
                    notifier_call: Some(notify::<D>),
                    // Called before C's IOMMU layer, which releases a device that was removed.
                    priority: 1,
                    ..pin_init::zeroed()
                }),
                instance: instance.clone(),
                bus,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The bus is one of the kernel's; the block stays where it is until it is
        // unregistered.
        to_result(unsafe { bindings::bus_register_notifier(bus, block.c.get()) })?;
        Ok(Self(block))
    }
}

impl<D: Layer> Drop for Registered<D> {
    fn drop(&mut self) {
        // SAFETY: The block is registered. When the call returns `notify` does not run any more.
        unsafe { bindings::bus_unregister_notifier(self.0.bus, self.0.c.get()) };
    }
}

/// Listens on all buses that units translate for, until it is dropped.
pub struct Notifier<D: Layer> {
    _pci: Registered<D>,
    _platform: Registered<D>,
}

impl<D: Layer> Notifier<D> {
    /// Starts to listen.
    pub fn new(instance: &Arc<Instance<D>>) -> Result<Self> {
        Ok(Self {
            _pci: Registered::new(instance, &raw const bindings::pci_bus_type)?,
            _platform: Registered::new(instance, &raw const bindings::platform_bus_type)?,
        })
    }
}

extern "C" fn notify<D: Layer>(
    block: *mut bindings::notifier_block,
    event: c_ulong,
    data: *mut c_void,
) -> c_int {
    // SAFETY: The driver core calls with the block that was registered, and with a device that it
    // keeps meanwhile.
    let (instance, device) = unsafe {
        (
            &(*block.cast::<Block<D>>()).instance,
            Device::from_raw(data.cast()),
        )
    };
    if let Some(device) = device {
        handle(instance, event as bindings::bus_notifier_event, device);
    }
    bindings::NOTIFY_DONE as c_int
}

fn handle<D: Layer>(
    instance: &Arc<Instance<D>>,
    event: bindings::bus_notifier_event,
    device: Device<'_>,
) {
    match event {
        bindings::bus_notifier_event_BUS_NOTIFY_REMOVED_DEVICE => {
            instance.held.removed(device);
            if let Some(known) = instance.device(device) {
                known.set_removed();
                // C releases the device next.
                known.remove_files();
            }
        }
        bindings::bus_notifier_event_BUS_NOTIFY_BIND_DRIVER => {
            instance.wait_until_taken();
            if let (Some(known), Some(driver)) = (instance.device(device), device.driver()) {
                // SAFETY: The driver core has the device's lock when it binds a driver.
                known.remap_interrupts_of(&unsafe { device.locked() });
                D::driver_comes(instance, &known, driver);
            }
        }
        bindings::bus_notifier_event_BUS_NOTIFY_UNBIND_DRIVER => {
            if let Some(known) = instance.device(device) {
                D::driver_leaves(instance, &known);
            }
        }
        bindings::bus_notifier_event_BUS_NOTIFY_DRIVER_NOT_BOUND
        | bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER => {
            if let Some(known) = instance.device(device) {
                D::driver_is_gone(instance, &known);
                // SAFETY: As above.
                known.remap_interrupts_of(&unsafe { device.locked() });
            }
        }
        _ => {}
    }
}
