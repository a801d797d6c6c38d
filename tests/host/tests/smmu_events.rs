// SPDX-License-Identifier: GPL-2.0

//! Event records of an SMMUv3, compared with values from the specification.

mod smmu;
mod drivers {
    pub use iommu_core_host::shell;
}

use iommu_core_host::pgtable;
use proptest::prelude::*;
use smmu::records::event::{Access, Class, CommandError, Event, GlobalErrors, Kind};

/// Every event of IHI 0070 7.3.
const EVENTS: [(u8, Kind, &str); 19] = [
    (0x01, Kind::Unsupported, "F_UUT"),
    (0x02, Kind::BadStreamId, "C_BAD_STREAMID"),
    (0x03, Kind::StreamFetch, "F_STE_FETCH"),
    (0x04, Kind::BadStream, "C_BAD_STE"),
    (0x05, Kind::BadTranslationRequest, "F_BAD_ATS_TREQ"),
    (0x06, Kind::StreamDisabled, "F_STREAM_DISABLED"),
    (0x07, Kind::TranslatedForbidden, "F_TRANSL_FORBIDDEN"),
    (0x08, Kind::BadSubstreamId, "C_BAD_SUBSTREAMID"),
    (0x09, Kind::ContextFetch, "F_CD_FETCH"),
    (0x0a, Kind::BadContext, "C_BAD_CD"),
    (0x0b, Kind::WalkAbort, "F_WALK_EABT"),
    (0x10, Kind::Translation, "F_TRANSLATION"),
    (0x11, Kind::AddressSize, "F_ADDR_SIZE"),
    (0x12, Kind::AccessFlag, "F_ACCESS"),
    (0x13, Kind::Permission, "F_PERMISSION"),
    (0x20, Kind::TlbConflict, "F_TLB_CONFLICT"),
    (0x21, Kind::ConfigurationConflict, "F_CFG_CONFLICT"),
    (0x24, Kind::PageRequest, "E_PAGE_REQUEST"),
    (0x25, Kind::MachineFetch, "F_VMS_FETCH"),
];

#[test]
fn kinds() {
    let kind = |code: u8| Event::decode([code.into(), 0, 0, 0]).kind;
    for (code, expected, name) in EVENTS {
        assert_eq!(kind(code), expected);
        assert_eq!(expected.name(), name);
        assert_eq!(expected.to_string(), name);
        let unknown = Kind::Unknown(0).text();
        assert_ne!(expected.text(), unknown);
        assert_eq!(Event::code([code.into(), 0, 0, 0]), code);
    }
    assert_eq!(kind(0xe7), Kind::Implementation(0xe7));
    assert_eq!(kind(0xe7).to_string(), "IMPDEF_EVENT 0xe7");
    assert_eq!(kind(0x30), Kind::Unknown(0x30));
    assert_eq!(kind(0), Kind::Unknown(0));
    assert_eq!(kind(0x30).to_string(), "unknown event 0x30");
}

#[test]
fn translation_faults() {
    // Stream 8 reads 0xdeadbeef, which is not mapped; class "input address".
    let read = Event::decode([0x8_0000_0010, 0x208_0000_0000, 0xdead_beef, 0]);
    assert_eq!(
        read,
        Event {
            kind: Kind::Translation,
            stream: 8,
            substream: None,
            address: Some(0xdead_beef),
            access: Some(Access {
                read: true,
                execute: false,
                privileged: false,
            }),
            class: Class::Input,
            intermediate: None,
            fetch: None,
            stall: None,
        }
    );

    // A privileged write that faults at stage 2 during a stage 1 page-table walk; substream 5;
    // stalled with tag 0xbeef.
    let write = Event::decode([
        0x1234_5678_0000_5813,
        0x1_0000_0000 * 0x182 | 0x8000_beef,
        0xffff_8000_0000_1234,
        0x000f_1234_5678_9fff,
    ]);
    assert_eq!(
        write,
        Event {
            kind: Kind::Permission,
            stream: 0x1234_5678,
            substream: Some(5),
            address: Some(0xffff_8000_0000_1234),
            access: Some(Access {
                read: false,
                execute: false,
                privileged: true,
            }),
            class: Class::Table,
            intermediate: Some(0xf_1234_5678_9000),
            fetch: None,
            stall: Some(0xbeef),
        }
    );
    let fetch = Event::decode([0x10, 4 << 32, 0, 0]);
    assert!(fetch
        .access
        .is_some_and(|access| access.execute && !access.read));
    assert_eq!(fetch.class, Class::Context);
    assert_eq!(Event::decode([0x10, 3 << 40, 0, 0]).class, Class::Unknown);
}

