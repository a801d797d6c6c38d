// SPDX-License-Identifier: GPL-2.0

//! Faults: how many, and the last one.

use std::{collections::BTreeMap, io::Write, thread, time::Duration};

use crate::{
    count::counted,
    machine::{LayerKind, Machine},
    Failure, Status,
};

/// Faults by group or unit, as they were when they were read.
type Seen = BTreeMap<String, u64>;

/// Writes the faults of each group that had one, and of units without a group.
pub fn write(machine: &Machine, out: &mut dyn Write) -> Result<Status, Failure> {
    if !is_known(machine) {
        writeln!(out, "{}", unknown(machine))?;
        return Ok(Status::Bad);
    }
    let mut seen = Seen::new();
    if news(machine, &mut seen, out)? == 0 {
        writeln!(out, "no faults")?;
    }
    Ok(Status::Well)
}

/// Writes faults as they come, and never ends.
pub fn follow(
    read: impl Fn() -> Machine,
    seconds: f64,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let pause = Duration::try_from_secs_f64(seconds.max(0.01))
        .map_err(|_| Failure::Input("--interval is no number of seconds".into()))?;
    let first = read();
    if !is_known(&first) {
        writeln!(out, "{}", unknown(&first))?;
        return Ok(Status::Bad);
    }
    let mut seen = Seen::new();
    news(&first, &mut seen, out)?;
    loop {
        out.flush()?;
        thread::sleep(pause);
        news(&read(), &mut seen, out)?;
    }
}

/// Whether somebody counts faults.
fn is_known(machine: &Machine) -> bool {
    let counted = machine.groups.iter().any(|group| group.faults.is_some());
    counted || machine.units.iter().any(|unit| unit.stray_faults.is_some())
}

fn unknown(machine: &Machine) -> String {
    let text = match (machine.has_no_iommu(), machine.layer.kind) {
        (true, _) => return format!("no IOMMU is in use: {}", machine.advice()),
        (false, LayerKind::Kernel) => {
            "the kernel's own drivers do not count faults; they log them: \
             dmesg | grep -e DMAR: -e AMD-Vi: -e arm-smmu"
        }
        (false, _) => "the driver of the unit does not count faults; dmesg has them",
    };
    text.into()
}

/// Writes those counts that differ from `seen`, and notes them. Returns how many were written.
pub fn news(machine: &Machine, seen: &mut Seen, out: &mut dyn Write) -> Result<usize, Failure> {
    let mut written = 0;
    let mut is_news = |name: String, count: u64| {
        let before = seen.insert(name, count).unwrap_or(0);
        // A group of the same number that is new begins to count again.
        (count != before && count > 0).then(|| count.saturating_sub(before))
    };
    for group in &machine.groups {
        let count = group.faults.unwrap_or(0);
        if let Some(more) = is_news(format!("group {}", group.number), count) {
            written += 1;
            let devices = group.devices.join(" ");
            let last = group.last_fault.as_deref().unwrap_or("not known");
            writeln!(
                out,
                "group {} ({devices}): {} ({more} new), last: {last}",
                group.number,
                counted(count, "fault")
            )?;
        }
    }
    for unit in &machine.units {
        let count = unit.stray_faults.unwrap_or(0);
        if let Some(more) = is_news(unit.name.clone(), count) {
            written += 1;
            writeln!(
                out,
                "{}: {} ({more} new) of devices that are in no group; dmesg names them",
                unit.name,
                counted(count, "fault")
            )?;
        }
    }
    Ok(written)
}
