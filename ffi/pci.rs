// SPDX-License-Identifier: GPL-2.0

//! PCI functions: their position, the ids under which their transactions appear, and whether they
//! are isolated from each other.

use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::{self, NonNull},
};

use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
};

use super::device::Device;
use crate::requester::RequesterId;

// The kernel exports it; the kernel crate's bindings do not include the header.
extern "C" {
    fn pci_ats_supported(dev: *mut c_void) -> bool;
}

const ANY_ID: u32 = u32::MAX;

/// The ACS controls that prevent functions behind one bridge, or of one device, from reaching each
/// other without the unit: source validation, request redirect, completion redirect and upstream
/// forwarding (PCIe 6.12.1).
const ISOLATION: u16 =
    (bindings::PCI_ACS_SV | bindings::PCI_ACS_RR | bindings::PCI_ACS_CR | bindings::PCI_ACS_UF)
        as u16;

/// Device/port type of the PCI Express capability (PCIe 7.5.3.2).
#[derive(Copy, Clone, PartialEq, Eq)]
enum PortType {
    /// An endpoint, a legacy endpoint, or a root complex integrated endpoint.
    Endpoint,
    RootPort,
    Upstream,
    Downstream,
    /// A bridge from PCI Express above to PCI below.
    ToPci,
    /// A bridge from PCI above to PCI Express below.
    FromPci,
    EventCollector,
    Unknown,
}

/// A PCI function that other code keeps alive.
///
/// # Invariants
///
/// `raw` is valid for `'a`. So are the bridges above it, because the function keeps them alive.
#[derive(Copy, Clone)]
pub(crate) struct Pci<'a> {
    raw: NonNull<bindings::pci_dev>,
    _life: PhantomData<&'a bindings::pci_dev>,
}

impl PartialEq for Pci<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

/// Reads a field of a C structure that the invariant of the type keeps valid.
macro_rules! field {
    ($self:expr, $($path:tt)+) => {{
        // SAFETY: By the type's invariant; either the field is set when the device is found and
        // does not change afterwards, or it may be read at any time.
        unsafe { (*$self.raw.as_ptr()).$($path)+ }
    }};
}

impl<'a> Device<'a> {
    /// The device as a PCI function, if it is one.
    pub(crate) fn pci(self) -> Option<Pci<'a>> {
        if !ptr::eq(self.bus(), &raw const bindings::pci_bus_type) {
            return None;
        }
        // SAFETY: Every device on the PCI bus is embedded in a `struct pci_dev`, which is valid as
        // long as the device.
        unsafe {
            Pci::from_raw(
                self.as_raw()
                    .byte_sub(offset_of!(bindings::pci_dev, dev))
                    .cast(),
            )
        }
    }
}

