// SPDX-License-Identifier: GPL-2.0

//! lsiommu.8 is made from the command line's help. With UPDATE_ANSWERS=1 it is written anew.

mod common;

use std::{env, fs};

use clap::CommandFactory;
use clap_mangen::{roff::Roff, Man};
use common::here;
use lsiommu::cli::Arguments;

/// What the help does not say.
const REST: &str = r#".SH "EXIT STATUS"
.TP
0
All is well.
.TP
1
No IOMMU is in use, nobody counts faults, or a check has failed.
.TP
2
The command line is wrong, or something that it names cannot be read.
.SH FILES
.TP
/sys/class/iommu, /sys/kernel/iommu_groups, /sys/bus/pci/devices
What is read. Everybody may read it, but for the part of a device's configuration space that says whether a bridge has
Access Control Services (ACS). Only
.B lsiommu why
shows that.
.TP
/sys/class/iommu/*/iommu_core, /sys/bus/*/devices/*/iommu_core
What iommu_core adds: who holds a group, what it is attached to, why it was formed, and its faults. Without iommu_core
these columns are left out.
.TP
/usr/share/misc/pci.ids
Names of devices.
.SH EXAMPLES
.TP
.B lsiommu \-\-class 02
Network cards.
.TP
.B lsiommu check 01:00.0 && echo ready
Whether a device can be given to a guest.
.TP
.B lsiommu \-\-prometheus >/var/lib/prometheus/node\-exporter/iommu.prom
Metrics for node_exporter.
.SH "SEE ALSO"
.BR lspci (8),
.BR dmesg (1)
"#;

fn manual() -> String {
    let mut command = Arguments::command();
    command.build();
    let man = Man::new(command.clone())
        .section("8")
        .manual("System Administration")
        .date("");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    commands.to_writer(&mut page).unwrap();
    for command in command
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let mut part = Roff::new();
        let usage = command.clone().render_usage().to_string();
        part.control("SS", [usage.trim_start_matches("Usage: ")]);
        part.to_writer(&mut page).unwrap();
        // Without what all commands have.
        let plain = Arguments::command();
        let plain = plain.find_subcommand(command.get_name()).unwrap();
        let man = Man::new(plain.clone().disable_help_flag(true));
        let about = command.get_long_about().or(command.get_about()).unwrap();
        page.extend_from_slice(format!("{about}\n").as_bytes());
        if plain.get_arguments().next().is_some() {
            let mut options = Vec::new();
            man.render_options_section(&mut options).unwrap();
            let options = String::from_utf8(options).unwrap();
            // Its heading would be one of the page.
            page.extend_from_slice(options.replace(".SH OPTIONS\n", "").as_bytes());
        }
    }
    let page = String::from_utf8(page).unwrap();
    format!(".\\\" SPDX-License-Identifier: GPL-2.0\n{page}{REST}")
}

#[test]
fn the_manual_says_what_the_help_says() {
    let path = here("lsiommu.8");
    let page = manual();
    if env::var_os("UPDATE_ANSWERS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap_or_default(), page);
    for option in Arguments::command()
        .get_arguments()
        .filter_map(|argument| argument.get_long())
    {
        assert!(page.contains(&option.replace('-', "\\-")), "{option}");
    }
}

#[test]
fn the_version_is_that_of_the_module() {
    let text = fs::read_to_string(here("../../version.rs")).unwrap();
    let version = text.split('"').nth(1).unwrap();
    assert_eq!(env!("CARGO_PKG_VERSION"), version);
}
