// SPDX-License-Identifier: GPL-2.0

//! Vendor drivers and their units, for code that works with all of them.

use core::fmt::{self, Write};

use kernel::prelude::*;

use crate::{driver::PlatformIds, ffi::device::Device, label::Label};

/// A vendor driver with its units.
pub trait Vendor: Send + Sync {
    /// The units that it has found.
    fn units(&self) -> &[KBox<dyn Unbindable>];
    /// How the kernel names the platform devices that it makes for units of this kind, if it does.
    fn platform_ids(&self) -> Option<PlatformIds>;
    /// Writes what is known of each unit.
    fn show_units(&self, f: &mut dyn Write) -> fmt::Result;
    /// Writes what is known of each group.
    fn show_groups(&self, f: &mut dyn Write) -> fmt::Result;
    /// Writes what is known of each domain.
    fn show_domains(&self, f: &mut dyn Write) -> fmt::Result;
    /// Writes for each device whether it can raise only its own interrupts, and the interrupt
    /// tables.
    fn show_interrupts(&self, f: &mut dyn Write) -> fmt::Result;
    /// The units sleep, wake and end with the machine from now on. To be called once, when the
    /// kernel's clock does so already: the kernel suspends in the opposite order of registration,
    /// and drivers need the clock to wait for a unit.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn follow_sleep(&self) -> Result;
    /// Writes the faults of each group, and the number of those of no group.
    fn show_faults(&self, f: &mut dyn Write) -> fmt::Result;
}

/// A unit that can be taken and given back.
pub trait Unbindable: Send + Sync {
    /// The unit's name in messages.
    fn name(&self) -> Label;
    /// The name of the platform device that the kernel has made for the unit, if any.
    fn platform_device(&self) -> Option<Label>;
    /// Takes the unit. `device` is its platform device.
    fn bind(&self, device: Device<'_>) -> Result;
    /// Gives the unit back.
    fn unbind(&self);
    /// Whether the unit is in use.
    fn is_bound(&self) -> bool;
    /// Tells the unit that the machine wakes up and other devices can be reached again.
    fn buses_resumed(&self);
    /// The error of the last [`bind`](Self::bind), if it failed.
    fn error(&self) -> Option<Error>;
    /// Sets the error with which the unit was not taken.
    fn refuse(&self, error: Error);
}

/// All vendor drivers that found a unit.
pub struct VendorList(pub KVec<KBox<dyn Vendor>>);