impl<'a> Pci<'a> {
    /// Wraps a C pointer. `None` if it is null.
    ///
    /// # Safety
    ///
    /// The device stays valid for `'a`.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::pci_dev) -> Option<Self> {
        // INVARIANT: By the requirements.
        NonNull::new(raw).map(|raw| Self {
            raw,
            _life: PhantomData,
        })
    }

    /// The function's `struct device`.
    pub(crate) fn device(self) -> Device<'a> {
        // SAFETY: The device is embedded in the function, so it is valid as long as the function,
        // and its address is not null.
        unsafe { Device::new(NonNull::new_unchecked(&raw mut (*self.raw.as_ptr()).dev)) }
    }

    /// The C pointer to the function.
    pub(super) fn as_raw(self) -> *mut bindings::pci_dev {
        self.raw.as_ptr()
    }

    /// The vendor's id.
    pub(super) fn vendor(self) -> u16 {
        field!(self, vendor)
    }

    /// The device's id.
    pub(super) fn device_id(self) -> u16 {
        field!(self, device)
    }

    /// The class code: base class in bits 23:16, sub-class in bits 15:8, programming interface in
    /// bits 7:0.
    pub(super) fn class(self) -> u32 {
        field!(self, class)
    }

    fn devfn(self) -> u8 {
        field!(self, devfn) as u8
    }

    fn bus(self) -> *mut bindings::pci_bus {
        field!(self, bus)
    }

    fn bus_number(self) -> u8 {
        // SAFETY: A function keeps its bus alive.
        unsafe { (*self.bus()).number }
    }

    /// Bus, device and function number.
    pub(crate) fn id(self) -> RequesterId {
        RequesterId::pci(self.bus_number(), self.devfn())
    }

    /// The function's segment. It is the first part of the function's name on every architecture,
    /// while the place where the kernel stores the number differs.
    pub(crate) fn segment(self) -> u16 {
        let name = self.device().name();
        let digits = name.as_str().split(':').next().unwrap_or_default();
        // The kernel invents wider numbers for host bridges that firmware does not describe; no
        // unit serves them.
        u16::from_str_radix(digits, 16).unwrap_or(u16::MAX)
    }

    fn port_type(self) -> Option<PortType> {
        if field!(self, pcie_cap) == 0 {
            return None;
        }
        let flags = u32::from(field!(self, pcie_flags_reg));
        Some(match (flags & bindings::PCI_EXP_FLAGS_TYPE) >> 4 {
            bindings::PCI_EXP_TYPE_ENDPOINT
            | bindings::PCI_EXP_TYPE_LEG_END
            | bindings::PCI_EXP_TYPE_RC_END => PortType::Endpoint,
            bindings::PCI_EXP_TYPE_ROOT_PORT => PortType::RootPort,
            bindings::PCI_EXP_TYPE_UPSTREAM => PortType::Upstream,
            bindings::PCI_EXP_TYPE_DOWNSTREAM => PortType::Downstream,
            bindings::PCI_EXP_TYPE_PCI_BRIDGE => PortType::ToPci,
            bindings::PCI_EXP_TYPE_PCIE_BRIDGE => PortType::FromPci,
            bindings::PCI_EXP_TYPE_RC_EC => PortType::EventCollector,
            _ => PortType::Unknown,
        })
    }

    /// Whether the function is a bridge.
    pub(crate) fn is_bridge(self) -> bool {
        u32::from(field!(self, hdr_type) & 0x7f) == bindings::PCI_HEADER_TYPE_BRIDGE
    }

    fn has_flag(self, flag: bindings::pci_dev_flags) -> bool {
        field!(self, dev_flags) & (flag as bindings::pci_dev_flags_t) != 0
    }

    /// Whether the kernel has to leave the numbers of the function's bus, and of those above it, as
    /// firmware has set them (PCI Firmware Specification 3.3, 4.6.5).
    pub(super) fn keeps_buses(self) -> bool {
        // SAFETY: A function keeps its bus alive, and with it the host bridge.
        unsafe { (*bindings::pci_find_host_bridge(self.bus())).preserve_config() != 0 }
    }

    /// The bridges above the function, the nearest first.
    pub(crate) fn bridges(self) -> impl Iterator<Item = Pci<'a>> {
        let mut bus = self.bus();
        core::iter::from_fn(move || loop {
            // SAFETY: A function keeps its bus alive, and a bus keeps the buses above it alive. The
            // root bus has no parent; a bus that exists only for virtual functions has no bridge.
            let (bridge, parent) = unsafe { ((*bus).self_, (*bus).parent) };
            if parent.is_null() {
                return None;
            }
            bus = parent;
            // SAFETY: As above.
            if let Some(bridge) = unsafe { Pci::from_raw(bridge) } {
                return Some(bridge);
            }
        })
    }

    /// The function whose id the transactions carry: this function, or the function that exposes
    /// this one to the system (Intel VMD).
    pub(super) fn dma_function(self) -> Self {
        #[cfg(all(CONFIG_X86_64, CONFIG_VMD))]
        {
            // SAFETY: On x86 `sysdata` of every bus is a `struct pci_sysdata`. The function that it
            // names (Intel VMD) keeps the bus alive.
            let owner = unsafe {
                let sysdata: *const bindings::pci_sysdata = (*self.bus()).sysdata.cast();
                Pci::from_raw((*sysdata).vmd_dev)
            };
            owner.unwrap_or(self)
        }
        #[cfg(not(all(CONFIG_X86_64, CONFIG_VMD)))]
        self
    }

    /// Calls `f` with each id under which the function's transactions may appear, the function's
    /// own id first, and with the function or bridge that causes this id. An id may be passed more
    /// than once.
    fn for_each_id(self, mut f: impl FnMut(RequesterId, Pci<'a>)) {
        let function = self.dma_function();
        f(function.id(), function);
        let mask = field!(function, dma_alias_mask);
        if !mask.is_null() {
            // Quirks: functions that use the devfn of another function on their bus.
            for devfn in 0..=u8::MAX {
                let bits = core::ffi::c_ulong::BITS as usize;
                // SAFETY: The mask has a bit for each devfn of a bus.
                let word = unsafe { *mask.add(usize::from(devfn) / bits) };
                if word >> (usize::from(devfn) % bits) & 1 != 0 {
                    f(RequesterId::pci(function.bus_number(), devfn), function);
                }
            }
        }
        for bridge in function.bridges() {
            if bridge.has_flag(bindings::pci_dev_flags_PCI_DEV_FLAGS_BRIDGE_XLATE_ROOT) {
                // The unit is at this bridge.
                return;
            }
            // A bridge from PCI Express to PCI issues requests with its secondary bus number and
            // devfn 0, whichever device made them (PCI Express to PCI/PCI-X Bridge 2.3). A bridge
            // with PCI above issues requests under its own id.
            let secondary = RequesterId::pci(bridge.secondary_bus(), 0);
            match bridge.port_type() {
                Some(PortType::ToPci)
                    if !bridge
                        .has_flag(bindings::pci_dev_flags_PCI_DEV_FLAGS_PCI_BRIDGE_NO_ALIAS) =>
                {
                    f(secondary, bridge)
                }
                Some(PortType::FromPci) => f(bridge.id(), bridge),
                Some(_) => {}
                None if bridge.has_flag(bindings::pci_dev_flags_PCI_DEV_FLAG_PCIE_BRIDGE_ALIAS) => {
                    f(secondary, bridge)
                }
                None => f(bridge.id(), bridge),
            }
        }
    }

    fn secondary_bus(self) -> u8 {
        let bus = field!(self, subordinate);
        if bus.is_null() {
            return 0;
        }
        // SAFETY: A bridge keeps the bus below it alive.
        unsafe { (*bus).number }
    }

    /// The ids under which the function's transactions may appear. The function's own id comes
    /// first; no id appears twice.
    pub(crate) fn ids(self) -> Result<KVec<RequesterId>> {
        let mut ids: KVec<RequesterId> = KVec::new();
        let mut result = Ok(());
        self.for_each_id(|id, _| {
            if result.is_ok() && !ids.contains(&id) {
                result = ids.push(id, GFP_KERNEL);
            }
        });
        result?;
        Ok(ids)
    }

    /// The physical function of a virtual function.
    pub(super) fn physical(self) -> Option<Self> {
        // Without CONFIG_PCI_ATS the kernel does not store it.
        #[cfg(CONFIG_PCI_ATS)]
        // SAFETY: By the invariant. In a virtual function `physfn` is the valid member of the
        // union, and a virtual function keeps its physical function alive.
        unsafe {
            let raw = self.raw.as_ptr();
            if (*raw).is_virtfn() != 0 {
                return Pci::from_raw((*raw).__bindgen_anon_1.physfn);
            }
        }
        None
    }

    /// Whether the function supports ATS and the kernel trusts it with ATS.
    pub(crate) fn supports_ats(self) -> bool {
        // SAFETY: By the invariant.
        unsafe { pci_ats_supported(self.raw.as_ptr().cast()) }
    }

    /// Whether the kernel does not trust the function: it is behind an external port.
    pub(crate) fn is_untrusted(self) -> bool {
        // SAFETY: By the invariant.
        unsafe { (*self.raw.as_ptr()).untrusted() != 0 }
    }

    /// Whether the function has the PASID capability. A virtual function has that of its physical
    /// function.
    pub(super) fn has_pasids(self) -> bool {
        #[cfg(CONFIG_PCI_PASID)]
        return field!(self.physical().unwrap_or(self), pasid_cap) != 0;
        // Without CONFIG_PCI_PASID the kernel does not look for it.
        #[cfg(not(CONFIG_PCI_PASID))]
        false
    }

    /// Reads 32 bits of configuration space at byte offset `at`, a multiple of 4. `None` if that
    /// fails.
    #[cfg(CONFIG_IOMMU_CORE_INTEL)]
    pub(crate) fn read_config(self, at: u16) -> Option<u32> {
        self.read_config_of(self.devfn(), at)
    }

    /// As [`read_config`](Self::read_config), of device 0, function 0 on this function's bus, which
    /// need not be visible.
    #[cfg(CONFIG_IOMMU_CORE_INTEL)]
    pub(crate) fn read_config_of_first_on_bus(self, at: u16) -> Option<u32> {
        self.read_config_of(0, at)
    }

    #[cfg(CONFIG_IOMMU_CORE_INTEL)]
    fn read_config_of(self, devfn: u8, at: u16) -> Option<u32> {
        let mut value = 0;
        // SAFETY: A function keeps its bus alive, and `value` may be written to.
        let result = unsafe {
            bindings::pci_bus_read_config_dword(
                self.bus(),
                u32::from(devfn),
                c_int::from(at & !3),
                &mut value,
            )
        };
        (result == 0).then_some(value)
    }

    /// Whether the device has several functions.
    fn is_multifunction(self) -> bool {
        // SAFETY: By the invariant.
        unsafe { (*self.raw.as_ptr()).multifunction() != 0 }
    }

    /// Enables the ACS controls that isolate the functions behind or beside this one, as far as the
    /// function has them. At boot the kernel does this only if one of its own IOMMU drivers is
    /// going to run.
    pub(crate) fn isolate(self) {
        let at = c_int::from(field!(self, acs_cap));
        if at == 0 {
            return;
        }
        let wanted = field!(self, acs_capabilities) & ISOLATION;
        let control = at + bindings::PCI_ACS_CTRL as c_int;
        let mut now = 0;
        // SAFETY: By the invariant; the capability is there.
        unsafe {
            if bindings::pci_read_config_word(self.raw.as_ptr(), control, &mut now) == 0
                && now & wanted != wanted
            {
                bindings::pci_write_config_word(self.raw.as_ptr(), control, now | wanted);
            }
        }
    }

    /// Whether all ACS controls that the function has are enabled (PCIe 6.12). A function that has
    /// the capability does not need the controls that it lacks.
    fn has_isolation_on(self) -> bool {
        let at = c_int::from(field!(self, acs_cap));
        if at == 0 {
            return false;
        }
        let wanted = field!(self, acs_capabilities) & ISOLATION;
        let mut now = 0;
        // SAFETY: By the invariant; the capability is there.
        let result = unsafe {
            bindings::pci_read_config_word(
                self.raw.as_ptr(),
                at + bindings::PCI_ACS_CTRL as c_int,
                &mut now,
            )
        };
        result == 0 && now & wanted == wanted
    }

    /// Whether transactions from behind the function, or from the function to other functions of
    /// its device, always go through the unit.
    fn isolates(self) -> bool {
        if self.has_flag(bindings::pci_dev_flags_PCI_DEV_FLAGS_ACS_ENABLED_QUIRK) {
            return true;
        }
        match self.port_type() {
            // Conventional PCI: the devices share the bus.
            None => false,
            Some(PortType::ToPci | PortType::FromPci | PortType::EventCollector) => false,
            Some(PortType::RootPort | PortType::Downstream) => self.has_isolation_on(),
            Some(PortType::Endpoint | PortType::Upstream) => {
                !self.is_multifunction() || self.has_isolation_on()
            }
            Some(PortType::Unknown) => true,
        }
    }

    /// Whether this bridge and every bridge above it isolate what is behind them.
    fn path_isolates(self) -> bool {
        self.isolates() && self.bridges().all(Pci::isolates)
    }

    /// How far the unit can distinguish the function from others.
    pub(crate) fn isolation(self) -> Isolation<'a> {
        let mut top = self;
        self.for_each_id(|_, maker| top = maker);
        let mut shared_by = None;
        for bridge in top.bridges() {
            if bridge.path_isolates() {
                break;
            }
            shared_by = Some(bridge);
            top = bridge;
        }
        let with_siblings = top.is_multifunction() && !top.isolates();
        let slot = match with_siblings {
            true => top.devfn() & !0x7,
            false => top.devfn(),
        };
        Isolation {
            by_function: with_siblings && top == self,
            key: u64::from(with_siblings) << 32
                | u64::from(top.segment()) << 16
                | u64::from(RequesterId::pci(top.bus_number(), slot).raw()),
            shared_by,
        }
    }

    /// The device-tree node of the host bridge above the function; null if there is none.
    pub(crate) fn host_node(self) -> *const bindings::device_node {
        // SAFETY: A function keeps its bus alive. The bus keeps the host bridge alive, and the host
        // bridge keeps its parent alive, if it has one.
        unsafe {
            let host = bindings::pci_find_host_bridge(self.bus());
            match (*host).dev.parent {
                parent if parent.is_null() => core::ptr::null(),
                parent => (*parent).of_node,
            }
        }
    }

    /// Clears the function's bus master enable bit, which stops its DMA.
    pub(crate) fn clear_master(self) {
        // SAFETY: By the invariant.
        unsafe { bindings::pci_clear_master(self.raw.as_ptr()) }
    }
}

