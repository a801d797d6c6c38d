// SPDX-License-Identifier: GPL-2.0

//! What firmware says of the unit that a device is behind.
//!
//! Where a device tree or ACPI's IORT table tells of units the kernel reads it for each device,
//! just before it asks us about the device, and keeps unit and ids in the device's record. Devices
//! that have no such record are looked up in the device tree here; for all others a vendor driver
//! has to do with what the bus knows.

use core::slice;

use kernel::{bindings, ffi::c_void, prelude::*};
#[cfg(CONFIG_OF)]
use kernel::{
    ffi::{c_char, c_int},
    str::CStrExt,
};

use super::{ats, device::Device, pci::Pci};
use crate::{
    device::{DeviceInfo, FirmwareNode, Place},
    requester::RequesterId,
};

// Exported by the kernel; the kernel crate's bindings leave the headers out.
extern "C" {
    fn iommu_dma_get_resv_regions(dev: *mut c_void, list: *mut bindings::list_head);
    #[cfg(CONFIG_OF)]
    fn of_map_iommu_id(np: *const c_void, id: u32, arg: *mut c_void) -> c_int;
    #[cfg(CONFIG_OF)]
    fn __of_parse_phandle_with_args(
        np: *const c_void,
        list_name: *const c_char,
        cells_name: *const c_char,
        cell_count: c_int,
        index: c_int,
        out_args: *mut c_void,
    ) -> c_int;
}

/// A unit, and the ids that a device has there.
struct Link {
    unit: FirmwareNode,
    ids: KVec<RequesterId>,
    /// Whether what is between device and unit passes translation requests on.
    translates: bool,
}

