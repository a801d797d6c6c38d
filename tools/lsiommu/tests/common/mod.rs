// SPDX-License-Identifier: GPL-2.0

//! What several tests need: the recorded machines, and lsiommu's answers.

// Not every test needs everything.
#![allow(dead_code)]

use std::{fs, path::PathBuf};

use clap::Parser;
use lsiommu::{cli::Arguments, files::Record, Failure, Status};

/// A file of this package.
pub fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The recorded machines: name and text.
pub fn records() -> Vec<(String, String)> {
    let folder = fs::read_dir(here("tests/records")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    let mut records: Vec<(String, String)> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    records.sort();
    assert!(!records.is_empty(), "machines are missing");
    records
}

/// The machine of this name.
pub fn record(name: &str) -> Record {
    let (_, text) = records()
        .into_iter()
        .find(|(other, _)| other == name)
        .unwrap();
    Record::parse(&text).unwrap()
}

/// What lsiommu answers, with a record as root.
pub fn ask(record: &Record, words: &[&str]) -> Result<(Status, String), Failure> {
    let text = record.text();
    // Tests run at the same time.
    let id = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("lsiommu-{}-{id:?}", std::process::id()));
    fs::write(&path, text).unwrap();
    let root = path.to_str().unwrap();
    let names = here("tests/pci.ids");
    let begin = [
        "lsiommu",
        "--root",
        root,
        "--pci-ids",
        names.to_str().unwrap(),
    ];
    let arguments = Arguments::try_parse_from(begin.iter().chain(words)).unwrap();
    let mut out = Vec::new();
    let result = lsiommu::run(&arguments, &mut out);
    fs::remove_file(path).unwrap();
    Ok((result?, String::from_utf8(out).unwrap()))
}

/// The names of the devices in an answer to `--json`.
pub fn devices(record: &Record) -> Vec<String> {
    let (_, text) = ask(record, &["--json"]).unwrap();
    let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
    let devices = seen["devices"].as_array().unwrap();
    let names = devices
        .iter()
        .map(|device| device["name"].as_str().unwrap().to_owned());
    names.collect()
}
