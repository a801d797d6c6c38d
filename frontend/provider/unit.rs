// SPDX-License-Identifier: GPL-2.0

//! Units: C's `struct iommu_device`, and the files in sysfs.

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
        atomic::{Atomic, Full, Relaxed},
        Arc,
    },
    types::Opaque,
};

use super::served::Served;
use crate::{
    ffi::{device::Device, table::Table},
    frontend::page::Page,
    id_map::{IdMap, UnitFaults},
    unit::Unit,
};

/// The part of a unit that C and sysfs use, the same for all vendor drivers.
///
/// C's part is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct Shown {
    c: Opaque<bindings::iommu_device>,
    /// Writes the value of an attribute.
    show: fn(&Shown, Attribute, &mut dyn Write) -> fmt::Result,
}

/// A unit that C can know.
///
/// `shown` is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub struct ProviderUnit<D: Served> {
    shown: Shown,
    core: Arc<Unit<D>>,
    faults: Arc<UnitFaults<D>>,
    active: Atomic<bool>,
    accepted: Atomic<bool>,
    leaving: Atomic<bool>,
    /// Whether the log says that the unit cannot address all memory.
    has_far_memory: Atomic<bool>,
    /// Writes the devices behind the unit, one a line.
    show_endpoints: fn(&Self, &mut dyn Write) -> fmt::Result,
}

// SAFETY: C's part is for C to look after; everything else is `Send` and `Sync` by itself.
unsafe impl<D: Served> Send for ProviderUnit<D> {}
// SAFETY: As above.
unsafe impl<D: Served> Sync for ProviderUnit<D> {}

impl<D: Served> ProviderUnit<D> {
    /// A unit that is not in use. `ids` has the ids of all members of groups. `show_endpoints`
    /// writes the devices behind the unit, one a line.
    pub fn new(
        core: &Arc<Unit<D>>,
        ids: &Arc<IdMap<D>>,
        show_endpoints: fn(&Self, &mut dyn Write) -> fmt::Result,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                shown: Shown {
                    c: Opaque::new(pin_init::zeroed()),
                    show: Self::show_attribute,
                },
                core: core.clone(),
                faults: UnitFaults::new(ids, core)?,
                active: Atomic::new(false),
                accepted: Atomic::new(false),
                leaving: Atomic::new(false),
                has_far_memory: Atomic::new(false),
                show_endpoints,
            },
            GFP_KERNEL,
        )?)
    }

    /// The core's unit.
    pub fn core(&self) -> &Arc<Unit<D>> {
        &self.core
    }

    /// Where the unit's faults go while it is taken.
    pub fn faults(&self) -> &Arc<UnitFaults<D>> {
        &self.faults
    }

    /// Faults of devices behind the unit that are in no group.
    pub fn faults_of_unknown_ids(&self) -> u64 {
        self.faults.unknown_ids()
    }

    /// The pointer that C knows the unit by.
    pub fn as_c(&self) -> *mut bindings::iommu_device {
        self.shown.c.get()
    }

    /// Whether the unit is taken and translates.
    pub fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// Records that the unit cannot address all memory. Returns whether that was known already.
    pub fn set_has_far_memory(&self) -> bool {
        self.has_far_memory.xchg(true, Full)
    }

    /// Sets whether the unit translates.
    pub fn set_active(&self, active: bool) {
        self.active.store(active, Relaxed);
    }

    /// Whether C loses the unit when it releases a device now: the unit is being given back, or C
    /// has not accepted it yet.
    pub fn may_be_lost(&self) -> bool {
        self.is_leaving() || !self.accepted.load(Relaxed)
    }

    /// Sets whether C has accepted the unit.
    pub fn set_accepted(&self, accepted: bool) {
        self.accepted.store(accepted, Relaxed);
    }

    /// Whether the unit is being given back.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Sets whether the unit is being given back.
    pub fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Relaxed);
    }

    /// Whether a flush is expensive, since the unit is emulated.
    pub fn shadows(&self) -> bool {
        D::needs_map_sync(self.core.data())
    }

    /// Gives the unit a place in sysfs, where C links its devices. `parent` is its platform device.
    ///
    /// # Errors
    ///
    /// Those of C.
    ///
    /// # Safety
    ///
    /// The unit has no place in sysfs. It stays until [`hide`](Self::hide).
    pub unsafe fn show_in_sysfs(&self, parent: Device<'_>) -> Result {
        let name = CString::try_from_fmt(fmt!("{}", &self.core.name().as_str()))?;
        // SAFETY: C's part is not in use, by the requirements. The groups are there for ever.
        unsafe {
            self.as_c().write(pin_init::zeroed());
            to_result(bindings::iommu_device_sysfs_add(
                self.as_c(),
                parent.as_raw(),
                ATTRIBUTE_GROUPS.get().as_ptr().cast_mut(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            ))
        }
    }

    /// Undoes [`show_in_sysfs`](Self::show_in_sysfs).
    ///
    /// # Safety
    ///
    /// The unit has a place in sysfs, and C knows no device behind it.
    pub unsafe fn hide(&self) {
        // SAFETY: By the requirements.
        unsafe { bindings::iommu_device_sysfs_remove(self.as_c()) };
    }

    /// Registers the unit with C. `parent` is its platform device.
    ///
    /// # Errors
    ///
    /// Those of C.
    ///
    /// # Safety
    ///
    /// The unit has a place in sysfs and is not registered. It stays, and so do `ops`, until
    /// [`unregister`](Self::unregister).
    pub unsafe fn register(&self, parent: Device<'_>, ops: *const bindings::iommu_ops) -> Result {
        // C finds a device's unit by the firmware node of the unit's device. On x86 devices name no
        // such node, and C takes the unit that has none.
        let device = match D::platform_device(self.core.data()) {
            Some(_) => parent.as_raw(),
            None => ptr::null_mut(),
        };
        // SAFETY: By the requirements.
        to_result(unsafe { bindings::iommu_device_register(self.as_c(), ops, device) })
    }

    /// Undoes [`register`](Self::register). C releases all devices behind the unit but those that
    /// are being removed at the moment.
    ///
    /// # Safety
    ///
    /// The unit is registered.
    pub unsafe fn unregister(&self) {
        // SAFETY: By the requirements.
        unsafe { bindings::iommu_device_unregister(self.as_c()) };
    }

    fn show_attribute(shown: &Shown, attribute: Attribute, f: &mut dyn Write) -> fmt::Result {
        // SAFETY: The function is called with the `shown` that it is in, and that is the first part
        // of a unit of this driver.
        let unit = unsafe { &*ptr::from_ref(shown).cast::<Self>() };
        match attribute {
            Attribute::Driver => writeln!(f, "{}", D::NAME),
            Attribute::Failed => writeln!(f, "{}", u8::from(unit.core.has_failed())),
            Attribute::StrayFaults => writeln!(f, "{}", unit.faults_of_unknown_ids()),
            Attribute::Endpoints => (unit.show_endpoints)(unit, f),
        }
    }
}

