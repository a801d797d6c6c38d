// SPDX-License-Identifier: GPL-2.0

//! Which devices belong together.
//!
//! Drivers of units choose one of these functions for their devices' buses (`device_group`). What
//! they return is counted for the caller. The mutex of probing is held: no device joins a group
//! meanwhile.

use core::{mem::offset_of, ptr};

use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
};

use super::{
    group::{iommu_group_get, iommu_group_ref_get},
    group_files::make_group,
};

type RawGroup = *mut bindings::iommu_group;

const ANY_ID: u32 = u32::MAX;

/// A group for each device.
#[export]
pub unsafe extern "C" fn generic_device_group(_dev: *mut bindings::device) -> RawGroup {
    make_group().unwrap_or_else(Error::to_ptr)
}

/// One group for all devices behind the device's unit, which keeps a count of it.
#[export]
pub unsafe extern "C" fn generic_single_device_group(dev: *mut bindings::device) -> RawGroup {
    // SAFETY: The caller's promise: the device has a unit, and nobody else asks at the same time.
    unsafe {
        let unit = (*(*dev).iommu).iommu_dev;
        if (*unit).singleton_group.is_null() {
            match make_group() {
                Ok(group) => (*unit).singleton_group = group,
                Err(error) => return error.to_ptr(),
            }
        }
        iommu_group_ref_get((*unit).singleton_group)
    }
}

/// The group of the container that a device of the fsl-mc bus is in.
#[export]
pub unsafe extern "C" fn fsl_mc_device_group(dev: *mut bindings::device) -> RawGroup {
    // SAFETY: The caller's promise: the device is on that bus.
    match unsafe { bindings::iommu_core_fsl_mc_container_group(dev) } {
        group if group.is_null() => make_group().unwrap_or_else(Error::to_ptr),
        group => group,
    }
}

/// The group of a PCI function: that of the functions that the unit cannot tell from it, or that
/// can reach it and be reached without asking the unit.
#[export]
pub unsafe extern "C" fn pci_device_group(dev: *mut bindings::device) -> RawGroup {
    // SAFETY: The caller's promise: the device is valid.
    let bus = unsafe { (*dev).bus };
    if kernel::warn_on!(!ptr::eq(bus, &raw const bindings::pci_bus_type)) {
        return EINVAL.to_ptr();
    }
    // SAFETY: All devices on the PCI bus are embedded in a `struct pci_dev`.
    let function = unsafe { dev.byte_sub(offset_of!(bindings::pci_dev, dev)).cast() };
    // SAFETY: The function and the bridges above it are kept by the caller.
    match unsafe { find(function) } {
        Some(group) => group,
        None => make_group().unwrap_or_else(Error::to_ptr),
    }
}

/// What keeps functions apart without the unit's help: source validation, redirection of requests
/// and completions, upstream forwarding (PCIe 6.12.1).
const ISOLATION: u16 =
    (bindings::PCI_ACS_SV | bindings::PCI_ACS_RR | bindings::PCI_ACS_CR | bindings::PCI_ACS_UF)
        as u16;

/// The group of some function or bridge that the function belongs together with.
///
/// # Safety
///
/// `function` is valid, and so are the bridges above it, which it keeps.
unsafe fn find(function: *mut bindings::pci_dev) -> Option<RawGroup> {
    // SAFETY: By the requirements.
    unsafe {
        let mut top = match above_aliases(function) {
            Ok(group) => return Some(group),
            Err(top) => top,
        };
        // From where ids are unique upwards, to where everything behind a bridge is isolated.
        let mut bus = (*top).bus;
        while !(*bus).parent.is_null() {
            let bridge = (*bus).self_;
            bus = (*bus).parent;
            if bridge.is_null() {
                // A bus of virtual functions only.
                continue;
            }
            if bindings::pci_acs_path_enabled(bridge, ptr::null_mut(), ISOLATION) {
                break;
            }
            top = bridge;
            if let Some(group) = group_of(top) {
                return Some(group);
            }
        }
        Neighbours::of(top).find_group()
    }
}

/// The group of the function, or of the first bridge whose id its transactions may have. If none
/// has one: the topmost of them.
///
/// # Safety
///
/// As those of [`find`].
unsafe fn above_aliases(
    function: *mut bindings::pci_dev,
) -> Result<RawGroup, *mut bindings::pci_dev> {
    struct Walk {
        top: *mut bindings::pci_dev,
        group: Option<RawGroup>,
    }

    unsafe extern "C" fn visit(
        function: *mut bindings::pci_dev,
        _alias: u16,
        walk: *mut c_void,
    ) -> c_int {
        // SAFETY: Called back with the walk, and a function that the first one keeps.
        unsafe {
            let walk = &mut *walk.cast::<Walk>();
            walk.top = function;
            walk.group = group_of(function);
            c_int::from(walk.group.is_some())
        }
    }

    let mut walk = Walk {
        top: function,
        group: None,
    };
    // SAFETY: By the requirements; the walk ends before the call does.
    unsafe {
        bindings::pci_for_each_dma_alias(function, Some(visit), (&raw mut walk).cast());
    }
    walk.group.ok_or(walk.top)
}

