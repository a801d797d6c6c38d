// SPDX-License-Identifier: GPL-2.0

//! A unit from takeover to release, as C sees it.

use core::{
    fmt::{self, Write},
    ptr,
};

use kernel::{
    bindings,
    error::to_result,
    ffi::c_char,
    prelude::*,
    str::{as_char_ptr_in_const_context, CString},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    types::Opaque,
};

use super::{
    bus,
    device::HostedDevice,
    held::Held,
    instance::{Hosted, Instance},
};
use crate::{
    ffi::device::{Counted, Device},
    frontend::page::Page,
    log::{log_err, log_info, log_warn},
    unit::Unit,
};

/// How often drivers are unbound before we give up on those that come back meanwhile.
const UNBIND_ROUNDS: usize = 8;

/// What C and sysfs know of a unit.
///
/// C's part is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct Shown {
    c: Opaque<bindings::iommu_device>,
    /// Writes the value of an attribute.
    show: fn(&Shown, Attribute, &mut dyn Write) -> fmt::Result,
}

/// A unit, with what C knows of it.
///
/// `shown` is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub struct HostedUnit<D: Hosted> {
    shown: Shown,
    core: Arc<Unit<D>>,
    active: Atomic<bool>,
    leaving: Atomic<bool>,
}

// SAFETY: C's part is for C to look after; everything else is `Send` and `Sync` by itself.
unsafe impl<D: Hosted> Send for HostedUnit<D> {}
// SAFETY: As above.
unsafe impl<D: Hosted> Sync for HostedUnit<D> {}

