// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/iommu_groups`: a folder for each group, with links to its devices.

use core::ptr;

use kernel::{
    bindings,
    error::to_result,
    ffi::c_int,
    prelude::*,
    str::CString,
    sync::atomic::{Acquire, Atomic, Release},
};

use crate::ffi::device::Device;

/// The folder of all groups. Set once, before there are groups.
static FOLDER: Atomic<*mut bindings::kset> = Atomic::new(ptr::null_mut());

/// Makes the folder of all groups.
pub(super) fn add_folder() -> Result {
    // SAFETY: The kernel's own folder is there before anything else.
    let folder = unsafe {
        bindings::kset_create_and_add(
            c"iommu_groups".as_char_ptr(),
            ptr::null(),
            bindings::kernel_kobj,
        )
    };
    if folder.is_null() {
        return Err(ENOMEM);
    }
    FOLDER.store(folder, Release);
    Ok(())
}

/// Makes a group's folder, with files as `kind` says.
///
/// # Safety
///
/// `kobject` is the new group's, and all zeroes. When this fails it is initialised all the same,
/// and the caller drops its count.
pub(super) unsafe fn add_group(
    kobject: *mut bindings::kobject,
    kind: &'static bindings::kobj_type,
    id: c_int,
) -> Result {
    // SAFETY: By the requirements; the format fits the argument.
    to_result(unsafe {
        (*kobject).kset = FOLDER.load(Acquire);
        bindings::kobject_init_and_add(kobject, kind, ptr::null_mut(), c"%d".as_char_ptr(), id)
    })
}

/// Makes a group's folder `devices`, which counts the group.
///
/// # Safety
///
/// `kobject` is a group's, and in sysfs.
pub(super) unsafe fn add_device_folder(
    kobject: *mut bindings::kobject,
) -> Result<*mut bindings::kobject> {
    // SAFETY: By the requirements.
    let folder = unsafe { bindings::kobject_create_and_add(c"devices".as_char_ptr(), kobject) };
    match folder.is_null() {
        true => Err(ENOMEM),
        false => Ok(folder),
    }
}

/// Links a device and its group to each other. The value is the name of the device's link: its own,
/// or one with a number where a device of another bus has it.
///
/// # Safety
///
/// `group` and `folder` are those of a group.
pub(super) unsafe fn link(
    group: *mut bindings::kobject,
    folder: *mut bindings::kobject,
    device: Device<'_>,
) -> Result<CString> {
    let of_device = kobject_of(device.as_raw());
    // SAFETY: By the requirements; the device is valid.
    to_result(unsafe {
        bindings::sysfs_create_link(of_device, group, c"iommu_group".as_char_ptr())
    })?;
    // SAFETY: As above.
    unsafe { link_in(folder, device) }.inspect_err(|_| {
        // SAFETY: The link was just made.
        unsafe { bindings::sysfs_remove_link(of_device, c"iommu_group".as_char_ptr()) }
    })
}

/// # Safety
///
/// As that of [`link`].
unsafe fn link_in(folder: *mut bindings::kobject, device: Device<'_>) -> Result<CString> {
    let raw = device.as_raw();
    // SAFETY: The device is valid, and is not renamed while it is on a bus.
    let own_name = unsafe { CStr::from_char_ptr(bindings::dev_name(raw)) };
    let mut name = CString::try_from(own_name)?;
    for number in 0.. {
        // SAFETY: By the requirements; the device is valid.
        let result = to_result(unsafe {
            bindings::sysfs_create_link_nowarn(folder, kobject_of(raw), name.as_char_ptr())
        });
        match result {
            // Names are unique on one bus only.
            Err(error) if error == EEXIST => {
                name = CString::try_from_fmt(fmt!("{}.{}", own_name.to_str()?, number))?;
            }
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    Ok(name)
}

/// Undoes [`link`].
///
/// # Safety
///
/// The links are there, and the device is valid.
pub(super) unsafe fn unlink(
    folder: *mut bindings::kobject,
    name: &CStr,
    device: *mut bindings::device,
) {
    // SAFETY: By the requirements.
    unsafe {
        bindings::sysfs_remove_link(folder, name.as_char_ptr());
        bindings::sysfs_remove_link(kobject_of(device), c"iommu_group".as_char_ptr());
    }
}

/// The kobject of a device; nothing is read.
fn kobject_of(device: *mut bindings::device) -> *mut bindings::kobject {
    device
        .wrapping_byte_add(core::mem::offset_of!(bindings::device, kobj))
        .cast()
}
