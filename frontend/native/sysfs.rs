// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/iommu_groups`: a folder for each group, as Documentation/ABI describes it, with
//! some files more.
//!
//! | name | what | |
//! |---|---|---|
//! | `devices` | links to the devices | ABI |
//! | `name` | what the group's maker calls it, if it does | ABI |
//! | `reserved_regions` | address ranges with a meaning of their own | ABI |
//! | `type` | the type of the default domain; writing it changes that | ABI |
//! | `owner` | who may do DMA with the group | ours |
//! | `domain` | what it is attached to | ours |
//! | `reason` | a line for each device: why it is in the group | ours |

use core::{
    fmt::{self, Write},
    ptr,
};

use kernel::{
    bindings,
    error::to_result,
    ffi::{c_char, c_int},
    prelude::*,
    str::{as_char_ptr_in_const_context, CString},
    sync::atomic::{Acquire, Atomic, Release},
};

use super::{backing::Question, default, group::Group, merge::merge, reserved};
use crate::{ffi::device::Device, frontend::page::Page};

/// The folder of all groups. Set once, before there are groups.
static FOLDER: Atomic<*mut bindings::kset> = Atomic::new(ptr::null_mut());

/// A table that C reads.
#[repr(transparent)]
struct Table<T>(T);

// SAFETY: Nobody writes to the tables.
unsafe impl<T> Sync for Table<T> {}

static KIND: Table<bindings::kobj_type> = {
    let mut kind: bindings::kobj_type = pin_init::zeroed();
    kind.release = Some(release);
    kind.sysfs_ops = &raw const CALLS.0;
    Table(kind)
};

static CALLS: Table<bindings::sysfs_ops> = {
    let mut calls: bindings::sysfs_ops = pin_init::zeroed();
    calls.show = Some(show);
    calls.store = Some(store);
    Table(calls)
};

const fn file(name: &'static CStr, mode: u16) -> Table<bindings::attribute> {
    let mut file: bindings::attribute = pin_init::zeroed();
    file.name = as_char_ptr_in_const_context(name);
    file.mode = mode;
    Table(file)
}

static NAME: Table<bindings::attribute> = file(c"name", 0o444);
static RESERVED: Table<bindings::attribute> = file(c"reserved_regions", 0o444);
static TYPE: Table<bindings::attribute> = file(c"type", 0o644);
static OWNER: Table<bindings::attribute> = file(c"owner", 0o444);
static DOMAIN: Table<bindings::attribute> = file(c"domain", 0o444);
static REASON: Table<bindings::attribute> = file(c"reason", 0o444);

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

