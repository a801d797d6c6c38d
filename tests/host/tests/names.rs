// SPDX-License-Identifier: GPL-2.0

//! The parts of messages: labels, requester ids, faults, reserved regions; and the rate limit of
//! messages.

use std::fmt::Write;

use iommu_core_host::{
    addr::{Iova, Prot},
    count::Count,
    fault::{Access, Fault, RateLimit, Verdict},
    label::Label,
    pasid::Pasid,
    requester::RequesterId,
    reserved::{Kind, Reserved},
};
use proptest::prelude::*;

#[test]
fn one_is_not_a_plural() {
    let text = |number: i64| Count::new(number, "group").to_string();
    assert_eq!(text(0), "0 groups");
    assert_eq!(text(1), "1 group");
    assert_eq!(text(2), "2 groups");
    assert_eq!(Count::new(1usize, "part").to_string(), "1 part");
}

#[test]
fn a_label_is_its_text() {
    let label = Label::from("0000:00:1f.2");
    assert_eq!(label.as_str(), "0000:00:1f.2");
    assert_eq!(label.to_string(), "0000:00:1f.2");
    assert_eq!(format!("{label:>14}|"), "  0000:00:1f.2|");
    assert_eq!(format!("{label:?}"), "\"0000:00:1f.2\"");
    assert!(!label.is_empty());
    assert!(Label::EMPTY.is_empty());
    assert_eq!(Label::from(""), Label::EMPTY);
    assert_eq!(Label::new(format_args!("{}-{}", 1, "b")).as_str(), "1-b");
}

#[test]
fn a_label_that_is_full_takes_no_more() {
    let mut label = Label::EMPTY;
    let text = "x".repeat(50);
    assert!(label.write_str(&text).is_ok());
    assert!(label.write_str("123456").is_err());
    assert_eq!(label.as_str(), format!("{text}12345"));
    assert!(label.write_str("7").is_err());
    assert!(label.write_str("").is_ok());
}

/// The name of a task, as the kernel stores it.
fn task(name: &[u8]) -> [u8; 16] {
    let mut found = [0; 16];
    found[..name.len()].copy_from_slice(name);
    found
}

#[test]
fn a_process_is_named_by_its_name_and_its_id() {
    let label = |name: &[u8], pid| Label::process(&task(name), pid).to_string();
    assert_eq!(label(b"modprobe", 12), "modprobe (pid 12)");
    assert_eq!(label("caf\u{e9}".as_bytes(), 1), "caf\u{e9} (pid 1)");
    assert_eq!(label(b"", 0), " (pid 0)");
    assert_eq!(label(b"\xff", 7), "? (pid 7)");
    assert_eq!(label(b"a\0b", 7), "a (pid 7)");
    // The kernel ends names with a zero, but one may be read while it changes.
    let longest = label(&[b'x'; 16], u32::MAX);
    assert_eq!(longest, format!("{} (pid {})", "x".repeat(16), u32::MAX));
}

proptest! {
    #[test]
    fn the_id_of_a_process_is_written_in_decimal(pid: u32) {
        prop_assert_eq!(Label::process(&task(b"a"), pid).to_string(), format!("a (pid {pid})"));
    }

    #[test]
    fn a_label_is_cut_at_a_character(text in "\\PC{0,80}") {
        let label = Label::from(&*text);
        prop_assert!(text.starts_with(label.as_str()));
        prop_assert!(label.as_str().len() <= 55);
        // The label is cut only as far as necessary.
        let next = text[label.as_str().len()..].chars().next();
        prop_assert!(next.is_none_or(|c| label.as_str().len() + c.len_utf8() > 55));
    }
}

#[test]
fn requester_ids() {
    let id = RequesterId::pci(0x1a, 0x1f << 3 | 2);
    assert_eq!(id.raw(), 0x1afa);
    assert_eq!((id.bus(), id.devfn()), (0x1a, 0xfa));
    assert_eq!(id.to_string(), "1a:1f.2");
    assert_eq!(RequesterId::new(0xffff).to_string(), "ff:1f.7");
    // Stream ids are wider.
    assert_eq!(RequesterId::new(0x1_0000).to_string(), "0x10000");
    assert!(RequesterId::new(1) < RequesterId::new(2));
}

