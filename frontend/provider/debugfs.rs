// SPDX-License-Identifier: GPL-2.0

//! The files in `/sys/kernel/debug/iommu_core`.

use core::fmt;

use kernel::{
    debugfs::{Dir, File, Writer},
    prelude::*,
    sync::Arc,
};

use super::vendor::{Vendor, VendorList};
use crate::version::VERSION;

/// One file.
pub struct Listing {
    vendors: Vendors,
    show: fn(&dyn Vendor, &mut dyn fmt::Write) -> fmt::Result,
}

/// All vendor drivers.
type Vendors = Arc<VendorList>;

impl Writer for Listing {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.vendors
            .0
            .iter()
            .try_for_each(|vendor| (self.show)(&**vendor, f))
    }
}

/// The version of iommu_core.
pub struct Version;

impl Writer for Version {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")
    }
}

/// The folder with its files. Dropping it removes them.
pub struct Folder {
    _files: [Pin<KBox<File<Listing>>>; 5],
    _version: Pin<KBox<File<Version>>>,
    _dir: Dir,
}

impl Folder {
    /// Makes the folder.
    pub fn new(vendors: &Vendors) -> Result<Self> {
        let dir = Dir::new(c"iommu_core");
        let file = |name, show| {
            KBox::pin_init(
                dir.read_only_file(
                    name,
                    Listing {
                        vendors: vendors.clone(),
                        show,
                    },
                ),
                GFP_KERNEL,
            )
        };
        let files = [
            file(c"units", |vendor, f| vendor.show_units(f))?,
            file(c"groups", |vendor, f| vendor.show_groups(f))?,
            file(c"domains", |vendor, f| vendor.show_domains(f))?,
            file(c"interrupts", |vendor, f| vendor.show_interrupts(f))?,
            file(c"faults", |vendor, f| vendor.show_faults(f))?,
        ];
        Ok(Self {
            _files: files,
            _version: KBox::pin_init(dir.read_only_file(c"version", Version), GFP_KERNEL)?,
            _dir: dir,
        })
    }
}
