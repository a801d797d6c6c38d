// SPDX-License-Identifier: GPL-2.0

//! Vendor drivers and their units, for those who need not know which driver it is.

use core::fmt::{self, Write};

use kernel::prelude::*;

use crate::{driver::PlatformIds, ffi::device::Device, label::Label};

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

/// A unit that can be taken and given back.
pub trait Unbindable: Send + Sync {
    /// What messages call the unit.
    fn name(&self) -> Label;
    /// The name of the platform device that the kernel has made for the unit, if it has.
    fn platform_device(&self) -> Option<Label>;
    /// Takes the unit; `device` stands for it.
    fn bind(&self, device: Device<'_>) -> Result;
    /// Gives the unit back.
    fn unbind(&self);
    /// Whether the unit is in use.
    fn is_bound(&self) -> bool;
    /// The machine wakes up, and devices can be reached again.
    fn buses_are_back(&self);
    /// What the last [`bind`](Self::bind) failed with.
    fn error(&self) -> Option<Error>;
    /// Notes that the unit was not taken because of `error`.
    fn refuse(&self, error: Error);
}

/// All vendor drivers that found a unit.
pub struct VendorList(pub KVec<KBox<dyn Vendor>>);
