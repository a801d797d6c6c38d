// SPDX-License-Identifier: GPL-2.0

//! Finds the unit that a device is behind in what firmware describes.
//!
//! If a device tree or ACPI's IORT table describes units, the kernel reads it for each device just
//! before it probes the device with the IOMMU layer, and stores unit and ids in the device's
//! `iommu_fwspec`. For a device without one, this file reads the device tree itself. For all other
//! devices a vendor driver gets only what the bus knows.

use core::slice;

use kernel::{bindings, ffi::c_void, prelude::*};
#[cfg(CONFIG_OF)]
use kernel::{
    ffi::{c_char, c_int},
    str::CStrExt,
};

use super::{ats, device::Device, pasid, pci::Pci};
use crate::{
    device::{DeviceInfo, FirmwareNode, Place},
    requester::RequesterId,
};

// The kernel exports these; the kernel crate's bindings do not include the headers.
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

/// A unit, and the ids of a device at that unit.
struct Link {
    unit: FirmwareNode,
    ids: KVec<RequesterId>,
    /// Whether the path between device and unit passes ATS translation requests.
    translates: bool,
}

impl Link {
    /// Adds an id unless the list contains it.
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
            ids_kept: device.pci().is_none_or(Pci::keeps_buses),
            device_tlb: match function {
                Some(function) => ats::control(function)?,
                None => None,
            },
            pasids: match device.pci() {
                Some(function) => pasid::control(function)?,
                None => None,
            },
        })
    }
}

/// The device's `iommu_fwspec`; null if there is none.
///
/// The caller is in a callback of the IOMMU layer for the device, so the device's `dev_iommu` stays
/// valid.
fn spec(device: Device<'_>) -> *mut bindings::iommu_fwspec {
    // SAFETY: The device is valid, and so is its `dev_iommu` because of the callback that the
    // caller is in.
    unsafe {
        match (*device.as_raw()).iommu {
            record if record.is_null() => core::ptr::null_mut(),
            record => (*record).fwspec,
        }
    }
}

/// Describes the device to a vendor driver. The caller is in a callback of the IOMMU layer for the
/// device. `None` if the device has no `iommu_fwspec`.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn describe_known(device: Device<'_>) -> Result<Option<DeviceInfo>> {
    let spec = spec(device);
    if spec.is_null() {
        return Ok(None);
    }
    // SAFETY: The `iommu_fwspec` has `num_ids` ids, which do not change during the call.
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

/// Describes a PCI function to a vendor driver.
///
/// # Errors
///
/// `ENOMEM`; `EINVAL` if the device tree names several units for it.
pub(crate) fn describe(function: Pci<'_>) -> Result<DeviceInfo> {
    let info = describe_pci(function)?;
    match tree_link(function.host_node(), &info.ids)? {
        Some(link) => link.describe(function.device()),
        None => Ok(info),
    }
}

/// Describes a PCI function by what the bus knows.
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
            vendor: requester.vendor(),
            device: requester.device_id(),
            class: requester.class(),
            physical: requester.physical().map(Pci::id),
            has_pasids: requester.has_pasids(),
            trusted: !function.is_untrusted(),
        },
        ids: function.ids()?,
        ids_kept: function.keeps_buses(),
        device_tlb: ats::control(function)?,
        pasids: pasid::control(function)?,
    })
}

/// Reads the unit of PCI functions with `ids` below the host bridge at `node` from the device tree.
#[cfg(CONFIG_OF)]
fn tree_link(node: *const bindings::device_node, ids: &[RequesterId]) -> Result<Option<Link>> {
    let mut found: Option<Link> = None;

    if node.is_null() {
        return Ok(None);
    }
    for id in ids {
        let mut answer = bindings::of_phandle_args::default();
        // SAFETY: The node is valid as long as the bridge. `answer` has room for the answer.
        let result = unsafe { of_map_iommu_id(node.cast(), id.raw(), (&raw mut answer).cast()) };
        if result != 0 || answer.np.is_null() {
            // No unit translates this id.
            continue;
        }
        // SAFETY: The node is valid, and the name is a C string.
        let translates = || unsafe {
            bindings::fwnode_property_present(
                &raw const (*node).fwnode,
                c"ats-supported".as_char_ptr(),
            )
        };
        // SAFETY: The answer names a unit, and it is used once.
        unsafe { add_answer(&mut found, &answer, translates) }?;
    }
    Ok(found)
}

/// Adds an answer of the device tree: a unit and an id at that unit. `translates` returns whether
/// the path to the unit passes translation requests.
///
/// # Errors
///
/// `EINVAL` if an earlier answer named another unit.
///
/// # Safety
///
/// The answer names a unit's node and holds a reference to it, which this function drops.
#[cfg(CONFIG_OF)]
unsafe fn add_answer(
    found: &mut Option<Link>,
    answer: &bindings::of_phandle_args,
    translates: impl FnOnce() -> bool,
) -> Result {
    // SAFETY: By the requirements. From here on the node's address is only compared.
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
        // A device can be behind only one unit.
        return Err(EINVAL);
    }
    link.add(answer.args[0])
}

/// Describes a device that is not on the PCI bus, if its device-tree node (`iommus`) names the unit
/// that it is behind.
///
/// # Errors
///
/// `ENOMEM`; `EINVAL` if the device tree names several units, or an id that is not a single number.
#[cfg(CONFIG_OF)]
pub(crate) fn describe_node(device: Device<'_>) -> Result<Option<DeviceInfo>> {
    let mut found: Option<Link> = None;

    // SAFETY: The device is valid, and its node is valid as long as the device.
    let node = unsafe { (*device.as_raw()).of_node };
    if node.is_null() {
        return Ok(None);
    }
    for index in 0.. {
        let mut answer = bindings::of_phandle_args::default();
        // SAFETY: As above; the names are C strings, and `answer` has room for the answer.
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
        // SAFETY: The answer names a unit, and it is used once.
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

/// Adds an id of the device, from the device tree, to its `iommu_fwspec`.
///
/// # Safety
///
/// C calls its `of_xlate` for the device with `args`.
pub(crate) unsafe fn add_tree_id(
    device: Device<'_>,
    args: *const bindings::of_phandle_args,
) -> Result {
    // SAFETY: By the requirements; the first argument exists. More than one argument has no defined
    // meaning.
    let (count, id) = unsafe { ((*args).args_count, (*args).args[0]) };
    if count != 1 {
        return Err(EINVAL);
    }
    // SAFETY: The device has a `dev_iommu`, because C calls `of_xlate`. The function copies the id.
    kernel::error::to_result(unsafe {
        bindings::iommu_fwspec_add_ids(device.as_raw(), &raw const id, 1)
    })
}

/// Adds the reserved regions that the kernel finds in firmware for the device to C's list.
///
/// # Safety
///
/// C requests the device's reserved regions in `list`.
pub(crate) unsafe fn add_reserved_regions(device: Device<'_>, list: *mut bindings::list_head) {
    if !spec(device).is_null() {
        // SAFETY: The device has the `iommu_fwspec` that the function reads; C owns the list.
        unsafe { iommu_dma_get_resv_regions(device.as_raw().cast(), list) };
    }
}

/// The device's firmware node; it may be null.
pub(crate) fn node_of(device: Device<'_>) -> FirmwareNode {
    // SAFETY: The device is valid.
    let node: *mut c_void = unsafe { bindings::__dev_fwnode(device.as_raw()) }.cast();
    FirmwareNode::at(node as usize)
}