impl<D: Hosted> HostedUnit<D> {
    /// A unit that is not in use.
    pub fn new(core: &Arc<Unit<D>>) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                shown: Shown {
                    c: Opaque::new(pin_init::zeroed()),
                    show: Self::show_attribute,
                },
                core: core.clone(),
                active: Atomic::new(false),
                leaving: Atomic::new(false),
            },
            GFP_KERNEL,
        )?)
    }

    /// The core's unit.
    pub fn core(&self) -> &Arc<Unit<D>> {
        &self.core
    }

    /// The pointer that C knows the unit by.
    pub fn as_c(&self) -> *mut bindings::iommu_device {
        self.shown.c.get()
    }

    /// Whether the unit translates for us.
    pub fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// Whether the unit is being given back.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Whether each flush costs the unit much, because somebody emulates it.
    pub fn shadows(&self) -> bool {
        D::needs_map_sync(&self.core)
    }

    /// Takes the unit and registers it with C. `parent` is the device that stands for it.
    ///
    /// # Errors
    ///
    /// Those of [`Unit::take_over`] and of the registration. The unit is then given back.
    pub fn bind(&self, instance: &Arc<Instance<D>>, parent: Device<'_>) -> Result {
        self.core.take_over()?;
        let result = Held::hold_all(instance, &self.core).and_then(|()| self.core.enable());
        if let Err(error) = result {
            self.core.release();
            Held::let_go(instance, &self.core);
            log_err!(
                "{}: not taken: error {}; the unit is as it was",
                self.core.name(),
                error.to_errno()
            );
            return Err(error);
        }
        self.active.store(true, Relaxed);
        self.register(instance, parent).inspect_err(|error| {
            self.give_up(instance);
            log_err!(
                "{}: the kernel's IOMMU layer refused the unit: error {}; it was given back",
                self.core.name(),
                error.to_errno()
            );
        })?;
        let devices = self.devices(instance).map_or(0, |devices| devices.len());
        log_info!(
            "{}: translates for {} devices, {} more are held",
            self.core.name(),
            devices,
            Held::count(instance, &self.core),
        );
        Ok(())
    }

    fn register(&self, instance: &Arc<Instance<D>>, parent: Device<'_>) -> Result {
        let name = CString::try_from_fmt(fmt!("{}", &self.core.name().as_str()))?;
        // SAFETY: C's part is not in use: the unit is not registered. The groups, the table of
        // functions and `self` stay until the unit is unregistered.
        unsafe {
            self.as_c().write(pin_init::zeroed());
            to_result(bindings::iommu_device_sysfs_add(
                self.as_c(),
                parent.as_raw(),
                ATTRIBUTE_GROUPS.0.as_ptr().cast_mut(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            ))?;
            // The firmware's node of the unit's device leads C from devices to the unit. On x86
            // none does, and a unit without one is the one that C looks for.
            let device = match D::platform_device(&self.core) {
                Some(_) => parent.as_raw(),
                None => ptr::null_mut(),
            };
            to_result(bindings::iommu_device_register(
                self.as_c(),
                instance.ops(),
                device,
            ))
            .inspect_err(|_| bindings::iommu_device_sysfs_remove(self.as_c()))
        }
    }

    /// Unregisters the unit and gives it back. Drivers of devices behind it are unbound first; held
    /// devices go on.
    pub fn release(&self, instance: &Arc<Instance<D>>) {
        self.leaving.store(true, Relaxed);
        self.unbind_drivers(instance);
        // SAFETY: The unit is registered.
        unsafe { bindings::iommu_device_unregister(self.as_c()) };
        // SAFETY: It has its place in sysfs.
        unsafe { bindings::iommu_device_sysfs_remove(self.as_c()) };
        self.give_up(instance);
        self.leaving.store(false, Relaxed);
        log_info!(
            "{}: given back; DMA is no longer translated; drivers that were unbound come back with \
             'echo <device> > /sys/bus/<its bus>/drivers_probe'",
            self.core.name()
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
                        Arc::ptr_eq(&probed.unit, &self.core)
                            && !probed.reserved.iter().any(|region| region.is_direct())
                    })
            };
            !bus::is_bridge(device) && !Held::is_held(instance, device) && is_ours()
        });
        match devices {
            Ok(devices) => devices.iter().for_each(|device| self.quiesce(device)),
            Err(error) => log_warn!(
                "{}: devices without a driver keep the right to do DMA: error {}",
                self.core.name(),
                error.to_errno()
            ),
        }
        self.active.store(false, Relaxed);
        self.core.release();
        Held::let_go(instance, &self.core);
    }

    /// Switches the unit off for the kernel that comes next. Drivers have stopped their devices.
    ///
    /// A device whose driver has not, as one that a user process drives, does no DMA from here on
    /// either: without translation it would reach any memory (law 7). Held devices go on.
    pub fn shut_down(&self, instance: &Instance<D>) {
        for device in self.devices(instance).iter().flatten() {
            if Held::is_held(instance, device.device()) {
                continue;
            }
            bus::silence(device.device());
        }
        self.core.suspend();
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
            let Ok(devices) = self.devices(instance) else {
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
            self.core.name()
        );
    }

    fn unbind(&self, device: &Counted) {
        if let Some(driver) = device.get().driver() {
            log_info!(
                "{}: unbinds driver {} from {}: its unit is given back",
                self.core.name(),
                driver.name(),
                device.get().name(),
            );
        }
        device.release_driver();
    }

    /// The devices behind the unit that C knows.
    fn devices(&self, instance: &Instance<D>) -> Result<KVec<Arc<HostedDevice<D>>>> {
        let mut devices = instance.snapshot_devices()?;
        devices.retain(|device| ptr::eq(&**device.unit(), self));
        Ok(devices)
    }

    /// Writes what is known of the unit.
    pub fn show(&self, instance: &Instance<D>, f: &mut dyn Write) -> fmt::Result {
        let name = self.core.name();
        if !self.is_active() {
            return writeln!(f, "{name} ({}): not in use", D::NAME);
        }
        let state = match self.core.has_failed() {
            true => "failed",
            false => "translates",
        };
        writeln!(f, "{name} ({}): {state}", D::NAME)?;
        let devices = self.devices(instance).map_err(|_| fmt::Error)?.len();
        writeln!(f, "  devices  {devices}")?;
        writeln!(f, "  held     {}", Held::count(instance, &self.core))?;
        D::show_unit(&self.core, f)
    }

    fn show_attribute(shown: &Shown, attribute: Attribute, f: &mut dyn Write) -> fmt::Result {
        // SAFETY: The function is called with the `shown` that it is in, and that is the first part
        // of a unit of this driver.
        let unit = unsafe { &*ptr::from_ref(shown).cast::<Self>() };
        match attribute {
            Attribute::Driver => writeln!(f, "{}", D::NAME),
            Attribute::Failed => writeln!(f, "{}", u8::from(unit.core.has_failed())),
            Attribute::StrayFaults => writeln!(f, "{}", unit.core.stray_faults()),
            Attribute::Endpoints => {
                let Some(instance) = D::slot().get() else {
                    return Ok(());
                };
                let devices = unit.devices(&instance).map_err(|_| fmt::Error)?;
                for device in &devices {
                    writeln!(f, "{}", device.endpoint().name())?;
                }
                Ok(())
            }
        }
    }
}

