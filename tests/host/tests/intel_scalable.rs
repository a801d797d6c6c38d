// SPDX-License-Identifier: GPL-2.0

//! Records of scalable mode, compared with bit patterns from the specification (VT-d 6.5.2, 9.2 to
//! 9.6, 11.4.2, 11.4.3).

mod intel;
#[allow(dead_code)]
#[path = "../../../requester.rs"]
mod requester;
mod drivers {
    pub use iommu_core_host::shell;
}

use drivers::shell::blocks::Block;
use intel::{
    capability::{AddressSpace, Capability, Mode, Stage, Width},
    change::CacheTag,
    entries::RootEntry,
    fault_record::reason_text,
    invalidation::{Descriptor, Drain, PasidScope, Tagged, TlbKind, TlbScope},
    pasid::{
        ContextWord, Directory, DirectoryEntry, PasidEntry, PasidTranslation, PasidWidth,
        CONTEXT_ENTRIES, CONTEXT_WORDS, PASID_WORDS,
    },
};
use proptest::prelude::*;

/// 39 and 48 bits, 48 address bits, 2 MiB and 1 GiB pages, page-selective invalidation of 2^18
/// pages, caching mode.
const CAP: u64 = 0x00d2_008c_222f_0686;
/// Coherent reads of tables, queued invalidation, pass-through.
const ECAP: u64 = 0x00f0_0f43;

const SMTS: u64 = 1 << 43;
const SSTS: u64 = 1 << 46;
const FSTS: u64 = 1 << 47;
const SMPWC: u64 = 1 << 48;

const DRAIN: Drain = Drain {
    writes: true,
    reads: true,
};

/// 11.4.3: SMTS 43, SSADS 45, SSTS 46, FSTS 47, SMPWC 48, RPS 49, NEST 26, PRS 29, PSS 39:35, PASID
/// 40. 11.4.2: FS1GP 56, FS5LP 60.
#[test]
fn capabilities() {
    let ecap = |bits| Capability::decode(CAP, ECAP | bits);
    assert!(ecap(SMTS).scalable_mode && !ecap(!SMTS & !ECAP).scalable_mode);
    assert!(ecap(SSTS).second_stage && !ecap(!SSTS & !ECAP).second_stage);
    assert!(ecap(FSTS).first_stage && !ecap(!FSTS & !ECAP).first_stage);
    assert!(ecap(SMPWC).scalable_coherent && !ecap(!SMPWC & !ECAP).scalable_coherent);
    assert!(ecap(1 << 45).second_stage_dirty && !ecap(!(1 << 45) & !ECAP).second_stage_dirty);
    assert!(ecap(1 << 49).rid_pasid && !ecap(!(1 << 49) & !ECAP).rid_pasid);
    assert!(ecap(1 << 26).nested && !ecap(!(1 << 26) & !ECAP).nested);
    assert!(ecap(1 << 29).page_requests && !ecap(!(1 << 29) & !ECAP).page_requests);
    assert_eq!(ecap(1 << 40 | 19 << 35).pasid_bits, 20);
    assert_eq!(ecap(1 << 40).pasid_bits, 1);
    assert_eq!(ecap(19 << 35).pasid_bits, 0);
    // In scalable mode only, and none wider than there are.
    let served = |pss: u64| ecap(SMTS | SSTS | 1 << 40 | pss << 35).pasids();
    assert_eq!(
        (served(0), served(19), served(31)),
        (Some(1), Some(20), Some(20))
    );
    assert_eq!(ecap(SMTS | SSTS | 19 << 35).pasids(), None);
    assert_eq!(ecap(1 << 40 | 19 << 35).pasids(), None);
    assert!(Capability::decode(CAP | 1 << 56, ECAP).first_stage_1g);
    assert!(Capability::decode(CAP | 1 << 60, ECAP).first_stage_5_levels);
    let plain = Capability::decode(CAP, ECAP);
    assert!(!plain.first_stage_1g && !plain.first_stage_5_levels);
}