#[test]
fn faults() {
    let mut fault = Fault {
        requester: RequesterId::new(0xfa),
        pasid: None,
        address: Some(Iova::new(0xfee0_0000)),
        access: Some(Access::Write),
        code: 5,
        reason: "the page is not writable",
    };
    assert_eq!(
        fault.to_string(),
        "write at 0xfee00000: the page is not writable (reason 0x05)"
    );
    fault.address = None;
    for (access, text) in [
        (Access::Read, "read"),
        (Access::Execute, "execute"),
        (Access::Interrupt, "interrupt"),
    ] {
        fault.access = Some(access);
        assert_eq!(
            fault.to_string(),
            format!("{text}: the page is not writable (reason 0x05)")
        );
    }
    // The unit does not report the kind of access.
    fault.access = None;
    assert_eq!(fault.to_string(), "the page is not writable (reason 0x05)");
    fault.address = Some(Iova::new(0x1000));
    assert_eq!(
        fault.to_string(),
        "at 0x1000: the page is not writable (reason 0x05)"
    );
    fault.pasid = Pasid::new(7);
    assert_eq!(
        fault.to_string(),
        "at 0x1000 with PASID 7: the page is not writable (reason 0x05)"
    );
    fault.address = None;
    assert_eq!(
        fault.to_string(),
        "with PASID 7: the page is not writable (reason 0x05)"
    );
}

#[test]
fn reserved_regions() {
    let region = |kind| Reserved {
        first: Iova::new(0xfee0_0000),
        last: Iova::new(0xfeef_ffff),
        prot: Prot::WRITE,
        kind,
    };
    assert_eq!(
        region(Kind::Msi).to_string(),
        "0x00000000fee00000 0x00000000feefffff msi"
    );
    assert!(region(Kind::Direct).is_direct());
    assert!(region(Kind::DirectRelaxable).is_direct());
    assert!(!region(Kind::Msi).is_direct());
    assert!(!region(Kind::Reserved).is_direct());
}

const PRINT: Verdict = Verdict::Print { suppressed: 0 };

#[test]
fn ten_messages_in_five_seconds() {
    let mut limit = RateLimit::default();
    for _ in 0..10 {
        assert_eq!(limit.check(100), PRINT);
    }
    for _ in 0..7 {
        assert_eq!(limit.check(4999), Verdict::Suppress);
    }
    // The first message of the next window reports the number of suppressed messages, once.
    assert_eq!(limit.check(5000), Verdict::Print { suppressed: 7 });
    assert_eq!(limit.check(5001), PRINT);
    assert_eq!(limit.check(50_000), PRINT);
}

#[test]
fn a_clock_that_goes_back_prints_no_more() {
    let mut limit = RateLimit::default();
    for _ in 0..10 {
        assert_eq!(limit.check(7000), PRINT);
    }
    assert_eq!(limit.check(6000), Verdict::Suppress);
    assert_eq!(limit.check(0), Verdict::Suppress);
    assert_eq!(limit.check(12_000), Verdict::Print { suppressed: 2 });
}

proptest! {
    /// For any sequence of messages: at most ten are printed in any window, and each message was
    /// either printed or is counted as suppressed.
    #[test]
    fn nothing_is_lost(gaps in proptest::collection::vec(0_u64..2000, 1..400)) {
        let mut limit = RateLimit::default();
        let (mut now, mut printed, mut left_out) = (0, Vec::new(), 0);
        for gap in &gaps {
            now += gap;
            if let Verdict::Print { suppressed } = limit.check(now) {
                printed.push(now);
                left_out += suppressed;
            }
        }
        // One more message, at a time when it is certainly printed.
        match limit.check(now + 5000) {
            Verdict::Print { suppressed } => left_out += suppressed,
            Verdict::Suppress => prop_assert!(false),
        }
        prop_assert_eq!(printed.len() as u64 + left_out, gaps.len() as u64);
        for window in printed.windows(21) {
            prop_assert!(window[20] - window[0] >= 5000);
        }
    }
}
