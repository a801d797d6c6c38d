// SPDX-License-Identifier: GPL-2.0

//! Units, groups, bridges and devices as a tree, as a graph, and as a picture.

use std::{collections::BTreeSet, io::Write};

use crate::{
    count::counted,
    machine::{Device, Group, Machine},
    Failure,
};

/// Something in the tree, with what is below it.
struct Node {
    kind: Kind,
    text: String,
    below: Vec<Node>,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
    Unit,
    Group,
    Device,
}

/// The tree: units, groups behind them, devices in these; below a bridge what it leads to, if that
/// is in the same group.
fn nodes(machine: &Machine) -> Vec<Node> {
    let mut units: Vec<Option<&str>> = machine.units.iter().map(|unit| Some(&*unit.name)).collect();
    // Devices whose unit is not known, or is gone.
    units.push(None);
    let known: BTreeSet<&str> = units.iter().flatten().copied().collect();
    let mut trees = Vec::new();
    for name in units {
        let is_behind = |device: &Device| {
            let unit = device.unit.as_deref().filter(|unit| known.contains(unit));
            unit == name
        };
        let mut below = Vec::new();
        for group in &machine.groups {
            let members: Vec<&Device> = machine
                .members(group)
                .filter(|device| is_behind(device))
                .collect();
            if !members.is_empty() {
                below.push(Node {
                    kind: Kind::Group,
                    text: group_text(group),
                    below: under(&members, None),
                });
            }
        }
        match name {
            Some(name) => {
                let unit = machine.units.iter().find(|unit| unit.name == name);
                let words = unit.map(|unit| [&unit.driver, &unit.state]);
                let words: Vec<&str> = words
                    .iter()
                    .flatten()
                    .filter_map(|word| word.as_deref())
                    .collect();
                trees.push(Node {
                    kind: Kind::Unit,
                    text: format!("{name} {}", words.join(", ")).trim_end().to_owned(),
                    below,
                });
            }
            None => {
                let alone: Vec<&Device> = machine
                    .devices
                    .iter()
                    .filter(|device| device.group.is_none() && !device.is_unit())
                    .collect();
                below.extend(under(&alone, None));
                if !below.is_empty() {
                    trees.push(Node {
                        kind: Kind::Unit,
                        text: "behind no unit".into(),
                        below,
                    });
                }
            }
        }
    }
    trees
}

fn group_text(group: &Group) -> String {
    let kind = group.kind.as_deref().unwrap_or("");
    let mut text = format!("group {} {kind}", group.number)
        .trim_end()
        .to_owned();
    for more in [&group.domain, &group.owner].into_iter().flatten() {
        text += ", ";
        text += more;
    }
    match group.faults {
        Some(count) if count > 0 => format!("{text}, {}", counted(count, "fault")),
        _ => text,
    }
}

/// Those of `devices` whose nearest bridge among them is `above`, with what is below each.
fn under(devices: &[&Device], above: Option<&Device>) -> Vec<Node> {
    let nearest = |device: &Device| {
        let mut bridges = device.bridges.iter().rev();
        let found = bridges.find(|name| devices.iter().any(|other| other.name == **name));
        found.cloned()
    };
    let wanted = above.map(|device| device.name.clone());
    let here = devices.iter().filter(|device| nearest(device) == wanted);
    here.map(|device| Node {
        kind: Kind::Device,
        text: device_text(device),
        // A link that leads to itself ends here.
        below: match device.bridges.contains(&device.name) {
            true => Vec::new(),
            false => under(devices, Some(device)),
        },
    })
    .collect()
}

fn device_text(device: &Device) -> String {
    let mut text = format!("{} {}", device.name, device.what())
        .trim_end()
        .to_owned();
    if let Some(driver) = &device.driver {
        text += &format!(" [{driver}]");
    }
    text
}