/// A unit with scalable mode and a stage is in scalable mode, with the second stage if it has that.
/// All others are in legacy mode.
#[test]
fn modes() {
    let mode = |ecap| Capability::decode(CAP, ECAP | ecap).mode();
    assert_eq!(mode(0), Mode::Legacy);
    assert_eq!(mode(SSTS | FSTS), Mode::Legacy);
    assert_eq!(mode(SMTS), Mode::Legacy);
    assert_eq!(mode(SMTS | SSTS), Mode::Scalable(Stage::Second));
    assert_eq!(mode(SMTS | SSTS | FSTS), Mode::Scalable(Stage::Second));
    assert_eq!(mode(SMTS | FSTS), Mode::Scalable(Stage::First));
    // One that was left translating in legacy mode.
    let left_on = Capability::legacy_only(ECAP | SMTS | SSTS | FSTS);
    assert_eq!(left_on, ECAP | SSTS | FSTS);
    assert_eq!(Capability::decode(CAP, left_on).mode(), Mode::Legacy);
}

/// What the mode changes: coherency of walks is SMPWC instead of C, the first stage has its own
/// widths and page sizes, is not in caching mode, and invalidates any number of pages.
#[test]
fn what_a_mode_has() {
    let unit = |cap, ecap| Capability::judge(CAP & !0x1f00 | cap, ECAP | ecap);
    let second = |ecap| unit(0b110 << 8, SMTS | SSTS | ecap).unwrap();
    let (cap, space) = second(0);
    assert!(cap.coherent && !cap.walks_snoop());
    assert!(second(SMPWC).0.walks_snoop());
    let bits48 = AddressSpace {
        width: Width::Bits48,
        bits: 48,
    };
    assert_eq!(space, bits48);
    assert_eq!(cap.largest_block(), Some(18));
    assert!(cap.caches_absent_pages());
    assert_eq!(cap.untranslated(), Some(Width::Bits48));

    // No SAGAW: the first stage always has 4 levels.
    let (cap, space) = unit(0, SMTS | FSTS).unwrap();
    assert_eq!(
        space,
        AddressSpace {
            width: Width::Bits48,
            bits: 47
        }
    );
    assert_eq!(cap.page_sizes(), 1 << 12 | 1 << 21);
    assert_eq!(cap.untranslated(), Some(Width::Bits48));
    assert_eq!(cap.largest_block(), Some(51));
    assert!(cap.caching_mode && !cap.caches_absent_pages());
    let (cap, _) = unit(1 << 56 | 1 << 60, SMTS | FSTS).unwrap();
    assert_eq!(cap.page_sizes(), 1 << 12 | 1 << 21 | 1 << 30);
    assert_eq!(cap.untranslated(), Some(Width::Bits57));

    // 57 address bits.
    let wide = |cap: u64| {
        let cap = CAP & !0x3f_1f00 | 56 << 16 | cap;
        Capability::judge(cap, ECAP | SMTS | FSTS).unwrap().1
    };
    assert_eq!((wide(0).width, wide(0).bits), (Width::Bits48, 47));
    let five = wide(1 << 60);
    assert_eq!((five.width, five.bits), (Width::Bits57, 56));
}

