// SPDX-License-Identifier: GPL-2.0

//! lsiommu: lists IOMMUs, groups and devices, says why, checks, and shows faults.
//!
//! | file | what |
//! |---|---|
//! | `cli` | the command line |
//! | `files` | where files come from: a file system, or a record of one |
//! | `read` | reads a machine from these files |
//! | `machine` | what is known of a machine; this is what `--json` writes |
//! | `count` | numbers with the noun that they count |
//! | `pci`, `names` | addresses, configuration space, names from pci.ids |
//! | `list`, `draw`, `why`, `check`, `faults`, `metrics` | the answers |

pub mod check;
pub mod cli;
pub mod count;
pub mod draw;
pub mod faults;
pub mod files;
pub mod list;
pub mod machine;
pub mod metrics;
pub mod names;
pub mod pci;
pub mod read;
pub mod why;

use std::{
    fmt, io,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use cli::{Arguments, Command, Output};
use files::{Disk, Files, Record, Recorder};
use machine::Machine;
use names::Names;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The output cannot be written.
    Output(io::Error),
    /// Something that the user named is not there, or not readable.
    Input(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "cannot write: {error}"),
            Self::Input(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The exit status of an answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// All is well.
    Well,
    /// The machine has no IOMMU in use, or a check has failed.
    Bad,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        match status {
            Status::Well => Self::from(0),
            Status::Bad => Self::from(1),
        }
    }
}

/// Does what the command line asks for, and writes the answer to `out`.
///
/// # Errors
///
/// Something that the user named cannot be read, or the answer cannot be written.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Status, Failure> {
    if arguments.command.is_some() && arguments.is_about_the_list() {
        let text =
            "filters and --json, --prometheus, --tree, --dot, --svg are for the list, and come \
                    without a command";
        return Err(Failure::Input(text.into()));
    }
    let files = open(&arguments.root)?;
    let names = Names::load(arguments.pci_ids.as_deref());
    let machine = || read::machine(&*files, &names);
    match &arguments.command {
        Some(Command::Why { device }) => {
            let machine = machine();
            why::write(&machine, machine.find(device)?, out)?;
            Ok(Status::Well)
        }
        Some(Command::Check { json, devices }) => {
            let machine = machine();
            let mut asked = Vec::new();
            for device in devices {
                asked.push(machine.find(device)?);
            }
            let report = check::all(&machine, &asked);
            match json {
                true => write_json(&report, out)?,
                false => check::write(&report, out)?,
            }
            Ok(check::status(&report))
        }
        Some(Command::Faults { follow, interval }) => match follow {
            true => faults::follow(machine, *interval, out),
            false => faults::write(&machine(), out),
        },
        Some(Command::Record) => {
            let recorder = Recorder::new(&*files);
            read::machine(&recorder, &names);
            out.write_all(recorder.text().as_bytes())?;
            Ok(Status::Well)
        }
        None => list(&machine(), arguments, out),
    }
}

fn list(machine: &Machine, arguments: &Arguments, out: &mut dyn Write) -> Result<Status, Failure> {
    let machine = list::filtered(machine, &arguments.filter)?;
    match arguments.output() {
        Output::Table => {
            if machine.has_no_iommu() {
                writeln!(out, "no IOMMU is in use: {}", machine.advice())?;
                return Ok(Status::Bad);
            }
            list::write(&machine, out)?;
        }
        Output::Json => write_json(&machine, out)?,
        Output::Prometheus => metrics::write(&machine, out)?,
        Output::Tree => draw::tree(&machine, out)?,
        Output::Dot => draw::dot(&machine, out)?,
        Output::Svg => draw::svg(&machine, out)?,
    }
    Ok(Status::Well)
}

fn write_json(value: &impl serde::Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// The files below a folder, or in a record.
fn open(root: &Path) -> Result<Box<dyn Files>, Failure> {
    let input = |what: &dyn fmt::Display| Failure::Input(format!("{}: {what}", root.display()));
    if root.is_file() {
        let text = std::fs::read_to_string(root).map_err(|error| input(&error))?;
        let record = Record::parse(&text).map_err(|error| input(&error))?;
        return Ok(Box::new(record));
    }
    if !root.join("sys").is_dir() {
        return Err(input(&"has no folder sys"));
    }
    Ok(Box::new(Disk::new(PathBuf::from(root))))
}
