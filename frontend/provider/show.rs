// SPDX-License-Identifier: GPL-2.0

//! Describes a vendor driver's units, groups, domains and faults, for debugfs and sysfs.

use core::fmt::{self, Write};

use kernel::sync::Arc;

use super::{
    device::ProviderDevice,
    instance::Instance,
    layer::Layer,
    served::Served,
    sysfs::{DeviceFile, UnitFile},
    unit::{ProviderUnit, Writers},
};
use crate::{
    count::Count, ffi::device::Device, group::Group, interrupt::NotRemapped, label::Label,
    remapping::InterruptTable, version::VERSION,
};

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
                    "{}: {} of unknown devices",
                    unit.core().name(),
                    Count::new(unit.faults_of_unknown_ids(), "fault")
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

    /// Writes for each device whether it can raise only its own interrupts, and the interrupt
    /// tables.
    pub fn show_interrupts(&self, f: &mut dyn Write) -> fmt::Result {
        let devices = self.snapshot_devices().map_err(|_| fmt::Error)?;
        for known in &devices {
            write!(f, "{}: ", known.endpoint().name())?;
            show_isolation(known, f)?;
        }
        self.held.for_each_device(|device, endpoint| {
            write!(f, "{}: ", endpoint.name())?;
            // What is held keeps its interrupts.
            match device.has_isolated_messages() {
                true => writeln!(f, "isolated by its interrupt controller"),
                false => writeln!(f, "not isolated: {}", NotRemapped::DriverWasBound),
            }
        })?;
        let tables = || devices.iter().map(|known| known.interrupts().table());
        for (at, known) in devices.iter().enumerate() {
            let Some(table) = known.interrupts().table() else {
                continue;
            };
            let is_it = |other: Option<Arc<dyn InterruptTable>>| {
                other.is_some_and(|other| Arc::ptr_eq(&other, &table))
            };
            if !tables().take(at).any(is_it) {
                let group = known
                    .group()
                    .map_or(Label::EMPTY, |group| group.core().name());
                write!(f, "{group}: ")?;
                table.show(f)?;
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
    /// What the unit does, in a word.
    fn state(&self) -> &'static str {
        match (self.is_active(), self.core().has_failed()) {
            (_, true) => "failed",
            (true, false) => "translates",
            (false, false) => "off",
        }
    }

    /// Writes what is known of the unit.
    fn show(&self, instance: &Instance<D>, f: &mut dyn Write) -> fmt::Result {
        let name = self.core().name();
        if !self.is_active() {
            return writeln!(f, "{name} ({}): not in use", D::NAME);
        }
        writeln!(f, "{name} ({}): {}", D::NAME, self.state())?;
        let devices = instance.devices_behind(self).map_err(|_| fmt::Error)?.len();
        writeln!(f, "  devices  {devices}")?;
        writeln!(f, "  held     {}", instance.held.count(self.core()))?;
        D::show_unit(self.core().data(), f)
    }
}

/// Writes whether a device can raise only its own interrupts, and by what, or why not.
fn show_isolation<D: Served>(known: &ProviderDevice<D>, f: &mut dyn Write) -> fmt::Result {
    let isolated = known.device().has_isolated_messages();
    match (isolated, known.interrupts().not_remapped()) {
        (true, None) => writeln!(f, "isolated by {}", known.unit().core().name()),
        (true, Some(_)) => writeln!(f, "isolated by its interrupt controller"),
        (false, None) => writeln!(f, "not isolated"),
        (false, Some(why)) => writeln!(f, "not isolated: {why}"),
    }
}

/// What writes the content of the files in sysfs.
pub fn writers<D: Layer>() -> Writers<D> {
    Writers {
        unit: unit_file,
        device: device_file::<D>,
    }
}

/// Writes the content of a unit's file in sysfs.
fn unit_file<D: Layer>(unit: &ProviderUnit<D>, file: UnitFile, f: &mut dyn Write) -> fmt::Result {
    match file {
        UnitFile::Driver => writeln!(f, "{}", D::NAME),
        UnitFile::Version => writeln!(f, "{VERSION}"),
        UnitFile::State => writeln!(f, "{}", unit.state()),
        UnitFile::Features => {
            D::show_features(unit.core().data(), f)?;
            writeln!(f)
        }
        UnitFile::Held => match D::slot().get() {
            Some(instance) => writeln!(f, "{}", instance.held.count(unit.core())),
            None => Ok(()),
        },
        UnitFile::StrayFaults => writeln!(f, "{}", unit.faults_of_unknown_ids()),
    }
}

/// Writes the content of a device's file in sysfs.
fn device_file<D: Layer>(device: Device<'_>, file: DeviceFile, f: &mut dyn Write) -> fmt::Result {
    // SAFETY: C has probed the device, for a unit of this driver, and does not release it while it
    // has files.
    let known = unsafe { ProviderDevice::<D>::of(device.as_raw()) };
    let (Ok(known), Some(instance)) = (known, D::slot().get()) else {
        return Ok(());
    };
    let Ok(group) = known.group() else {
        return Ok(());
    };
    match file {
        DeviceFile::Owner => {
            D::look(&instance, group);
            group.core().show_owner(f)
        }
        DeviceFile::Domain => {
            D::look(&instance, group);
            group.core().show_domain(f)
        }
        DeviceFile::Reason => group.core().show_reason(known.endpoint(), f),
        DeviceFile::Ids => {
            for (number, id) in known.endpoint().ids().iter().enumerate() {
                let between = if number == 0 { "" } else { " " };
                write!(f, "{between}{id}")?;
            }
            writeln!(f)
        }
        DeviceFile::Interrupts => show_isolation(known, f),
        DeviceFile::Faults => group.core().show_fault_count(f),
        DeviceFile::LastFault => group.core().show_last_fault(f),
    }
}
