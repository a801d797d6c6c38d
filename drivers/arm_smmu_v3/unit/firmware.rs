// SPDX-License-Identifier: GPL-2.0

//! The units of this machine: platform devices that the kernel has made from the device tree or
//! from ACPI's IORT table, and that table.

use core::{ffi::c_void, fmt, ptr, slice};

use kernel::{
    bindings,
    ffi::{c_int, c_uint},
    prelude::*,
    str::CStrExt,
    sync::Arc,
};

use super::super::{
    iort::{Entry, Error as IortError, Model, Table},
    records::capability,
};
use crate::{
    device::FirmwareNode,
    driver::PlatformIds,
    drivers::shell::acpi_table::{AcpiTable, CheckedTable},
    ffi::{
        device::{self, Device, DeviceRef},
        firmware::node_of,
    },
    label::Label,
    log::log_warn,
};

/// What the kernel calls the devices.
pub const IDS: PlatformIds = PlatformIds {
    compatible: c"arm,smmu-v3",
    name: c"arm-smmu-v3",
    how_to_free: "boot with initcall_blacklist=arm_smmu_driver_init",
};

#[cfg(CONFIG_OF)]
extern "C" {
    // Exported by the kernel; the kernel crate's bindings leave the header out.
    fn of_device_is_compatible(node: *const c_void, name: *const kernel::ffi::c_char) -> c_int;
}

/// The IORT table.
pub struct Iort;

impl AcpiTable for Iort {
    const SIGNATURE: &'static CStr = c"IORT";

    type Entry = Entry;
    type Parsed<'a> = Table<'a>;
    type Error = IortError;

    fn count(bytes: &[u8]) -> Result<usize, IortError> {
        Table::count(bytes)
    }

    fn index(bytes: &[u8], index: &mut [Entry], log: &mut dyn FnMut(&dyn fmt::Display)) {
        Table::index(bytes, index, &mut |warning| log(warning));
    }

    fn parsed<'a>(bytes: &'a [u8], index: &'a [Entry]) -> Table<'a> {
        Table::new(bytes, index)
    }
}

/// What firmware says of a unit.
pub struct Description {
    /// The kernel's device for it.
    device: DeviceRef,
    /// The name of that.
    pub name: Label,
    /// What firmware names the unit by when it describes a device.
    pub node: FirmwareNode,
    /// Physical address of the registers.
    pub base: u64,
    /// What overrides the identification registers.
    pub(super) firmware: capability::Firmware,
    /// The memory node close to the unit, negative for none.
    pub memory_node: i32,
    /// The IORT table, if it describes the unit; otherwise the device tree does.
    iort: Option<Arc<CheckedTable<Iort>>>,
}

impl Description {
    /// A unit that firmware does not describe, for suites. Its device is the root of the platform
    /// bus.
    #[cfg(CONFIG_IOMMU_CORE_KUNIT_TEST)]
    pub fn of_nothing(node: FirmwareNode, firmware: capability::Firmware) -> Result<Self> {
        // SAFETY: The root is there for as long as the kernel runs.
        let device = unsafe { Device::from_raw(&raw mut bindings::platform_bus) }.ok_or(ENODEV)?;
        Ok(Self {
            device: device.counted(),
            name: device.name(),
            node,
            base: 0,
            firmware,
            memory_node: -1,
            iort: None,
        })
    }

    /// The interrupt called `name`, if the unit is wired to it.
    pub(super) fn wire(&self, name: &CStr) -> Option<c_uint> {
        // SAFETY: The device is one of the platform bus; a name that is not there is no error.
        let irq = unsafe {
            bindings::platform_get_irq_byname_optional(self.platform(), name.as_char_ptr())
        };
        c_uint::try_from(irq).ok().filter(|irq| *irq > 0)
    }

    /// The IORT table.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it does not describe the unit.
    pub fn iort(&self) -> Result<Table<'_>> {
        self.iort.as_ref().map(|iort| iort.table()).ok_or(ENODEV)
    }

    /// The kernel's device.
    pub(super) fn device(&self) -> Device<'_> {
        self.device.get()
    }

    fn platform(&self) -> *mut bindings::platform_device {
        platform(self.device.get())
    }
}

/// The platform device that a device of the platform bus is.
fn platform(device: Device<'_>) -> *mut bindings::platform_device {
    // The offset is that of a field, so it stays within the object.
    device
        .as_raw()
        .wrapping_byte_sub(core::mem::offset_of!(bindings::platform_device, dev))
        .cast()
}

/// Finds all units, in the order of their addresses.
///
/// # Errors
///
/// `EINVAL` if there is an IORT table whose header makes no sense, which is logged; `ENOMEM`.
pub fn find() -> Result<KVec<Description>> {
    let iort = match CheckedTable::find() {
        Ok(iort) => Some(iort),
        Err(error) if error == ENODEV => None,
        Err(error) => return Err(error),
    };
    let mut search = Search {
        iort,
        found: KVec::new(),
        result: Ok(()),
    };
    // SAFETY: The function is called with devices of the bus and with `search`.
    unsafe {
        bindings::bus_for_each_dev(
            &raw const bindings::platform_bus_type,
            ptr::null_mut(),
            (&raw mut search).cast(),
            Some(look_at),
        )
    };
    search.result?;
    search.found.sort_unstable_by_key(|unit| unit.base);
    search.found.retain({
        let mut before = None;
        move |unit| {
            let is_again = before.replace(unit.base) == Some(unit.base);
            if is_again {
                log_warn!(
                    "{}: its registers at {:#x} are those of another unit; not used",
                    unit.name,
                    unit.base,
                );
            }
            !is_again
        }
    });
    Ok(search.found)
}

