// SPDX-License-Identifier: GPL-2.0

//! The list of devices, as a table.

use std::io::Write;

use comfy_table::{presets::NOTHING, ContentArrangement, Row, Table};

use crate::{
    cli::Filter,
    machine::{Device, Group, LayerKind, Machine},
    Failure,
};

/// The machine with those devices only that the filter wants, and their groups and units.
///
/// # Errors
///
/// The filter names a group or a unit that is not there.
pub fn filtered(machine: &Machine, filter: &Filter) -> Result<Machine, Failure> {
    let mut machine = machine.clone();
    if let Some(number) = filter.group {
        if !machine.groups.iter().any(|group| group.number == number) {
            return Err(Failure::Input(format!("no group {number}")));
        }
    }
    if let Some(name) = &filter.unit {
        if !machine.units.iter().any(|unit| unit.name == *name) {
            let names: Vec<&str> = machine.units.iter().map(|unit| &*unit.name).collect();
            return Err(Failure::Input(format!(
                "no unit {name}; there are: {}",
                names.join(" ")
            )));
        }
    }
    let is_all = filter.class.is_none()
        && filter.group.is_none()
        && filter.unit.is_none()
        && filter.driver.is_none();
    if is_all {
        return Ok(machine);
    }
    machine.devices.retain(|device| wants(filter, device));
    let kept = &machine.devices;
    for group in &mut machine.groups {
        group
            .devices
            .retain(|name| kept.iter().any(|device| device.name == *name));
    }
    machine.groups.retain(|group| !group.devices.is_empty());
    for unit in &mut machine.units {
        unit.devices
            .retain(|name| kept.iter().any(|device| device.name == *name));
    }
    machine.units.retain(|unit| !unit.devices.is_empty());
    Ok(machine)
}

fn wants(filter: &Filter, device: &Device) -> bool {
    let is = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
    let class = || {
        let Some(wanted) = filter.class.as_deref().map(str::to_lowercase) else {
            return true;
        };
        let number = device.class.map(|class| format!("{class:06x}"));
        let digits = wanted.strip_prefix("0x").unwrap_or(&wanted);
        let title = device.class_title.as_deref().unwrap_or("").to_lowercase();
        number.is_some_and(|number| number.starts_with(digits)) || title.contains(&wanted)
    };
    is(&filter.unit, &device.unit)
        && is(&filter.driver, &device.driver)
        && filter.group.is_none_or(|group| device.group == Some(group))
        && class()
}

/// Writes the list.
pub fn write(machine: &Machine, out: &mut dyn Write) -> Result<(), Failure> {
    let ours = machine.groups.iter().any(|group| group.owner.is_some());
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let mut head = vec!["GROUP", "DEVICE", "NAME", "DRIVER", "UNIT", "TYPE"];
    if ours {
        head.extend(["DOMAIN", "OWNER", "FAULTS"]);
    }
    table.set_header(head);
    for group in &machine.groups {
        for device in machine.members(group) {
            table.add_row(row(device, Some(group), ours));
        }
    }
    // A unit's own function is in no group, and is not missing from any.
    let alone = machine.devices.iter();
    let alone = alone.filter(|device| device.group.is_none() && !device.is_unit());
    for device in alone {
        table.add_row(row(device, None, ours));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim())?;
    }
    let held: u64 = machine.units.iter().filter_map(|unit| unit.held).sum();
    if held > 0 && machine.layer.kind == LayerKind::Hosted {
        let devices = if held == 1 { "device" } else { "devices" };
        writeln!(
            out,
            "\nheld as before, for example because of a driver that was bound before the unit was \
             taken: {held} {devices}, in no group of the kernel"
        )?;
    }
    Ok(())
}

fn row(device: &Device, group: Option<&Group>, ours: bool) -> Row {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let number = group.map(|group| group.number.to_string());
    let mut cells = vec![
        or_dash(number.as_deref()),
        device.name.clone(),
        device.what(),
        or_dash(device.driver.as_deref()),
        or_dash(device.unit.as_deref()),
        or_dash(group.and_then(|group| group.kind.as_deref())),
    ];
    if ours {
        let faults = group
            .and_then(|group| group.faults)
            .map(|count| count.to_string());
        cells.push(or_dash(group.and_then(|group| group.domain.as_deref())));
        let owner = group.and_then(|group| group.owner.as_deref());
        // The driver has a column of its own.
        let owner = owner.map(|owner| owner.split(": ").next().unwrap_or(owner));
        cells.push(or_dash(owner));
        cells.push(or_dash(faults.as_deref()));
    }
    Row::from(cells)
}
