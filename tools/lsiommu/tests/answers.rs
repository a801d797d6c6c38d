// SPDX-License-Identifier: GPL-2.0

//! The answers for recorded machines, compared with those in tests/answers.
//!
//! With UPDATE_ANSWERS=1 in the environment the files are written anew; look at the difference.

mod common;

use std::{env, fs};

use common::{ask, devices, here, record, records};
use lsiommu::{files::Record, Status};

/// What is asked of each machine.
const QUESTIONS: [&[&str]; 8] = [
    &[],
    &["--tree"],
    &["--dot"],
    &["--svg"],
    &["--prometheus"],
    &["--json"],
    &["faults"],
    &["check"],
];

#[test]
fn the_answers_for_recorded_machines_are_as_they_were() {
    for (name, text) in records() {
        let record = Record::parse(&text).unwrap();
        let mut answers = String::new();
        let mut add = |words: &[&str]| {
            let (status, text) = ask(&record, words).unwrap();
            let line = format!("$ lsiommu {}", words.join(" "));
            answers += &format!("{}\n{text}-> {status:?}\n\n", line.trim_end());
        };
        for words in QUESTIONS {
            add(words);
        }
        for device in devices(&record) {
            add(&["why", &device]);
            add(&["check", &device]);
        }
        let path = here(&format!("tests/answers/{name}.txt"));
        if env::var_os("UPDATE_ANSWERS").is_some() {
            fs::write(&path, &answers).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let differs = answers
            .lines()
            .zip(expected.lines())
            .find(|(is, was)| is != was);
        assert_eq!(differs, None, "{name}");
        assert_eq!(answers.len(), expected.len(), "{name}: one is longer");
    }
}

/// README shows the machine of the story.
#[test]
fn the_picture_in_the_documentation_is_of_a_recorded_machine() {
    let (_, picture) = ask(&record("vtd-iommu_core"), &["--svg"]).unwrap();
    let picture = format!("<!-- SPDX-License-Identifier: GPL-2.0 -->\n{picture}");
    let path = here("../../Documentation/topology.svg");
    if env::var_os("UPDATE_ANSWERS").is_some() {
        fs::write(&path, &picture).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), picture);
}

#[test]
fn a_record_of_a_record_is_the_same() {
    for (name, text) in records() {
        let record = Record::parse(&text).unwrap();
        assert_eq!(record.text(), text, "{name}");
        let (_, again) = ask(&record, &["record"]).unwrap();
        assert_eq!(again, text, "{name}");
    }
}

#[test]
fn each_kind_of_machine_was_recorded() {
    // Name of the record, vendor driver, layer.
    const KINDS: &str = include_str!("records/KINDS");
    let kinds = KINDS.lines().filter(|line| !line.starts_with('#'));
    let kinds: Vec<Vec<&str>> = kinds.map(|line| line.split(' ').collect()).collect();
    assert_eq!(kinds.len(), records().len(), "each record is in KINDS");
    for kind in kinds {
        let [name, driver, layer] = kind[..] else {
            panic!("no line of KINDS: {kind:?}");
        };
        let (_, text) = ask(&record(name), &["--json"]).unwrap();
        let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(seen["units"][0]["driver"], driver, "{name}");
        assert_eq!(seen["layer"]["kind"], layer, "{name}");
        assert!(seen["groups"].as_array().unwrap().len() > 3, "{name}");
        for group in seen["groups"].as_array().unwrap() {
            assert_eq!(
                group["owner"].is_string(),
                layer == "hosted",
                "{name}: {group}"
            );
        }
    }
}

#[test]
fn filters_leave_what_they_name() {
    let record = record("vtd-iommu_core");
    let (_, all) = ask(&record, &[]).unwrap();
    let nvme = |words: &[&str]| {
        let (status, text) = ask(&record, words).unwrap();
        assert_eq!(status, Status::Well);
        let lines: Vec<&str> = text
            .lines()
            .skip(1)
            .take_while(|line| !line.is_empty())
            .collect();
        assert!(!lines.is_empty(), "{words:?}");
        assert!(
            lines.iter().all(|line| line.contains("NVMe")),
            "{words:?}: {text}"
        );
        assert!(text.len() < all.len());
    };
    nvme(&["--class", "0108"]);
    nvme(&["--class", "0x010802"]);
    nvme(&["--class", "nvme"]);
    nvme(&["--driver", "nvme"]);
    let (_, empty) = ask(&record, &["--driver", "none-such"]).unwrap();
    assert_eq!(
        empty.lines().filter(|line| line.contains("0000:")).count(),
        0,
        "{empty}"
    );
    for words in [["--group", "4711"], ["--unit", "none-such"]] {
        let error = ask(&record, &words).unwrap_err().to_string();
        assert!(
            error.contains(&words[0][2..]) && error.contains(words[1]),
            "{error}"
        );
    }
    let (_, one) = ask(&record, &["--unit", "dmar0", "--group", "3"]).unwrap();
    assert!(one
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .all(|line| line.starts_with("3 ")));
}
