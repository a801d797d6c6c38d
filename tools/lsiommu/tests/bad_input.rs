// SPDX-License-Identifier: GPL-2.0

//! Machines without an IOMMU, without permission, with files missing, with devices that vanish, and
//! files with anything in them.

mod common;

use clap::Parser;
use common::{ask, devices, record, records};
use lsiommu::{
    check,
    cli::Arguments,
    faults,
    files::{Disk, Files, Miss, Record},
    machine::Machine,
    names::Names,
    pci, read, Failure, Status,
};
use proptest::prelude::*;

/// All questions about a machine. Nothing may panic, and what programs read is well-formed.
fn ask_everything(record: &Record) {
    for words in [
        &[][..],
        &["--tree"],
        &["--dot"],
        &["faults"],
        &["check"],
        &["record"],
        &["--class", "01"],
    ] {
        ask(record, words).unwrap();
    }
    let (_, text) = ask(record, &["--json"]).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let (_, text) = ask(record, &["--prometheus"]).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (labels, value) = line.rsplit_once(' ').unwrap();
        value.parse::<u64>().unwrap();
        assert!(
            labels.starts_with("iommu_") && labels.ends_with('}'),
            "{line}"
        );
        assert_eq!(labels.matches('{').count().min(1), 1, "{line}");
    }
    let (_, text) = ask(record, &["--svg"]).unwrap();
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    assert!(!text
        .chars()
        .any(|letter| letter.is_control() && letter != '\n'));
    for name in devices(record).iter().take(3) {
        ask(record, &["why", name]).unwrap();
        ask(record, &["check", name]).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_files_may_be_missing(which: prop::sample::Index, seed: u64, percent in 1u64..100) {
        let all = records();
        let (_, text) = which.get(&all[..]);
        let record = Record::parse(text).unwrap();
        let mut state = seed | 1;
        let holes = record.without(|_| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % 100 < percent
        });
        ask_everything(&holes);
    }

    #[test]
    fn any_file_may_have_anything_in_it(
        which: prop::sample::Index,
        at: prop::sample::Index,
        content in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[ -~\n\"\\\\<&{}]{0,60}".prop_map(String::into_bytes),
            Just(b"0xffffffffffffffffffffff\n".to_vec()),
            Just(b"18446744073709551616\n".to_vec()),
        ],
    ) {
        let all = records();
        let (_, text) = which.get(&all[..]);
        let record = Record::parse(text).unwrap();
        let paths: Vec<String> = record.paths().map(str::to_owned).collect();
        let path = at.get(&paths);
        ask_everything(&record.clone().with(path, &content));
    }

    #[test]
    fn any_link_may_lead_anywhere(which: prop::sample::Index, at: prop::sample::Index, target in "[./a-z0-9:]{0,40}") {
        let all = records();
        let (_, text) = which.get(&all[..]);
        let record = Record::parse(text).unwrap();
        let links: Vec<String> = record.paths().map(str::to_owned).filter(|path| record.link(path).is_some()).collect();
        ask_everything(&record.clone().with_link(at.get::<String>(&links), &target));
    }

    #[test]
    fn records_come_back(path in "[a-z/\\\\\t ]{1,20}", content in prop::collection::vec(any::<u8>(), 0..60)) {
        let record = Record::default().with(&path, &content);
        let again = Record::parse(&record.text()).unwrap();
        prop_assert_eq!(again.read(&path), Ok(content));
    }

    #[test]
    fn any_text_is_a_record_or_refused(text in "\\PC*", lines in prop::collection::vec("[FXNLDQ]\t[a-z]{0,3}(\t[0-9a-f:é]{0,6}){0,2}", 0..8)) {
        let _ = Record::parse(&text);
        let _ = Record::parse(&format!("# lsiommu record 1\n{}", lines.join("\n")));
    }

    #[test]
    fn any_configuration_space_is_read(config in prop::collection::vec(any::<u8>(), 0..4200)) {
        pci::acs(&config);
    }

    #[test]
    fn any_file_of_names_is_read(text in "([C\t#]{0,3}[0-9a-fé]{0,5} {0,3}[a-z\n]{0,5}){0,20}") {
        let names = Names::parse(&text);
        names.device(0x1234, 0x1111);
        names.class(0x010802);
    }

    #[test]
    fn any_name_is_an_address_or_not(name in "[0-9a-fé:.]{0,14}") {
        pci::is_address(&name);
    }
}

