// SPDX-License-Identifier: GPL-2.0

//! Describes a vendor driver's units, groups, domains and faults, for debugfs and sysfs.

use core::fmt::{self, Write};

use kernel::sync::Arc;

use super::{instance::Instance, served::Served, slot::Callable, unit::ProviderUnit};
use crate::{count::Count, group::Group};

impl<D: Served> Instance<D> {
    /// Writes what is known of each unit.
    pub fn show_units(&self, f: &mut dyn Write) -> fmt::Result {
        for unit in &self.units {
            unit.show(self, f)?;
        }
        Ok(())
    }

    /// Writes what is known of each group: first those that C knows, then those of held devices.
    pub fn show_groups(&self, f: &mut dyn Write) -> fmt::Result {
        self.for_each_group(|group| group.show(f))
    }

    /// Writes the faults of each group, and the number of those of no group.
    pub fn show_faults(&self, f: &mut dyn Write) -> fmt::Result {
        self.for_each_group(|group| group.show_faults(f))?;
        for unit in &self.units {
            if unit.faults_of_unknown_ids() > 0 {
                writeln!(
                    f,
                    "{}: {} faults of unknown devices",
                    unit.core().name(),
                    unit.faults_of_unknown_ids()
                )?;
            }
        }
        Ok(())
    }

    fn for_each_group(&self, mut f: impl FnMut(&Group<D>) -> fmt::Result) -> fmt::Result {
        let groups = self.snapshot_groups().map_err(|_| fmt::Error)?;
        let held = self.held.groups().map_err(|_| fmt::Error)?;
        for group in &groups {
            f(group.core())?;
        }
        for group in &held {
            if !groups.iter().any(|other| Arc::ptr_eq(other.core(), group)) {
                f(group)?;
            }
        }
        Ok(())
    }

    /// Writes a line for each domain, and how many were allocated and freed so far.
    pub fn show_domains(&self, f: &mut dyn Write) -> fmt::Result {
        self.registry.for_each_domain(|domain| {
            writeln!(
                f,
                "{domain}: {}, {}, {} bytes mapped",
                domain.driver(),
                Count::new(domain.groups(), "group"),
                domain.mapped(),
            )
        })?;
        let (allocated, freed) = self.registry.counts();
        writeln!(f, "allocated {allocated} freed {freed}")
    }
}

impl<D: Served> ProviderUnit<D> {
    /// Writes what is known of the unit.
    fn show(&self, instance: &Instance<D>, f: &mut dyn Write) -> fmt::Result {
        let name = self.core().name();
        if !self.is_active() {
            return writeln!(f, "{name} ({}): not in use", D::NAME);
        }
        let state = match self.core().has_failed() {
            true => "failed",
            false => "translates",
        };
        writeln!(f, "{name} ({}): {state}", D::NAME)?;
        let devices = instance.devices_behind(self).map_err(|_| fmt::Error)?.len();
        writeln!(f, "  devices  {devices}")?;
        writeln!(f, "  held     {}", instance.held.count(self.core()))?;
        D::show_unit(self.core().data(), f)
    }
}

/// Writes the devices behind a unit, one a line.
pub fn endpoints_of<D: Callable>(unit: &ProviderUnit<D>, f: &mut dyn Write) -> fmt::Result {
    let Some(instance) = D::slot().get() else {
        return Ok(());
    };
    let devices = instance.devices_behind(unit).map_err(|_| fmt::Error)?;
    for device in &devices {
        writeln!(f, "{}", device.endpoint().name())?;
    }
    Ok(())
}