/// 9.2: in each half present bit 0, table address from bit 12 on. 9.4: P bit 0, PDTS bits 11:9,
/// directory from bit 12 on.
#[test]
fn context_words() {
    let half = RootEntry {
        context_table: Some(0x1_2345_6000),
    };
    assert_eq!(half.encode()[0], 0x1_2345_6001);
    // 16 devices of 8 functions, 256 bits each.
    assert_eq!(CONTEXT_ENTRIES, 128);
    assert_eq!(CONTEXT_WORDS * 64, 256);

    let word = |present, width| ContextWord {
        present,
        directory: Some(Directory {
            address: 0x7f_dead_b000,
            width,
        }),
    };
    let without = |present| word(present, PasidWidth::None);
    assert_eq!(without(true).encode(), 0x7f_dead_b001);
    assert_eq!(without(false).encode(), 0x7f_dead_b000);
    assert_eq!(ContextWord::decode(0x7f_dead_b001), without(true));
    assert_eq!(ContextWord::decode(0x7f_dead_b000), without(false));
    // PASIDE bit 3; PDTS bits 11:9, for 2^(PDTS + 7) tables of 64 PASIDs.
    for (bits, low) in [(1, 0x9), (13, 0x9), (14, 0x209), (16, 0x609), (20, 0xe09)] {
        let wide = word(true, PasidWidth::Bits(bits));
        assert_eq!(wide.encode(), 0x7f_dead_b000 | low);
        let pdts = low >> 9;
        assert_eq!(PasidWidth::Bits(bits).directory_entries(), 128 << pdts);
        let read = ContextWord::decode(wide.encode()).directory.unwrap();
        assert_eq!(read.width.count(), 64 * 128 << pdts);
        assert!(PasidWidth::Bits(bits).count() <= read.width.count());
    }
    assert_eq!(PasidWidth::Bits(20).count(), 1 << 20);
    assert_eq!(PasidWidth::None.count(), 0);
    let none = ContextWord {
        present: true,
        directory: None,
    };
    assert_eq!(none.encode(), 0);
    assert_eq!(ContextWord::decode(0).directory, None);
}

/// 9.5: P bit 0, table from bit 12 on.
#[test]
fn directory_entries() {
    let entry = DirectoryEntry {
        table: 0xffff_ffff_f000,
    };
    assert_eq!(entry.encode(), 0xffff_ffff_f001);
    assert_eq!(DirectoryEntry::decode(0xffff_ffff_f001), Some(entry));
    assert_eq!(DirectoryEntry::decode(0xffff_ffff_f000), None);
}