/// Writes the tree with lines.
pub fn tree(machine: &Machine, out: &mut dyn Write) -> Result<(), Failure> {
    fn write(nodes: &[Node], begin: &str, out: &mut dyn Write) -> Result<(), Failure> {
        for (number, node) in nodes.iter().enumerate() {
            let last = number + 1 == nodes.len();
            let (branch, more) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            writeln!(out, "{begin}{branch}{}", node.text)?;
            write(&node.below, &format!("{begin}{more}"), out)?;
        }
        Ok(())
    }
    for node in nodes(machine) {
        writeln!(out, "{}", node.text)?;
        write(&node.below, "", out)?;
    }
    Ok(())
}

/// Writes the tree as a graph for Graphviz.
pub fn dot(machine: &Machine, out: &mut dyn Write) -> Result<(), Failure> {
    fn write(
        nodes: &[Node],
        above: Option<usize>,
        next: &mut usize,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        for node in nodes {
            let number = *next;
            *next += 1;
            let shape = match node.kind {
                Kind::Unit => "box3d",
                Kind::Group => "folder",
                Kind::Device => "box",
            };
            let text = node.text.replace('\\', "\\\\").replace('"', "\\\"");
            writeln!(out, "\tn{number} [shape={shape}, label=\"{text}\"];")?;
            if let Some(above) = above {
                writeln!(out, "\tn{above} -> n{number};")?;
            }
            write(&node.below, Some(number), next, out)?;
        }
        Ok(())
    }
    writeln!(
        out,
        "digraph iommu {{\n\trankdir=LR;\n\tnode [fontname=\"sans-serif\"];"
    )?;
    write(&nodes(machine), None, &mut 0, out)?;
    writeln!(out, "}}")?;
    Ok(())
}

const LINE: usize = 26;
const INDENT: usize = 28;
const LETTER: usize = 8;

/// Writes the tree as a picture.
pub fn svg(machine: &Machine, out: &mut dyn Write) -> Result<(), Failure> {
    /// The nodes in the order of lines: depth, the line of the node above, node.
    fn flatten<'a>(
        nodes: &'a [Node],
        depth: usize,
        above: Option<usize>,
        lines: &mut Vec<(usize, Option<usize>, &'a Node)>,
    ) {
        for node in nodes {
            let line = lines.len();
            lines.push((depth, above, node));
            flatten(&node.below, depth + 1, Some(line), lines);
        }
    }
    let trees = nodes(machine);
    let mut lines = Vec::new();
    flatten(&trees, 0, None, &mut lines);
    let width = |(depth, _, node): &(usize, Option<usize>, &Node)| {
        depth * INDENT + (node.text.chars().count() + 2) * LETTER
    };
    let widest = lines.iter().map(width).max().unwrap_or(0) + 20;
    let height = lines.len() * LINE + 20;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{widest}\" height=\"{height}\" \
         viewBox=\"0 0 {widest} {height}\" font-family=\"monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    )?;
    for (line, (depth, above, node)) in lines.iter().enumerate() {
        let (x, y) = (10 + depth * INDENT, 10 + line * LINE);
        if let Some(above) = above {
            let (from, to) = (10 + above * LINE + LINE - 4, y + LINE / 2 - 2);
            let at = 10 + (depth - 1) * INDENT + INDENT / 2;
            writeln!(
                out,
                "<path d=\"M{at} {from} V{to} H{x}\" fill=\"none\" stroke=\"#888888\"/>"
            )?;
        }
        let fill = match node.kind {
            Kind::Unit => "#cfe3ff",
            Kind::Group => "#fff0c2",
            Kind::Device => "#e8f5e0",
        };
        let wide = (node.text.chars().count() + 2) * LETTER;
        writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{}\" rx=\"4\" fill=\"{fill}\" \
             stroke=\"#555555\"/><text x=\"{}\" y=\"{}\">{}</text>",
            LINE - 4,
            x + LETTER,
            y + 15,
            escaped(&node.text),
        )?;
    }
    writeln!(out, "</svg>")?;
    Ok(())
}

fn escaped(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // No other control character may be in XML.
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}
