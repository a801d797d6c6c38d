// SPDX-License-Identifier: GPL-2.0

//! The files in sysfs: `iommu_core` in the folder of a unit and of each device behind it.
//!
//! Documentation/ABI/testing/sysfs-iommu_core describes them. Everybody may read them, so they have
//! no address of memory; debugfs has these.
//!
//! # When files come and go
//!
//! C makes the folder of a unit, and removes it when the unit is given back. The folder of a device
//! comes when C has probed the device, and goes before C is asked or told to release it. sysfs
//! waits for readers when it removes a file. A reader takes C's mutex of the device's group, so
//! nobody removes the folder with that mutex held.

use core::{
    fmt::{self, Write},
    ptr,
};

use kernel::{
    bindings, error::to_result, ffi::c_char, prelude::*, str::as_char_ptr_in_const_context,
    types::Opaque,
};

use crate::{
    ffi::{device::Device, table::Table},
    frontend::page::Page,
};

/// A file of a unit.
#[derive(Copy, Clone)]
pub enum UnitFile {
    /// The vendor driver.
    Driver,
    /// The version of iommu_core.
    Version,
    /// What the unit does.
    State,
    /// What the unit is capable of.
    Features,
    /// The number of held devices.
    Held,
    /// The number of faults of devices that are in no group.
    StrayFaults,
}

/// A file of a device.
#[derive(Copy, Clone)]
pub enum DeviceFile {
    /// Who may do DMA with the group.
    Owner,
    /// What the group is attached to.
    Domain,
    /// Why the device is in its group.
    Reason,
    /// The ids by which the unit knows the device.
    Ids,
    /// Whether the device can raise only its own interrupts.
    Interrupts,
    /// The number of faults of the group.
    Faults,
    /// The last fault of the group.
    LastFault,
}

/// The part of a unit that C and sysfs use, the same for all vendor drivers.
///
/// C's part is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub struct Shown {
    pub c: Opaque<bindings::iommu_device>,
    /// Writes the content of a file of the unit.
    pub show_unit: fn(&Shown, UnitFile, &mut dyn Write) -> fmt::Result,
    /// Writes the content of a file of a device behind the unit, which C has probed and not
    /// released.
    pub show_device: fn(Device<'_>, DeviceFile, &mut dyn Write) -> fmt::Result,
}

/// The groups of files that each unit has, for C.
pub fn unit_files() -> *mut *const bindings::attribute_group {
    UNIT_GROUPS.get().as_ptr().cast_mut()
}

/// Adds the files of a device.
///
/// # Errors
///
/// Those of sysfs.
///
/// # Safety
///
/// C has probed the device for one of these units. It does not release the device before
/// [`remove_device_files`].
pub unsafe fn add_device_files(device: Device<'_>) -> Result {
    // SAFETY: The device is valid, and so is its kobject; the group is there for ever.
    to_result(unsafe {
        bindings::sysfs_create_group(&raw mut (*device.as_raw()).kobj, DEVICE_GROUP.get())
    })
}

/// Undoes [`add_device_files`]. When it returns nobody reads the files.
///
/// Context: without C's mutex of the device's group.
///
/// # Safety
///
/// The files are there.
pub unsafe fn remove_device_files(device: Device<'_>) {
    // SAFETY: By the requirements.
    unsafe { bindings::sysfs_remove_group(&raw mut (*device.as_raw()).kobj, DEVICE_GROUP.get()) };
}

type ShowFn = unsafe extern "C" fn(
    *mut bindings::device,
    *mut bindings::device_attribute,
    *mut c_char,
) -> isize;

/// A file that everybody may read.
const fn file(name: &'static CStr, show: ShowFn) -> Table<bindings::device_attribute> {
    let mut file: bindings::device_attribute = pin_init::zeroed();
    file.attr.name = as_char_ptr_in_const_context(name);
    file.attr.mode = 0o444;
    file.__bindgen_anon_1.show = Some(show);
    // SAFETY: sysfs reads it, and calls the function whenever it likes.
    unsafe { Table::new(file) }
}