/// 9.6: P bit 0, AW bits 4:2, PGTT bits 8:6, SSPTPTR from bit 12 on, DID bits 79:64, PWSNP bit 87,
/// FSPM bits 131:130, FSPTPTR bits 191:140.
#[test]
fn pasid_entries() {
    assert_eq!(PASID_WORDS * 64, 512);
    let root = 0x7f_dead_b000;
    let encode = |translation| {
        let entry = PasidEntry {
            translation,
            domain: 0xabcd,
        };
        entry.encode()
    };
    let second = |width, coherent| {
        encode(PasidTranslation::SecondStage {
            root,
            width,
            coherent,
        })
    };
    for (width, aw) in [(Width::Bits39, 1), (Width::Bits48, 2), (Width::Bits57, 3)] {
        let low = 0x7f_dead_b081 | aw << 2;
        assert_eq!(second(width, false), [low, 0xabcd, 0, 0, 0, 0, 0, 0]);
        assert_eq!(second(width, true), [low, 0x80_abcd, 0, 0, 0, 0, 0, 0]);
    }
    let first = |width, coherent| {
        encode(PasidTranslation::FirstStage {
            root,
            width,
            coherent,
        })
    };
    assert_eq!(
        first(Width::Bits48, false),
        [0x49, 0xabcd, 0x7f_dead_b000, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        first(Width::Bits57, true),
        [0x4d, 0x80_abcd, 0x7f_dead_b004, 0, 0, 0, 0, 0]
    );
    let pass = encode(PasidTranslation::PassThrough {
        width: Width::Bits48,
    });
    assert_eq!(pass, [0x109, 0xabcd, 0, 0, 0, 0, 0, 0]);
}

/// 6.5.3.3: translations of the second stage are invalidated by domain, those of the first stage
/// and those that pass by PASID.
#[test]
fn tags_of_entries() {
    let tag = |low| PasidEntry::tag_of([low, 0x80_abcd], 0xf_4321);
    let with = |tagged| {
        Some(CacheTag {
            domain: 0xabcd,
            pasid: 0xf_4321,
            tagged,
        })
    };
    assert_eq!(tag(0x7f_dead_b089), with(Tagged::ByDomain));
    assert_eq!(tag(0x49), with(Tagged::ByPasid));
    assert_eq!(tag(0x109), with(Tagged::ByPasid));
    // Not present; nested, and types that are reserved.
    assert_eq!(tag(0x48), None);
    for kind in [0, 3, 5, 6, 7] {
        assert_eq!(tag(kind << 6 | 1), None);
    }
}

fn one_pasid(domain: u16, pasid: u32) -> Descriptor {
    Descriptor::pasid_cache(PasidScope::Pasid { domain, pasid })
}

/// 6.5.2.2 and 6.5.2.4.
#[test]
fn descriptors() {
    assert_eq!(Descriptor::pasid_cache(PasidScope::Global).0, [0x37, 0]);
    assert_eq!(one_pasid(0x1234, 0).0, [0x1234_0017, 0]);
    assert_eq!(one_pasid(0x1234, 0xf_5678).0, [0xf_5678_1234_0017, 0]);

    let by_pasid = |scope| Descriptor::translations(TlbKind::new(Tagged::ByPasid, DRAIN), scope).0;
    assert_eq!(by_pasid(TlbScope::Domain { domain: 7 }), [0x7_0026, 0]);
    let kind = TlbKind::new(Tagged::ByPasid, DRAIN).with_pasid(0xf_5678);
    assert_eq!(
        Descriptor::translations(kind, TlbScope::Domain { domain: 7 }).0,
        [0xf_5678_0007_0026, 0]
    );
    let block = Block {
        address: 0x1234_5600_0000,
        order: 9,
    };
    let pages = |leaves_only| TlbScope::Pages {
        domain: 0xffff,
        block,
        leaves_only,
    };
    assert_eq!(by_pasid(pages(false)), [0xffff_0036, 0x1234_5600_0009]);
    assert_eq!(by_pasid(pages(true)), [0xffff_0036, 0x1234_5600_0049]);
}

/// A descriptor that a unit does not understand is replaced by one that covers it.
#[test]
fn wider_descriptors() {
    let widest = |descriptor: Descriptor| descriptor.widest(DRAIN).map(|wider| wider.0);
    let pasid = one_pasid(9, 0);
    assert_eq!(widest(pasid), Some([0x37, 0]));
    let scope = TlbScope::Domain { domain: 9 };
    let iotlb = Descriptor::translations(TlbKind::new(Tagged::ByPasid, DRAIN), scope);
    assert_eq!(widest(iotlb), Some([0xd2, 0]));
}

/// 7.1.3: every reason of scalable mode.
#[test]
fn every_reason_has_words() {
    let unknown = reason_text(0xff);
    let codes = (0x30..=0x32)
        .chain(0x38..=0x3a)
        .chain(0x40..=0x48)
        .chain(0x50..=0x52)
        .chain(0x58..=0x5d)
        .chain(0x70..=0x7c)
        .chain(0x80..=0x87)
        .chain(0x90..=0x91);
    for code in codes {
        assert_ne!(reason_text(code), unknown, "{code:#x}");
    }
    for code in [0x33, 0x3b, 0x49, 0x53, 0x5e, 0x7d, 0x88, 0x92] {
        assert_eq!(reason_text(code), unknown, "{code:#x}");
    }
}

proptest! {
    /// The driver never sets a reserved bit, and finds the tag again.
    #[test]
    fn pasid_entry_bits(
        root in any::<u64>(),
        domain in any::<u16>(),
        levels in 3u8..=5,
        coherent in any::<bool>(),
        kind in 0u8..3,
    ) {
        let width = Width::from_levels(levels).unwrap();
        let entry = PasidEntry {
            translation: match kind {
                0 => PasidTranslation::SecondStage { root, width, coherent },
                1 => PasidTranslation::FirstStage { root, width, coherent },
                _ => PasidTranslation::PassThrough { width },
            },
            domain,
        };
        let words = entry.encode();
        // FPD, bits 5 and 11:10, SSADE.
        prop_assert_eq!(words[0] & 0xe22, 0);
        prop_assert_eq!(words[1] & !0x80_ffff, 0);
        prop_assert_eq!(words[2] & 0xff3, 0);
        prop_assert_eq!(&words[3..], &[0; 5][..]);
        prop_assert_eq!(PasidEntry::tag_of([words[0], words[1]], 7), Some(entry.tag(7)));
        prop_assert_eq!(entry.tag(7).domain, domain);
    }
}
