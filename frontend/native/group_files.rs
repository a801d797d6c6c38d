// SPDX-License-Identifier: GPL-2.0

//! What is in a group's folder: files as Documentation/ABI describes them, and some more.
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
    str::as_char_ptr_in_const_context,
};

use super::{
    backing::Question,
    default_domain,
    group::{iommu_group_put, IommuGroup},
    merge::merge,
    reserved,
};
use crate::{ffi::table::Table, frontend::page::Page};

static KIND: Table<bindings::kobj_type> = {
    let mut kind: bindings::kobj_type = pin_init::zeroed();
    kind.release = Some(release);
    kind.sysfs_ops = CALLS.get();
    // SAFETY: sysfs reads it, and calls the functions for a group's kobject.
    unsafe { Table::new(kind) }
};

static CALLS: Table<bindings::sysfs_ops> = {
    let mut calls: bindings::sysfs_ops = pin_init::zeroed();
    calls.show = Some(show);
    calls.store = Some(store);
    // SAFETY: As above.
    unsafe { Table::new(calls) }
};

const fn file(name: &'static CStr, mode: u16) -> Table<bindings::attribute> {
    let mut file: bindings::attribute = pin_init::zeroed();
    file.name = as_char_ptr_in_const_context(name);
    file.mode = mode;
    // SAFETY: sysfs reads it.
    unsafe { Table::new(file) }
}

static NAME: Table<bindings::attribute> = file(c"name", 0o444);
static RESERVED: Table<bindings::attribute> = file(c"reserved_regions", 0o444);
static TYPE: Table<bindings::attribute> = file(c"type", 0o644);
static OWNER: Table<bindings::attribute> = file(c"owner", 0o444);
static DOMAIN: Table<bindings::attribute> = file(c"domain", 0o444);
static REASON: Table<bindings::attribute> = file(c"reason", 0o444);

/// A new group, which is in sysfs. One count of it is the caller's.
pub(super) fn make_group() -> Result<*mut bindings::iommu_group> {
    let raw = IommuGroup::make(KIND.get())?;
    // SAFETY: The group is new, and in sysfs. Its count is given back if it cannot be used.
    unsafe { add_files(IommuGroup::from_c(raw).kobject()).inspect_err(|_| iommu_group_put(raw)) }?;
    Ok(raw)
}

/// Makes a group with nothing in it.
#[export]
pub unsafe extern "C" fn iommu_group_alloc() -> *mut bindings::iommu_group {
    make_group().unwrap_or_else(Error::to_ptr)
}

/// Makes the files that each group has. They go with the folder.
///
/// # Safety
///
/// `kobject` is a group's, and in sysfs.
unsafe fn add_files(kobject: *mut bindings::kobject) -> Result {
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
unsafe fn add_name(kobject: *mut bindings::kobject) -> Result {
    // SAFETY: By the requirements.
    unsafe { add(kobject, &NAME) }
}

/// Undoes [`add_name`]. When it returns nobody reads the file.
///
/// # Safety
///
/// The file is there.
unsafe fn remove_name(kobject: *mut bindings::kobject) {
    // SAFETY: By the requirements.
    unsafe { bindings::sysfs_remove_file_ns(kobject, NAME.get(), ptr::null()) }
}

unsafe fn add(
    kobject: *mut bindings::kobject,
    file: &'static Table<bindings::attribute>,
) -> Result {
    // SAFETY: The callers promise it.
    to_result(unsafe { bindings::sysfs_create_file_ns(kobject, file.get(), ptr::null()) })
}

/// Gives the group a name, or takes it away.
#[export]
pub unsafe extern "C" fn iommu_group_set_name(
    group: *mut bindings::iommu_group,
    name: *const c_char,
) -> c_int {
    // SAFETY: The caller's promise; only who made the group names it.
    unsafe {
        let group = IommuGroup::from_c(group);
        let old = group.name();
        if !old.is_null() {
            // Nobody reads the file when this returns.
            remove_name(group.kobject());
            group.set_name(ptr::null_mut());
            bindings::kfree(old.cast());
            if name.is_null() {
                return 0;
            }
        }
        let new = bindings::kstrdup(name, bindings::GFP_KERNEL);
        if new.is_null() {
            return ENOMEM.to_errno();
        }
        group.set_name(new);
        match add_name(group.kobject()) {
            Ok(()) => 0,
            Err(error) => {
                group.set_name(ptr::null_mut());
                bindings::kfree(new.cast());
                error.to_errno()
            }
        }
    }
}

extern "C" fn release(kobject: *mut bindings::kobject) {
    // SAFETY: C calls when the last count is gone.
    unsafe { IommuGroup::release(kobject) }
}

extern "C" fn show(
    kobject: *mut bindings::kobject,
    attribute: *mut bindings::attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: sysfs calls with the kobject of a group, which it keeps, and a page to fill.
    let (group, mut page) = unsafe { (IommuGroup::from_kobject(kobject), Page::new(page)) };
    let attribute = attribute.cast_const();
    // A page that is full shows what fits.
    let _ = if ptr::eq(attribute, NAME.get()) {
        show_name(group, &mut page)
    } else if ptr::eq(attribute, TYPE.get()) {
        writeln!(page, "{}", default_domain::type_of(group))
    } else if ptr::eq(attribute, RESERVED.get()) {
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
        .find(|(file, _)| ptr::eq(attribute, file.get()));
    found.map(|(_, question)| *question)
}

extern "C" fn store(
    kobject: *mut bindings::kobject,
    attribute: *mut bindings::attribute,
    text: *const c_char,
    count: usize,
) -> isize {
    if !ptr::eq(attribute.cast_const(), TYPE.get()) {
        return EIO.to_errno() as isize;
    }
    // SAFETY: sysfs calls with the kobject of a group, which it keeps, and a C string.
    let (group, text) = unsafe { (IommuGroup::from_kobject(kobject), CStr::from_char_ptr(text)) };
    match default_domain::store_type(group, text.to_str().unwrap_or_default()) {
        Ok(()) => count as isize,
        Err(error) => error.to_errno() as isize,
    }
}

fn show_name(group: &IommuGroup, f: &mut dyn Write) -> fmt::Result {
    // SAFETY: The file is there as long as the name is.
    let name = unsafe { CStr::from_char_ptr(group.name()) };
    writeln!(f, "{}", name.to_str().unwrap_or("?"))
}

/// One line for each region: first byte, last byte, kind.
fn show_reserved(group: &IommuGroup, f: &mut dyn Write) -> Result<fmt::Result> {
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
