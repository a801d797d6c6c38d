// SPDX-License-Identifier: GPL-2.0

//! Reads a machine from sysfs.
//!
//! Devices come and go meanwhile. A PCI device of which the vendor can no longer be read is gone,
//! and is left out; what else cannot be read is unknown.

use std::collections::BTreeMap;

use crate::{
    files::Files,
    machine::{Device, Group, Interrupts, Layer, LayerKind, Machine, Region, Unit},
    names::Names,
    pci,
};

const PCI: &str = "sys/bus/pci/devices";
const GROUPS: &str = "sys/kernel/iommu_groups";
const UNITS: &str = "sys/class/iommu";

/// Reads what is known of a machine.
pub fn machine(files: &dyn Files, names: &Names) -> Machine {
    let mut devices = BTreeMap::new();
    let mut groups = BTreeMap::new();
    for name in files.list(PCI) {
        if let Some(device) = pci_device(files, names, &name) {
            devices.insert(name, device);
        }
    }
    for number in files.list(GROUPS) {
        let Ok(number) = number.parse::<u32>() else {
            continue;
        };
        let folder = format!("{GROUPS}/{number}");
        let members = files.list(&format!("{folder}/devices"));
        for name in &members {
            if devices.contains_key(name) || pci::is_address(name) {
                continue;
            }
            // A device of another bus. Its link may have a number at its end that it has not.
            if let Some(path) = files.follow(&format!("{folder}/devices/{name}")) {
                devices.insert(name.clone(), other_device(files, name, &path, number));
            }
        }
        groups.insert(number, group(files, number));
    }
    let mut units: Vec<Unit> = Vec::new();
    for name in files.list(UNITS) {
        units.push(unit(files, &name, &devices));
    }
    let mut devices: Vec<Device> = devices.into_values().collect();
    for device in &mut devices {
        // The group was read before the device came, or is gone.
        if let Some(number) = device.group {
            groups.entry(number).or_insert_with(|| group(files, number));
        }
        native_reason(files, device);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        fill(files, group, &devices);
    }
    groups.retain(|group| !group.devices.is_empty());
    Machine {
        layer: layer(files, &units, &groups),
        interrupts: interrupts(files),
        unsafe_interrupts_allowed: unsafe_interrupts(files),
        units,
        groups,
        devices,
    }
}

fn pci_device(files: &dyn Files, names: &Names, name: &str) -> Option<Device> {
    let path = files.follow(&format!("{PCI}/{name}"))?;
    let number = |file: &str| hex(&files.maybe(&format!("{path}/{file}"))?);
    let vendor = number("vendor")? as u16;
    let ids = number("device").map(|device| (vendor, device as u16));
    let class = number("class");
    let parts = path.split('/').filter(|part| pci::is_address(part));
    let bridges = parts.filter(|part| *part != name).map(str::to_owned);
    let reset = files.text(&format!("{path}/reset_method"));
    let mut device = Device {
        name: name.into(),
        title: ids.and_then(|(vendor, device)| names.device(vendor, device)),
        class,
        class_title: class.and_then(|class| names.class(class)),
        ids,
        bridges: bridges.collect(),
        reset: reset.ok().map(|methods| words(&methods)),
        pci: true,
        ..Device::default()
    };
    // ACS is of bridges and of devices with several functions.
    let header = files.read(&format!("{path}/config")).ok();
    device.acs = header.map_or(pci::Acs::Unknown, |config| pci::acs(&config));
    place(files, &path, &mut device);
    Some(device)
}

fn other_device(files: &dyn Files, name: &str, path: &str, group: u32) -> Device {
    let mut device = Device {
        name: name.into(),
        title: files.maybe(&format!("{path}/modalias")),
        ..Device::default()
    };
    place(files, path, &mut device);
    device.group = device.group.or(Some(group));
    device
}

/// Reads what any device has.
fn place(files: &dyn Files, path: &str, device: &mut Device) {
    let group = files.link_name(&format!("{path}/iommu_group"));
    device.driver = files.link_name(&format!("{path}/driver"));
    device.unit = files.link_name(&format!("{path}/iommu"));
    device.group = group.and_then(|number| number.parse().ok());
    device.reason = files.maybe(&format!("{path}/iommu_core/reason"));
    device.interrupts = files.maybe(&format!("{path}/iommu_core/interrupts"));
    let ids = files.maybe(&format!("{path}/iommu_core/ids"));
    device.unit_ids = ids.map(|ids| words(&ids)).unwrap_or_default();
}

/// The reason of a device behind a driver of the kernel, if iommu_core is the kernel's layer.
fn native_reason(files: &dyn Files, device: &mut Device) {
    let (None, Some(group)) = (&device.reason, device.group) else {
        return;
    };
    let Some(reasons) = files.maybe(&format!("{GROUPS}/{group}/reason")) else {
        return;
    };
    let begin = format!("{}: ", device.name);
    let reason = reasons.lines().find_map(|line| line.strip_prefix(&begin));
    device.reason = reason.map(str::to_owned);
}

