// SPDX-License-Identifier: GPL-2.0

//! Whether devices are ready for VFIO, and what to do if not.

use std::io::Write;

use serde::Serialize;

use crate::{
    count::counted,
    machine::{Device, Group, Interrupts, LayerKind, Machine},
    why, Failure, Status,
};

/// How a check ended.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
#[serde(rename_all = "UPPERCASE")]
pub enum Result {
    Pass,
    Warn,
    Fail,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Check {
    /// The device; `None` for the machine.
    pub device: Option<String>,
    pub what: &'static str,
    pub result: Result,
    /// What was seen.
    pub seen: String,
    /// What to do, if it did not pass.
    pub next: Option<String>,
}

/// Checks the machine and the devices.
pub fn all(machine: &Machine, devices: &[&Device]) -> Vec<Check> {
    let mut checks = Checks::default();
    of_machine(machine, &mut checks);
    for device in devices {
        checks.device = Some(device.name.clone());
        of_device(machine, device, &mut checks);
    }
    checks.done
}

/// The exit status: bad if a check failed.
pub fn status(checks: &[Check]) -> Status {
    match checks.iter().any(|check| check.result == Result::Fail) {
        true => Status::Bad,
        false => Status::Well,
    }
}

/// Writes the checks, a line each.
pub fn write(checks: &[Check], out: &mut dyn Write) -> std::result::Result<(), Failure> {
    for check in checks {
        let result = match check.result {
            Result::Pass => "PASS",
            Result::Warn => "WARN",
            Result::Fail => "FAIL",
        };
        let place = check.device.as_deref().unwrap_or("machine");
        writeln!(out, "{result}  {place}: {}: {}", check.what, check.seen)?;
        if let Some(next) = &check.next {
            writeln!(out, "      next: {next}")?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Checks {
    device: Option<String>,
    done: Vec<Check>,
}

impl Checks {
    fn add(
        &mut self,
        what: &'static str,
        result: Result,
        seen: impl Into<String>,
        next: impl Into<String>,
    ) {
        let next = next.into();
        self.done.push(Check {
            device: self.device.clone(),
            what,
            result,
            seen: seen.into(),
            next: (result != Result::Pass).then_some(next),
        });
    }

    fn pass(&mut self, what: &'static str, seen: impl Into<String>) {
        self.add(what, Result::Pass, seen, "");
    }
}

fn of_machine(machine: &Machine, checks: &mut Checks) {
    if machine.has_no_iommu() {
        checks.add("IOMMU", Result::Fail, "none is in use", machine.advice());
        return;
    }
    let failed: Vec<&str> = machine
        .units
        .iter()
        .filter(|unit| unit.state.as_deref() == Some("failed"))
        .map(|unit| &*unit.name)
        .collect();
    if failed.is_empty() {
        let layer = match (machine.layer.kind, &machine.layer.version) {
            (LayerKind::Kernel, _) => "the kernel's drivers".to_owned(),
            (_, Some(version)) => format!("iommu_core {version}"),
            (_, None) => "iommu_core".to_owned(),
        };
        let names: Vec<&str> = machine.units.iter().map(|unit| &*unit.name).collect();
        checks.pass("IOMMU", format!("{} ({layer})", names.join(" ")));
    } else {
        let seen = format!("{} has failed", failed.join(" and "));
        checks.add(
            "IOMMU",
            Result::Fail,
            seen,
            "dmesg has the reason; reset the machine",
        );
    }
    let says = |device: &Device| device.interrupts.is_some();
    if machine.devices.iter().any(says) {
        // Each device is checked for itself.
        return;
    }
    match machine.interrupts {
        Interrupts::Isolated => checks.pass("interrupts", "isolated"),
        Interrupts::Open => open_interrupts(machine, "not isolated", "all groups", checks),
        Interrupts::Unknown => checks.add(
            "interrupts",
            Result::Warn,
            "no interrupt of a device is in use, so nothing tells whether they are isolated",
            "check again when a device has a driver",
        ),
    }
}

/// Devices can raise interrupts of others, and VFIO refuses `what` unless it was told not to.
fn open_interrupts(machine: &Machine, seen: &str, what: &str, checks: &mut Checks) {
    match machine.unsafe_interrupts_allowed {
        Some(true) => checks.add(
            "interrupts",
            Result::Warn,
            format!("{seen}, and VFIO may be used all the same (allow_unsafe_interrupts)"),
            "give devices only to users whom you trust: they can forge interrupts",
        ),
        _ => {
            let remedy = match machine.layer.kind {
                // It takes no unit that remaps interrupts for the kernel already.
                LayerKind::Hosted => {
                    "restart so that iommu_core comes before the device's driver, or with the \
                     kernel's own driver, if iommu_core does not isolate the unit's devices"
                }
                LayerKind::Kernel | LayerKind::Native => {
                    "enable interrupt remapping in the firmware's set-up and boot without \
                     intremap=off"
                }
            };
            checks.add(
                "interrupts",
                Result::Fail,
                format!("{seen}: VFIO refuses {what}"),
                format!(
                    "{remedy}; or accept that users can forge interrupts, with \
                     vfio_iommu_type1.allow_unsafe_interrupts=1"
                ),
            );
        }
    }
}

/// VFIO asks that no device of the group can raise interrupts of others.
fn of_interrupts(machine: &Machine, group: &Group, checks: &mut Checks) {
    let members = machine
        .devices
        .iter()
        .filter(|device| group.devices.contains(&device.name));
    let (mut isolated, mut open) = (None, None);
    for member in members {
        match member.has_isolated_interrupts() {
            Some(true) => isolated = member.interrupts.as_deref(),
            Some(false) => open = Some(member),
            None => {}
        }
    }
    match (open, isolated) {
        (Some(device), _) => {
            let text = device.interrupts.as_deref().unwrap_or("not isolated");
            let seen = format!("{}: {text}", device.name);
            open_interrupts(machine, &seen, "the group", checks);
        }
        (None, Some(text)) => checks.pass("interrupts", text),
        (None, None) => {}
    }
}

fn of_device(machine: &Machine, device: &Device, checks: &mut Checks) {
    if device.is_bridge() {
        checks.add(
            "kind",
            Result::Fail,
            "a bridge cannot be given to a user",
            "give devices below it",
        );
        return;
    }
    let Some(group) = machine.group_of(device) else {
        checks.add(
            "group",
            Result::Fail,
            "it is in no group, so no IOMMU translates its DMA",
            format!("lsiommu why {}", device.name),
        );
        return;
    };
    of_group(machine, device, group, checks);
    of_interrupts(machine, group, checks);
    of_driver(device, checks);
    if let Some(owner) = &group.owner {
        match owner.split(['(', ':']).next().unwrap_or("").trim() {
            "nobody" => checks.pass("holder", "nobody holds the group"),
            "kernel" => checks.add(
                "holder",
                Result::Warn,
                owner,
                "kernel drivers use the group until they are unbound",
            ),
            _ => checks.add(
                "holder",
                Result::Warn,
                format!("{owner} holds the group"),
                "nobody else gets it until the holder closes it",
            ),
        }
    }
    of_regions(group, checks);
    of_reset(machine, device, group, checks);
    if let Some(count) = group.faults {
        match count {
            0 => checks.pass("faults", "none so far"),
            _ => checks.add(
                "faults",
                Result::Warn,
                format!("{count} so far"),
                "lsiommu faults shows the last one",
            ),
        }
    }
}

fn of_group(machine: &Machine, device: &Device, group: &Group, checks: &mut Checks) {
    let blockers = why::in_the_way(machine, group);
    let blockers: Vec<&&Device> = blockers
        .iter()
        .filter(|other| other.name != device.name)
        .collect();
    let members = group.devices.len();
    if blockers.is_empty() {
        let seen = match members {
            1 => format!("group {}, alone", group.number),
            _ => format!(
                "group {} of {members} devices, none of them in the way",
                group.number
            ),
        };
        checks.pass("group", seen);
        return;
    }
    let names: Vec<String> = blockers
        .iter()
        .map(|other| format!("{} ({})", other.name, other.driver.as_deref().unwrap_or("")))
        .collect();
    let commands: Vec<String> = blockers.iter().map(|other| unbind(&other.name)).collect();
    checks.add(
        "group",
        Result::Fail,
        format!(
            "group {} is not viable: used by kernel drivers: {}",
            group.number,
            names.join(", ")
        ),
        format!(
            "{}; or see what would make the group smaller: lsiommu why {}",
            commands.join("; "),
            device.name
        ),
    );
}

fn unbind(name: &str) -> String {
    format!("echo {name} >/sys/bus/pci/devices/{name}/driver/unbind")
}

fn of_driver(device: &Device, checks: &mut Checks) {
    let name = &device.name;
    let bind = format!(
        "modprobe vfio-pci; echo vfio-pci >/sys/bus/pci/devices/{name}/driver_override; \
         echo {name} >/sys/bus/pci/drivers_probe"
    );
    match device.driver.as_deref() {
        Some(driver) if why::is_vfio(driver) => checks.pass("driver", driver),
        Some(driver) => checks.add(
            "driver",
            Result::Warn,
            format!("{driver} uses it"),
            format!("{}; {bind}", unbind(name)),
        ),
        None => checks.add("driver", Result::Warn, "none is bound", bind),
    }
}

fn of_regions(group: &Group, checks: &mut Checks) {
    let count = |kind: &str| {
        group
            .reserved
            .iter()
            .filter(|region| region.kind == kind)
            .count()
    };
    match (count("direct"), count("direct-relaxable")) {
        (0, 0) => checks.pass("reserved regions", "none that firmware needs"),
        (0, _) => checks.pass(
            "reserved regions",
            "firmware's, which it gives up when a user has the device",
        ),
        (direct, _) => checks.add(
            "reserved regions",
            Result::Fail,
            format!(
                "firmware does DMA with the group at all times ({})",
                counted(direct as u64, "region")
            ),
            "the kernel gives it to nobody; look in the firmware's set-up for what uses the device",
        ),
    }
}

fn of_reset(machine: &Machine, device: &Device, group: &Group, checks: &mut Checks) {
    let Some(methods) = &device.reset else {
        checks.add(
            "reset",
            Result::Warn,
            "the kernel knows no way to reset it, so what one user leaves in it the next one finds",
            "give it only to users who trust each other",
        );
        return;
    };
    let only_bus = !methods.is_empty() && methods.iter().all(|method| method == "bus");
    let shared = machine
        .members(group)
        .any(|other| other.name != device.name && !other.is_bridge());
    match () {
        () if methods.is_empty() => checks.add(
            "reset",
            Result::Warn,
            "all ways to reset it are switched off",
            format!(
                "echo default >/sys/bus/pci/devices/{}/reset_method",
                device.name
            ),
        ),
        () if only_bus && shared => checks.add(
            "reset",
            Result::Warn,
            "only with its bus, which others of the group are on",
            "give all of them to one user",
        ),
        () => checks.pass("reset", methods.join(" ")),
    }
}
