// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// List IOMMUs, their groups and the devices in them
///
/// Without a command, lsiommu lists each device that is in a group, with its group, driver and
/// unit, and the type of the group's default domain. With iommu_core it also lists who holds the
/// group and how many faults the group had.
#[derive(Parser, Debug)]
#[command(name = "lsiommu", version)]
pub struct Arguments {
    /// What to show, if not the list
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub output: Outputs,

    #[command(flatten)]
    pub filter: Filter,

    /// Read sys below this folder, or read a record that `lsiommu record` has written
    #[arg(long, value_name = "PATH", default_value = "/", global = true)]
    pub root: PathBuf,

    /// Read the names of devices from this file (default: pci.ids in /usr/share/misc or
    /// /usr/share/hwdata)
    #[arg(long, value_name = "FILE", global = true)]
    pub pci_ids: Option<PathBuf>,
}

/// How to write the answer.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct Outputs {
    /// Write everything that is known as JSON
    #[arg(long)]
    pub json: bool,

    /// Write metrics for the textfile collector of Prometheus' node_exporter
    #[arg(long)]
    pub prometheus: bool,

    /// Write units, groups, bridges and devices as a tree
    #[arg(long)]
    pub tree: bool,

    /// Write the tree as a graph for Graphviz
    #[arg(long)]
    pub dot: bool,

    /// Write the tree as a picture (SVG)
    #[arg(long)]
    pub svg: bool,
}

/// Which devices to list.
#[derive(Args, Debug, Default)]
pub struct Filter {
    /// Only devices of this class: the first digits of its number (01, 0108), or a part of its name
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,

    /// Only devices in this group
    #[arg(long, value_name = "NUMBER")]
    pub group: Option<u32>,

    /// Only devices behind this unit
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,

    /// Only devices with this driver
    #[arg(long, value_name = "NAME")]
    pub driver: Option<String>,
}

/// What to show.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Say why a device is in its group, with whom, and what would change it
    Why {
        /// The device, such as 01:00.0 or 0000:01:00.0
        device: String,
    },
    /// Check whether devices are ready for VFIO; without a device, whether the machine is
    ///
    /// Each line is PASS, WARN or FAIL. What is not PASS has a next step. The exit status is 1 if
    /// there is a FAIL.
    Check {
        /// Write the checks as JSON
        #[arg(long)]
        json: bool,

        /// The devices
        devices: Vec<String>,
    },
    /// Show how many faults each group had, and the last one
    Faults {
        /// Go on, and show new faults as they come
        #[arg(short, long)]
        follow: bool,

        /// How many seconds to wait before looking again
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
        interval: f64,
    },
    /// Write all that lsiommu reads as text, for --root on another machine and for reports of bugs
    Record,
}

/// How the answer is written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Table,
    Json,
    Prometheus,
    Tree,
    Dot,
    Svg,
}

impl Arguments {
    /// Whether something was chosen that only the list has.
    pub fn is_about_the_list(&self) -> bool {
        let filter = &self.filter;
        let filters = [&filter.class, &filter.unit, &filter.driver];
        self.output() != Output::Table
            || filter.group.is_some()
            || filters.iter().any(|filter| filter.is_some())
    }

    /// How to write the answer.
    pub fn output(&self) -> Output {
        let outputs = &self.output;
        match () {
            () if outputs.json => Output::Json,
            () if outputs.prometheus => Output::Prometheus,
            () if outputs.tree => Output::Tree,
            () if outputs.dot => Output::Dot,
            () if outputs.svg => Output::Svg,
            () => Output::Table,
        }
    }
}