fn group(files: &dyn Files, number: u32) -> Group {
    let folder = format!("{GROUPS}/{number}");
    let regions = files.maybe(&format!("{folder}/reserved_regions"));
    let regions = regions.unwrap_or_default();
    let region = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Region {
            first: words.next()?,
            last: words.next()?,
            kind: words.next()?,
        })
    };
    Group {
        number,
        kind: files.maybe(&format!("{folder}/type")),
        owner: files.maybe(&format!("{folder}/owner")),
        domain: files.maybe(&format!("{folder}/domain")),
        reserved: regions.lines().filter_map(region).collect(),
        ..Group::default()
    }
}

/// Adds the group's devices, and what is in their folders.
fn fill(files: &dyn Files, group: &mut Group, devices: &[Device]) {
    let number = Some(group.number);
    let members = devices.iter().filter(|device| device.group == number);
    group.devices = members.map(|device| device.name.clone()).collect();
    // All members say the same. One may be gone.
    let said = |file: &str| {
        group.devices.iter().find_map(|name| {
            let path = files.follow(&format!("{GROUPS}/{}/devices/{name}", group.number))?;
            files.maybe(&format!("{path}/iommu_core/{file}"))
        })
    };
    let (owner, domain) = (said("owner"), said("domain"));
    let (faults, last) = (said("faults"), said("last_fault"));
    group.owner = owner.or(group.owner.take());
    group.domain = domain.or(group.domain.take());
    group.faults = faults.and_then(|count| count.parse().ok());
    group.last_fault = last.filter(|fault| fault != "none");
}

fn unit(files: &dyn Files, name: &str, devices: &BTreeMap<String, Device>) -> Unit {
    let ours = |file: &str| files.maybe(&format!("{UNITS}/{name}/iommu_core/{file}"));
    let number = |file: &str| ours(file)?.parse().ok();
    // The kernel's drivers have folders of their own names, or none.
    let theirs = || {
        let has = |folder: &str| !files.list(&format!("{UNITS}/{name}/{folder}")).is_empty();
        match () {
            () if has("intel-iommu") => Some("intel-iommu"),
            () if has("amd-iommu") => Some("amd-iommu"),
            () if name.starts_with("smmu3.") => Some("arm-smmu-v3"),
            () if name.starts_with("smmu.") => Some("arm-smmu"),
            () if name.starts_with("virtio") => Some("virtio-iommu"),
            () => None,
        }
    };
    let version = || files.maybe(&format!("{UNITS}/{name}/intel-iommu/version"));
    let behind = devices.values();
    let behind = behind.filter(|device| device.unit.as_deref() == Some(name));
    Unit {
        name: name.into(),
        driver: ours("driver").or_else(|| theirs().map(str::to_owned)),
        version: ours("version").or_else(version),
        state: ours("state"),
        features: ours("features")
            .map(|text| words(&text))
            .unwrap_or_default(),
        held: number("held"),
        stray_faults: number("stray_faults"),
        devices: behind.map(|device| device.name.clone()).collect(),
    }
}

fn layer(files: &dyn Files, units: &[Unit], groups: &[Group]) -> Layer {
    // Only the native layer has these files in groups, with any driver.
    let native = |group: &Group| {
        files
            .read(&format!("{GROUPS}/{}/owner", group.number))
            .is_ok()
    };
    let module = files.maybe("sys/module/iommu_core/version");
    let ours = units.iter().find(|unit| unit.state.is_some());
    let kind = match () {
        () if groups.iter().any(native) => LayerKind::Native,
        () if ours.is_some() || module.is_some() => LayerKind::Hosted,
        () => LayerKind::Kernel,
    };
    Layer {
        kind,
        version: module.or_else(|| ours?.version.clone()),
    }
}

/// Whether interrupts are isolated, by the names of the chips of interrupts that are in use.
fn interrupts(files: &dyn Files) -> Interrupts {
    let mut open = false;
    for number in files.list("sys/kernel/irq") {
        let Some(chip) = files.maybe(&format!("sys/kernel/irq/{number}/chip_name")) else {
            continue;
        };
        // `IR-` is interrupt remapping on x86, `ITS-` is GICv3's translation on Arm.
        if chip.starts_with("IR-PCI") || chip.starts_with("ITS-") {
            return Interrupts::Isolated;
        }
        open |= chip.starts_with("PCI-MSI");
    }
    match open {
        true => Interrupts::Open,
        false => Interrupts::Unknown,
    }
}

fn unsafe_interrupts(files: &dyn Files) -> Option<bool> {
    let parameter = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    let value = files.maybe(parameter)?;
    Some(value == "Y")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