/// How far a function is isolated from others.
pub(crate) struct Isolation<'a> {
    /// Equal for functions that cannot be isolated from each other.
    pub(crate) key: u64,
    /// The topmost bridge that lets the functions behind it reach each other.
    pub(crate) shared_by: Option<Pci<'a>>,
    /// Whether the function is on top itself, and not isolated from its device's other functions.
    pub(crate) by_function: bool,
}

/// Calls `f` for every PCI function of the system.
pub(crate) fn for_each_function(mut f: impl FnMut(Pci<'_>) -> Result) -> Result {
    let mut raw = core::ptr::null_mut();
    loop {
        // SAFETY: `raw` is null or a function with a reference, which the call drops.
        raw = unsafe { bindings::pci_get_device(ANY_ID, ANY_ID, raw) };
        // SAFETY: The reference to the function is held until the next call.
        let Some(function) = (unsafe { Pci::from_raw(raw) }) else {
            return Ok(());
        };
        if let Err(error) = f(function) {
            // SAFETY: This function owns the reference.
            unsafe { bindings::pci_dev_put(raw) };
            return Err(error);
        }
    }
}

/// While this exists no PCI function is added to the system or removed from it.
///
/// Context: may sleep. Nobody unbinds a driver while it exists: a driver may remove functions.
pub(crate) struct NoHotplug(());

impl NoHotplug {
    /// Waits until nobody adds or removes functions.
    pub(crate) fn lock() -> Self {
        // SAFETY: The caller may sleep, and does not hold the lock.
        unsafe { bindings::pci_lock_rescan_remove() };
        Self(())
    }
}

impl Drop for NoHotplug {
    fn drop(&mut self) {
        // SAFETY: `lock` has taken the lock.
        unsafe { bindings::pci_unlock_rescan_remove() }
    }
}