#[test]
fn faults_without_addresses() {
    let junk = [u64::MAX, u64::MAX, u64::MAX];
    let event = |code: u64| Event::decode([code | 0x7_0000_0000, junk[0], junk[1], junk[2]]);
    let blocked = event(0x4);
    assert_eq!((blocked.stream, blocked.kind), (7, Kind::BadStream));
    assert_eq!((blocked.address, blocked.intermediate), (None, None));
    assert_eq!((blocked.fetch, blocked.stall), (None, None));
    assert!(blocked.kind.text().contains("blocked"));
    // Structures that the unit could not read.
    for code in [0x3, 0x9, 0x25] {
        assert_eq!(event(code).fetch, Some(0xf_ffff_ffff_fff8));
        assert_eq!(event(code).address, None);
    }
    let walk = event(0xb);
    assert_eq!(walk.fetch, Some(0xf_ffff_ffff_fff8));
    assert_eq!(walk.address, Some(u64::MAX));
    assert_eq!(walk.stall, None);
}

/// Which records contain the address and the kind of access of a transaction. In all others these
/// bits are 0 or have another meaning (7.3.2 to 7.3.20).
#[test]
fn accesses() {
    let event = |code: u8| Event::decode([code.into(), 0xe_0000_0000, 0x1000, 0]);
    for code in [0x01, 0x07, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x20] {
        let access = Access {
            read: true,
            execute: true,
            privileged: true,
        };
        assert_eq!(event(code).access, Some(access), "{code:#x}");
        assert_eq!(event(code).address, Some(0x1000), "{code:#x}");
    }
    // Translation requests and page requests have an address.
    for code in [0x05, 0x24] {
        assert_eq!(event(code).access, None, "{code:#x}");
        assert_eq!(event(code).address, Some(0x1000), "{code:#x}");
    }
    for code in [
        0x02, 0x03, 0x04, 0x06, 0x08, 0x09, 0x0a, 0x21, 0x25, 0x30, 0xe0,
    ] {
        assert_eq!(event(code).access, None, "{code:#x}");
        assert_eq!(event(code).address, None, "{code:#x}");
    }
}

#[test]
fn errors_of_the_unit() {
    let error = CommandError::from_code;
    assert_eq!(error(0), CommandError::None);
    assert_eq!(error(1), CommandError::Illegal);
    assert_eq!(error(2), CommandError::Abort);
    assert_eq!(error(3), CommandError::DeviceTlb);
    assert_eq!(error(0x7f), CommandError::Unknown(0x7f));
    assert!(error(1).text().contains("CERROR_ILL"));
    assert!(error(2).text().contains("CERROR_ABT"));
    assert!(error(3).text().contains("CERROR_ATC_INV_SYNC"));

    // An error is active if the two registers differ.
    assert!(GlobalErrors::new(0x1fd, 0x1fd).is_empty());
    let errors = GlobalErrors::new(0x101, 0x0);
    assert!(errors.has(GlobalErrors::COMMAND) && errors.has(GlobalErrors::SERVICE_FAILURE));
    assert!(!errors.has(GlobalErrors::EVENT_ABORT));
    assert_eq!(errors.raw(), 0x101);
    let texts: Vec<_> = errors.texts().collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("CMDQ_ERR") && texts[1].contains("SFM_ERR"));
    // Every error of the queues that this driver uses has a text, and no other bit has.
    let names = |bit: u32| GlobalErrors::new(1 << bit, 0).texts().count();
    let named: Vec<_> = (0..32).filter(|bit| names(*bit) == 1).collect();
    assert_eq!(named, [0, 2, 3, 4, 5, 6, 7, 8]);
}

proptest! {
    /// Every bit pattern is decoded.
    #[test]
    fn any_record(words in any::<[u64; 4]>()) {
        let event = Event::decode(words);
        prop_assert!(!event.kind.text().is_empty() && !event.kind.to_string().is_empty());
        prop_assert_eq!(event.stream, (words[0] >> 32) as u32);
        prop_assert_eq!(event.address.is_some(), event.kind.has_address());
    }
}