struct Search {
    iort: Option<Arc<CheckedTable<Iort>>>,
    found: KVec<Description>,
    result: Result,
}

/// Adds a device to the search's result, if it is a unit.
extern "C" fn look_at(device: *mut bindings::device, search: *mut c_void) -> c_int {
    // SAFETY: `find` has C call this with its `Search`, and with devices that C keeps.
    let (device, search) = unsafe { (Device::from_raw(device), &mut *search.cast::<Search>()) };
    let Some(device) = device.filter(|device| is_unit(*device)) else {
        return 0;
    };
    if let Some(unit) = describe(device, search.iort.as_ref()) {
        search.result = search.found.push(unit, GFP_KERNEL).map_err(Error::from);
    }
    // Anything but 0 ends the search.
    c_int::from(search.result.is_err())
}

fn is_unit(device: Device<'_>) -> bool {
    is_compatible(device, IDS.compatible).unwrap_or_else(|| {
        // SAFETY: The device is one of the platform bus, whose name is a C string.
        let name = unsafe { device::label((*platform(device)).name) };
        name.as_str() == IDS.name.to_str().unwrap_or_default()
    })
}

/// Whether the device tree says that a device is compatible with `name`; `None` if the device is
/// not from a device tree.
fn is_compatible(device: Device<'_>, name: &CStr) -> Option<bool> {
    #[cfg(CONFIG_OF)]
    {
        // SAFETY: The device is valid, and keeps its node; the name is a C string.
        unsafe {
            let node = (*device.as_raw()).of_node;
            (!node.is_null()).then(|| of_device_is_compatible(node.cast(), name.as_char_ptr()) != 0)
        }
    }
    #[cfg(not(CONFIG_OF))]
    {
        let _ = (device, name);
        None
    }
}

/// Describes a unit; `None` if firmware does not say where its registers are (logged).
fn describe(device: Device<'_>, iort: Option<&Arc<CheckedTable<Iort>>>) -> Option<Description> {
    let name = device.name();
    let Some((base, window)) = registers(device) else {
        log_warn!(
            "{}: firmware does not say where the unit's registers are; not used",
            name,
        );
        return None;
    };
    let listed = iort.and_then(|iort| iort.table().unit_at(base));
    if iort.is_some() && listed.is_none() {
        // The kernel has read a node that the check of the table has left out. Nobody knows which
        // devices are behind the unit, and once taken over it would block them.
        log_warn!(
            "{}: no usable node of the IORT table has registers at {:#x}; not used, DMA of its \
             devices is not translated",
            name,
            base,
        );
        return None;
    }
    Some(Description {
        device: device.counted(),
        name,
        node: node_of(device),
        base,
        firmware: match listed {
            Some(unit) => capability::Firmware {
                coherent: unit.coherent(),
                flag_updates: Some(unit.flag_updates()),
                page0_only: unit.model() == Model::CaviumCn99xx,
                window,
                repeat_invalidations: false,
            },
            None => properties(device, window),
        },
        memory_node: memory_node(device),
        iort: listed.and(iort).cloned(),
    })
}

/// Physical address and bytes of a device's first memory resource, if it has one page of a unit's
/// registers at least.
fn registers(device: Device<'_>) -> Option<(u64, u64)> {
    // SAFETY: The device is one of the platform bus, whose resources do not change.
    let resources = unsafe {
        let platform = platform(device);
        match (*platform).resource {
            first if first.is_null() => return None,
            first => slice::from_raw_parts(first, (*platform).num_resources as usize),
        }
    };
    let memory = resources
        .iter()
        .find(|resource| resource.flags & bindings::IORESOURCE_MEM as usize != 0)?;
    (memory.start != 0 && memory.end > memory.start && memory.end - memory.start >= 0xffff)
        .then(|| (memory.start, memory.end - memory.start + 1))
}

/// What the device tree says that overrides the identification registers.
fn properties(device: Device<'_>, window: u64) -> capability::Firmware {
    // SAFETY: The device is valid, the name is a C string.
    unsafe {
        let raw = device.as_raw();
        capability::Firmware {
            coherent: bindings::device_get_dma_attr(raw) == bindings::dev_dma_attr_DEV_DMA_COHERENT,
            flag_updates: None,
            page0_only: bindings::device_property_read_bool(
                raw,
                c"cavium,cn9900-broken-page1-regspace".as_char_ptr(),
            ),
            window,
            repeat_invalidations: is_compatible(device, c"nvidia,tegra264-smmu") == Some(true),
        }
    }
}

/// The memory node close to a device, negative for none.
fn memory_node(device: Device<'_>) -> i32 {
    #[cfg(CONFIG_NUMA)]
    // SAFETY: The device is valid.
    return unsafe { (*device.as_raw()).numa_node };
    #[cfg(not(CONFIG_NUMA))]
    {
        let _ = device;
        bindings::NUMA_NO_NODE
    }
}