/// A file in `/sys/class/iommu/<unit>/iommu_core`.
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

/// A file that shows `attribute`.
const fn file(name: &'static CStr, show: ShowFn) -> Table<bindings::device_attribute> {
    let mut file: bindings::device_attribute = pin_init::zeroed();
    file.attr.name = as_char_ptr_in_const_context(name);
    file.attr.mode = 0o444;
    file.__bindgen_anon_1.show = Some(show);
    // SAFETY: sysfs reads it, and calls the function whenever it likes.
    unsafe { Table::new(file) }
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
                unsafe { show_attribute(dev, page, $attribute) }
            }
            file($name, show)
        };
    };
}

attribute!(DRIVER, c"driver", Attribute::Driver);
attribute!(FAILED, c"failed", Attribute::Failed);
attribute!(STRAY_FAULTS, c"stray_faults", Attribute::StrayFaults);
attribute!(ENDPOINTS, c"endpoints", Attribute::Endpoints);

// SAFETY: sysfs reads it; the attributes are in tables.
static ATTRIBUTES: Table<[*const bindings::attribute; 5]> = unsafe {
    Table::new([
        &raw const DRIVER.get().attr,
        &raw const FAILED.get().attr,
        &raw const STRAY_FAULTS.get().attr,
        &raw const ENDPOINTS.get().attr,
        ptr::null(),
    ])
};

static ATTRIBUTE_GROUP: Table<bindings::attribute_group> = {
    let mut group: bindings::attribute_group = pin_init::zeroed();
    group.name = as_char_ptr_in_const_context(c"iommu_core");
    group.__bindgen_anon_2.attrs = ATTRIBUTES.get().as_ptr().cast_mut().cast();
    // SAFETY: sysfs reads it, and does not change the attributes.
    unsafe { Table::new(group) }
};

// SAFETY: sysfs reads it; the group is a table.
static ATTRIBUTE_GROUPS: Table<[*const bindings::attribute_group; 2]> =
    unsafe { Table::new([&raw const *ATTRIBUTE_GROUP.get(), ptr::null()]) };

/// Fills a page of sysfs.
///
/// # Safety
///
/// `dev` is the device that C has made for one of these units, and `page` a page to fill.
unsafe fn show_attribute(
    dev: *mut bindings::device,
    page: *mut c_char,
    attribute: Attribute,
) -> isize {
    // SAFETY: The device's data is null, or C's unit once the device is complete. sysfs removes the
    // file before the unit is freed.
    let shown = unsafe { (*dev).driver_data.cast::<Shown>().as_ref() };
    let Some(shown) = shown else {
        return ENODEV.to_errno() as isize;
    };
    // SAFETY: By the requirements.
    let mut page = unsafe { Page::new(page) };
    // If the page is too small it shows the beginning.
    let _ = (shown.show)(shown, attribute, &mut page);
    page.len()
}
