// SPDX-License-Identifier: GPL-2.0

//! Units: C's `struct iommu_device`, and their place in sysfs.

use core::{
    fmt::{self, Write},
    ptr,
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc,
    },
    types::Opaque,
};

use super::{
    served::Served,
    sysfs::{self, DeviceFile, Shown, UnitFile},
};
use crate::{
    ffi::device::Device,
    id_map::{IdMap, UnitFaults},
    unit::Unit,
};

/// What writes the content of the files in sysfs.
pub struct Writers<D: Served> {
    /// Of a file of the unit.
    pub unit: fn(&ProviderUnit<D>, UnitFile, &mut dyn Write) -> fmt::Result,
    /// Of a file of a device behind the unit, which C has probed and not released.
    pub device: fn(Device<'_>, DeviceFile, &mut dyn Write) -> fmt::Result,
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
    show_file: fn(&Self, UnitFile, &mut dyn Write) -> fmt::Result,
}

// SAFETY: C's part is for C to look after; everything else is `Send` and `Sync` by itself.
unsafe impl<D: Served> Send for ProviderUnit<D> {}
// SAFETY: As above.
unsafe impl<D: Served> Sync for ProviderUnit<D> {}

impl<D: Served> ProviderUnit<D> {
    /// A unit that is not in use. `ids` has the ids of all members of groups.
    pub fn new(core: &Arc<Unit<D>>, ids: &Arc<IdMap<D>>, writers: Writers<D>) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                shown: Shown {
                    c: Opaque::new(pin_init::zeroed()),
                    show_unit: Self::show_shown,
                    show_device: writers.device,
                },
                core: core.clone(),
                faults: UnitFaults::new(ids, core)?,
                active: Atomic::new(false),
                accepted: Atomic::new(false),
                leaving: Atomic::new(false),
                has_far_memory: Atomic::new(false),
                show_file: writers.unit,
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

    /// Whether the unit is emulated, and shadows the page tables.
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
                sysfs::unit_files(),
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
        // SAFETY: C's part is valid, and C does not look at it before the call.
        unsafe { (*self.as_c()).max_pasids = D::max_pasids(self.core.data()) };
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

    fn show_shown(shown: &Shown, file: UnitFile, f: &mut dyn Write) -> fmt::Result {
        // SAFETY: The function is called with the `shown` that it is in, and that is the first part
        // of a unit of this driver.
        let unit = unsafe { &*ptr::from_ref(shown).cast::<Self>() };
        (unit.show_file)(unit, file, f)
    }
}
