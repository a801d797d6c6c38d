// SPDX-License-Identifier: GPL-2.0

//! The start of all vendor drivers.

use core::fmt::{self, Write};

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

use super::{
    debugfs,
    instance::{Hosted, Instance, Slot},
    notifier::Notifier,
    platform::{Platform, Unbindable},
    power::{Power, Units},
    unit::HostedUnit,
};
use crate::{
    driver::PlatformIds,
    ffi::device::Device,
    frontend::hosted::refusal::Refusals,
    label::Label,
    log::{log_err, log_info},
};

/// Whether the kernel's IOMMU layer is the native frontend, so that the core decides.
pub const IS_NATIVE: bool = cfg!(CONFIG_IOMMU_CORE_NATIVE);

/// One vendor driver with its units, for those who need not know which.
pub trait Vendor: Send + Sync {
    /// The units, for the platform bus.
    fn units(&self) -> &[KBox<dyn Unbindable>];
    /// The platform devices that are units, where the kernel makes some.
    fn platform_ids(&self) -> Option<PlatformIds>;
    /// Writes what is known of each unit.
    fn show_units(&self, f: &mut dyn Write) -> fmt::Result;
    /// Writes what is known of each group.
    fn show_groups(&self, f: &mut dyn Write) -> fmt::Result;
    /// Writes what is known of each domain.
    fn show_domains(&self, f: &mut dyn Write) -> fmt::Result;
    /// Writes the faults of each group, and those of nobody.
    fn show_faults(&self, f: &mut dyn Write) -> fmt::Result;
}

/// Declares which vendor drivers can be served.
macro_rules! vendor_drivers {
    ($($(#[$when:meta])* $driver:ty,)*) => {
        $($(#[$when])* impl Hosted for $driver {
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

/// All vendor drivers that found a unit.
pub struct VendorList(pub KVec<KBox<dyn Vendor>>);

/// A vendor driver that found a unit, open for C's calls.
struct Running<D: Hosted> {
    units: KVec<KBox<dyn Unbindable>>,
    _power: Power<D>,
    _notifier: Notifier<D>,
    _refusals: Option<Refusals>,
    instance: Arc<Instance<D>>,
}

impl<D: Hosted> Running<D> {
    /// Looks for units; takes none.
    fn start(module: &'static ThisModule) -> Result<KBox<Self>> {
        let instance = Instance::<D>::new(module)?;
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
                _power: Units::follow(&instance)?,
                _notifier: Notifier::new(&instance)?,
                // The core refuses, and says so.
                _refusals: (!IS_NATIVE).then(|| Refusals::new(&instance.board)),
                instance,
            },
            GFP_KERNEL,
        )?;
        running.instance.open();
        Ok(running)
    }
}

impl<D: Hosted> Drop for Running<D> {
    fn drop(&mut self) {
        Instance::<D>::close();
    }
}

impl<D: Hosted> Vendor for Running<D> {
    fn units(&self) -> &[KBox<dyn Unbindable>] {
        &self.units
    }

    fn platform_ids(&self) -> Option<PlatformIds> {
        D::PLATFORM
    }

    fn show_units(&self, f: &mut dyn Write) -> fmt::Result {
        self.instance.show_units(f)
    }

    fn show_groups(&self, f: &mut dyn Write) -> fmt::Result {
        self.instance.show_groups(f)
    }

    fn show_domains(&self, f: &mut dyn Write) -> fmt::Result {
        self.instance.show_domains(f)
    }

    fn show_faults(&self, f: &mut dyn Write) -> fmt::Result {
        self.instance.show_faults(f)
    }
}

/// A unit for the platform bus.
struct Handle<D: Hosted> {
    instance: Arc<Instance<D>>,
    unit: Arc<HostedUnit<D>>,
    /// What the last takeover failed with, or 0.
    error: Atomic<i32>,
}

impl<D: Hosted> Unbindable for Handle<D> {
    fn name(&self) -> Label {
        self.unit.core().name()
    }

    fn platform_device(&self) -> Option<Label> {
        D::platform_device(self.unit.core())
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

    fn buses_are_back(&self) {
        if self.unit.is_active() {
            self.unit.core().buses_are_back();
        }
    }

    fn refuse(&self, error: Error) {
        self.error.store(error.to_errno(), Relaxed);
    }
}

/// The frontend, from loading the module to unloading it.
///
/// Fields are dropped in this order: people stop to look, units are given back, C's calls end.
pub struct Frontend {
    _folder: debugfs::Folder,
    _platform: Platform,
    _vendors: Arc<VendorList>,
}

impl Frontend {
    /// Looks for units and takes them.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no unit; what the first one failed with if none could be taken. The log
    /// says why, and what to do.
    pub fn start(module: &'static ThisModule) -> Result<Self> {
        let mut vendors = KVec::new();
        let mut first_error = None;
        add_all(module, &mut vendors, &mut first_error)?;
        if vendors.is_empty() {
            let error = first_error.unwrap_or(ENODEV);
            if error == ENODEV {
                // Whoever loads the module wants a unit; a kernel may be built for many machines.
                if IS_NATIVE {
                    log_info!("no IOMMU to drive: {}", NO_UNIT);
                } else {
                    log_err!("no IOMMU to drive: {}", NO_UNIT);
                }
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
            _vendors: vendors,
        })
    }
}

/// Starts a vendor driver. That its units are not there is no error: another one's may be.
fn add<D: Hosted>(
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