/// A file in the folder `iommu_core` of a unit in `/sys/class/iommu`.
#[derive(Copy, Clone)]
enum Attribute {
    /// The vendor driver.
    Driver,
    /// 1 if the unit has failed.
    Failed,
    /// Faults of devices that are in no group.
    StrayFaults,
    /// The devices, one a line.
    Endpoints,
}

/// A table that C reads.
#[repr(transparent)]
struct Table<T>(T);

// SAFETY: Nobody writes to the tables.
unsafe impl<T> Sync for Table<T> {}

/// A file that shows `attribute`.
const fn file(name: &'static CStr, show: ShowFn) -> Table<bindings::device_attribute> {
    let mut file: bindings::device_attribute = pin_init::zeroed();
    file.attr.name = as_char_ptr_in_const_context(name);
    file.attr.mode = 0o444;
    file.__bindgen_anon_1.show = Some(show);
    Table(file)
}

type ShowFn = unsafe extern "C" fn(
    *mut bindings::device,
    *mut bindings::device_attribute,
    *mut c_char,
) -> isize;

macro_rules! attribute {
    ($file:ident, $name:literal, $attribute:expr) => {
        static $file: Table<bindings::device_attribute> = {
            extern "C" fn show(
                dev: *mut bindings::device,
                _: *mut bindings::device_attribute,
                page: *mut c_char,
            ) -> isize {
                // SAFETY: sysfs calls with the device of a unit and a page to fill.
                unsafe { show_in_sysfs(dev, page, $attribute) }
            }
            file($name, show)
        };
    };
}

attribute!(DRIVER, c"driver", Attribute::Driver);
attribute!(FAILED, c"failed", Attribute::Failed);
attribute!(STRAY_FAULTS, c"stray_faults", Attribute::StrayFaults);
attribute!(ENDPOINTS, c"endpoints", Attribute::Endpoints);

static ATTRIBUTES: Table<[*const bindings::attribute; 5]> = Table([
    &raw const DRIVER.0.attr,
    &raw const FAILED.0.attr,
    &raw const STRAY_FAULTS.0.attr,
    &raw const ENDPOINTS.0.attr,
    ptr::null(),
]);

static ATTRIBUTE_GROUP: Table<bindings::attribute_group> = {
    let mut group: bindings::attribute_group = pin_init::zeroed();
    group.name = as_char_ptr_in_const_context(c"iommu_core");
    group.__bindgen_anon_2.attrs = ATTRIBUTES.0.as_ptr().cast_mut().cast();
    Table(group)
};

static ATTRIBUTE_GROUPS: Table<[*const bindings::attribute_group; 2]> =
    Table([&raw const ATTRIBUTE_GROUP.0, ptr::null()]);

/// Fills a page of sysfs.
///
/// # Safety
///
/// `dev` is the device that C made for a unit of ours, and `page` a page to fill.
unsafe fn show_in_sysfs(
    dev: *mut bindings::device,
    page: *mut c_char,
    attribute: Attribute,
) -> isize {
    // SAFETY: C's device has C's unit as its data, once it is complete. sysfs removes the file
    // before the unit goes.
    let shown = unsafe { (*dev).driver_data.cast::<Shown>().as_ref() };
    let Some(shown) = shown else {
        return ENODEV.to_errno() as isize;
    };
    // SAFETY: By the requirements.
    let mut page = unsafe { Page::new(page) };
    // A page that is full shows what fits.
    let _ = (shown.show)(shown, attribute, &mut page);
    page.len()
}