impl Link {
    /// Adds an id unless it is there.
    fn add(&mut self, id: u32) -> Result {
        let id = RequesterId::new(id);
        if !self.ids.contains(&id) {
            self.ids.push(id, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn describe(self, device: Device<'_>) -> Result<DeviceInfo> {
        let function = device.pci().filter(|_| self.translates);
        Ok(DeviceInfo {
            name: device.name(),
            place: Place::Behind { unit: self.unit },
            ids: self.ids,
            device_tlb: match function {
                Some(function) => ats::switch(function)?,
                None => None,
            },
        })
    }
}

/// What the kernel has read for the device; null if nothing.
///
/// The caller is in a callback of the IOMMU layer for the device, so that its record is there to
/// stay.
fn spec(device: Device<'_>) -> *mut bindings::iommu_fwspec {
    // SAFETY: The device is valid, and the caller promises for the record.
    unsafe {
        match (*device.as_raw()).iommu {
            record if record.is_null() => core::ptr::null_mut(),
            record => (*record).fwspec,
        }
    }
}

/// The device as a vendor driver wants it described, in a callback of the IOMMU layer for it.
/// `None` if the kernel has read nothing for it.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn describe_known(device: Device<'_>) -> Result<Option<DeviceInfo>> {
    let spec = spec(device);
    if spec.is_null() {
        return Ok(None);
    }
    // SAFETY: The record has `num_ids` ids, and they do not change during the call.
    let (node, flags, ids) = unsafe {
        (
            (*spec).iommu_fwnode,
            (*spec).flags,
            slice::from_raw_parts((*spec).ids.as_ptr(), (*spec).num_ids as usize),
        )
    };
    let mut link = Link {
        unit: FirmwareNode::at(node as usize),
        ids: KVec::new(),
        translates: flags & bindings::IOMMU_FWSPEC_PCI_RC_ATS != 0,
    };
    for &id in ids {
        link.add(id)?;
    }
    link.describe(device).map(Some)
}

/// The function as a vendor driver wants it described.
///
/// # Errors
///
/// `ENOMEM`, `EINVAL` if the device tree has it behind several units.
pub(crate) fn describe(function: Pci<'_>) -> Result<DeviceInfo> {
    let info = describe_pci(function)?;
    match tree_link(function.host_node(), &info.ids)? {
        Some(link) => link.describe(function.device()),
        None => Ok(info),
    }
}

/// The function as the bus knows it.
fn describe_pci(function: Pci<'_>) -> Result<DeviceInfo> {
    let requester = function.dma_function();
    let mut upstream = KVec::new();
    for bridge in requester.bridges() {
        upstream.push(bridge.id(), GFP_KERNEL)?;
    }
    Ok(DeviceInfo {
        name: function.device().name(),
        place: Place::Pci {
            segment: requester.segment(),
            id: requester.id(),
            upstream,
            class: requester.class(),
            physical: requester.physical().map(Pci::id),
        },
        ids: function.ids()?,
        device_tlb: ats::switch(function)?,
    })
}

/// What the device tree says of PCI functions with these ids below the host bridge at `node`.
#[cfg(CONFIG_OF)]
fn tree_link(node: *const bindings::device_node, ids: &[RequesterId]) -> Result<Option<Link>> {
    let mut found: Option<Link> = None;

    if node.is_null() {
        return Ok(None);
    }
    for id in ids {
        let mut answer = bindings::of_phandle_args::default();
        // SAFETY: The node is there as long as the bridge is. There is room for the answer.
        let result = unsafe { of_map_iommu_id(node.cast(), id.raw(), (&raw mut answer).cast()) };
        if result != 0 || answer.np.is_null() {
            // No unit translates this id.
            continue;
        }
        // SAFETY: The node is there, and the name a C string.
        let translates = || unsafe {
            bindings::fwnode_property_present(
                &raw const (*node).fwnode,
                c"ats-supported".as_char_ptr(),
            )
        };
        // SAFETY: The answer is one that names a unit, and it is used once.
        unsafe { add_answer(&mut found, &answer, translates) }?;
    }
    Ok(found)
}

/// Adds what the device tree has answered: a unit and an id there. `translates` says whether
/// translation requests get there.
///
/// # Errors
///
/// `EINVAL` if another answer has named another unit.
///
/// # Safety
///
/// The answer names a unit's node and comes with a count of it, which ends here.
#[cfg(CONFIG_OF)]
unsafe fn add_answer(
    found: &mut Option<Link>,
    answer: &bindings::of_phandle_args,
    translates: impl FnOnce() -> bool,
) -> Result {
    // SAFETY: By the requirements. The node is only compared from here on.
    let unit = unsafe {
        let node = &raw mut (*answer.np).fwnode;
        bindings::fwnode_handle_put(node);
        FirmwareNode::at(node as usize)
    };
    let link = found.get_or_insert_with(|| Link {
        unit,
        ids: KVec::new(),
        translates: translates(),
    });
    if link.unit != unit {
        // No device is behind two units.
        return Err(EINVAL);
    }
    link.add(answer.args[0])
}

/// A device off the PCI bus as a vendor driver wants it described, if the device tree says in its
/// node (`iommus`) which unit it is behind.
///
/// # Errors
///
/// `ENOMEM`, `EINVAL` if the device tree has it behind several units, or under ids that are no
/// single number.
#[cfg(CONFIG_OF)]
pub(crate) fn describe_node(device: Device<'_>) -> Result<Option<DeviceInfo>> {
    let mut found: Option<Link> = None;

    // SAFETY: The device is valid, and its node is there as long as it is.
    let node = unsafe { (*device.as_raw()).of_node };
    if node.is_null() {
        return Ok(None);
    }
    for index in 0.. {
        let mut answer = bindings::of_phandle_args::default();
        // SAFETY: As above; the names are C strings, and there is room for the answer.
        let result = unsafe {
            __of_parse_phandle_with_args(
                node.cast(),
                c"iommus".as_char_ptr(),
                c"#iommu-cells".as_char_ptr(),
                -1,
                index,
                (&raw mut answer).cast(),
            )
        };
        if result != 0 || answer.np.is_null() {
            break;
        }
        let is_number = answer.args_count == 1;
        // SAFETY: The answer is one that names a unit, and it is used once.
        unsafe { add_answer(&mut found, &answer, || false) }?;
        if !is_number {
            return Err(EINVAL);
        }
    }
    found.map(|link| link.describe(device)).transpose()
}

/// There is no device tree.
#[cfg(not(CONFIG_OF))]
pub(crate) fn describe_node(_device: Device<'_>) -> Result<Option<DeviceInfo>> {
    Ok(None)
}

/// There is no device tree.
#[cfg(not(CONFIG_OF))]
fn tree_link(_node: *const bindings::device_node, _ids: &[RequesterId]) -> Result<Option<Link>> {
    Ok(None)
}

/// Adds an id that the device tree gives for the device to its record.
///
/// # Safety
///
/// C calls its `of_xlate` for the device with `args`.
pub(crate) unsafe fn add_tree_id(
    device: Device<'_>,
    args: *const bindings::of_phandle_args,
) -> Result {
    // SAFETY: By the requirements; the first argument is there, and more than one mean nothing.
    let (count, id) = unsafe { ((*args).args_count, (*args).args[0]) };
    if count != 1 {
        return Err(EINVAL);
    }
    // SAFETY: The device has a record, since C calls. The id is copied.
    kernel::error::to_result(unsafe {
        bindings::iommu_fwspec_add_ids(device.as_raw(), &raw const id, 1)
    })
}

/// Adds the reserved regions that the kernel finds in firmware for the device to C's list.
///
/// # Safety
///
/// C wants the device's reserved regions in `list`.
pub(crate) unsafe fn add_reserved_regions(device: Device<'_>, list: *mut bindings::list_head) {
    if !spec(device).is_null() {
        // SAFETY: The device has what the function looks at; the list is C's.
        unsafe { iommu_dma_get_resv_regions(device.as_raw().cast(), list) };
    }
}

/// The node that firmware has for a device; it may be null.
pub(crate) fn node_of(device: Device<'_>) -> FirmwareNode {
    // SAFETY: The device is valid.
    let node: *mut c_void = unsafe { bindings::__dev_fwnode(device.as_raw()) }.cast();
    FirmwareNode::at(node as usize)
}