#[test]
fn access_control_is_read_from_the_extended_capabilities() {
    // Advanced error reporting at 0x100, which leads to ACS at 0x140.
    let mut config = vec![0; 4096];
    config[0x100..0x104].copy_from_slice(&0x1402_0001_u32.to_le_bytes());
    config[0x140..0x144].copy_from_slice(&0x0001_000d_u32.to_le_bytes());
    assert_eq!(pci::acs(&config), pci::Acs::None, "it can do nothing");
    config[0x144] = 0x1f;
    assert_eq!(pci::acs(&config), pci::Acs::Off);
    config[0x146] = 0x1d;
    assert_eq!(pci::acs(&config), pci::Acs::On);
    config[0x146] = 0x1c;
    assert_eq!(
        pci::acs(&config),
        pci::Acs::Off,
        "without source validation"
    );
    assert_eq!(
        pci::acs(&config[..64]),
        pci::Acs::Unknown,
        "without the permission"
    );
    assert_eq!(
        pci::acs(&config[..256]),
        pci::Acs::None,
        "a conventional device"
    );
    config[0x100..0x104].copy_from_slice(&0x1002_0001_u32.to_le_bytes());
    assert_eq!(pci::acs(&config), pci::Acs::None, "a circle ends");
}

#[test]
fn a_machine_without_a_unit_is_told_what_to_do() {
    let record = record("vtd-iommu_core").without(|path| path.contains("iommu"));
    let (status, text) = ask(&record, &[]).unwrap();
    assert_eq!(status, Status::Bad);
    assert!(
        text.contains("no IOMMU is in use") && text.contains("intel_iommu=on"),
        "{text}"
    );
    let (status, text) = ask(&record, &["check"]).unwrap();
    assert_eq!(status, Status::Bad);
    assert!(
        text.starts_with("FAIL  machine: IOMMU") && text.contains("next: "),
        "{text}"
    );
    let (status, text) = ask(&record, &["faults"]).unwrap();
    assert_eq!(status, Status::Bad);
    assert!(text.contains("no IOMMU"), "{text}");
    for name in devices(&record) {
        let (_, text) = ask(&record, &["why", &name]).unwrap();
        assert!(text.contains("is in no group"), "{text}");
    }
    assert_eq!(
        ask(&record, &["--json"]).unwrap().0,
        Status::Well,
        "programs get an empty list"
    );
}

#[test]
fn a_device_that_vanishes_is_left_out() {
    let record = record("vtd-iommu_core");
    let before = devices(&record);
    let gone = before
        .iter()
        .find(|name| name.starts_with("0000:04"))
        .unwrap();
    // The folders have been read, and the device's own files are not there any more.
    let holes =
        record.without(|path| path.contains(&format!("/{gone}/")) && !path.starts_with("sys/bus"));
    let after = devices(&holes);
    assert_eq!(before.len(), after.len() + 1);
    assert!(!after.contains(gone));
    let error = ask(&holes, &["check", gone]).unwrap_err().to_string();
    assert!(error.contains(&format!("no device {gone}")), "{error}");
}