/// The group of a function, counted.
///
/// # Safety
///
/// `function` is valid.
unsafe fn group_of(function: *mut bindings::pci_dev) -> Option<RawGroup> {
    // SAFETY: By the requirements.
    let group = unsafe { iommu_group_get(&raw mut (*function).dev) };
    (!group.is_null()).then_some(group)
}

/// The functions of one bus that belong together with one of them: those that use an id of each
/// other, and functions of the same device that can reach each other. A search for one that has a
/// group.
struct Neighbours {
    first: *mut bindings::pci_dev,
    /// Device and function numbers that were found, and those of them that were looked at.
    found: Numbers,
    seen: Numbers,
}

/// A set of device and function numbers.
#[derive(Default)]
struct Numbers([u64; 4]);

impl Numbers {
    fn insert(&mut self, number: u8) {
        self.0[usize::from(number >> 6)] |= 1 << (number & 63);
    }

    /// The lowest number that is not in `other`.
    fn first_not_in(&self, other: &Self) -> Option<u8> {
        (0..=u8::MAX).find(|number| {
            let (word, bit) = (usize::from(number >> 6), number & 63);
            (self.0[word] & !other.0[word]) >> bit & 1 != 0
        })
    }
}

impl Neighbours {
    /// # Safety
    ///
    /// `first` is valid, also for as long as the value is used.
    unsafe fn of(first: *mut bindings::pci_dev) -> Self {
        let mut found = Numbers::default();
        // SAFETY: By the requirements.
        found.insert(unsafe { (*first).devfn } as u8);
        Self {
            first,
            found,
            seen: Numbers::default(),
        }
    }

    fn find_group(mut self) -> Option<RawGroup> {
        // SAFETY: The function is valid, as `of` requires.
        let bus = unsafe { (*self.first).bus };
        let group = self.search(bus);
        if group.is_some() {
            return group;
        }
        self.add_siblings(self.first);
        self.search(bus)
    }

    /// Looks at all that were found, which may find more.
    fn search(&mut self, bus: *mut bindings::pci_bus) -> Option<RawGroup> {
        while let Some(number) = self.found.first_not_in(&self.seen) {
            self.seen.insert(number);
            // SAFETY: The bus is kept by the first function. The value is null or counted.
            let function = unsafe { bindings::pci_get_slot(bus, number.into()) };
            if function.is_null() {
                continue;
            }
            // SAFETY: The function is counted until the end of the block.
            let group = unsafe {
                let group = group_of(function);
                if group.is_none() {
                    self.add_aliases(function);
                }
                bindings::pci_dev_put(function);
                group
            };
            if group.is_some() {
                return group;
            }
        }
        None
    }

    /// Adds the functions that use an id of `function` or whose id it uses, and those that these
    /// cannot be told from.
    fn add_aliases(&mut self, function: *mut bindings::pci_dev) {
        for_each_on_bus(function, |other| {
            // SAFETY: Both are valid.
            if unsafe { bindings::pci_devs_are_dma_aliases(function, other) } {
                // SAFETY: As above.
                self.found.insert(unsafe { (*other).devfn } as u8);
                self.add_siblings(other);
            }
        });
    }

    /// Adds the functions of the same device that may reach `function` without asking the unit.
    fn add_siblings(&mut self, function: *mut bindings::pci_dev) {
        // SAFETY: The function is valid.
        unsafe {
            if (*function).multifunction() == 0 || bindings::pci_acs_enabled(function, ISOLATION) {
                return;
            }
        }
        for_each_on_bus(function, |other| {
            // SAFETY: Both are valid.
            unsafe {
                let (one, two) = ((*function).devfn, (*other).devfn);
                if one >> 3 == two >> 3 && !bindings::pci_acs_enabled(other, ISOLATION) {
                    self.found.insert(two as u8);
                }
            }
        });
    }
}

/// Calls `f` with each other function on the bus.
fn for_each_on_bus(function: *mut bindings::pci_dev, mut f: impl FnMut(*mut bindings::pci_dev)) {
    let mut other = ptr::null_mut();
    loop {
        // SAFETY: `other` is null or counted, and the call drops that count.
        other = unsafe { bindings::pci_get_device(ANY_ID, ANY_ID, other) };
        if other.is_null() {
            return;
        }
        // SAFETY: Both are valid.
        if !ptr::eq(other, function) && unsafe { ptr::eq((*other).bus, (*function).bus) } {
            f(other);
        }
    }
}
