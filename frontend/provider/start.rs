// SPDX-License-Identifier: GPL-2.0

//! The start of all vendor drivers, and their end.

use core::{
    fmt::{self, Write},
    ptr,
};

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SetOnce,
    },
};

use super::{
    debugfs, device_ops,
    domain::FixedDomains,
    domain_ops::{self, DomainOps},
    instance::Instance,
    layer::Layer,
    memory::{self, MemoryWatch},
    notifier::Notifier,
    platform::Platform,
    power::{Power, Units},
    show,
    slot::{Callable, Slot},
    unit::ProviderUnit,
    vendor::{Unbindable, Vendor, VendorList},
};
use crate::{
    addr::PhysAddr, driver::PlatformIds, ffi::device::Device, id_map::IdMap, label::Label,
    registry::Registry, unit::Unit,
};

/// Declares which vendor drivers can be served.
macro_rules! vendor_drivers {
    ($($(#[$when:meta])* $driver:ty,)*) => {
        $($(#[$when])* impl Callable for $driver {
            fn slot() -> &'static Slot<Self> {
                static SLOT: Slot<$driver> = Slot::new();
                &SLOT
            }
        })*

        /// Starts all vendor drivers.
        fn add_all(
            module: &'static ThisModule,
            vendors: &mut KVec<KBox<dyn Vendor>>,
            first_error: &mut Option<Error>,
        ) -> Result {
            $($(#[$when])* add::<$driver>(module, vendors, first_error)?;)*
            Ok(())
        }

        /// Maps a list of pieces of memory, see [`domain_ops::map_list`]. `None` if the domain is
        /// of another driver.
        ///
        /// # Safety
        ///
        /// `domain` is valid, and the caller maps no part of the range twice at a time.
        #[cfg_attr(CONFIG_IOMMU_CORE_HOSTED, allow(dead_code))]
        pub unsafe fn map_list(
            domain: *mut bindings::iommu_domain,
            iova: u64,
            pieces: impl Iterator<Item = (PhysAddr, u64)>,
            prot: u32,
            gfp: bindings::gfp_t,
        ) -> Option<(usize, Result)> {
            // SAFETY: By the requirements.
            let ops = unsafe { (*domain).ops };
            $($(#[$when])* if ptr::eq(ops, DomainOps::<$driver>::PAGING) {
                // SAFETY: By the requirements, and by the check.
                return Some(unsafe {
                    domain_ops::map_list::<$driver>(domain, iova, pieces, prot, gfp)
                });
            })*
            None
        }
    };
}

vendor_drivers! {
    #[cfg(CONFIG_IOMMU_CORE_INTEL)]
    crate::drivers::intel::Vtd,
    #[cfg(CONFIG_IOMMU_CORE_AMD)]
    crate::drivers::amd::AmdVi,
    #[cfg(CONFIG_IOMMU_CORE_ARM_SMMU_V3)]
    crate::drivers::arm_smmu_v3::SmmuV3,
}

/// Where firmware would tell of a unit, and how to get one.
const NO_UNIT: &str = if cfg!(CONFIG_ARM64) {
    "firmware tells of no unit (arm,smmu-v3 in a device tree, ACPI IORT); switch it on in the \
     firmware's set-up (SMMU), or give the guest one (QEMU: -M virt,iommu=smmuv3)"
} else {
    "firmware has no table of units (ACPI DMAR or IVRS); switch it on in the firmware's set-up \
     (VT-d, AMD-Vi), or give the guest one (QEMU: -device intel-iommu or -device \
     amd-iommu,dma-remap=on)"
};

/// A vendor driver that found a unit, open for C's calls.
struct Running<D: Layer> {
    units: KVec<KBox<dyn Unbindable>>,
    power: SetOnce<Power<D>>,
    _memory: MemoryWatch<D>,
    _notifier: Notifier<D>,
    instance: Arc<Instance<D>>,
}

/// Looks for units and makes ready for C's calls. Touches no unit.
///
/// # Errors
///
/// Those of [`VendorDriver::discover`](crate::driver::VendorDriver::discover).
fn new_instance<D: Layer>(module: &'static ThisModule) -> Result<Arc<Instance<D>>> {
    let ids = IdMap::new()?;
    let cores = Unit::discover()?;
    let mut units = KVec::with_capacity(cores.len(), GFP_KERNEL)?;
    for core in &cores {
        let unit = ProviderUnit::new(core, &ids, show::writers())?;
        units.push(unit, GFP_KERNEL)?;
    }
    let registry = Registry::new()?;
    let domains = FixedDomains::new(&registry, DomainOps::<D>::FIXED)?;
    let ops = KBox::new(device_ops::table(module, &domains), GFP_KERNEL)?;
    Instance::new(module, units, ids, registry, domains, ops)
}

impl<D: Layer> Running<D> {
    /// Looks for units; takes none.
    fn start(module: &'static ThisModule) -> Result<KBox<Self>> {
        let instance = new_instance::<D>(module)?;
        let mut units: KVec<KBox<dyn Unbindable>> = KVec::new();
        for unit in &instance.units {
            let handle = Handle {
                instance: instance.clone(),
                unit: unit.clone(),
                error: Atomic::new(0),
            };
            units.push(KBox::new(handle, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let running = KBox::new(
            Self {
                units,
                power: SetOnce::new(),
                _memory: memory::Units::watch(&instance)?,
                _notifier: Notifier::new(&instance)?,
                instance,
            },
            GFP_KERNEL,
        )?;
        D::slot().fill(&running.instance);
        Ok(running)
    }
}

impl<D: Layer> Drop for Running<D> {
    fn drop(&mut self) {
        D::slot().clear();
    }
}

impl<D: Layer> Running<D> {
    /// Somebody is about to read what the groups are attached to, and who holds them.
    fn look_at_groups(&self) -> fmt::Result {
        let groups = self.instance.snapshot_groups().map_err(|_| fmt::Error)?;
        groups
            .iter()
            .for_each(|group| D::look(&self.instance, group));
        Ok(())
    }
}

impl<D: Layer> Vendor for Running<D> {
    fn units(&self) -> &[KBox<dyn Unbindable>] {
        &self.units
    }

    fn platform_ids(&self) -> Option<PlatformIds> {
        D::PLATFORM
    }

    fn follow_sleep(&self) -> Result {
        self.power.populate(Units::follow(&self.instance)?);
        Ok(())
    }

    fn show_units(&self, f: &mut dyn Write) -> fmt::Result {
        self.instance.show_units(f)
    }

    fn show_groups(&self, f: &mut dyn Write) -> fmt::Result {
        self.look_at_groups()?;
        self.instance.show_groups(f)
    }

    fn show_domains(&self, f: &mut dyn Write) -> fmt::Result {
        self.look_at_groups()?;
        self.instance.show_domains(f)
    }

    fn show_interrupts(&self, f: &mut dyn Write) -> fmt::Result {
        self.instance.show_interrupts(f)
    }

    fn show_faults(&self, f: &mut dyn Write) -> fmt::Result {
        self.instance.show_faults(f)
    }
}

/// A unit for the platform bus.
struct Handle<D: Layer> {
    instance: Arc<Instance<D>>,
    unit: Arc<ProviderUnit<D>>,
    /// What the last takeover failed with, or 0.
    error: Atomic<i32>,
}

impl<D: Layer> Unbindable for Handle<D> {
    fn name(&self) -> Label {
        self.unit.core().name()
    }

    fn platform_device(&self) -> Option<Label> {
        D::platform_device(self.unit.core().data())
    }

    fn bind(&self, device: Device<'_>) -> Result {
        let result = self.unit.bind(&self.instance, device);
        let error = result.as_ref().err().map_or(0, |error| error.to_errno());
        self.error.store(error, Relaxed);
        result
    }

    fn unbind(&self) {
        self.unit.release(&self.instance);
    }

    fn is_bound(&self) -> bool {
        self.unit.is_active()
    }

    fn error(&self) -> Option<Error> {
        match self.error.load(Relaxed) {
            0 => None,
            error => Some(Error::from_errno(error)),
        }
    }

    fn buses_resumed(&self) {
        if self.unit.is_active() {
            self.unit.core().buses_resumed();
        }
    }

    fn refuse(&self, error: Error) {
        self.error.store(error.to_errno(), Relaxed);
    }
}

/// All vendor drivers that found a unit, from their start to their end.
///
/// Fields are dropped in this order: people stop to look, units are given back, C's calls end.
pub struct Provider {
    _folder: debugfs::Folder,
    _platform: Platform,
    vendors: Arc<VendorList>,
}

impl Provider {
    /// Looks for units and takes them. If firmware tells of none, `say` is told where it would.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no unit; what the first one failed with if none could be taken. The log
    /// says why, and what to do.
    pub fn start(module: &'static ThisModule, say: fn(&str)) -> Result<Self> {
        let mut vendors = KVec::new();
        let mut first_error = None;
        add_all(module, &mut vendors, &mut first_error)?;
        if vendors.is_empty() {
            let error = first_error.unwrap_or(ENODEV);
            if error == ENODEV {
                say(NO_UNIT);
            }
            return Err(error);
        }
        let vendors = Arc::new(VendorList(vendors), GFP_KERNEL)?;
        let folder = debugfs::Folder::new(&vendors)?;
        // SAFETY: The list is dropped after the platform devices.
        let platform = unsafe { Platform::new(module, &vendors.0) }?;
        let mut units = vendors.0.iter().flat_map(|vendor| vendor.units());
        if !units.clone().any(|unit| unit.is_bound()) {
            return Err(units.find_map(|unit| unit.error()).unwrap_or(ENODEV));
        }
        Ok(Self {
            _folder: folder,
            _platform: platform,
            vendors,
        })
    }

    /// See [`Vendor::follow_sleep`].
    pub fn follow_sleep(&self) -> Result {
        let mut vendors = self.vendors.0.iter();
        vendors.try_for_each(|vendor| vendor.follow_sleep())
    }
}

/// Starts a vendor driver. That its units are not there is no error: another one's may be.
fn add<D: Layer>(
    module: &'static ThisModule,
    vendors: &mut KVec<KBox<dyn Vendor>>,
    first_error: &mut Option<Error>,
) -> Result {
    match Running::<D>::start(module) {
        Ok(running) => vendors.push(running, GFP_KERNEL)?,
        Err(error) => {
            if first_error.is_none_or(|first| first == ENODEV) {
                *first_error = Some(error);
            }
        }
    }
    Ok(())
}