/// The folder `iommu_core` with files.
const fn folder(files: *const *const bindings::attribute) -> Table<bindings::attribute_group> {
    let mut group: bindings::attribute_group = pin_init::zeroed();
    group.name = as_char_ptr_in_const_context(c"iommu_core");
    group.__bindgen_anon_2.attrs = files.cast_mut().cast();
    // SAFETY: sysfs reads it, and does not change the files.
    unsafe { Table::new(group) }
}

macro_rules! files {
    ($list:ident, $show:ident: $($file:ident $name:literal $which:expr,)*) => {
        $(static $file: Table<bindings::device_attribute> = {
            extern "C" fn show(
                dev: *mut bindings::device,
                _: *mut bindings::device_attribute,
                page: *mut c_char,
            ) -> isize {
                // SAFETY: sysfs calls with the device that has the file, and a page to fill.
                unsafe { $show(dev, page, $which) }
            }
            file($name, show)
        };)*

        // SAFETY: sysfs reads it; the files are in tables.
        static $list: Table<[*const bindings::attribute; [$($name),*].len() + 1]> = unsafe {
            Table::new([$(&raw const $file.get().attr,)* ptr::null()])
        };
    };
}

files! {
    UNIT_FILES, show_unit:
    DRIVER c"driver" UnitFile::Driver,
    VERSION c"version" UnitFile::Version,
    STATE c"state" UnitFile::State,
    FEATURES c"features" UnitFile::Features,
    HELD c"held" UnitFile::Held,
    STRAY_FAULTS c"stray_faults" UnitFile::StrayFaults,
}

files! {
    DEVICE_FILES, show_device:
    OWNER c"owner" DeviceFile::Owner,
    DOMAIN c"domain" DeviceFile::Domain,
    REASON c"reason" DeviceFile::Reason,
    IDS c"ids" DeviceFile::Ids,
    INTERRUPTS c"interrupts" DeviceFile::Interrupts,
    FAULTS c"faults" DeviceFile::Faults,
    LAST_FAULT c"last_fault" DeviceFile::LastFault,
}

static UNIT_GROUP: Table<bindings::attribute_group> = folder(UNIT_FILES.get().as_ptr());
static DEVICE_GROUP: Table<bindings::attribute_group> = folder(DEVICE_FILES.get().as_ptr());

// SAFETY: sysfs reads it; the group is a table.
static UNIT_GROUPS: Table<[*const bindings::attribute_group; 2]> =
    unsafe { Table::new([&raw const *UNIT_GROUP.get(), ptr::null()]) };

/// Fills a page with the content of a unit's file.
///
/// # Safety
///
/// `dev` is the device that C has made for one of these units, and `page` a page to fill.
unsafe fn show_unit(dev: *mut bindings::device, page: *mut c_char, file: UnitFile) -> isize {
    // SAFETY: The device's data is null, or C's unit once the device is complete. sysfs removes the
    // file before the unit is freed.
    let shown = unsafe { (*dev).driver_data.cast::<Shown>().as_ref() };
    let Some(shown) = shown else {
        return ENODEV.to_errno() as isize;
    };
    // SAFETY: By the requirements.
    let mut page = unsafe { Page::new(page) };
    // If the page is too small it shows the beginning.
    let _ = (shown.show_unit)(shown, file, &mut page);
    page.len()
}

/// Fills a page with the content of a device's file.
///
/// # Safety
///
/// `dev` is a device with these files, and `page` a page to fill.
unsafe fn show_device(dev: *mut bindings::device, page: *mut c_char, file: DeviceFile) -> isize {
    // SAFETY: C has probed the device and does not release it while it has the file, so its record
    // and its unit stay.
    let (device, shown, mut page) = unsafe {
        let shown = &*(*(*dev).iommu).iommu_dev.cast::<Shown>();
        (Device::from_raw(dev), shown, Page::new(page))
    };
    let Some(device) = device else {
        return ENODEV.to_errno() as isize;
    };
    // If the page is too small it shows the beginning.
    let _ = (shown.show_device)(device, file, &mut page);
    page.len()
}