#[test]
fn a_file_without_the_permission_is_no_end() {
    let text = record("vtd-iommu_core").text();
    let denied: Vec<String> = text
        .lines()
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [_, path, ..] if path.contains("/iommu_core/") || path.ends_with("/config") => {
                format!("N\t{path}")
            }
            _ => line.into(),
        })
        .collect();
    let record = Record::parse(&denied.join("\n")).unwrap();
    let path = record
        .paths()
        .find(|path| path.ends_with("/iommu_core/owner"))
        .unwrap()
        .to_owned();
    assert_eq!(record.read(&path), Err(Miss::Denied));
    ask_everything(&record);
    let (status, text) = ask(&record, &[]).unwrap();
    assert_eq!(status, Status::Well);
    assert!(text.contains("DMA") && !text.contains("OWNER"), "{text}");
    let (_, again) = ask(&record, &["record"]).unwrap();
    assert!(again.contains(&format!("N\t{path}\n")));
}

#[test]
fn what_is_no_root_is_refused() {
    let parse = |root: &str| {
        let arguments = Arguments::try_parse_from(["lsiommu", "--root", root]).unwrap();
        lsiommu::run(&arguments, &mut Vec::new())
            .unwrap_err()
            .to_string()
    };
    assert!(parse("/none-such").contains("/none-such: has no folder sys"));
    let file = common::here("Cargo.toml");
    assert!(parse(file.to_str().unwrap()).contains("no record"));
    for words in [
        &["--json", "--svg"][..],
        &["why"],
        &["--group", "x"],
        &["why", "--dot", "0"],
    ] {
        assert!(
            Arguments::try_parse_from([&["lsiommu"], words].concat()).is_err(),
            "{words:?}"
        );
    }
}

#[test]
fn what_a_command_would_ignore_is_refused() {
    let record = record("vtd-iommu_core");
    for words in [
        &["--tree", "faults"][..],
        &["--group", "1", "check"],
        &["--json", "record"],
    ] {
        let error = ask(&record, words).unwrap_err().to_string();
        assert!(error.contains("are for the list"), "{words:?}: {error}");
    }
    let (_, text) = ask(&record, &["check", "--json"]).unwrap();
    let checks: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(checks[0]["what"], "IOMMU");
}

#[test]
fn a_folder_of_files_is_read_as_a_record_is() {
    let record = record("vtd-iommu_core");
    let root = std::env::temp_dir().join(format!("lsiommu-tree-{}", std::process::id()));
    for path in record.paths() {
        let place = root.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        if let Some(target) = record.link(path) {
            std::os::unix::fs::symlink(target, place).unwrap();
        } else if let Ok(content) = record.read(path) {
            std::fs::write(place, content).unwrap();
        } else {
            std::fs::create_dir_all(place).unwrap();
        }
    }
    let names = Names::default();
    let json = |machine: &Machine| serde_json::to_string(machine).unwrap();
    let from_disk = json(&read::machine(&Disk::new(root.clone()), &names));
    assert_eq!(from_disk, json(&read::machine(&record, &names)));
    std::fs::remove_dir_all(root).unwrap();
}

/// The module does not take a unit that remaps interrupts for the kernel.
#[test]
fn nobody_with_the_module_is_told_to_boot_without_its_parameters() {
    let record = record("amdvi-iommu_core");
    let path = |end: &str| {
        let found = record.paths().find(|path| path.ends_with(end));
        found.unwrap_or_else(|| panic!("{end}")).to_owned()
    };
    let open = record
        .clone()
        .with(
            &path("0000:01:00.0/iommu_core/interrupts"),
            b"not isolated: why\n",
        )
        .with(&path("parameters/allow_unsafe_interrupts"), b"N\n");
    let (status, text) = ask(&open, &["check", "0000:01:00.0"]).unwrap();
    assert_eq!(status, Status::Bad);
    let line = text
        .lines()
        .find(|line| line.contains("VFIO refuses the group"))
        .unwrap();
    assert!(line.contains("not isolated: why"), "{line}");
    assert!(
        text.contains("the kernel's own driver") && !text.contains("intremap"),
        "{text}"
    );
}

