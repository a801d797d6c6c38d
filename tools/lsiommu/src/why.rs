// SPDX-License-Identifier: GPL-2.0

//! Why a device is in its group.

use std::io::Write;

use crate::{
    machine::{Device, Group, Machine},
    pci::Acs,
    Failure,
};

/// Writes why a device is in its group, and what would change it.
pub fn write(machine: &Machine, device: &Device, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{}", named(device))?;
    let Some(group) = machine.group_of(device) else {
        writeln!(out, "  is in no group: {}", without_group(machine, device))?;
        return Ok(());
    };
    let behind = match &device.unit {
        Some(unit) => format!(", behind {unit}"),
        None => String::new(),
    };
    writeln!(out, "  is in group {}{behind}", group.number)?;
    path(machine, device, out)?;
    let others: Vec<&Device> = machine
        .members(group)
        .filter(|other| other.name != device.name)
        .collect();
    if others.is_empty() {
        writeln!(
            out,
            "alone in the group: nothing keeps it from being isolated."
        )?;
        return Ok(());
    }
    reasons(machine, device, &others, out)?;
    let (text, advice) = explain(machine, device, &others);
    if device.reason.is_none() {
        writeln!(
            out,
            "this is concluded from the buses, as the kernel does not say it: {text}."
        )?;
    }
    writeln!(out, "what would change it: {advice}")?;
    Ok(())
}

fn named(device: &Device) -> String {
    let title = device.what();
    match title.is_empty() {
        true => device.name.clone(),
        false => format!("{} {title}", device.name),
    }
}

fn without_group(machine: &Machine, device: &Device) -> String {
    match () {
        () if device.is_unit() => "it is an IOMMU, and nothing translates its own DMA".into(),
        () if machine.has_no_iommu() => format!("no IOMMU is in use: {}", machine.advice()),
        () if device.driver.is_some() && machine.units.iter().any(|unit| unit.held > Some(0)) => {
            "its driver was bound before its unit was taken. It is held as it was, on identity, until \
             it is removed and found again"
                .into()
        }
        () => "no unit is responsible for it, or the kernel's log says why it was left out".into(),
    }
}

/// Writes the bridges above a device.
fn path(machine: &Machine, device: &Device, out: &mut dyn Write) -> Result<(), Failure> {
    for (depth, name) in device.bridges.iter().enumerate() {
        let bridge = machine.device(name);
        let acs = match bridge.map(|bridge| bridge.acs) {
            Some(Acs::On) => "isolates what is below it (ACS is on)",
            Some(Acs::Off) => {
                "has ACS, which is off: requests may pass from device to device below it"
            }
            Some(Acs::None) => "has no ACS: requests may pass from device to device below it",
            Some(Acs::Unknown) | None => "only root can see whether it has ACS",
        };
        let title = bridge.map(|bridge| bridge.what()).unwrap_or_default();
        writeln!(out, "  {}{name} {title}: {acs}", "  ".repeat(depth))?;
    }
    Ok(())
}

/// Writes who is in the group, and why.
fn reasons(
    machine: &Machine,
    device: &Device,
    others: &[&Device],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(
        out,
        "the group has {} devices, which no unit can keep apart:",
        others.len() + 1
    )?;
    for member in std::iter::once(&device).chain(others) {
        let driver = member.driver.as_deref().unwrap_or("no driver");
        let reason = member.reason.clone().unwrap_or_else(|| {
            let rest: Vec<&Device> = std::iter::once(device)
                .chain(others.iter().copied())
                .filter(|other| other.name != member.name)
                .collect();
            explain(machine, member, &rest).0
        });
        writeln!(out, "  {} ({driver}): {reason}", member.name)?;
    }
    Ok(())
}

/// Why a device is in one group with others, and what would change that. What iommu_core says
/// comes first; otherwise it is concluded from the buses.
fn explain(machine: &Machine, device: &Device, others: &[&Device]) -> (String, String) {
    if let Some(reason) = &device.reason {
        return (reason.clone(), advice(reason).into());
    }
    let sibling = others
        .iter()
        .find(|other| other.pci && device.pci && other.slot() == device.slot());
    let blind = |name: &&String| {
        let bridge = machine.device(name);
        bridge.is_some_and(|bridge| matches!(bridge.acs, Acs::None | Acs::Off))
    };
    let shared = |name: &&String| {
        others
            .iter()
            .all(|other| other.bridges.contains(name) || other.name == **name)
    };
    let bridge = device
        .bridges
        .iter()
        .rev()
        .find(|name| shared(name) && blind(name));
    let below = others
        .iter()
        .find(|other| other.bridges.contains(&device.name));
    let reason = match (sibling, below, bridge) {
        (Some(other), _, _) => {
            format!(
                "not isolated from function {} of the same device (no ACS)",
                other.name
            )
        }
        (None, Some(below), _) => {
            format!("is the bridge above {} and does not isolate it", below.name)
        }
        (None, None, Some(bridge)) => {
            format!("bridge {bridge} above does not isolate its devices (no ACS)")
        }
        (None, None, None) => {
            "grouped by the platform, or by a bridge of which only root can see more".into()
        }
    };
    let advice = advice(&reason).to_owned();
    (reason, advice)
}

/// What would change a group that was formed for a reason.
fn advice(reason: &str) -> &'static str {
    match () {
        () if reason.contains("shares requester id") => {
            "another slot that is not behind a PCIe-to-PCI bridge. Behind the bridge all devices \
             appear to the unit under one id, and no setting changes that."
        }
        () if reason.contains("of the same device") => {
            "nothing on this machine: the functions may reach each other inside the device. Give \
             them to one user together, or use a card whose functions have ACS or are known to the \
             kernel as isolated."
        }
        () if reason.contains("bridge") => {
            "a slot behind a root port or switch that has ACS, or ACS switched on in the firmware's \
             set-up. Kernels patched to ignore ACS (pcie_acs_override) only claim an isolation that \
             is not there."
        }
        () if reason.contains("platform") => "nothing: firmware or the bus puts them together.",
        () => "nothing needs to change.",
    }
}

/// Whether a driver is one of VFIO, which gives its device to a user: vfio-pci, mlx5-vfio-pci.
pub fn is_vfio(driver: &str) -> bool {
    driver.contains("vfio")
}

/// The devices of a group whose drivers keep VFIO from having it. The drivers of ports and pci-stub
/// do no DMA of their own, so they do not.
pub fn in_the_way<'a>(machine: &'a Machine, group: &'a Group) -> Vec<&'a Device> {
    machine
        .members(group)
        .filter(|member| {
            let driver = member.driver.as_deref();
            let harmless = driver
                .is_none_or(|driver| is_vfio(driver) || matches!(driver, "pcieport" | "pci-stub"));
            !harmless
        })
        .collect()
}