/// Makes a group's folder.
///
/// # Safety
///
/// `kobject` is the new group's, and all zeroes. When this fails it is initialised all the same,
/// and the caller drops its count.
pub(super) unsafe fn add_group(kobject: *mut bindings::kobject, id: c_int) -> Result {
    // SAFETY: By the requirements; the format fits the argument.
    to_result(unsafe {
        (*kobject).kset = FOLDER.load(Acquire);
        bindings::kobject_init_and_add(
            kobject,
            &raw const KIND.0,
            ptr::null_mut(),
            c"%d".as_char_ptr(),
            id,
        )
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

/// Makes the files that each group has. They go with the folder.
///
/// # Safety
///
/// `kobject` is a group's, and in sysfs.
pub(super) unsafe fn add_files(kobject: *mut bindings::kobject) -> Result {
    // SAFETY: By the requirements.
    unsafe {
        for file in [&RESERVED, &TYPE, &OWNER, &DOMAIN, &REASON] {
            add(kobject, file)?;
        }
    }
    Ok(())
}

/// Makes the file that shows a group's name.
///
/// # Safety
///
/// `kobject` is a group's, and in sysfs; the group has a name.
pub(super) unsafe fn add_name(kobject: *mut bindings::kobject) -> Result {
    // SAFETY: By the requirements.
    unsafe { add(kobject, &NAME) }
}

/// Undoes [`add_name`]. When it returns nobody reads the file.
///
/// # Safety
///
/// The file is there.
pub(super) unsafe fn remove_name(kobject: *mut bindings::kobject) {
    // SAFETY: By the requirements.
    unsafe { bindings::sysfs_remove_file_ns(kobject, &raw const NAME.0, ptr::null()) }
}

unsafe fn add(
    kobject: *mut bindings::kobject,
    file: &'static Table<bindings::attribute>,
) -> Result {
    // SAFETY: The callers promise it.
    to_result(unsafe { bindings::sysfs_create_file_ns(kobject, &raw const file.0, ptr::null()) })
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

extern "C" fn release(kobject: *mut bindings::kobject) {
    // SAFETY: C calls when the last count is gone.
    unsafe { Group::release(kobject) }
}

extern "C" fn show(
    kobject: *mut bindings::kobject,
    attribute: *mut bindings::attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: sysfs calls with the kobject of a group, which it keeps, and a page to fill.
    let (group, mut page) = unsafe { (Group::from_kobject(kobject), Page::new(page)) };
    let attribute = attribute.cast_const();
    // A page that is full shows what fits.
    let _ = if ptr::eq(attribute, &raw const NAME.0) {
        show_name(group, &mut page)
    } else if ptr::eq(attribute, &raw const TYPE.0) {
        writeln!(page, "{}", default::type_of(group))
    } else if ptr::eq(attribute, &raw const RESERVED.0) {
        match show_reserved(group, &mut page) {
            Ok(result) => result,
            Err(error) => return error.to_errno() as isize,
        }
    } else if let Some(question) = question_of(attribute) {
        match group.lock().core() {
            Ok(core) => core.tell(question, &mut page),
            // No device is behind a unit.
            Err(_) => writeln!(page, "none"),
        }
    } else {
        return EIO.to_errno() as isize;
    };
    page.len()
}

/// What a file answers that the core knows.
fn question_of(attribute: *const bindings::attribute) -> Option<Question> {
    let files = [
        (&OWNER, Question::Owner),
        (&DOMAIN, Question::Domain),
        (&REASON, Question::Reason),
    ];
    let found = files
        .iter()
        .find(|(file, _)| ptr::eq(attribute, &raw const file.0));
    found.map(|(_, question)| *question)
}

extern "C" fn store(
    kobject: *mut bindings::kobject,
    attribute: *mut bindings::attribute,
    text: *const c_char,
    count: usize,
) -> isize {
    if !ptr::eq(attribute.cast_const(), &raw const TYPE.0) {
        return EIO.to_errno() as isize;
    }
    // SAFETY: sysfs calls with the kobject of a group, which it keeps, and a C string.
    let (group, text) = unsafe { (Group::from_kobject(kobject), CStr::from_char_ptr(text)) };
    match default::store_type(group, text.to_str().unwrap_or_default()) {
        Ok(()) => count as isize,
        Err(error) => error.to_errno() as isize,
    }
}

fn show_name(group: &Group, f: &mut dyn Write) -> fmt::Result {
    // SAFETY: The file is there as long as the name is.
    let name = unsafe { CStr::from_char_ptr(group.name()) };
    writeln!(f, "{}", name.to_str().unwrap_or("?"))
}

/// One line for each region: first byte, last byte, kind.
fn show_reserved(group: &Group, f: &mut dyn Write) -> Result<fmt::Result> {
    let mut regions = reserved::regions_of(group)?;
    let count = merge(&mut regions);
    Ok(regions[..count].iter().try_for_each(|region| {
        let kind = match region.kind {
            bindings::iommu_resv_type_IOMMU_RESV_DIRECT => "direct",
            bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE => "direct-relaxable",
            bindings::iommu_resv_type_IOMMU_RESV_MSI
            | bindings::iommu_resv_type_IOMMU_RESV_SW_MSI => "msi",
            _ => "reserved",
        };
        writeln!(f, "{:#018x} {:#018x} {kind}", region.first, region.last)
    }))
}