#[test]
fn only_news_are_told_when_faults_are_followed() {
    let record = record("vtd-iommu_core");
    let read = |record: &Record| read::machine(record, &Names::default());
    let path = record
        .paths()
        .find(|path| path.contains("0000:04") && path.ends_with("iommu_core/faults"))
        .unwrap()
        .to_owned();
    let with = |count: &str| read(&record.clone().with(&path, count.as_bytes()));
    let mut seen = Default::default();
    let mut news = |machine: &Machine| {
        let mut out = Vec::new();
        faults::news(machine, &mut seen, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    news(&with("2\n"));
    assert_eq!(news(&with("2\n")), "");
    let text = news(&with("5\n"));
    assert!(
        text.contains("5 faults (3 new)") && text.lines().count() == 1,
        "{text}"
    );
    // A group that was formed anew.
    assert!(news(&with("1\n")).contains("1 fault (0 new)"));
    assert_eq!(news(&with("0\n")), "");
}

#[test]
fn checks_fail_for_the_right_reasons() {
    let record = record("vtd-iommu_core");
    let machine = |record: &Record| read::machine(record, &Names::default());
    let result = |machine: &Machine, device: &str, what: &str| {
        let checks = check::all(machine, &[machine.find(device).unwrap()]);
        let found = checks.iter().rfind(|check| check.what == what).cloned();
        assert!(checks
            .iter()
            .all(|check| check.next.is_some() != (check.result == check::Result::Pass)));
        found.unwrap_or_else(|| panic!("no check of {what}"))
    };
    let well = machine(&record);
    let disk = well
        .devices
        .iter()
        .find(|device| device.driver.as_deref() == Some("nvme"))
        .unwrap()
        .name
        .clone();
    assert_eq!(result(&well, &disk, "driver").result, check::Result::Warn);
    assert_eq!(
        result(&well, &disk, "reserved regions").result,
        check::Result::Pass
    );
    let group = well.device(&disk).unwrap().group.unwrap();
    let regions = format!("sys/kernel/iommu_groups/{group}/reserved_regions");
    let direct = record
        .clone()
        .with(&regions, b"0x0000000000001000 0x0000000000001fff direct\n");
    assert_eq!(
        result(&machine(&direct), &disk, "reserved regions").result,
        check::Result::Fail
    );
    let path = record
        .paths()
        .find(|path| path.ends_with(&format!("{disk}/reset_method")))
        .unwrap()
        .to_owned();
    let without = record.clone().without(|other| other == path);
    assert_eq!(
        result(&machine(&without), &disk, "reset").result,
        check::Result::Warn
    );
    let failed = record
        .clone()
        .with("sys/class/iommu/dmar0/iommu_core/state", b"failed\n");
    let seen = result(&machine(&failed), &disk, "IOMMU");
    assert_eq!((seen.result, seen.device), (check::Result::Fail, None));
    let bridge = well
        .devices
        .iter()
        .find(|device| device.is_bridge())
        .unwrap()
        .name
        .clone();
    assert_eq!(result(&well, &bridge, "kind").result, check::Result::Fail);
    // A function beside it that a kernel driver uses.
    let mut shared = well.clone();
    let mut other = well.device(&disk).unwrap().clone();
    other.name = "0000:7f:00.1".into();
    shared.devices.push(other);
    let seen = result(&shared, &disk, "group");
    assert!(
        seen.result == check::Result::Fail && seen.seen.contains("0000:7f:00.1 (nvme)"),
        "{seen:?}"
    );
}

#[test]
fn a_writer_that_is_full_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let record = record("vtd-iommu_core");
    let machine = read::machine(&record, &Names::default());
    assert!(matches!(
        lsiommu::list::write(&machine, &mut Full),
        Err(Failure::Output(_))
    ));
    assert!(matches!(
        lsiommu::draw::svg(&machine, &mut Full),
        Err(Failure::Output(_))
    ));
}
