// SPDX-License-Identifier: GPL-2.0

//! Metrics in the text format of Prometheus.

use std::{fmt::Display, io::Write};

use crate::{
    machine::{LayerKind, Machine},
    Failure,
};

/// Writes the metrics.
pub fn write(machine: &Machine, out: &mut dyn Write) -> Result<(), Failure> {
    let layer = match machine.layer.kind {
        LayerKind::Kernel => "kernel",
        LayerKind::Hosted => "hosted",
        LayerKind::Native => "native",
    };
    let version = machine.layer.version.as_deref().unwrap_or("");
    let mut info = Metric::new(out, "iommu_info", "gauge", "The kernel's IOMMU layer.")?;
    info.add(&[("layer", &layer), ("iommu_core", &version)], 1)?;
    let mut metric = Metric::new(out, "iommu_unit_info", "gauge", "An IOMMU.")?;
    for unit in &machine.units {
        let driver = unit.driver.as_deref().unwrap_or("");
        metric.add(&[("unit", &unit.name), ("driver", &driver)], 1)?;
    }
    let mut metric = Metric::new(
        out,
        "iommu_unit_devices",
        "gauge",
        "Devices behind an IOMMU.",
    )?;
    for unit in &machine.units {
        metric.add(&[("unit", &unit.name)], unit.devices.len() as u64)?;
    }
    let mut metric = Metric::new(
        out,
        "iommu_unit_translates",
        "gauge",
        "Whether an IOMMU translates.",
    )?;
    for unit in &machine.units {
        if let Some(state) = &unit.state {
            metric.add(&[("unit", &unit.name)], u64::from(state == "translates"))?;
        }
    }
    let mut metric = Metric::new(
        out,
        "iommu_unit_stray_faults_total",
        "counter",
        "Faults of devices that are in no group.",
    )?;
    for unit in &machine.units {
        if let Some(count) = unit.stray_faults {
            metric.add(&[("unit", &unit.name)], count)?;
        }
    }
    let mut metric = Metric::new(out, "iommu_group_devices", "gauge", "Devices in a group.")?;
    for group in &machine.groups {
        let kind = group.kind.as_deref().unwrap_or("");
        metric.add(
            &[("group", &group.number), ("type", &kind)],
            group.devices.len() as u64,
        )?;
    }
    let mut metric = Metric::new(
        out,
        "iommu_group_faults_total",
        "counter",
        "Faults of a group.",
    )?;
    for group in &machine.groups {
        if let Some(count) = group.faults {
            metric.add(&[("group", &group.number)], count)?;
        }
    }
    Ok(())
}

struct Metric<'a> {
    out: &'a mut dyn Write,
    name: &'static str,
}

impl<'a> Metric<'a> {
    fn new(
        out: &'a mut dyn Write,
        name: &'static str,
        kind: &str,
        help: &str,
    ) -> Result<Self, Failure> {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        Ok(Self { out, name })
    }

    fn add(&mut self, labels: &[(&str, &dyn Display)], value: u64) -> Result<(), Failure> {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", quoted(&value.to_string())))
            .collect();
        writeln!(self.out, "{}{{{}}} {value}", self.name, labels.join(","))?;
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
